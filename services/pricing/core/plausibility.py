"""What is conspicuous in a member's readings of one window, as the programme's file bounds it.

Checks of single slots and months look at that month's own readings and at what the member does not
control, so that leaving a month out takes no flag off another; they may hold. Checks of the whole
window only note. Knows no database and no wire.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import date, timedelta, tzinfo
from fractions import Fraction

from services.pricing.core.flags import Flag, FlagCode, flag_of
from services.pricing.core.heaping import Seen, bunching, digits, gaps
from services.pricing.core.months import (
    HBA1C_REACHES_BACK,
    SLOTS_NEEDED,
    PersonalTarget,
    candidates,
    filled_slots,
    heard,
    laboratory_hba1c,
    targets_in,
)
from services.pricing.core.programme import (
    Contradiction,
    Disagreement,
    Measure,
    Plausibility,
    Programme,
    Then,
)
from services.pricing.core.readings import (
    Provenance,
    Quantity,
    Reading,
    glucose_of_hba1c,
    places_of,
    unit_of,
    value_text,
)
from services.pricing.core.tariff import MILLION

_GLUCOSE = (Measure.FASTING_GLUCOSE, Measure.NON_FASTING_GLUCOSE)


def flags_of(
    by_month: Mapping[date, Sequence[Reading]],
    programme: Programme,
    personal: Sequence[PersonalTarget],
    months: Sequence[date],
    zone: tzinfo,
    *,
    renewal: date,
    cleared: Container[str] = frozenset(),
) -> tuple[Flag, ...]:
    """Every flag of the window's months, by the bounds in force on the renewal's day.

    `by_month` are the readings that `in_time` leaves. Their order changes nothing. A pair of
    pressures that no heart makes is told even where the programme looks at nothing, because it
    fills no slot.

    Raises: NoTargetInForce.
    """
    own = heard(personal, by_month, months)
    seen = []
    for month in months:
        targets = targets_in(month, programme, own)
        of_month = by_month.get(month, [])
        found = list(candidates(of_month, targets, programme.low_glucose_on(month), zone))
        seen.append(Seen(month, of_month, targets, found, filled_slots(found)))
    flags = [
        *_impossible(seen, cleared),
        *_asked_for(programme.plausibility_on(renewal), seen, by_month, cleared, zone),
    ]
    # Two pairs may make the same reading suspect: that is one finding.
    once = {flag.id: flag for flag in flags}.values()
    return tuple(sorted(once, key=lambda flag: (flag.months, flag.code, flag.id)))


def _asked_for(
    terms: Plausibility | None,
    seen: Sequence[Seen],
    by_month: Mapping[date, Sequence[Reading]],
    cleared: Container[str],
    zone: tzinfo,
) -> Iterator[Flag]:
    if terms is None:
        return
    if terms.contradiction is not None:
        hba1c = laboratory_hba1c(by_month)
        for one in seen:
            yield from _contradiction(terms.contradiction, one, hba1c, cleared)
    for one in seen:
        if terms.uploads is not None:
            yield from _uploads(terms.uploads.most, terms.uploads.then, one, cleared)
        if terms.backdating is not None:
            yield from _backdated(terms.backdating.then, one, cleared)
        if terms.disagreement is not None:
            yield from _disagreement(terms.disagreement, one, cleared)
    if terms.bunching is not None:
        yield from bunching(terms.bunching, seen, cleared)
    if terms.digits is not None:
        yield from digits(terms.digits, seen, cleared)
    if terms.gap_days is not None:
        yield from gaps(terms.gap_days, seen, cleared, zone)


def _contradiction(
    terms: Contradiction, seen: Seen, hba1c: Mapping[date, Reading], cleared: Container[str]
) -> Iterator[Flag]:
    """The month's counting glucose of home against the nearest laboratory HbA1c."""
    apart = {measured: _apart(seen.month, measured) for measured in hba1c}
    near = min(apart, key=apart.__getitem__, default=None)
    counted = [
        reading
        for slot in seen.slots.values()
        for measure, reading in slot.readings
        if measure in _GLUCOSE and not reading.provenance.through_his
    ]
    if near is None or apart[near][0] > terms.within_months or len(counted) < SLOTS_NEEDED:
        return
    said = hba1c[near].measured.value
    expected = glucose_of_hba1c(Fraction(said, 10 ** places_of(Quantity.HBA1C)))
    mean = Fraction(sum(one.measured.value for one in counted), len(counted) * 10)
    if mean >= expected * Fraction(MILLION - terms.tolerance_millionths, MILLION):
        return
    hba1c_said = value_text(Quantity.HBA1C, said)
    told = f"{float(mean):.1f}", f"{float(expected):.1f}"
    yield flag_of(
        FlagCode.HBA1C_ABOVE_GLUCOSE,
        [seen.name],
        None,
        [one.name for one in counted],
        terms.then,
        zh=f"家测血糖均值 {told[0]} mmol/L，化验糖化血红蛋白 {hba1c_said}% 对应约 {told[1]}："
        "核对血糖仪与录入，或在医院复测",
        en=f"home glucose averages {told[0]} mmol/L where a laboratory HbA1c of {hba1c_said} % "
        f"says about {told[1]}: check the meter and who typed it, or measure again at a hospital",
        cleared=cleared,
    )


