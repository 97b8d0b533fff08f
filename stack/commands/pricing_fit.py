"""`lipei pricing fit` and `rerun`: from a study to indicated relativities, and the same again."""

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
from stack.commands.printing import console, progress_bar, say, table

if TYPE_CHECKING:
    from collections.abc import Iterable

_STUDY = "study"
_EXIT_DIFFERENT = 1


def fit(file: PricingPath = DEFAULT) -> None:
    """Fit frequency and severity of every cause to the study: fit/fit.json.

    Changes no tariff. Refuses what an actuary could not sign: factors that say the same thing, a
    fit that does not converge, an outcome without its bounds.
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
            task = bar.add_task("causes", total=len(settings.causes))
            fitted = files.fit_files(
                study,
                target,
                settings,
                currency=currency,
                progress=lambda _name: bar.advance(task),
            )
            work.outputs.append(target / files.FILE)
            work.synthetic = fitted.synthetic
    except FitRefused as refused:
        raise Failed(*str(refused).splitlines(), exit_code=2) from None
    out.print(_causes(fitted))
    if fitted.synthetic:
        say("synthetic: fitted on simulated people, not for sale")
    for line in _warned(fitted):
        say(line)
    say(f"{target / files.FILE}: {len(fitted.warnings)} warnings, each with its level")
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


def _causes(fitted: Fit) -> Table:
    columns = ("cause", "claims", "policy-years", "cells", "dispersion", "base a year", "tables")
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
