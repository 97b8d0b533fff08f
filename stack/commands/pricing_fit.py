"""`lipei pricing fit` and `rerun`: indicated relativities and survival; a command once more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from services.common.money import grouped_minor
from services.pricing.core.tariff import E4, MILLION, factor_text
from services.pricing.fitting import run_card
from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.models.fit_result import Fit, FitWarning, ModelFit, cell_title
from services.pricing.fitting.models.refusal import FitRefused
from services.pricing.fitting.models.settings import FitSettings
from services.pricing.fitting.selection.basis import level_of
from stack.commands.failing import Failed
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.pricing_study import book_of, refuse_other_study
from stack.commands.printing import console, counted, print_table, progress_bar, rows, say, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from services.pricing.fitting.models.survival_files import Survival
    from services.pricing.fitting.pricing_file import PricingFile

_STUDY = "study"
_EXIT_DIFFERENT = 1
_SHOWN_LEVELS = 4
# What the actuary reads of each kind of warning, before the levels that have it.
_KINDS = {
    "THIN_BASE": "thin base level",
    "ONE_LEVEL": "prices nobody apart, its one level is",
    "THIN_LEVEL": "thin",
    "NO_CLAIMS": "without a claim",
    "NO_EXPOSURE": "nobody in",
    "POOLED": "moved by the declared direction:",
    "BOUNDED": "held by a bound:",
}


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
    refuse_other_study(found)
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
    print_table(_causes(fitted))
    for line in (*scaled(fitted), *loaded(fitted)):
        say(line)
    if fitted.synthetic:
        say("synthetic: fitted on simulated people, not for sale")
    for line in warned(fitted):
        say(line)
    told = counted(len(fitted.warnings), "warning")
    say(f"{target / files.FILE}: {told}, each with its level and what to do")
    if lived is None:
        say("no survival: the book is not beside the study")
    else:
        print_table(_survived(lived))
        for cause in lived.causes:
            if cause.refused:
                say(f"{cause.cause}: {cause.refused}")
    say_next(f"lipei pricing select -f {found.path}", f"lipei pricing report -f {found.path}")


def loaded(fitted: Fit) -> Iterator[str]:
    """What each cause's large-loss load rests on, before any scaling."""
    for cause in fitted.causes:
        one = cause.large
        if one is None or not one.claims:
            continue
        load, low, high = (
            grouped_minor(round(minor), fitted.currency)
            for minor in (one.load_minor, one.low95, one.high95)
        )
        made = f"{counted(one.claims, 'claim')} of {counted(one.persons, 'person', 'people')}"
        yield (
            f"{cause.name}: large-loss load {load} {fitted.currency} a person-year (95 %: {low} to"
            f" {high}), of {made}, the largest {one.largest:.0%} of it"
        )


def refuse_other_fit(file: PricingFile, fitted: Fit) -> None:
    """Refuse a fit of another study or of other settings than those of now.

    A fit that came without study/ is taken as it is.

    Raises: Failed saying what differs, and what to run.
    """
    from services.pricing.fitting.models import files  # noqa: PLC0415 - pandas and glum are heavy

    refuse_other_study(file)
    try:
        experience, claims = files.inputs(file.folder / _STUDY)
    except FitRefused:
        return
    if files.name_of(experience, claims, settings_of(file, FitSettings)) != fitted.run_card:
        text = "fit/fit.json is of another study, or of other settings under `fit`, than those now"
        raise Failed(f"{text}; `lipei pricing fit -f {file.path}`", exit_code=2)


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
    made = sorted(set(folder.glob(f"{run_card.FOLDER}/*.json")) - cards)
    # Another command may have left its card meanwhile.
    after = [card for card in map(run_card.read_card, made) if card.command == before.command][-1]
    told = run_card.differences(before, after)
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
        line = (
            cause.cause,
            f"{cause.persons:,}",
            f"{cause.first_events:,}",
            f"{apart:.4f} standard errors" if cause.checked else "—",
            f"{min(p):.3g}" if p else "—",
        )
        rows(made, [line])
    return made


