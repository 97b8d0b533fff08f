"""What stands in a validation report: sections with a sentence, a table and a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from services.common.money import currency_exponent
from services.pricing.core.evidence import ABSENT
from services.pricing.core.tariff import MILLION, Feature, NumericFeature
from services.pricing.fitting.models import survival
from services.pricing.fitting.models.fit_result import CauseFit, Fit, TableFit, cell_title
from services.pricing.fitting.models.survival_files import Survival
from services.pricing.fitting.renewal.dislocation import Dislocation
from services.pricing.fitting.report import diagnostics, measures, pictures
from services.pricing.fitting.report.scoring import (
    ACTUAL,
    CELL,
    FLAT,
    INDICATED,
    NO_VALUE,
    PREVIOUS,
    SELECTED,
)
from services.pricing.fitting.report.section import Section
from services.pricing.fitting.report.validation import age_bands
from services.pricing.fitting.selection.cells import Row, cell_name, rows_of
from services.pricing.fitting.selection.choice import Selection

_SAMPLES = {
    "train": "learnt from",
    "last_year": "the last year, held out",
    "person": "people held out",
}
_TARIFFS = {
    SELECTED: ("选定系数", "selected"),
    INDICATED: ("指示系数", "indicated"),
    FLAT: ("统一费率", "one price for all"),
    PREVIOUS: ("现行系数", "previous"),
}
_AWAY = ("group", "persons", "ratio", "low95", "high95")
# Columns of a table of relativities that are left out where they say nothing.
_OPTIONAL = ("selected", "previous", "note", "reason")
# A factor has six decimals: two tariffs that differ by less are the same.
_SAME = 1e-5
_SEED = 20_26
_OLD = (
    " The previous relativities at the bases of now: a table that the tariff before did not have is"
    " 1, a cell for which it has no one factor stands as indicated."
)
# Curves of more groups than this cannot be told apart.
_MOST_CURVES = 6
CHAPTERS = 11


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What a report is made of; `scored` has a row a segment."""

    scored: pd.DataFrame
    claims: pd.DataFrame
    fit: Fit
    selection: Selection | None
    dislocation: Dislocation | None
    survival: Survival | None
    region: str  # column of the fairness tables; empty when the book has none


def sections(found: Inputs, progress: Callable[[str], None]) -> list[Section]:
    """Every section in the report's order; measured on what was held out, where anything was."""
    made = list(_sections(found, progress))
    progress("look")
    return [_look(made, found.survival), *made]


def _sections(found: Inputs, progress: Callable[[str], None]) -> Iterator[Section]:
    features = {feature.name: feature for feature in found.fit.features}
    found = replace(found, scored=in_money(found.scored, found.fit.currency))
    unseen = found.scored[found.scored["holdout"] != "train"]
    held = unseen if len(unseen) else found.scored
    judged = SELECTED if SELECTED in held else INDICATED
    for name, made in (
        ("samples", _samples(found, held, judged)),
        ("lift", _lift(held, judged, found.fit.currency)),
        ("factors", _by_factor(found, held, judged)),
        ("claims", diagnostics.claims_by_factor(found.fit, held, features)),
        ("tables", _tables(found)),
        ("models", diagnostics.models(found.fit)),
        ("residuals", diagnostics.residuals(found.fit, found.scored, found.claims)),
        ("survival", _survival(found)),
        ("fairness", _fairness(found, held, judged)),
        ("dislocation", _dislocation(found.dislocation)),
    ):
        yield from made
        progress(name)


def measured_on(held: pd.DataFrame) -> str:
    """What segments a report's measures are of, in words; `held` as in `_sections`."""
    return "what was held out" if (held["holdout"] != "train").any() else "what was learnt from"


def in_money(scored: pd.DataFrame, currency: str) -> pd.DataFrame:
    """The segments with their amounts in whole money instead of its smallest units."""
    unit = 10 ** currency_exponent(currency)
    listed = (ACTUAL, INDICATED, SELECTED, PREVIOUS, FLAT)
    amounts = [name for name in listed if name in scored]
    return scored.assign(**{name: scored[name] / unit for name in amounts})


