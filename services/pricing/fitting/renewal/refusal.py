"""Why a book is not renewed, as lines for its actuary: columns, rows and totals, never a value."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from services.common.money import grouped_minor
from services.pricing.core.balance import NotBalanced, OutOfReach, Reach, target_of
from services.pricing.core.tariff import E4, MILLION
from services.pricing.fitting.renewal.dealing import BookUnreadable
from services.pricing.fitting.renewal.grid import TooManyCells
from services.pricing.fitting.renewal.renew import BookRefused, NothingToRenew
from services.pricing.fitting.renewal.work import Work

_PLACES = 6  # of a change in millionths
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
    changes = changes_within(error.target_e4, work.settings.change_millionths, reach)
    way_out = "widen renewal.collar or change renewal.approved_change"
    if changes is not None:
        least, most = (Decimal(change).scaleb(-_PLACES) for change in changes)
        allowed += f", an approved_change from {least} to {most}"
    return [
        f"the target, {target}, is out of reach of the collar",
        f"the collar allows {allowed}; {way_out}",
    ]


def changes_within(target_e4: int, change_millionths: int, reach: Reach) -> tuple[int, int] | None:
    """The least and greatest approved change, in millionths, whose target is within reach.

    `target_e4` is the one of `change_millionths`. None where no whole millionth is within.

    >>> changes_within(10_200_000_000, 20_000, Reach(9_000_000_000, 10_100_000_000))
    (-100000, 10000)
    """
    # The target is rounded to 1/10,000 of a minor unit, the premium that it is a change of is not.
    expiring_minor = round(Fraction(target_e4 * MILLION, E4 * (MILLION + change_millionths)))

    def target(change: int) -> int:
        return target_of(expiring_minor, change, E4)

    least, most = (
        round(Fraction(end * MILLION, expiring_minor * E4)) - MILLION
        for end in (reach.least_e4, reach.most_e4)
    )
    least += target(least) < reach.least_e4
    most -= target(most) > reach.most_e4
    return (least, most) if least <= most else None
