"""Calendar months of one member, judged by readings: on target, off target, not enough.

A month has four slots (days 1-7, 8-14, 15-21, 22-end), each counting its best provenance, then the
earliest, then the smallest id; three that the hospital fills stand alone. A laboratory HbA1c
decides its own month and the two before; other months need three filled slots and are judged by
each kind's mean. The order of the readings changes nothing. Knows no database and no wire.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import date, timedelta, tzinfo
from enum import StrEnum
from fractions import Fraction

import msgspec

from services.common.dated import add_months
from services.pricing.core.programme import Measure, Programme, Target
from services.pricing.core.readings import Provenance, Quantity, Reading, half_up, places_of
from services.pricing.core.tariff import written

# A reading counts for its month when it was received by the end of this day after the month's last.
DAYS_TO_ARRIVE = 7
# A laboratory HbA1c speaks of the eight to twelve weeks before it: its own month and these before.
HBA1C_REACHES_BACK = 2
SLOTS_NEEDED = 3
_SLOT_DAYS, _LAST_SLOT = 7, 3
# With at most four readings a mean differs from a target by 0.025 or more, or not at all.
_MEAN_PLACES = 3


class Result(StrEnum):
    """How a month ended."""

    ON_TARGET = "ON_TARGET"
    OFF_TARGET = "OFF_TARGET"
    NOT_ENOUGH = "NOT_ENOUGH"


class Basis(StrEnum):
    """What decided a month."""

    LABORATORY_HBA1C = "LABORATORY_HBA1C"
    SLOTS = "SLOTS"


class PersonalTarget(msgspec.Struct, frozen=True):
    """A doctor's target of one measure from a day on; None gives the programme's back."""

    measure: Measure
    start: date
    target: Target | None
    set_by: str  # as `Reading.recorder`


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of a month: its mean as text, the target as text, and whether it is met.

    `set_by` names who has set a personal target.
    """

    measure: Measure
    mean: str
    target: str
    personal: bool
    met: bool
    readings: int
    set_by: str = ""  # quotes of before did not say


class MonthAssessment(msgspec.Struct, frozen=True, kw_only=True):
    """One month, what decided it, and the names of the readings behind it, by time."""

    month: str
    result: Result
    basis: Basis | None
    hba1c_month: str
    slots_filled: int
    measures: tuple[Judged, ...]
    evidence: tuple[str, ...]
    held_by: tuple[str, ...] = ()  # ids of flags: not enough until a person has looked


class Candidate(msgspec.Struct, frozen=True):
    """What may fill a slot: one glucose, or one pair of pressures. The least of a slot counts."""

    slot: int
    order: tuple[int, float, str]
    readings: tuple[tuple[Measure, Reading], ...]

    @property
    def through_his(self) -> bool:
        """Whether it came through a hospital's information system."""
        return self.readings[0][1].provenance.through_his

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its readings."""
        return tuple(reading.name for _, reading in self.readings)


def month_of(day: date) -> date:
    """A month, written as its first day."""
    return day.replace(day=1)


def month_text(month: date) -> str:
    """The month as "YYYY-MM"."""
    return f"{month:%Y-%m}"


def last_day_of(month: date) -> date:
    """The month's last day."""
    return add_months(month, 1) - timedelta(days=1)


def assess_months(
    by_month: Mapping[date, Sequence[Reading]],
    programme: Programme,
    personal: Sequence[PersonalTarget],
    months: Sequence[date],
    zone: tzinfo,
) -> tuple[MonthAssessment, ...]:
    """Each month judged, in the order given, by the readings that `in_time` leaves.

    A month's target is the one in force on its first day, so that none changes while it runs; of
    a doctor's targets the latest start counts, and of equal starts the last in `personal`. A target
    counts only beside a reading of its setter's of the same quantity, in one of these months: who
    has measured nothing here judges nothing, and who has measured glucose judges no HbA1c.

    Raises: NoTargetInForce when the programme has no target yet in one of the months.
    """
    own = heard(personal, by_month, months)
    hba1c = laboratory_hba1c(by_month)
    return tuple(
        _assessed(month, by_month.get(month, []), hba1c, programme, own, zone) for month in months
    )


