"""What a run of months on target earns at a renewal, and how it comes off the premium.

The window is the 12 whole months whose last day is on or before renewal −
45 days; its longest run of months on target, 1, 2 or 3 and more, earns the programme's shares of
the premium that the same person would owe without credit. A tariff that says how its outcome
features are made of readings gives a model credit beside that promise (`outcome.py`). The credit
is the greater of the two, at most the legal cap: the same control is never rewarded twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta, tzinfo

import msgspec

from services.common.dated import add_months
from services.pricing.core.adherence import Adherence, Supply, adherence_of
from services.pricing.core.arithmetic import less_credit, to_multiple
from services.pricing.core.flags import Flag, held
from services.pricing.core.months import (
    MonthAssessment,
    PersonalTarget,
    Result,
    assess_months,
    in_time,
    last_day_of,
    month_of,
    month_text,
)
from services.pricing.core.outcome import Outcome, Person, model_share, outcomes_of
from services.pricing.core.plausibility import flags_of
from services.pricing.core.programme import CreditAs, Programme, programme_version, share_text
from services.pricing.core.rates import Label
from services.pricing.core.readings import Reading
from services.pricing.core.tariff import E4, MILLION
from services.pricing.core.waterfall import Step, Waterfall

WINDOW_MONTHS = 12
DAYS_BEFORE_RENEWAL = 45
INCENTIVE, ROUNDING_CREDIT = "incentive", "rounding.credit"


class LegalCap(msgspec.Struct, frozen=True):
    """The law's bound on credits in millionths, and where it is written."""

    share_millionths: int
    source: str


class Incentive(msgspec.Struct, frozen=True, kw_only=True):
    """The window's months, its longest run, the share that the run earns, and the model's."""

    programme: str
    window_first: str
    window_last: str
    months: tuple[MonthAssessment, ...]
    run_first: str
    run_last: str
    run_months: int
    share_millionths: int
    cap: LegalCap | None
    model_millionths: int = 0
    outcomes: tuple[Outcome, ...] = ()
    flags: tuple[Flag, ...] = ()
    adherence: Adherence | None = None
    by_adherence: bool = False  # the drugs earn more than the months on target
    credit_as: CreditAs | None = None  # None: off the premium

    @property
    def credit_millionths(self) -> int | None:
        """What is taken off; None when no legal cap is set."""
        if self.cap is None:
            return None
        return min(self.cap.share_millionths, max(self.share_millionths, self.model_millionths))

    @property
    def by_model(self) -> bool:
        """Whether the model gives more than the programme promises."""
        return self.model_millionths > self.share_millionths

    @property
    def evidence(self) -> tuple[str, ...]:
        """Names of the readings that the credit rests on, each once, by month and time."""
        if self.by_adherence and self.adherence is not None and not self.by_model:
            return self.adherence.evidence
        if self.by_model:
            return tuple(dict.fromkeys(name for one in self.outcomes for name in one.evidence))
        run = [m for m in self.months if self.run_months and self.run_first <= m.month]
        names = [name for m in run if m.month <= self.run_last for name in m.evidence]
        return tuple(dict.fromkeys(names))


class Beside(msgspec.Struct, frozen=True):
    """What is known of a member beside readings: drugs, and ids of flags that a person cleared."""

    supplies: tuple[Supply, ...] = ()
    cleared: frozenset[str] = frozenset()


NOTHING_BESIDE = Beside()


class Window(msgspec.Struct, frozen=True):
    """First and last of a renewal's twelve months, each as its first day."""

    first: date
    last: date


def window_of(renewal: date) -> Window:
    """The twelve whole months whose last day is on or before renewal − 45 days.

    >>> window = window_of(date(2026, 1, 1))
    >>> month_text(window.first), month_text(window.last)
    ('2024-11', '2025-10')
    """
    latest = renewal - timedelta(days=DAYS_BEFORE_RENEWAL)
    last = month_of(latest)
    if last_day_of(last) > latest:
        last = add_months(last, -1)
    return Window(add_months(last, 1 - WINDOW_MONTHS), last)


def months_of(window: Window, expiring_start: date | None) -> list[date]:
    """The window's months in order, each as its first day, without those that served before.

    Months up to the end of the expiring renewal's own window served it and serve no second time.
    """
    months = [add_months(window.first, ahead) for ahead in range(WINDOW_MONTHS)]
    if expiring_start is None:
        return months
    served = window_of(expiring_start).last
    return [month for month in months if month > served]


def readable_days(window: Window, reach_months: int) -> tuple[date, date]:
    """The days between which a reading can matter to a window, a day wider for any zone."""
    slack = timedelta(days=1)
    return window.first - slack, add_months(window.last, 1 + reach_months) + slack


def longest_run(months: Sequence[MonthAssessment]) -> Sequence[MonthAssessment]:
    """The longest run of months on target that follow one another, the earliest of equals.

    `months` stand in calendar order without a gap, as `months_of` gives them.
    """
    best: Sequence[MonthAssessment] = ()
    begin = 0
    for end, month in enumerate(months, 1):
        if month.result is not Result.ON_TARGET:
            begin = end
        elif end - begin > len(best):
            best = months[begin:end]
    return best


