"""`lipei pricing renew`: the renewal of a whole book, with its dislocation."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.common.money import grouped_minor
from services.pricing.core.renewal import NINE_PLACES
from services.pricing.core.tariff import E4, written
from services.pricing.fitting import run_card
from services.pricing.tariffs.loader import TariffRefused, load_tariff
from stack.commands.failing import Failed
from stack.commands.pricing_folder import DEFAULT, PricingPath, opened, running, say_next
from stack.commands.printing import console, counted, print_table, progress_bar, rows, say, table

if TYPE_CHECKING:  # pandas' weight comes with the command that needs it, not with every `lipei`
    from collections.abc import Iterator, Mapping

    from services.pricing.core.rates import Rates
    from services.pricing.fitting.pricing_file import PricingFile
    from services.pricing.fitting.renewal.dislocation import Dislocation, Group
    from services.pricing.fitting.renewal.result import Manifest
    from services.pricing.fitting.renewal.work import Work

FOLDER = "renewal"
STEPS = {
    "deal": "dealing the book into shards",
    "price": "pricing shards",
    "balance": "finding the off-balance factor",
    "write": "writing renewals",
}
SHOWN_MOVERS = 3
SHOWN_REASONS = 5


app = typer.Typer(
    invoke_without_command=True,
    help="Renew a book: collar, off-balance, credits; Parquet, manifest and dislocation.",
)
Movers = Annotated[
    int, typer.Option(help="How many of the largest rises and falls are printed.", min=0)
]


@app.callback()
def renew(
    context: typer.Context, file: PricingPath = DEFAULT, movers: Movers = SHOWN_MOVERS
) -> None:
    """Price a book's renewals: collar, off-balance, credits; Parquet, manifest and dislocation.

    Changes no policy. Stopped by Ctrl-C, the same command goes on where it was. With `start` the
    running installation (`lipei up`) makes the same files instead, and your terminal is free.
    """
    if context.invoked_subcommand is not None:
        return
    from services.pricing.fitting.renewal.dislocation import dislocation  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.workbook import write_workbook  # noqa: PLC0415 -- heavy

    found = opened(file)
    made, tariff = work_of(found)
    with kept_alone(made), running(found, "renew", inputs=(made.book, tariff)) as run:
        if made.held:
            raise Failed(
                f"renewal {', '.join(made.held)} was started in this folder and has not ended: two"
                " would clear each other's files away",
                f"`lipei pricing renew result -f {found.path}` waits for it, `renew cancel` ends"
                f" it; where nothing runs any more, remove {made.folder / 'work'}",
                exit_code=2,
            )
        manifest = _renewed(made)
        report = dislocation(made.result)
        paths = write_workbook(report, manifest, made.folder)
        run.outputs += [*sorted(made.result.iterdir()), *paths]
        run.synthetic = manifest.synthetic
        print_renewal(manifest, report, movers)
        say(f"written: {made.result}, {', '.join(str(path) for path in paths)}")
    say("look at dislocation.xlsx; after a change of renewal.collar run it again")
    say_next(*after_renewal(found, made.result))


def after_renewal(file: PricingFile, result: Path) -> list[str]:
    """What comes next: the report, and intake where the book carried outcome tiers."""
    from services.pricing.fitting.renewal.tiers import has_tiers  # noqa: PLC0415 -- heavy

    further = [f"lipei pricing report -f {file.path}"]
    if has_tiers(result):
        hand_over = "lipei pricing renew hand-over NEXT-YEAR.yaml --certified DAY"
        further.append(f"{hand_over} -f {file.path}")
    return further


@contextmanager
def kept_alone(work: Work) -> Iterator[None]:
    """The renewal folder for this command.

    Raises: Failed where another command is renewing in it.
    """
    from services.pricing.fitting.renewal.work import FolderBusy, alone  # noqa: PLC0415 -- heavy

    try:
        with alone(work):
            yield
    except FolderBusy:
        text = f"another `lipei pricing renew` is at work in {work.folder}; wait until it has ended"
        raise Failed(text, exit_code=2) from None


def work_of(file: PricingFile) -> tuple[Work, Path]:
    """The renewal that a pricing folder asks for, and its tariff's file.

    Raises: Failed.
    """
    from services.pricing.fitting.renewal.settings import RenewalSettings  # noqa: PLC0415 -- heavy
    from services.pricing.fitting.renewal.terms import (  # noqa: PLC0415 -- heavy
        TermsRefused,
        terms_of,
    )
    from services.pricing.fitting.renewal.work import Work  # noqa: PLC0415 -- heavy

    settings = file.of(RenewalSettings)
    book, tariff = file.folder / settings.book, file.folder / settings.tariff
    rates = _tariff(tariff)
    if not book.is_file():
        raise Failed(f"{book} is not there; renewal.book in {file.path} says which book expires")
    try:
        terms = terms_of(settings, rates.tariff)
    except TermsRefused as refused:
        raise Failed(*refused.faults, exit_code=2) from None
    work = Work(
        book=book,
        book_sha256=run_card.digest(book),
        rates=rates,
        settings=settings,
        folder=file.folder / FOLDER,
        terms=terms,
    )
    return work, tariff


def _renewed(work: Work) -> Manifest:
    from services.pricing.fitting.renewal.refusal import (  # noqa: PLC0415 -- heavy
        REFUSALS,
        is_book_fault,
        refusal_lines,
    )
    from services.pricing.fitting.renewal.renew import renew_book  # noqa: PLC0415 -- heavy

    with progress_bar(console()) as bar:
        tasks = {step: bar.add_task(text, total=None) for step, text in STEPS.items()}
        try:
            return renew_book(
                work, lambda step, done, of: bar.update(tasks[step], completed=done, total=of)
            )
        except REFUSALS as refused:
            code = 2 if is_book_fault(refused) else 1
            raise Failed(*refusal_lines(refused, work), exit_code=code) from None


def _tariff(path: Path) -> Rates:
    try:
        return load_tariff(path.read_bytes(), path.name)
    except TariffRefused as refused:
        raise Failed(*str(refused).splitlines(), exit_code=2) from None
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}; renewal.tariff says which tariff prices"
        raise Failed(text, exit_code=2) from None


def _print_referred(referred: Mapping[str, int]) -> None:
    shown = list(referred.items())[:SHOWN_REASONS]
    for reason, policies in shown:
        say(f"  {policies:,} referred: {reason}")
    others = len(referred) - len(shown)
    if others:
        more = sum(referred.values()) - sum(policies for _, policies in shown)
        say(f"  {more:,} referred for {counted(others, 'other reason')}")
    if referred:
        say("  renewals/referred.parquet says who and why")


def print_renewal(manifest: Manifest, report: Dislocation, movers: int) -> None:
    """What a renewal came to, for people."""
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
    _print_referred(report.referred)
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