def _samples(found: Inputs, held: pd.DataFrame, judged: str) -> Iterator[Section]:
    by = found.scored["holdout"].map(_SAMPLES).astype("category")
    listed = [name for name in _SAMPLES.values() if name in set(by.cat.categories)]
    by = by.cat.set_categories(listed, ordered=True)
    table = measures.actual_expected(found.scored, judged, by)
    yield Section(
        chapter="level",
        zh="总体：实际与预期",
        en="Overall: actual against expected",
        sentence="The level is set to what was learnt from, so that a ratio elsewhere is a change "
        "over time or of people." + f" All below is measured on {measured_on(held)}.",
        table=table,
        picture=pictures.ratios(table, "actual / expected by sample"),
    )


def _lift(held: pd.DataFrame, judged: str, currency: str) -> Iterator[Section]:
    deciles = measures.lift(held, judged)
    line = measures.calibration(deciles)
    yield Section(
        chapter="separation",
        zh="十分位提升与校准",
        en="Lift and calibration by decile",
        sentence=f"calibration over the deciles: intercept {line['intercept']:+.3f}, slope "
        f"{line['slope']:.3f} (0 and 1 is right; a slope below 1 spreads people too far)",
        table=deciles.rename(columns={"group": "decile"}),
        picture=pictures.deciles(deciles, f"{judged}, on {measured_on(held)}", currency),
    )
    others = [
        name for name in (FLAT, PREVIOUS, INDICATED) if name in held and _differ(held, judged, name)
    ]
    for other in others:
        double = measures.double_lift(held, judged, other)
        (one_zh, one), (other_zh, second) = _TARIFFS[judged], _TARIFFS[other]
        yield Section(
            chapter="separation",
            zh=f"双提升：{one_zh}与{other_zh}",
            en=f"Double lift: {one} over {second}",
            sentence="Where the first is right to differ from the second, actual follows it."
            + _OLD * (other == PREVIOUS),
            table=double,
            picture=pictures.double(double, {ACTUAL: ACTUAL, judged: one, other: second}, currency),
        )
    names = [judged]
    names += [name for name in others if name != FLAT]
    ginis = pd.DataFrame(
        [{"tariff": _TARIFFS[name][1], **measures.gini(held, name, seed=_SEED)} for name in names]
    )
    best = measures.gini(held.assign(known=held[ACTUAL]), "known", seed=_SEED, draws=1)["gini"]
    yield Section(
        chapter="separation",
        zh="洛伦兹曲线与基尼系数",
        en="Lorenz curve and Gini",
        sentence=f"{measures.DRAWS} bootstrap draws of people; ordered by what happened itself it "
        f"would be {best:.3f}, which nobody can know beforehand",
        table=ginis,
        picture=pictures.curves(
            {_TARIFFS[name][1]: measures.lorenz(held, name) for name in names},
            "exposure",
            "losses",
            "those expected to cost least first",
            ("share of exposure", "share of losses"),
        ),
    )


def _noted(table: pd.DataFrame, above: str, below: str) -> pd.DataFrame:
    """The table with a note where a ratio's interval does not hold 1."""
    notes = np.where(table["low95"] > 1, above, np.where(table["high95"] < 1, below, ""))
    return table.assign(note=notes) if (notes != "").any() else table


def _look(made: Sequence[Section], survival: Survival | None) -> Section:
    """Every ratio of actual to expected whose interval does not hold 1, on one page."""
    told, total = [], 0
    for section in made:
        table = section.table
        if table is None or "ratio" not in table or section.chapter == "separation":
            continue
        total += len(table)
        away = table[(table["low95"] > 1) | (table["high95"] < 1)]
        told += [
            {"where": section.en, **{name: row[name] for name in _AWAY}}
            for row in away.to_dict("records")
        ]
    unsteady = [
        f"{cause.cause} {one.name} {one.level}".strip()
        for cause in (() if survival is None else survival.causes)
        for one in cause.checked
        if one.p_proportional is not None and one.p_proportional < diagnostics.STEADY
    ]
    sentence = (
        f"{len(told)} of {total} ratios of actual to expected have an interval of 95 % that does "
        f"not hold 1; chance alone would give about {total / 20:.0f}, and several tables show the "
        "same people. "
    )
    if unsteady:
        sentence += f"Hazard ratios that change with time: {', '.join(unsteady)}."
    return Section(
        chapter="look",
        zh="需要查看之处",
        en="What to look at",
        sentence=sentence,
        table=pd.DataFrame(told) if told else None,
    )