def assess(  # noqa: PLR0913 - what is known, by which rule, for when: each is a fact of its own
    readings: Iterable[Reading],
    programme: Programme,
    personal: Sequence[PersonalTarget],
    *,
    renewal: date,
    expiring_start: date | None,
    zone: tzinfo,
    cap: LegalCap | None,
    person: Person | None = None,
    beside: Beside = NOTHING_BESIDE,
) -> Incentive:
    """The months, the run and the share of one member at a renewal. Takes nothing off yet.

    With a `person` whose tariff says how its outcome features are made, also what the model
    gives; its window is whole, for a month that served a renewal still says how the year was.
    A reading counts from the day after its receipt: what came in on the renewal's day or later, an
    HbA1c that reaches back, was not known when the year began, whenever somebody asks.
    Flags are of the whole window; those that a person has cleared hold nothing. What the drugs that
    were taken earn stands beside the run, and the greater counts: neither lowers the other.

    Raises: NoTargetInForce when the programme has no value yet in one of the months or on the
    renewal's day.
    """
    window = window_of(renewal)
    known = [one for one in readings if one.received.astimezone(zone).date() < renewal]
    by_month = in_time(known, zone)
    whole = months_of(window, None)
    flags = flags_of(
        by_month, programme, personal, whole, zone, renewal=renewal, cleared=beside.cleared
    )
    mine = months_of(window, expiring_start)
    judged = held(assess_months(by_month, programme, personal, mine, zone), flags)
    run = longest_run(judged)
    outcomes: tuple[Outcome, ...] = ()
    if person is not None and person.rates.tariff.format > 1:
        year = held(assess_months(by_month, programme, personal, whole, zone), flags)
        outcomes = outcomes_of(person.rates.tariff, year)
    terms = programme.adherence_on(renewal)
    adherence = None if terms is None else adherence_of(beside.supplies, terms, window.first, mine)
    promised = programme.steps_on(renewal).share_of(len(run))
    by_drugs = 0 if adherence is None else adherence.share_millionths
    return Incentive(
        programme=programme_version(programme),
        window_first=month_text(window.first),
        window_last=month_text(window.last),
        months=judged,
        run_first=run[0].month if run else "",
        run_last=run[-1].month if run else "",
        run_months=len(run),
        share_millionths=max(promised, by_drugs),
        cap=cap,
        model_millionths=model_share(person, outcomes) if person is not None else 0,
        outcomes=outcomes,
        flags=flags,
        adherence=adherence,
        by_adherence=by_drugs > promised,
        credit_as=programme.credit_as_on(renewal),
    )


def credited(
    waterfall: Waterfall, credit_millionths: int, label: Label, to_minor: int
) -> Waterfall:
    """The waterfall with the credit taken off the rounded premium, and that rounded again.

    Two more steps: the credit, half-up at once like every step, and the rounding to the tariff's
    multiple of minor units. All differences still add up to the premium exactly.
    """
    before = waterfall.premium_minor * E4
    after = less_credit(before, credit_millionths)
    charged = to_multiple(after, to_minor)
    steps = (
        *waterfall.steps,
        Step(label, after - before, after),
        Step(_ROUNDING_CREDIT, charged - after, charged),
    )
    return Waterfall(charged // E4, steps)


_ROUNDING_CREDIT = Label(
    ROUNDING_CREDIT, "", 0, "优惠后保费取整", "Rounding of the credited premium"
)


def credit_label(found: Incentive) -> Label:
    """The credit's step: the run, its share, and the legal cap where it binds."""
    credit = found.credit_millionths or 0
    if found.by_model:
        zh, en = _model_texts(found)
    elif found.by_adherence and found.adherence is not None:
        zh, en = _adherence_texts(found.adherence)
    elif not found.run_months:
        zh, en = "激励：考察期内没有达标月份，不减免", "Incentive: no month on target, nothing off"
    else:
        several = found.run_months > 1
        run = f"{found.run_first} – {found.run_last}" if several else found.run_first
        share = share_text(found.share_millionths)
        zh = f"激励：{run} 连续 {found.run_months} 个月达标，减免 {share}"
        counted = f"{found.run_months} months" if several else "1 month"
        en = f"Incentive: {counted} on target, {run}, {share} off"
    if credit < max(found.share_millionths, found.model_millionths):
        capped = share_text(credit)
        zh, en = f"{zh}，法定上限 {capped}", f"{en}, by law at most {capped}"
    cell = f"run {found.run_months}"
    if found.by_model:
        cell = "outcome"
    elif found.by_adherence and found.adherence is not None:
        cell = f"adherence {found.adherence.run_months}"
    return Label(INCENTIVE, cell, MILLION - credit, zh, en)


def _adherence_texts(found: Adherence) -> tuple[str, str]:
    share = share_text(found.share_millionths)
    run = f"{found.run_first} – {found.run_last}" if found.run_months > 1 else found.run_first
    counted = f"{found.run_months} months" if found.run_months > 1 else "1 month"
    return (
        f"激励：{run} 连续 {found.run_months} 个月按时用药，减免 {share}",
        f"Incentive: medication taken in {counted}, {run}, {share} off",
    )


def _model_texts(found: Incentive) -> tuple[str, str]:
    values = [(o.feature, o.value, o.stratum_mean, o.unit) for o in found.outcomes]
    share, promised = share_text(found.model_millionths), share_text(found.share_millionths)
    zh = "；".join(f"{n} 年均 {u}（参照 {m0}）{unit}" for n, u, m0, unit in values)
    en = "; ".join(f"{n} {u} over the year against {m0} {unit}" for n, u, m0, unit in values)
    return (
        f"健康结果：{zh}，减免 {share}（约定激励 {promised}）",
        f"Outcome: {en}, {share} off ({promised} promised)",
    )