def _causes(fitted: Fit) -> Table:
    base = f"base a year, {fitted.currency}"
    judged = ("dispersion", "of amounts", "clustered / naive")
    columns = ("cause", "claims", "claims of 0", "segments", "cells", *judged, base, "tables")
    made = table(*columns, right=columns[1:])
    for cause in fitted.causes:
        frequency = cause.frequency
        rows(
            made,
            [
                (
                    f"{cause.en} {cause.zh}",
                    f"{cause.severity.rows:,}",
                    f"{cause.severity.left_out:,}",
                    f"{frequency.rows:,}",
                    f"{frequency.cells:,}",
                    f"{frequency.pearson_dispersion:.2f}",
                    f"{cause.severity.pearson_dispersion:.2f}",
                    f"{_wider(frequency):.2f}",
                    grouped_minor(round(cause.base_e4 / E4), fitted.currency),
                    str(len(cause.tables)),
                )
            ],
        )
    return made


def _wider(model: ModelFit) -> float:
    """How many times too small the naive error of a model is, where it is most at fault."""
    return max(one.se_clustered / one.se_naive for one in model.coefficients)


def scaled(fitted: Fit) -> Iterable[str]:
    """What the bases are beside the best estimate, and what the target leaves of the premium."""
    level = level_of(fitted)
    if level is None or level.target_loss_ratio_millionths is None:
        yield "bases are best estimates: no target loss ratio is set"
        return
    target = level.target_loss_ratio_millionths / MILLION
    yield (
        f"bases and large-loss load are the best estimate times "
        f"{factor_text(level.scaling_millionths)}, to reach the target loss ratio of {target:.1%}:"
    )
    for cause in fitted.causes:
        best = round(cause.base_e4 * MILLION / level.scaling_millionths / E4)
        amount = f"{grouped_minor(best, fitted.currency)} {fitted.currency}"
        yield f"  {cause.name}: best-estimate base {amount} a year"
    if None not in (level.loads_loss_ratio_millionths, level.margin_millionths):
        alone = (level.loads_loss_ratio_millionths or 0) / MILLION
        margin = (level.margin_millionths or 0) / MILLION
        profit = (level.profit_millionths or 0) / MILLION
        yield (
            f"  the loads alone would give {alone:.1%}; claims and expenses leave {margin:.1%} of "
            f"the gross premium, the declared profit is {profit:.1%}"
        )


def warned(fitted: Fit) -> Iterable[str]:
    """A line for each cause and factor that is warned of, those with most money in it first.

    Money is what the claims of the levels that are named cost, or of the whole cause.
    """
    groups: dict[str, list[FitWarning]] = {}
    for warning in fitted.warnings:
        groups.setdefault(".".join(warning.where.split(".")[:2]), []).append(warning)
    money = {where: _money(fitted, where, found) for where, found in groups.items()}
    if groups:
        yield "warnings by cause and factor, those with most money in it first:"
    for where in sorted(groups, key=lambda one: (-money[one], one)):
        found = groups[where]
        counts = Counter(warning.code for warning in found)
        kinds = sorted(counts, key=lambda code: code != "THIN_BASE")
        said = "; ".join(_kind(code, counts[code], found) for code in kinds)
        amount = f"{grouped_minor(money[where], fitted.currency)} {fitted.currency}"
        yield f"  {where}: {counted(len(found), 'warning')} on claims of {amount}: {said}"


def _kind(code: str, count: int, found: Sequence[FitWarning]) -> str:
    """One kind of warning of one factor: the levels, or the sentence where it has none."""
    mine = [warning for warning in found if warning.code == code]
    levels = [level for one in mine if (level := one.where.partition(".")[2].partition(".")[2])]
    if not levels:
        return mine[0].en
    more = f" and {count - _SHOWN_LEVELS} more" if count > _SHOWN_LEVELS else ""
    return f"{_KINDS.get(code, code)} {', '.join(levels[:_SHOWN_LEVELS])}{more}"


def _money(fitted: Fit, where: str, found: Sequence[FitWarning]) -> int:
    name, _, factor = where.partition(".")
    levels = {one.where.removeprefix(f"{where}.") for one in found}
    for cause in fitted.causes:
        if cause.name != name:
            continue
        for one in cause.tables:
            if one.name == factor:
                return round(
                    sum(cell.amount_minor for cell in one.cells if cell_title(cell) in levels)
                )
        # A warning of the whole cause: any of its tables holds the claims that a table applies to.
        return round(
            max((sum(c.amount_minor for c in one.cells) for one in cause.tables), default=0)
        )
    return 0
