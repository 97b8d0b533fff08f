"""What no set of readings can do: gain by order, by measuring again, or by leaving readings out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.pricing.core.incentive import Incentive, assess
from services.pricing.core.months import PersonalTarget, month_of
from services.pricing.core.outcome import Person
from services.pricing.core.programme import Measure, Target
from services.pricing.core.readings import Measured, Provenance, Quantity, Reading
from tests.services.pricing.core.reading_cases import programmes, weekly
from tests.services.pricing.core.test_sequences import PERSON

DAY_ZERO = datetime(2025, 1, 1, tzinfo=UTC)
HIS = {Provenance.LABORATORY, Provenance.CLINIC}


@st.composite
def one_reading(draw: st.DrawFn) -> Reading:
    quantity = draw(st.sampled_from(Quantity))
    low, high = {
        Quantity.HBA1C: (60, 80),
        Quantity.GLUCOSE: (35, 110),
        Quantity.SYSTOLIC: (125, 145),
        Quantity.DIASTOLIC: (78, 92),
    }[quantity]
    effective = DAY_ZERO + timedelta(days=draw(st.integers(0, 150)), hours=draw(st.integers(0, 2)))
    return Reading(
        name=f"r{draw(st.integers(0, 10_000)):05}",
        measured=Measured(
            quantity,
            draw(st.integers(low, high)),
            quantity is Quantity.GLUCOSE and draw(st.booleans()),
        ),
        provenance=draw(st.sampled_from(Provenance)),
        effective=effective,
        received=effective + timedelta(days=draw(st.sampled_from([0, 3, 30]))),
        recorder="member",
    )


many = st.lists(one_reading(), max_size=40, unique_by=lambda reading: reading.name)
which = st.sampled_from(["diabetes-glucose", "hypertension-pressure"])


def earned(
    readings: Iterable[Reading],
    programme: str,
    personal: Sequence[PersonalTarget] = (),
    person: Person | None = None,
) -> Incentive:
    return assess(
        readings,
        programmes().named(programme),
        personal,
        renewal=date(2025, 8, 1),
        expiring_start=None,
        zone=UTC,
        cap=None,
        person=person,
    )


@given(many, which, st.randoms(use_true_random=False))
def test_the_order_of_the_readings_changes_nothing(
    readings: list[Reading], programme: str, chance: object
) -> None:
    shuffled = list(readings)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' Random
    assert earned(shuffled, programme) == earned(readings, programme)


NEVER_MET = Target(below=1)
LAST_OF_WINDOW = date(2025, 5, 1)  # a month whose readings may still arrive at the renewal is out
MAY, JUNE = datetime(2025, 5, 24, tzinfo=UTC), datetime(2025, 6, 2, tzinfo=UTC)
OF_JUNE = Reading(
    name="s",
    measured=Measured(Quantity.GLUCOSE, 60, True),
    provenance=Provenance.DEVICE,
    effective=JUNE,
    received=JUNE,
    recorder="partner/stranger",
)
OF_PRESSURE = msgspec.structs.replace(
    OF_JUNE, measured=Measured(Quantity.SYSTOLIC, 130, False), effective=MAY, received=MAY
)


@given(many, which, st.sampled_from(Measure))
@example(weekly("2025-05", "6.0"), "diabetes-glucose", Measure.FASTING_GLUCOSE)
def test_the_target_of_somebody_who_measured_nothing_changes_nothing(
    readings: list[Reading], programme: str, measure: Measure
) -> None:
    target = PersonalTarget(measure, DAY_ZERO.date(), NEVER_MET, "partner/stranger")
    assert earned(readings, programme, [target]) == earned(readings, programme)


@given(many, which, st.sampled_from(Measure), one_reading())
@example(weekly("2025-05", "6.0"), "diabetes-glucose", Measure.FASTING_GLUCOSE, OF_JUNE)
@example(weekly("2025-05", "6.0"), "diabetes-glucose", Measure.FASTING_GLUCOSE, OF_PRESSURE)
def test_one_reading_of_something_else_or_outside_the_window_buys_no_say(
    readings: list[Reading], programme: str, measure: Measure, bought: Reading
) -> None:
    inside = month_of(bought.effective.date()) <= LAST_OF_WINDOW
    assume(not inside or bought.measured.quantity is not measure.quantity)
    beside = [*readings, msgspec.structs.replace(bought, name="s", recorder="partner/stranger")]
    target = PersonalTarget(measure, DAY_ZERO.date(), NEVER_MET, "partner/stranger")
    assert earned(beside, programme, [target]) == earned(beside, programme)


def test_one_reading_of_the_same_inside_the_window_does() -> None:
    """The control of the one before."""
    bought = msgspec.structs.replace(OF_JUNE, effective=MAY, received=MAY)
    beside = [*weekly("2025-05", "6.0"), bought]
    target = PersonalTarget(Measure.FASTING_GLUCOSE, DAY_ZERO.date(), NEVER_MET, bought.recorder)
    without, with_it = (
        earned(beside, "diabetes-glucose", personal) for personal in ((), (target,))
    )
    assert (without.run_months, with_it.run_months) == (1, 0)


def test_the_same_target_of_who_measured_counts() -> None:
    """The control of the first."""
    readings = weekly("2025-05", "6.0")
    by = readings[0].recorder
    target = PersonalTarget(Measure.FASTING_GLUCOSE, DAY_ZERO.date(), NEVER_MET, by)
    without, beside = (
        earned(readings, "diabetes-glucose", personal) for personal in ((), (target,))
    )
    assert (without.run_months, beside.run_months) == (1, 0)
    (judged,) = beside.months[-1].measures
    assert (judged.personal, judged.set_by) == (True, by)


@given(many, which, st.data())
def test_a_later_reading_of_the_same_or_lesser_provenance_changes_nothing(
    readings: list[Reading], programme: str, data: st.DataObject
) -> None:
    before = earned(readings, programme)
    counted = {name for month in before.months for name in month.evidence}
    at_work = [
        r
        for r in readings
        if r.name in counted and r.measured.quantity in (Quantity.GLUCOSE, Quantity.HBA1C)
    ]
    if not at_work:
        return
    found = data.draw(st.sampled_from(at_work))
    more = data.draw(st.sampled_from([p for p in Provenance if p.rank >= found.provenance.rank]))
    if found.measured.quantity is Quantity.HBA1C:
        more = Provenance.LABORATORY
    later = msgspec.structs.replace(
        found,
        name="again",
        measured=msgspec.structs.replace(found.measured, value=45),
        provenance=more,
        effective=found.effective + timedelta(minutes=data.draw(st.integers(1, 59))),
    )
    after = earned([*readings, later], programme)
    assert msgspec.structs.replace(after, flags=before.flags) == before  # it may be conspicuous


HOSPITALS = weekly("2025-03", "6.9", by="laboratory")
OWN = msgspec.structs.replace(
    HOSPITALS[0],
    name="own",
    provenance=Provenance.TYPED,
    measured=Measured(Quantity.GLUCOSE, 99, True),
    effective=datetime(2025, 3, 25, tzinfo=UTC),
    received=datetime(2025, 3, 25, tzinfo=UTC),
)


@given(many, which)
@example(weekly("2025-03", "6.0"), "diabetes-glucose")
@example([*HOSPITALS, OWN], "diabetes-glucose")
def test_leaving_out_a_months_own_readings_never_lowers_the_price(
    readings: list[Reading], programme: str
) -> None:
    """Neither by the run nor by the year's mean."""
    before = earned(readings, programme, person=PERSON)
    for own in by_month(readings).values():
        left = [r for r in readings if not (r in own and r.provenance not in HIS)]
        after = earned(left, programme, person=PERSON)
        assert after.share_millionths <= before.share_millionths
        assert after.model_millionths <= before.model_millionths


