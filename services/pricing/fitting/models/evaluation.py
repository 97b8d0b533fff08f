"""What a health programme does to claims, told from people whom nobody drew by lot.

Who joins is older, iller, more careful and dearer than who doesn't, so that rates of participants
beside those of others say who joined, and what follows joining beside what went before says how
they fared anyway. The estimate is a difference in differences on the log scale: claims of the same
person enrolled and before, against the same months of those who are not (yet) in a programme
(`within_person`; Wooldridge, Econometrics Journal 26 (2023) C31, for counts). What stays the same
of a person needs no measurement; weighting by the chance of joining, which does, stands beside it
in docs/decisions/017-effect-of-a-programme.md.

It holds only while two things do, and both are tested: nothing but the programme changes when
people join (the controls: causes that it cannot affect), and joining does not follow claims or
worsening (the months before joining, kept apart, are as those before them). Where a test fails the
evaluation says that its estimate is not to be believed, and beside each test what it could see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from services.pricing.fitting.models.design import Floats
from services.pricing.fitting.models.evaluation_result import (
    Check,
    Effect,
    Evaluation,
    Measure,
    Naive,
    Ratio,
    Since,
)
from services.pricing.fitting.models.evaluation_settings import EvaluateSettings
from services.pricing.fitting.models.person_months import PersonMonths, person_months
from services.pricing.fitting.models.refusal import FitFault, FitRefused
from services.pricing.fitting.models.within_person import LogRatio, within_person

DAYS_A_YEAR = 365.25
_NORMAL = NormalDist()
_WIDE = _NORMAL.inv_cdf(0.975)
# A check sees what lies so many errors from 1 four times of five.
_SEEN = _WIDE + _NORMAL.inv_cdf(0.8)
_ALWAYS = 1_000  # months: nobody is in a programme for longer
# Months since joining that are told apart for the picture, after those before it.
_SINCE = ((0, 2), (3, 5), (6, 11), (12, 23), (24, _ALWAYS))
_NAIVE = {
    "participants against others": "who joins differs from who does not",
    "after joining against before": "it would have changed anyway: by age, by season, by recovery",
    "ever joined against never": "the time until joining is given to those who lived to join",
}
_CONTROL = ("项目不可能影响的原因应为 1：", "no programme affects it, so it must be 1: ")
_BEFORE = (
    "加入前数月应与更早月份相同，即为 1：",
    "the months before joining must be as those before them, 1: ",
)
_SEGMENT = ("segment_id", "person_id", "first_day", "after_day", "exposure", "condition")
_COVER = ("participant", "deductible_minor", "limit_minor")
_CLAIM = ("segment_id", "cause", "event_day", "zero", "loss_minor")


def evaluate(
    experience: pd.DataFrame,
    claims: pd.DataFrame,
    settings: EvaluateSettings,
    *,
    progress: Callable[[str], None] = lambda _cause: None,
) -> Evaluation:
    """The effect of being in a programme on each cause of a study's experience and claims.

    All people of the study are looked at, also those held out: nothing is priced by it. Changes
    neither frame.

    Raises: FitRefused with every column that is missing, or with everything that is too little.
    """
    _refuse_missing(experience, claims, settings)
    synthetic = "synthetic" in experience and bool(experience["synthetic"].any())
    rows = experience[list(_columns(settings))].sort_values("segment_id", ignore_index=True)
    world = _World(
        experience=rows,
        claims=claims,
        settings=settings,
        months=person_months(rows, settings.conditions),
    )
    months = world.months
    joiners = len(np.unique(months.persons[months.joins]))
    _refuse_few(world, joiners)
    effects: list[Effect] = []
    since: list[Since] = []
    for cause in (*settings.affects, *settings.controls):
        effects.append(_effect(world, cause, "claims"))
        if cause in settings.affects:
            effects.append(_effect(world, cause, "amount"))
            since += _since(world, cause)
        progress(cause)
    checks = tuple(_checks(effects, settings))
    years = months.days / DAYS_A_YEAR
    return Evaluation(
        format=1,
        synthetic=synthetic,
        joiners=joiners,
        others=len(np.unique(months.persons)) - joiners,
        years_before=float(years[months.joins & ~months.enrolled].sum()),
        years_enrolled=float(years[months.enrolled].sum()),
        left_out=months.left_out,
        effects=tuple(effects),
        since=tuple(since),
        checks=checks,
        believed=all(one.passed for one in checks),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """What every estimate reads."""

    experience: pd.DataFrame
    claims: pd.DataFrame
    settings: EvaluateSettings
    months: PersonMonths

    def totals(self, cause: str, measure: Measure) -> Floats:
        """What happened in each row: claims above 0, or their trended and capped amount."""
        mine = self.claims[(self.claims["cause"] == cause) & ~self.claims["zero"].astype(bool)]
        amounts = np.ones(len(mine))
        if measure == "amount":
            amounts = mine["loss_minor"].to_numpy(dtype=np.float64)
        return self.months.totals(mine, amounts)

    def happened(self, cause: str) -> tuple[int, int]:
        """Claims above 0 of those who join: before joining, and enrolled."""
        counts, months = self.totals(cause, "claims"), self.months
        before = months.joins & ~months.enrolled
        return int(counts[before].sum()), int(counts[months.enrolled].sum())

    def ratios(
        self, totals: Floats, spans: Mapping[str, tuple[int, int]], cause: str
    ) -> list[Ratio]:
        """The ratio of each span of months since joining to the time outside all of them."""
        months = self.months
        found = within_person(
            months.persons,
            months.days,
            totals,
            asked={name: months.within(*span) for name, span in spans.items()},
            beside={"month": months.months, "cover": months.covers},
            where=cause,
        )
        return [_ratio(found[name]) for name in spans]


def _effect(world: _World, cause: str, measure: Measure) -> Effect:
    spans = {"enrolled": (0, _ALWAYS), "before": (-world.settings.months_before, -1)}
    enrolled, before = world.ratios(world.totals(cause, measure), spans, cause)
    claims_before, claims_enrolled = world.happened(cause)
    return Effect(
        cause=cause,
        measure=measure,
        control=cause in world.settings.controls,
        claims_before=claims_before,
        claims_enrolled=claims_enrolled,
        enrolled=enrolled,
        before=before,
        naive=tuple(_naive(world, cause)) if measure == "claims" else (),
    )


def _since(world: _World, cause: str) -> Iterator[Since]:
    """The picture behind the estimate: what changes should change with joining, and not before."""
    apart = world.settings.months_before
    half = apart // 2
    before = [(-apart, -half - 1), (-half, -1)] if half else [(-1, -1)]
    counts = world.totals(cause, "claims")
    spans = {
        f"{span[0]} to {span[1]}": span
        for span in (*before, *_SINCE)
        # A span without one claim has no logarithm.
        if counts[world.months.within(*span)].any()
    }
    ratios = world.ratios(counts, spans, cause)
    for (first, last), ratio in zip(spans.values(), ratios, strict=True):
        yield Since(cause=cause, first_month=first, last_month=last, ratio=ratio)


def _naive(world: _World, cause: str) -> Iterator[Naive]:
    rows = world.experience
    rows = rows[rows["condition"].isin(world.settings.conditions)]
    inside = rows["participant"].to_numpy(dtype=bool)
    joins = rows["person_id"].isin(rows.loc[inside, "person_id"].unique()).to_numpy()
    claims = rows[f"claims_{cause}"].to_numpy(dtype=np.float64)
    years = rows["exposure"].to_numpy() * rows[f"frequency_offset_{cause}"].to_numpy()
    compared = ((inside, ~inside), (inside, joins & ~inside), (joins, ~joins))
    for (name, wrong), (these, those) in zip(_NAIVE.items(), compared, strict=True):
        first, second = float(claims[these].sum()), float(claims[those].sum())
        ratio = error = math.nan
        if first and second:
            ratio = first / float(years[these].sum()) / (second / float(years[those].sum()))
            error = math.sqrt(1 / first + 1 / second)
        low, high = ratio * math.exp(-_WIDE * error), ratio * math.exp(_WIDE * error)
        yield Naive(name=name, ratio=ratio, low95=low, high95=high, wrong=wrong)


def _checks(effects: list[Effect], settings: EvaluateSettings) -> Iterator[Check]:
    """Each with the same part of the chance of a false alarm (Bonferroni)."""
    counted = [one for one in effects if one.measure == "claims"]
    level = settings.false_alarm / len(counted)
    for one in counted:
        ratio = one.enrolled if one.control else one.before
        zh, en = _CONTROL if one.control else _BEFORE
        said = f"{ratio.ratio:.3f} ({ratio.low95:.3f}–{ratio.high95:.3f})"
        yield Check(
            name="control" if one.control else "before",
            cause=one.cause,
            passed=ratio.p >= level,
            p=ratio.p,
            sees=math.exp(_SEEN * ratio.log_error),
            zh=f"{zh}{said}",
            en=f"{en}{said}",
        )


def _ratio(found: LogRatio) -> Ratio:
    estimate, error = found.estimate, found.se_clustered
    return Ratio(
        ratio=math.exp(estimate),
        low95=math.exp(estimate - _WIDE * error),
        high95=math.exp(estimate + _WIDE * error),
        log_error=error,
        p=2 * _NORMAL.cdf(-abs(estimate) / error),
    )


def _columns(settings: EvaluateSettings) -> tuple[str, ...]:
    causes = (*settings.affects, *settings.controls)
    each = (f"{name}_{one}" for one in causes for name in ("claims", "frequency_offset"))
    return (*_SEGMENT, *_COVER, *each)


def _refuse_missing(
    experience: pd.DataFrame, claims: pd.DataFrame, settings: EvaluateSettings
) -> None:
    faults = [
        FitFault(
            where=where,
            code="NO_COLUMN",
            text=f"has no column {name}; study the book again, or name its causes in `evaluate`",
        )
        for where, frame, names in (
            ("experience", experience, _columns(settings)),
            ("claims", claims, _CLAIM),
        )
        for name in names
        if name not in frame
    ]
    if faults:
        raise FitRefused(faults)


def _refuse_few(world: _World, joiners: int) -> None:
    settings = world.settings
    faults = []
    if joiners < settings.least_joiners:
        text = (
            f"{joiners} people join a programme while seen before and after; with fewer than"
            f" least_joiners ({settings.least_joiners}) nothing is said"
        )
        faults.append(FitFault(where="enrolments", code="TOO_FEW_JOINERS", text=text))
    for cause in (*settings.affects, *settings.controls):
        before, enrolled = world.happened(cause)
        if min(before, enrolled) < settings.least_claims:
            text = (
                f"those who join have {before} claims before and {enrolled} since; with fewer"
                f" than least_claims ({settings.least_claims}) nothing is said"
            )
            faults.append(FitFault(where=cause, code="TOO_FEW_CLAIMS", text=text))
    if faults:
        raise FitRefused(faults)