def _apart(month: date, measured: date) -> tuple[int, int]:
    """Months between a month and those that an HbA1c of `measured` speaks of; 0 inside them.

    Then the months between the two: of several that speak of a month its own goes first, and then
    the nearest following one, as where they decide it.
    """
    ahead = (measured.year - month.year) * 12 + measured.month - month.month
    return max(-ahead, ahead - HBA1C_REACHES_BACK, 0), abs(ahead)


def _uploads(most: int, then: Then, seen: Seen, cleared: Container[str]) -> Iterator[Flag]:
    by_slot: dict[tuple[int, Measure], list[str]] = defaultdict(list)
    for candidate in seen.candidates:
        for measure, reading in candidate.readings:
            if not reading.provenance.through_his:
                by_slot[candidate.slot, measure].append(reading.name)
    for (slot, measure), names in sorted(by_slot.items()):
        if len(names) > most:
            yield flag_of(
                FlagCode.MANY_UPLOADS,
                [seen.name],
                measure,
                names,
                then,
                zh=f"第 {slot + 1} 时段有 {len(names)} 次家测（上限 {most}），"
                "只计最早一次：了解原因",
                en=f"{len(names)} home readings in slot {slot + 1} (more than {most}), of which "
                "the earliest counts: ask why there are so many",
                cleared=cleared,
            )


def _backdated(then: Then, seen: Seen, cleared: Container[str]) -> Iterator[Flag]:
    for slot, counting in sorted(seen.slots.items()):
        measure, first = counting.readings[0]
        if first.provenance is not Provenance.TYPED:
            continue
        others = [
            one.readings[0][1]
            for one in seen.candidates
            if one.slot == slot and one.order > counting.order
        ]
        if any(other.received < first.received for other in others):
            yield flag_of(
                FlagCode.BACKDATED,
                [seen.name],
                measure,
                counting.names,
                then,
                zh=f"第 {slot + 1} 时段计入的手工读数后于同时段另一读数录入：核对测量时间",
                en=f"the typed reading that counts in slot {slot + 1} came in after another one of "
                "that slot: ask for the meter's own record of its time",
                cleared=cleared,
            )


def _disagreement(terms: Disagreement, seen: Seen, cleared: Container[str]) -> Iterator[Flag]:
    """Pairs of two recorders, provenances or devices.

    What is suspect is the lesser provenance, or both of one rank.
    """
    by_quantity: dict[tuple[Quantity, bool], list[Reading]] = defaultdict(list)
    for reading in seen.readings:
        by_quantity[reading.measured.quantity, reading.measured.fasting].append(reading)
    within = timedelta(hours=terms.within_hours)
    for (quantity, _), some in sorted(by_quantity.items()):
        apart = terms.apart.get(quantity)
        if apart is None:
            continue
        ordered = sorted(some, key=lambda one: (one.effective, one.name))
        for place, one in enumerate(ordered):
            for other in ordered[place + 1 :]:
                if other.effective - one.effective > within:
                    break
                if (
                    _source(one) == _source(other)
                    or abs(one.measured.value - other.measured.value) <= apart
                ):
                    continue
                least = max(one.provenance.rank, other.provenance.rank)
                suspect = [r.name for r in (one, other) if r.provenance.rank == least]
                said = f"{value_text(quantity, apart)} {unit_of(quantity)}"
                several = "s" if terms.within_hours > 1 else ""
                hours = f"{terms.within_hours} hour{several}"
                yield flag_of(
                    FlagCode.SOURCES_DISAGREE,
                    [seen.name],
                    None,
                    suspect,
                    terms.then,
                    zh=f"两个来源在 {terms.within_hours} 小时内的读数相差超过 {said}："
                    "核对设备与录入",
                    en=f"two sources differ by more than {said} within {hours}: "
                    "find out which device is wrong",
                    cleared=cleared,
                )


def _source(reading: Reading) -> tuple[str, Provenance, str]:
    return reading.recorder, reading.provenance, reading.device


def _impossible(seen: Sequence[Seen], cleared: Container[str]) -> Iterator[Flag]:
    for one in seen:
        pairs: dict[tuple[float, Provenance], dict[Quantity, list[Reading]]] = {}
        for reading in one.readings:
            if reading.measured.quantity in (Quantity.SYSTOLIC, Quantity.DIASTOLIC):
                at = reading.effective.timestamp(), reading.provenance
                pairs.setdefault(at, defaultdict(list))[reading.measured.quantity].append(reading)
        for pair in pairs.values():
            upper, lower = (
                min(pair[part], key=lambda found: found.name, default=None)
                for part in (Quantity.SYSTOLIC, Quantity.DIASTOLIC)
            )
            if upper and lower and lower.measured.value >= upper.measured.value:
                yield flag_of(
                    FlagCode.IMPOSSIBLE_PRESSURE,
                    [one.name],
                    None,
                    [upper.name, lower.name],
                    Then.NOTE,
                    zh="舒张压不低于收缩压，该次测量不计入：更正或重测",
                    en="diastolic is not below systolic, so that the pair counts for nothing: "
                    "correct it or measure again",
                    cleared=cleared,
                )
