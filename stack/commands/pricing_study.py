"""`lipei pricing check` and `study`: a book's faults, and its experience brought to one level."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from services.common.money import grouped_minor
from services.pricing.fitting import run_card
from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.experience.settings import SIMULATED_TREND, StudySettings
from services.pricing.fitting.pricing_file import PricingFile
from stack.commands.failing import Failed
from stack.commands.options import AsJson
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.printing import (
    console,
    counted,
    print_json,
    print_table,
    progress_bar,
    rows,
    say,
    table,
)

if TYPE_CHECKING:
    from services.pricing.fitting.experience.cause import CauseStudy
    from services.pricing.fitting.experience.checking import Found
    from services.pricing.fitting.experience.outcome import Stratum
    from services.pricing.fitting.experience.study import Study
    from services.pricing.fitting.experience.tables import Connection

_SHOWN_QUARTERS = 6
_ASSUMED_TREND = (
    f"trend: that of the template ({SIMULATED_TREND}) was applied to amounts of a book that is not"
    " simulated; write your own with its source under study.trend, or take yearly and source out"
)


def check(file: PricingPath = DEFAULT, as_json: AsJson = False) -> None:
    """Check pricing.yaml and the book: every fault at once, what, where and what to do.

    Exit 1 when a fault stops the study; readings that are not used and rows to look at are told.
    Changes nothing, and tells rows by number, never a person's values.
    """
    found = opened(file)
    con, _ = book_of(found)
    faults = _checked(con, found) + _unfit(con, found)
    if as_json:
        print_json({"faults": [_told(one) for one in faults]})
    else:
        _print_faults(faults)
    _refuse(faults, found)
    if not as_json:
        say_next(f"lipei pricing study -f {found.path}")


def study(file: PricingPath = DEFAULT) -> None:
    """Study the experience: exposure, trend, late reporting, cover, large losses and outcomes.

    Writes study/experience.parquet, study/claims.parquet and study/study.json.
    """
    from services.pricing.fitting.experience import made_from, tables, writing  # noqa: PLC0415 - heavy
    from services.pricing.fitting.experience import study as studying  # noqa: PLC0415 - heavy

    found = opened(file)
    book, settings = settings_of(found, BookSettings), settings_of(found, StudySettings)
    con, files = book_of(found)
    folder = found.folder / book.folder
    by_name = run_card.digests(folder, files)
    with running(found, "study", inputs=[found.path, *files]) as work:
        faults = _checked(con, found)
        _refuse(faults, found)
        with progress_bar(console()) as bar:
            task = bar.add_task("study", total=len(studying.STEPS))

            def tell(done: int, step: str) -> None:
                bar.update(task, completed=done, description=step)

            try:
                done = studying.study(con, book, settings, tell)
            except studying.NothingToStudy as refused:
                raise Failed(f"{refused}; see study.first_day and book.valuation_day") from None
        work.synthetic = tables.is_synthetic(folder, book)
        if settings.trend and settings.trend_source == SIMULATED_TREND and not work.synthetic:
            done = dataclasses.replace(done, warnings=(*done.warnings, _ASSUMED_TREND))
        target = found.folder / writing.FOLDER
        told = made_from.made_from(book, settings, by_name)
        work.outputs += writing.write_study(done, target, told, faults, synthetic=work.synthetic)
        _print_study(done, settings, book.currency)
    if work.synthetic:
        say(writing.SYNTHETIC)
    say_next(f"lipei pricing fit -f {found.path}")


def book_of(file: PricingFile) -> tuple[Connection, list[Path]]:
    """The book of a pricing folder, opened, and its files.

    Raises: Failed when a table is missing or cannot be read at all.
    """
    import duckdb  # noqa: PLC0415 - heavy

    from services.pricing.fitting.experience import tables  # noqa: PLC0415 - heavy

    settings = settings_of(file, BookSettings)
    folder = file.folder / settings.folder
    try:
        files = tables.book_files(folder, settings)
        return tables.open_book(folder, settings), list(files.values())
    except tables.NoBook as missing:
        do = f"`lipei pricing simulate -f {file.path}` makes an example"
        if settings.tables:
            do = f"put it there, or mend book.folder or book.tables in {file.path}"
        raise Failed(*str(missing).splitlines(), do, exit_code=2) from None
    except (tables.NotUtf8, tables.ColumnTwice) as other:
        raise Failed(*str(other).splitlines(), exit_code=2) from None
    except duckdb.Error as error:
        raise Failed(f"the book cannot be read: {str(error).splitlines()[0]}") from None


def refuse_other_study(file: PricingFile) -> None:
    """Refuse a study that was made from other settings or another book than those of now.

    Raises: Failed naming every difference, and what to run.
    """
    from services.pricing.fitting.experience import (  # noqa: PLC0415 - heavy
        made_from,
        tables,
        writing,
    )

    study = file.folder / writing.FOLDER
    if not (study / made_from.FILE).is_file():
        return  # Tables made elsewhere: there is nothing to compare.
    book, folder = settings_of(file, BookSettings), file.folder
    try:
        files = tables.book_files(folder / book.folder, book).values()
        digests = run_card.digests(folder / book.folder, files)
    except tables.NoBook:
        digests = None  # The study may have been handed on without its book.
    told = made_from.differences(study, book, settings_of(file, StudySettings), digests)
    if told:
        does = f"study/ is of before: `lipei pricing study -f {file.path}`, then `lipei pricing fit"
        raise Failed(*told, f"{does} -f {file.path}`", exit_code=2)


def _checked(con: Connection, file: PricingFile) -> list[Found]:
    from services.pricing.fitting.experience import checking, tables  # noqa: PLC0415 - heavy

    settings = settings_of(file, BookSettings)
    found = checking.check(con, settings)
    today = datetime.now(ZoneInfo(settings.zone)).date()
    if not tables.is_synthetic(file.folder / settings.folder, settings):
        found += checking.ahead(settings, today)
    return found


def _unfit(con: Connection, file: PricingFile) -> list[Found]:
    """What `fit` would refuse of the section as it is written, before anything was studied."""
    from services.pricing.fitting.experience import checking  # noqa: PLC0415 - heavy
    from services.pricing.fitting.models.settings import FitSettings  # noqa: PLC0415 - heavy

    if "fit" not in file.sections:
        return []
    fit = settings_of(file, FitSettings)
    columns = {name: factor.column for name, factor in fit.factors.items()}
    return checking.unfit(
        con, settings_of(file, BookSettings), columns, [cause.name for cause in fit.causes]
    )


def _refuse(faults: Iterable[Found], file: PricingFile) -> None:
    """Raises: Failed when a fault stops the study."""
    from services.pricing.fitting.experience.faults import Effect  # noqa: PLC0415 - heavy

    kinds = [one for one in faults if one.effect is Effect.STOPS]
    if kinds:
        lines = [sentence(one) for one in kinds]
        more = f"{counted(len(kinds), 'kind')} of fault; mend the book, then `lipei pricing check"
        raise Failed(*lines, f"{more} -f {file.path}`")


def sentence(one: Found) -> str:
    """One kind of fault: where, how many rows, what, which rows, and what to do."""
    where = f" (rows {', '.join(map(str, one.examples))})" if one.examples else ""
    number = f"{counted(one.rows, 'row')}: " if one.rows else ""
    return f"{one.where}: {one.kind}: {number}{one.what}{where}; {one.do}"


def _told(one: Found) -> dict[str, object]:
    return {
        "table": one.table,
        "where": one.where,
        "kind": one.kind,
        "column": one.column,
        "what": one.what,
        "do": one.do,
        "effect": one.effect.value,
        "rows": one.rows,
        "examples": list(one.examples),
    }


def _print_faults(faults: Iterable[Found]) -> None:
    """What stops the study is told once, by who refuses it; here is the rest."""
    from services.pricing.fitting.experience.faults import Effect  # noqa: PLC0415 - heavy

    listed = list(faults)
    if not listed:
        say("the book has no fault")
    for one in listed:
        if one.effect is not Effect.STOPS:
            say(f"{one.effect.value}: {sentence(one)}")


def _print_study(done: Study, settings: StudySettings, currency: str) -> None:
    trend = settings.trend_source or "none applied"
    exposure = float(done.experience["exposure"].to_numpy().sum())
    above = sum(int(one.claims.sum()) for one in done.causes)
    zeros = sum(int(one.zeros.sum()) for one in done.causes)
    say(
        f"{done.experience.num_rows:,} segments, {exposure:,.1f} years of exposure,"
        f" {above:,} claims and {zeros:,} more of 0;"
        f" amounts in {currency} at {settings.trend_to_day}, trend: {trend}"
    )
    for why, number in done.outside.items():
        say(f"{counted(number, 'claim')} {why}: not in the experience")
    for one in done.causes:
        _print_cause(one, currency)
    made = table("outcome", "condition", "m0", "people", "months", "k", "Z of 12 months")
    rows(made, map(stratum_row, done.strata))
    print_table(made)
    for warning in done.warnings:
        say(f"warning: {warning}")


def stratum_row(one: Stratum) -> tuple[str, ...]:
    """An outcome's m0 and credibility as printed; what no reading tells is said in words."""
    k, z = f"{one.k:.2f}", f"{one.z:.3f}"
    if not one.person_months:
        k, z = "no months", "none"
    elif not math.isfinite(one.k):
        k = "no bound: people do not differ"
    m0 = f"{one.m0:.2f}" if math.isfinite(one.m0) else "unknown"
    return one.outcome, one.condition, m0, f"{one.people:,}", f"{one.person_months:,}", k, z


