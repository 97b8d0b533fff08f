"""`lipei pricing renew`: the renewal of a whole book, with its dislocation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.common.money import grouped_minor
from services.pricing.core.balance import NotBalanced, OutOfReach
from services.pricing.core.renewal import NINE_PLACES
from services.pricing.core.tariff import E4, written
from services.pricing.fitting import run_card
from services.pricing.tariffs.loader import TariffRefused, load_tariff
from stack.commands.failing import Failed
from stack.commands.pricing_folder import DEFAULT, PricingPath, opened, running, say_next
from stack.commands.printing import console, counted, print_table, progress_bar, rows, say, table

if TYPE_CHECKING:  # pandas' weight comes with the command that needs it, not with every `lipei`
    from services.pricing.core.rates import Rates
    from services.pricing.fitting.pricing_file import PricingFile
    from services.pricing.fitting.renewal.dislocation import Dislocation, Group
    from services.pricing.fitting.renewal.renew import BookRefused
    from services.pricing.fitting.renewal.result import Manifest
    from services.pricing.fitting.renewal.settings import RenewalSettings

_FOLDER = "renewal"
_STEPS = {
    "deal": "dealing the book into shards",
    "price": "pricing shards",
    "balance": "finding the off-balance factor",
    "write": "writing renewals",
}
_SHOWN_MOVERS = 3


def renew(
    file: PricingPath = DEFAULT,
    movers: Annotated[
        int, typer.Option(help="How many of the largest rises and falls are printed.", min=0)
    ] = _SHOWN_MOVERS,
) -> None:
    """Price a book's renewals: collar, off-balance, credits; Parquet, manifest and dislocation.

    Changes no policy. Stopped by Ctrl-C, the same command goes on where it was.
    """
    from services.pricing.fitting.renewal.dislocation import dislocation  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.settings import RenewalSettings  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.workbook import write_workbook  # noqa: PLC0415 -- heavy

    found = opened(file)
    settings = found.of(RenewalSettings)
    book, tariff = found.folder / settings.book, found.folder / settings.tariff
    rates = _tariff(tariff)
    if not book.is_file():
        raise Failed(f"{book} is not there; renewal.book in {found.path} says which book expires")
    with running(found, "renew", inputs=(book, tariff)) as run:
        manifest = _renewed(found, settings, rates, book)
        result = found.folder / _FOLDER / "renewals"
        report = dislocation(result)
        paths = write_workbook(report, manifest, found.folder / _FOLDER)
        run.outputs += [*sorted(result.iterdir()), *paths]
        run.synthetic = manifest.synthetic
        _print(manifest, report, movers)
        say(f"written: {result}, {', '.join(str(path) for path in paths)}")
    say("look at dislocation.xlsx; after a change of renewal.collar run it again")
    say_next(f"lipei pricing report -f {found.path}")


def _renewed(file: PricingFile, settings: RenewalSettings, rates: Rates, book: Path) -> Manifest:
    from services.pricing.fitting.renewal.dealing import BookUnreadable  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.grid import TooManyCells  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.renew import (  # noqa: PLC0415 -- heavy
        BookRefused,
        NothingToRenew,
        renew_book,
    )
    from services.pricing.fitting.renewal.terms import (  # noqa: PLC0415 -- heavy
        TermsRefused,
        terms_of,
    )
    from services.pricing.fitting.renewal.work import Work  # noqa: PLC0415 -- heavy

    try:
        terms = terms_of(settings, rates.tariff)
    except TermsRefused as refused:
        raise Failed(*refused.faults, exit_code=2) from None
    work = Work(
        book=book,
        book_sha256=run_card.digest(book),
        rates=rates,
        settings=settings,
        folder=file.folder / _FOLDER,
        terms=terms,
    )
    with progress_bar(console()) as bar:
        tasks = {step: bar.add_task(text, total=None) for step, text in _STEPS.items()}
        try:
            return renew_book(
                work, lambda step, done, of: bar.update(tasks[step], completed=done, total=of)
            )
        except BookUnreadable as error:
            raise Failed(*error.faults, exit_code=2) from None
        except BookRefused as refused:
            raise Failed(*_faults(refused), exit_code=2) from None
        except OutOfReach as error:
            raise Failed(*_out_of_reach(error, settings, rates)) from None
        except (NotBalanced, NothingToRenew, TooManyCells) as error:
            raise Failed(str(error)) from None


def _tariff(path: Path) -> Rates:
    try:
        return load_tariff(path.read_bytes(), path.name)
    except TariffRefused as refused:
        raise Failed(*str(refused).splitlines(), exit_code=2) from None
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}; renewal.tariff says which tariff prices"
        raise Failed(text, exit_code=2) from None


def _faults(refused: BookRefused) -> list[str]:
    lines = [f"nothing is renewed: the book has faults in its {refused.rows} rows"]
    for fault, count in sorted(refused.tally.counts.items(), key=lambda item: -item[1]):
        rows = ", ".join(str(row) for row in refused.tally.rows[fault])
        more = ", ..." if count > len(refused.tally.rows[fault]) else ""
        said = counted(count, "row")
        lines.append(f"{fault.column}: {fault.text} ({fault.reason}; {said}: {rows}{more})")
    return lines


def _out_of_reach(error: OutOfReach, settings: RenewalSettings, rates: Rates) -> list[str]:
    currency = rates.tariff.currency

    def said(amount_e4: int) -> str:
        return grouped_minor(amount_e4 // E4, currency)

    reach, change = error.reach, settings.change_millionths / 10_000
    target = f"{said(error.target_e4)} {currency} with an approved change of {change:g} %"
    allowed = f"{said(reach.least_e4)} to {said(reach.most_e4)} {currency}"
    return [
        f"the target, {target}, is out of reach of the collar",
        f"the collar allows {allowed}; widen renewal.collar or change renewal.approved_change",
    ]


def _print(manifest: Manifest, report: Dislocation, movers: int) -> None:
    currency = manifest.currency

    def said(minor: float) -> str:
        return grouped_minor(round(minor), currency)

    def cells(group: Group) -> list[str]:
        amounts = (group.expiring_minor, group.technical_minor, group.charged_minor)
        shares = (group.held_up, group.held_down, group.credit)
        return [
            f"{group.policies:,}",
            *(said(amount) for amount in amounts),
            f"{group.change:+.1%}",
            *(f"{share:.1%}" for share in shares),
        ]

    if manifest.synthetic:
        say("synthetic: this tariff is an illustration and not for sale")
    factor = written(manifest.off_balance_billionths, NINE_PLACES)
    of = f"{manifest.renewed:,} of {manifest.rows:,} policies"
    say(f"{of} renewed, {manifest.referred:,} referred")
    say(
        f"off-balance factor {factor}; target {said(manifest.target_e4 / E4)}, "
        f"charged {said(manifest.charged_minor)} {currency}, before rounding "
        f"{(manifest.total_e4 / manifest.target_e4 - 1) * 1e6:+.3f} millionths off"
    )
    amounts = tuple(f"{name} a policy, {currency}" for name in ("expiring", "technical", "charged"))
    counts = ("policies", *amounts, "change", "held up", "held down", "credit")
    shown = table("group", *counts, right=counts)
    groups = [("the book", report.book), *((band.name, band) for band in report.bands)]
    for name, several in report.groups.items():
        groups += [(f"{name} {group.name}", group) for group in several]
    for name, group in groups:
        rows(shown, [(name, *cells(group))])
    print_table(shown)
    for title, listed in (("rises", report.up), ("falls", report.down)):
        for mover in listed[:movers]:
            say(
                f"largest {title}: {mover.policy_id} {said(mover.expiring_minor)} -> "
                f"{said(mover.charged_minor)} {currency} ({mover.change:+.1%}; technical "
                f"{said(mover.technical_minor)})"
            )