def _differ(held: pd.DataFrame, one: str, other: str) -> bool:
    """Whether two tariffs expect anything else of anybody, beyond the last place of a factor."""
    return one != other and not np.allclose(held[one], held[other], rtol=_SAME)


def _by_factor(found: Inputs, held: pd.DataFrame, judged: str) -> Iterator[Section]:
    tables = {table.name: table for cause in found.fit.causes for table in cause.tables}
    features = {feature.name: feature for feature in found.fit.features}
    for name, one in tables.items():
        feature = features[one.feature]
        unit = f", {feature.unit_en}" if isinstance(feature, NumericFeature) else ""
        table = measures.actual_expected(held, judged, CELL + name)
        yield Section(
            chapter="factors",
            zh=f"按{feature.zh}的实际与预期",
            en=f"Actual against expected by {feature.en}{unit}",
            sentence="the bands and levels are the tariff's; intervals of 95 %, clustered by "
            "person; bars are policy-years",
            table=_noted(table, "dearer than expected", "cheaper than expected"),
            picture=pictures.ratios(table, f"actual / expected by {feature.en}{unit}"),
        )


def _tables(found: Inputs) -> Iterator[Section]:
    chosen = {} if found.selection is None else _chosen(found.selection)
    titles = {feature.name: feature for feature in found.fit.features}
    rows = rows_of(found.fit, None)
    for cause in found.fit.causes:
        for one in cause.tables:
            mine = [row for row in rows if row.key[:2] == (cause.name, one.name)]
            feature = titles[one.feature]
            named = _cell_titles(one, feature)
            lines = [_cell(row, named[row.cell], chosen.get(row.key)) for row in mine]
            table = pd.DataFrame(lines)
            shown = table[[row.cell != ABSENT for row in mine]]
            yield Section(
                chapter="tables",
                zh=f"系数表 {cause.zh} · {feature.zh}",
                en=f"Relativities: {cause.en}, {feature.en}",
                sentence="indicated: after credibility, direction and bounds, with its own "
                "interval of 95 %, which ends at a bound that holds it; selected where an actuary "
                "chose, with the reason",
                table=table.drop(columns=[name for name in _OPTIONAL if not table[name].any()]),
                picture=pictures.relativities(shown, f"{cause.en}: {feature.en}"),
            )


def _cell_titles(table: TableFit, feature: Feature) -> dict[str, str]:
    """Each cell's name in the selection with what a person reads."""
    levels = {} if isinstance(feature, NumericFeature) else {x.name: x.en for x in feature.levels}
    named = {cell_name(cell): cell_title(cell) for cell in table.cells}
    return {name: levels.get(name, title) for name, title in named.items()} | {ABSENT: NO_VALUE}


def _cell(
    row: Row, title: str, chosen: tuple[float, float | None, str] | None
) -> dict[str, object]:
    """One line of a table; what nobody was seen of is left empty."""
    seen = row.exposure > 0
    notes = [] if seen else ["no data"]
    if seen and row.thin:
        notes.append("no claim" if not row.claims else "thin")
    if row.bounded:
        notes.append("held by a bound")
    selected, previous, reason = chosen or (None, None, "")
    return {
        "cell": title,
        "exposure": row.exposure if seen else None,
        "claims": row.claims if seen else None,
        "indicated": row.indicated / MILLION,
        "low95": _share(row.low95),
        "high95": _share(row.high95),
        "selected": selected,
        "previous": previous,
        "note": "" if row.cell == ABSENT else ", ".join(notes),
        "reason": reason,
    }


def _chosen(selection: Selection) -> dict[tuple[str, str, str], tuple[float, float | None, str]]:
    return {
        (one.cause, one.table, one.cell): (
            one.selected_millionths / MILLION,
            _share(one.previous_millionths),
            one.reason,
        )
        for one in selection.choices
    }


def _share(millionths: int | None) -> float | None:
    return None if millionths is None else millionths / MILLION


