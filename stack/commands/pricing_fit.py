"""`lipei pricing fit` and `rerun`: indicated relativities and survival; a command once more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from services.pricing.core.tariff import E4
from services.pricing.fitting import run_card
from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.models.fit_result import Fit
from services.pricing.fitting.models.refusal import FitRefused
from services.pricing.fitting.models.settings import FitSettings
from stack.commands.failing import Failed
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.pricing_study import book_of
from stack.commands.printing import console, progress_bar, say, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.pricing.fitting.models.survival_files import Survival
    from services.pricing.fitting.pricing_file import PricingFile

_STUDY = "study"
_EXIT_DIFFERENT = 1


def fit(file: PricingPath = DEFAULT) -> None:
    """Fit frequency and severity of every cause to the study: fit/fit.json and fit/survival.json.

    Changes no tariff. Refuses what an actuary could not sign: factors that say the same thing, a
    fit that does not converge, an outcome without its bounds. Survival needs the book beside the
    study, for the days of the events.
    """
    from services.pricing.fitting.models import files  # noqa: PLC0415 - pandas and glum are heavy

    found = opened(file)
    settings = settings_of(found, FitSettings)
    currency = settings_of(found, BookSettings).currency
    study, target = found.folder / _STUDY, found.folder / files.FOLDER
    out = console()
    try:
        with (
            running(found, "fit", inputs=files.inputs(study)) as work,
            progress_bar(out) as bar,
        ):
            task = bar.add_task("causes", total=2 * len(settings.causes))

            def tell(_name: str) -> None:
                bar.advance(task)

            fitted = files.fit_files(study, target, settings, currency=currency, progress=tell)
            work.outputs.append(target / files.FILE)
            work.synthetic = fitted.synthetic
            lived = _survival(found, settings, target, tell)
            work.outputs += [target / files.SURVIVAL] if lived is not None else []
    except FitRefused as refused:
        raise Failed(*str(refused).splitlines(), exit_code=2) from None
    out.print(_causes(fitted))
    if fitted.synthetic:
        say("synthetic: fitted on simulated people, not for sale")
    for line in _warned(fitted):
        say(line)
    say(f"{target / files.FILE}: {len(fitted.warnings)} warnings, each with its level")
    if lived is None:
        say("no survival: the book is not beside the study")
    else:
        out.print(_survived(lived))
    say_next(f"lipei pricing select -f {found.path}", f"lipei pricing report -f {found.path}")


def rerun(
    context: typer.Context,
    card: Annotated[Path, typer.Argument(metavar="RUN", help="A run card, runs/0003-fit.json.")],
) -> None:
    """Run the command of a run card again, and compare what it gives with what it gave.

    Overwrites the command's own outputs, nothing else. Exit code 1 when a byte differs.
    """
    try:
        before = run_card.read_card(card)
    except OSError as error:
        raise Failed(f"{card} cannot be read: {error.strerror}", exit_code=2) from None
    except msgspec.DecodeError as error:
        raise Failed(f"{card} is no run card: {error}", exit_code=2) from None
    folder = card.absolute().parent.parent
    file = opened(folder)
    cards = set(folder.glob(f"{run_card.FOLDER}/*.json"))
    group = context.find_root().command if context.parent is None else context.parent.command
    group.main([before.command, "-f", str(file.path), *before.arguments], standalone_mode=False)
    (made,) = set(folder.glob(f"{run_card.FOLDER}/*.json")) - cards
    told = run_card.differences(before, run_card.read_card(made))
    if told:
        raise Failed(f"{card.name} again is not the same:", *told, exit_code=_EXIT_DIFFERENT)
    say(f"{card.name} again: {len(before.outputs)} outputs, the same bytes")


def _survival(
    file: PricingFile, settings: FitSettings, target: Path, tell: Callable[[str], None]
) -> Survival | None:
    """Written beside the fit; None when there is no book to read the days of events from."""
    from services.pricing.fitting.experience import tables  # noqa: PLC0415 - heavy
    from services.pricing.fitting.models import files, survival_files  # noqa: PLC0415 - heavy

    book = settings_of(file, BookSettings)
    try:
        tables.book_files(file.folder / book.folder, book)
    except tables.NoBook:
        return None
    con, _ = book_of(file)
    events = con.sql(
        "SELECT person_id, cause, event_day FROM claims WHERE amount_minor > 0"
        " ORDER BY person_id, event_day, claim_id"
    ).df()
    experience = files.read_table(files.inputs(file.folder / _STUDY)[0])
    found = survival_files.survival(
        experience,
        events,
        settings,
        synthetic="synthetic" in experience and bool(experience["synthetic"].any()),
        progress=tell,
    )
    survival_files.write_survival(found, target)
    return found


def _survived(lived: Survival) -> Table:
    columns = ("cause", "persons", "first events", "Cox beside Poisson, most apart", "least p")
    made = table(*columns, right=columns[1:])
    for cause in lived.causes:
        apart = max((one.apart for one in cause.checked), default=float("nan"))
        p = [one.p_proportional for one in cause.checked if one.p_proportional is not None]
        made.add_row(
            cause.cause,
            f"{cause.persons:,}",
            f"{cause.first_events:,}",
            cause.refused or f"{apart:.4f} standard errors",
            f"{min(p):.3g}" if p else "",
        )
    return made


def _causes(fitted: Fit) -> Table:
    columns = ("cause", "claims", "segments", "cells", "dispersion", "base a year", "tables")
    made = table(*columns, right=columns[1:])
    for cause in fitted.causes:
        frequency = cause.frequency
        made.add_row(
            f"{cause.en} {cause.zh}",
            f"{cause.severity.rows + cause.severity.left_out:,}",
            f"{frequency.rows:,}",
            f"{frequency.cells:,}",
            f"{frequency.pearson_dispersion:.2f}",
            f"{cause.base_e4 / E4 / 100:,.2f}",
            str(len(cause.tables)),
        )
    return made


def _warned(fitted: Fit) -> Iterable[str]:
    """How often each kind of warning stands in the fit, with its first sentence."""
    counts = Counter(warning.code for warning in fitted.warnings)
    for code, count in counts.items():
        first = next(warning for warning in fitted.warnings if warning.code == code)
        more = f" (and {count - 1} more)" if count > 1 else ""
        yield f"{code}: {first.where}: {first.en}{more}"