def test_three_slots_of_the_hospital_stand_alone() -> None:
    for value in (99, 45):
        own = msgspec.structs.replace(OWN, measured=Measured(Quantity.GLUCOSE, value, True))
        done = earned([*HOSPITALS, own], "diabetes-glucose")
        assert done == earned(HOSPITALS, "diabetes-glucose")
        assert done.run_months == 1
    # Control: beside two of the hospital's, one's own third one counts.
    third = msgspec.structs.replace(OWN, measured=Measured(Quantity.GLUCOSE, 60, True))
    assert earned(HOSPITALS[:2], "diabetes-glucose").run_months == 0
    assert earned([*HOSPITALS[:2], third], "diabetes-glucose").run_months == 1


@given(many, which)
def test_a_run_is_made_of_months_on_target_only(readings: list[Reading], programme: str) -> None:
    found = earned(readings, programme)
    months = [month.month for month in found.months]
    assert len(months) == 12
    if found.run_months:
        begin = months.index(found.run_first)
        run = found.months[begin : begin + found.run_months]
        assert run[-1].month == found.run_last
        assert {month.result for month in run} == {"ON_TARGET"}
        assert set(found.evidence) == {name for month in run for name in month.evidence}
    else:
        assert "ON_TARGET" not in {month.result for month in found.months}
        assert found.evidence == ()


def by_month(readings: Sequence[Reading]) -> dict[date, list[Reading]]:
    found: dict[date, list[Reading]] = defaultdict(list)
    for reading in readings:
        found[month_of(reading.effective.date())].append(reading)
    return found