def _print_cause(one: CauseStudy, currency: str) -> None:
    """Development triangle of counts with both estimates, loss elimination and large losses."""

    def said(minor: Any) -> str:  # a frame's cell
        return grouped_minor(round(minor), currency)

    say(f"\n{one.cause}: {int(one.claims.sum()):,} claims and {int(one.zeros.sum()):,} more of 0")
    triangle = one.triangle
    shown = min(_SHOWN_QUARTERS, triangle.counts.shape[1])
    delays = tuple(f"+{delay} q" for delay in range(shown))
    made = table("event quarter", *delays, right=delays)
    for quarter, line in triangle.counts.iloc[-2 * _SHOWN_QUARTERS :].iterrows():
        known = ["" if value != value else f"{value:,.0f}" for value in line.iloc[:shown]]  # noqa: PLR0124 - NaN
        rows(made, [(str(quarter), *known)])
    for name, shares in (
        ("chain ladder, counts", triangle.counts_shares),
        ("chain ladder, amounts", triangle.amounts_shares),
        (f"used, counts: {triangle.source}", triangle.used.counts),
        (f"used, amounts: {triangle.source}", triangle.used.amounts),
    ):
        padded = [*shares, *[1.0] * shown][:shown]
        rows(made, [(name, *(f"{share:.4f}" for share in padded))])
    print_table(made)
    columns = ("deductible", "limit", "year", "frequency", "severity", "eliminated")
    made = table(*columns, right=columns)
    for cover in one.elimination.itertuples(index=False):
        limit = "none" if cover.limit == float("inf") else said(cover.limit)
        gone = f"{cover.eliminated:.2%}".replace("nan%", "unknown")
        numbers = (f"{cover.frequency:.4f}", f"{cover.severity:.4f}", gone)
        rows(made, [(said(cover.deductible), limit, str(cover.calendar_year), *numbers)])
    print_table(made)
    counts = ("above", "of loss", "capped premium", "load", "capped CV", "load error")
    made = table("threshold", *counts, right=("threshold", *counts))
    for cut in one.large_losses.itertuples(index=False):
        used = "used: " if cut.threshold_minor == one.threshold_minor else ""
        numbers = (f"{cut.above:,}", f"{cut.share_of_loss:.2%}", said(cut.capped_premium_minor))
        error = f"{cut.load_error:.1%}" if cut.load_minor else "unknown"
        more = (said(cut.load_minor), f"{cut.capped_cv:.2f}", error)
        rows(made, [(f"{used}{said(cut.threshold_minor)}", *numbers, *more)])
    print_table(made)
