"""Why a book is not renewed, as lines for its actuary: columns, rows and totals, never a value."""

from __future__ import annotations

from services.common.money import grouped_minor
from services.pricing.core.balance import NotBalanced, OutOfReach
from services.pricing.core.tariff import E4
from services.pricing.fitting.renewal.dealing import BookUnreadable
from services.pricing.fitting.renewal.grid import TooManyCells
from services.pricing.fitting.renewal.renew import BookRefused, NothingToRenew
from services.pricing.fitting.renewal.work import Work

# Whatever ends a renewal for good: the same book, tariff and settings would be refused again.
REFUSALS = (BookUnreadable, BookRefused, OutOfReach, NotBalanced, NothingToRenew, TooManyCells)


def refusal_lines(error: Exception, work: Work) -> list[str]:
    """What is wrong and what to do, all of it at once."""
    if isinstance(error, BookUnreadable):
        return list(error.faults)
    if isinstance(error, BookRefused):
        return _faults(error)
    if isinstance(error, OutOfReach):
        return _out_of_reach(error, work)
    return [str(error)]


def is_book_fault(error: Exception) -> bool:
    """Whether the book itself must be mended, and not a setting."""
    return isinstance(error, BookUnreadable | BookRefused)


def _faults(refused: BookRefused) -> list[str]:
    lines = [f"nothing is renewed: the book has faults in its {refused.rows} rows"]
    for fault, count in sorted(refused.tally.counts.items(), key=lambda item: -item[1]):
        rows = ", ".join(str(row) for row in refused.tally.rows[fault])
        more = ", ..." if count > len(refused.tally.rows[fault]) else ""
        said = "1 row" if count == 1 else f"{count} rows"
        lines.append(f"{fault.column}: {fault.text} ({fault.reason}; {said}: {rows}{more})")
    return lines


def _out_of_reach(error: OutOfReach, work: Work) -> list[str]:
    currency = work.rates.tariff.currency

    def said(amount_e4: int) -> str:
        return grouped_minor(amount_e4 // E4, currency)

    reach, change = error.reach, work.settings.change_millionths / 10_000
    target = f"{said(error.target_e4)} {currency} with an approved change of {change:g} %"
    least_e4 = reach.least_e4 + E4 - 1  # in whole minor units inside what can be reached
    allowed = f"{said(least_e4)} to {said(reach.most_e4)} {currency}"
    return [
        f"the target, {target}, is out of reach of the collar",
        f"the collar allows {allowed}; widen renewal.collar or change renewal.approved_change",
    ]