def _survival(found: Inputs) -> Iterator[Section]:
    shown = _rarest(found.fit)
    yield from _waits(found, shown)
    yield from diagnostics.curves(found.fit, found.survival, besides=shown.name)
    yield from diagnostics.hazards(found.fit, found.survival)


def _waits(found: Inputs, cause: CauseFit) -> Iterator[Section]:
    """Time to the first claim and from each to the next, of everybody."""
    columns = ["person_id", "first_day", "after_day"]
    by = [name for name in ("condition", "sex") if name in found.scored][:1]
    events = found.claims[found.claims["cause"] == cause.name]
    if "event_day" not in events or not len(events):
        return
    segments = found.scored[columns + by]
    for rows, zh, en in (
        (survival.first_events(segments, events), "首次", f"Time to the first claim: {cause.en}"),
        (
            survival.next_events(segments, events),
            "再次",
            f"Time from a claim to the next: {cause.en}",
        ),
    ):
        curves = survival.kaplan_meier(rows, by)
        groups = {cause.name: curves}
        if by:
            groups = {str(name): group for name, group in curves.groupby(by[0])}
        titles = diagnostics.level_titles(found.fit, by[0]) if by else {}
        kept = dict(list(diagnostics.titled(groups, titles).items())[:_MOST_CURVES])
        yield Section(
            chapter="survival",
            zh=f"{zh}出险时间 {cause.zh}",
            en=en,
            sentence="Kaplan–Meier by lifelines, late entry taken into account; bands of 95 %",
            table=_yearly(curves.assign(**{name: curves[name].replace(titles) for name in by}), by),
            picture=pictures.curves(kept, "day", "share", en, ("days", "share without a claim")),
        )


def _rarest(fit: Fit) -> CauseFit:
    named = [cause for cause in fit.causes if cause.name == "inpatient"]
    return (named or sorted(fit.causes, key=lambda cause: cause.severity.rows))[0]


def _yearly(curves: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The curve at the end of every half year."""
    half = 182.625
    at = curves.assign(half=np.floor(curves["day"] / half))
    last = at.groupby([*by, "half"], sort=True).tail(1)
    return last[[*by, "day", "share", "low95", "high95", "at_risk"]]


def _fairness(found: Inputs, held: pd.DataFrame, judged: str) -> Iterator[Section]:
    for zh, name, by in (
        ("性别", "sex", _by_title(found.fit, held, "sex")),
        ("年龄段", "age band", age_bands(held)),
        ("地区", "region", held.get(found.region)),
    ):
        if by is None or not by.notna().any():  # a book may have no regions
            continue
        table = measures.actual_expected(held, judged, by)
        yield Section(
            chapter="fairness",
            zh=f"公平性：按{zh}",
            en=f"Fairness by {name}",
            sentence="A ratio whose interval holds 1: the group pays for itself, whatever factor "
            "stands in the tariff; above 1 others pay for it, below 1 it pays for others.",
            table=_noted(table, "others pay for it", "pays for others"),
            picture=pictures.ratios(table, f"actual / expected by {name}"),
        )


def _by_title(fit: Fit, held: pd.DataFrame, name: str) -> pd.Series[str] | None:
    """A column of the segments in the tariff's words, where it has any for a value."""
    if name not in held:
        return None
    titles = diagnostics.level_titles(fit, name)
    return held[name].map(lambda value: titles.get(value, value))


def _dislocation(found: Dislocation | None) -> Iterator[Section]:
    if found is None:
        return
    groups = [("the book", found.book), *((band.name, band) for band in found.bands)]
    groups += [(f"{name} {g.name}", g) for name, several in found.groups.items() for g in several]
    table = pd.DataFrame(
        [
            {
                "group": name,
                "policies": group.policies,
                "change": group.change,
                "change without credit": group.uncredited_change,
                "charged / technical": group.charged_to_technical,
                "held up": group.held_up,
                "held down": group.held_down,
                "credit": group.credit,
            }
            for name, group in groups
        ]
    )
    yield Section(
        chapter="dislocation",
        zh="续保变动",
        en="Dislocation at renewal",
        sentence=f"of the renewal under {found.tariff}; renewal/dislocation.xlsx has the largest",
        table=table,
    )