def in_time(readings: Iterable[Reading], zone: tzinfo) -> dict[date, list[Reading]]:
    """Month → its readings that came in time."""
    measured: dict[date, list[Reading]] = defaultdict(list)
    for reading in readings:
        measured[month_of(reading.effective.astimezone(zone).date())].append(reading)
    by_month = {}
    for month, some in measured.items():
        due = last_day_of(month) + timedelta(days=DAYS_TO_ARRIVE)
        by_month[month] = [one for one in some if one.received.astimezone(zone).date() <= due]
    return by_month


def heard(
    personal: Sequence[PersonalTarget],
    by_month: Mapping[date, Sequence[Reading]],
    months: Iterable[date],
) -> list[PersonalTarget]:
    """The targets of who has measured the same in one of the months.

    Months after these are looked at for an HbA1c that reaches back; they give nobody a say.
    """
    measured = {
        (reading.recorder, reading.measured.quantity)
        for month in months
        for reading in by_month.get(month, ())
        if _may_count(reading)
    }
    return [target for target in personal if (target.set_by, target.measure.quantity) in measured]


def targets_in(
    month: date, programme: Programme, personal: Sequence[PersonalTarget]
) -> dict[Measure, Target]:
    """Each measure's target of a month: the person's own, else the programme's.

    Raises: NoTargetInForce.
    """
    own = _personal_on(month, personal)
    targets = programme.targets_on(month)
    return targets | {measure: own[measure][0] for measure in targets if measure in own}


def laboratory_hba1c(by_month: Mapping[date, Sequence[Reading]]) -> dict[date, Reading]:
    """Month → the laboratory's HbA1c that counts in it."""
    return {month: found for month in by_month if (found := _hba1c_of(by_month[month]))}


def _may_count(reading: Reading) -> bool:
    """Whether a month may rest on it: an HbA1c is the laboratory's, or nothing."""
    return (
        reading.measured.quantity is not Quantity.HBA1C
        or reading.provenance is Provenance.LABORATORY
    )


def _hba1c_of(readings: Iterable[Reading]) -> Reading | None:
    """The laboratory's HbA1c of a month: the earliest, then the smallest id."""
    found = [
        reading
        for reading in readings
        if reading.measured.quantity is Quantity.HBA1C and _may_count(reading)
    ]
    return min(found, key=lambda reading: (reading.effective, reading.name), default=None)


def _assessed(
    month: date,
    readings: Sequence[Reading],
    hba1c: Mapping[date, Reading],
    programme: Programme,
    personal: Sequence[PersonalTarget],
    zone: tzinfo,
) -> MonthAssessment:
    own = _personal_on(month, personal)
    targets = targets_in(month, programme, personal)
    low = programme.low_glucose_on(month)
    slots = filled_slots(candidates(readings, targets, low, zone))
    said = month_text(month)
    measured_in = None
    if Measure.HBA1C in targets:
        near = (add_months(month, ahead) for ahead in range(HBA1C_REACHES_BACK + 1))
        measured_in = next((later for later in near if later in hba1c), None)
    if measured_in is not None:
        reading = hba1c[measured_in]
        judged = _judged({Measure.HBA1C: [reading.measured.value]}, targets, own)
        return MonthAssessment(
            month=said,
            result=_result(judged),
            basis=Basis.LABORATORY_HBA1C,
            hba1c_month=month_text(measured_in),
            slots_filled=len(slots),
            measures=judged,
            evidence=(reading.name,),
        )
    values: dict[Measure, list[int]] = defaultdict(list)
    for slot in sorted(slots):
        for measure, reading in slots[slot].readings:
            values[measure].append(reading.measured.value)
    judged = _judged(values, targets, own)
    enough = len(slots) >= SLOTS_NEEDED
    return MonthAssessment(
        month=said,
        result=_result(judged) if enough else Result.NOT_ENOUGH,
        basis=Basis.SLOTS if enough else None,
        hba1c_month="",
        slots_filled=len(slots),
        measures=judged,
        evidence=tuple(name for slot in sorted(slots) for name in slots[slot].names),
    )


def _personal_on(
    month: date, personal: Sequence[PersonalTarget]
) -> dict[Measure, tuple[Target, str]]:
    # Each target with who has set it.
    latest: dict[Measure, PersonalTarget] = {}
    for entry in personal:
        known = latest.get(entry.measure)
        if entry.start <= month and (known is None or known.start <= entry.start):
            latest[entry.measure] = entry
    return {
        measure: (entry.target, entry.set_by)
        for measure, entry in latest.items()
        if entry.target is not None
    }


def filled_slots(found: Iterable[Candidate]) -> dict[int, Candidate]:
    """Each slot's counting candidate.

    Where the hospital's readings alone fill three slots, those of the member do not count in the
    others: leaving out a bad one would else lower the price.
    """
    slots: dict[int, Candidate] = {}
    for candidate in found:
        slot = candidate.slot
        if slot not in slots or candidate.order < slots[slot].order:
            slots[slot] = candidate
    hospital = {slot: one for slot, one in slots.items() if one.through_his}
    return hospital if len(hospital) >= SLOTS_NEEDED else slots


def candidates(
    readings: Iterable[Reading],
    targets: Container[Measure],
    low: int | None,
    zone: tzinfo,
) -> Iterable[Candidate]:
    """Everything that may fill a slot of one month, whose readings these are.

    A glucose below `low` fills none, nor does a lone pressure, nor a pair of which the lower value
    is not below the upper one: no heart beats so.
    """
    pressures: dict[tuple[float, Provenance], dict[Quantity, Reading]] = defaultdict(dict)
    for reading in readings:
        quantity = reading.measured.quantity
        if quantity is Quantity.GLUCOSE:
            measure = (
                Measure.FASTING_GLUCOSE if reading.measured.fasting else Measure.NON_FASTING_GLUCOSE
            )
            is_low = low is not None and reading.measured.value < low
            if measure in targets and not is_low:
                yield _candidate({measure: reading}, zone)
        elif quantity in (Quantity.SYSTOLIC, Quantity.DIASTOLIC):
            pair = pressures[reading.effective.timestamp(), reading.provenance]
            if quantity not in pair or reading.name < pair[quantity].name:
                pair[quantity] = reading
    for (_, provenance), pair in pressures.items():
        upper, lower = (
            (Measure.CLINIC_SYSTOLIC, Measure.CLINIC_DIASTOLIC)
            if provenance.through_his
            else (Measure.HOME_SYSTOLIC, Measure.HOME_DIASTOLIC)
        )
        if len(pair) == 2 and upper in targets and lower in targets:
            found = {upper: pair[Quantity.SYSTOLIC], lower: pair[Quantity.DIASTOLIC]}
            if found[lower].measured.value < found[upper].measured.value:
                yield _candidate(found, zone)


def _slot(reading: Reading, zone: tzinfo) -> int:
    """0 to 3: days 1-7, 8-14, 15-21 and 22 to the month's end."""
    return min((reading.effective.astimezone(zone).day - 1) // _SLOT_DAYS, _LAST_SLOT)


def _candidate(found: Mapping[Measure, Reading], zone: tzinfo) -> Candidate:
    first = next(iter(found.values()))
    return Candidate(
        _slot(first, zone),
        (first.provenance.rank, first.effective.timestamp(), first.name),
        tuple(found.items()),
    )


def _judged(
    values: Mapping[Measure, Sequence[int]],
    targets: Mapping[Measure, Target],
    own: Mapping[Measure, tuple[Target, str]],
) -> tuple[Judged, ...]:
    found = []
    for measure in Measure:
        if not values.get(measure):
            continue
        mean = Fraction(sum(values[measure]), len(values[measure]))
        found.append(
            Judged(
                measure=measure,
                mean=_mean_text(mean, places_of(measure.quantity)),
                target=targets[measure].text(measure),
                personal=measure in own,
                met=targets[measure].met_by(mean),
                readings=len(values[measure]),
                set_by=own[measure][1] if measure in own else "",
            )
        )
    return tuple(found)


def _mean_text(mean: Fraction, places: int) -> str:
    """The mean in its unit to three places at most, without zeros beyond the unit's own places."""
    text = written(half_up(mean, _MEAN_PLACES - places), _MEAN_PLACES)
    least = text.index(".") + (1 + places if places else 0)
    return text[:least] + text[least:].rstrip("0").rstrip("." if not places else "")


def _result(judged: Sequence[Judged]) -> Result:
    return Result.ON_TARGET if all(entry.met for entry in judged) else Result.OFF_TARGET
