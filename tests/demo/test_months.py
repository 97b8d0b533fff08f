"""The truth about months on target, by hand: each case is one rule of docs/conventions.md B."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from demo.hospital.bills import ZONE
from demo.hospital.hospital import generate
from demo.hospital.months import GLUCOSE, PRESSURE, Result, judge, longest_run, window
from demo.hospital.people import Person
from demo.hospital.readings import Course, Kind, Reading, Source

PERSON = Person(key="p1", name="王伟", female=False, born=date(1960, 1, 1), id_number=None)
ON, OFF, FEW = Result.ON_TARGET, Result.OFF_TARGET, Result.NOT_ENOUGH
UNITS = {Kind.HBA1C: "%", Kind.SYSTOLIC: "mm[Hg]", Kind.DIASTOLIC: "mm[Hg]"}


def reading(
    kind: Kind,
    value: str,
    day: date,
    *,
    hour: int = 8,
    source: Source = Source.DEVICE,
    late: int = 0,
    unit: str = "",
) -> Reading:
    """A value measured on a day and received so many days later."""
    at = datetime(day.year, day.month, day.day, hour, tzinfo=ZONE)
    return Reading(
        key=f"{day}-{hour}-{kind}-{source}",
        person=PERSON,
        kind=kind,
        value=Decimal(value),
        unit=unit or UNITS.get(kind, "mmol/L"),
        at=at,
        received=at + timedelta(days=late),
        source=source,
    )


def fasting(*values: str, month: int = 3, source: Source = Source.DEVICE) -> list[Reading]:
    """Fasting values, one a slot from the month's first slot on."""
    return [
        reading(Kind.FASTING, value, date(2025, month, 3 + 7 * slot), source=source)
        for slot, value in enumerate(values)
    ]


def pressure(*pairs: tuple[str, str], source: Source = Source.DEVICE) -> list[Reading]:
    """Pairs of pressures in March, one a slot."""
    return [
        reading(kind, value, date(2025, 3, 3 + 7 * slot), source=source)
        for slot, pair in enumerate(pairs)
        for kind, value in zip((Kind.SYSTOLIC, Kind.DIASTOLIC), pair, strict=True)
    ]


def lab(value: str, day: date, late: int = 1) -> Reading:
    return reading(Kind.HBA1C, value, day, source=Source.LABORATORY, late=late)


def result(readings: list[Reading], month: int = 3, programme: str = GLUCOSE) -> Result:
    return dict(judge(programme, readings))[2025, month]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        (fasting("6.9", "7.0", "7.1"), ON),
        (fasting("7.0", "7.0", "7.1"), OFF),
        (fasting("4.4", "4.4", "4.4"), ON),
        (fasting("4.3", "4.4", "4.4"), OFF),
        (fasting("6.0", "6.0"), FEW),
        # Below 3.9 fills no slot.
        (fasting("6.0", "6.0", "3.8"), FEW),
        (fasting("4.9", "4.9", "3.9"), ON),
    ],
)
def test_three_filled_slots_decide_by_their_mean(readings: list[Reading], expected: Result) -> None:
    assert result(readings) is expected


def test_each_kind_of_glucose_must_meet_its_own_target() -> None:
    after = reading(Kind.GLUCOSE, "9.9", date(2025, 3, 25))
    assert result([*fasting("6.0", "6.0"), after]) is ON
    high = reading(Kind.GLUCOSE, "10.0", date(2025, 3, 25))
    assert result([*fasting("6.0", "6.0"), high]) is OFF


def test_a_slot_counts_the_best_source_then_the_earliest() -> None:
    later = reading(Kind.FASTING, "12.0", date(2025, 3, 4))
    assert result([*fasting("6.0", "6.0", "6.0"), later]) is ON
    typed = reading(Kind.FASTING, "5.0", date(2025, 3, 1), source=Source.TYPED)
    assert result([*fasting("9.1", "6.0", "6.0"), typed]) is OFF
    lab_glucose = reading(Kind.FASTING, "6.0", date(2025, 3, 5), source=Source.LABORATORY)
    assert result([*fasting("9.1", "6.0", "6.0"), lab_glucose]) is ON


def test_a_laboratory_value_decides_its_month_and_the_two_before_the_nearest_first() -> None:
    readings = [*fasting("9.0", "9.0", "9.0", month=1), lab("6.9", date(2025, 3, 10))]
    assert [result(readings, month) for month in (1, 2, 3, 4)] == [ON, ON, ON, FEW]
    readings.append(lab("7.0", date(2025, 2, 10)))
    assert [result(readings, month) for month in (1, 2, 3)] == [OFF, OFF, ON]


def test_what_comes_more_than_seven_days_after_the_month_counts_nowhere() -> None:
    in_time, late = lab("6.5", date(2025, 3, 31), late=7), lab("6.5", date(2025, 3, 31), late=8)
    assert (result([in_time]), result([late])) == (ON, FEW)


def test_milligrams_are_converted_and_rounded_before_they_are_compared() -> None:
    # 127 / 18.016 = 7.049... is 7.0; 128 / 18.016 = 7.104... is 7.1.
    days = [date(2025, 3, 3 + 7 * slot) for slot in range(3)]
    for value, expected in (("127", ON), ("128", OFF)):
        readings = [reading(Kind.FASTING, value, day, unit="mg/dL") for day in days]
        assert result(readings) is expected


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        (pressure(("134", "84"), ("134", "84"), ("134", "84")), ON),
        (pressure(("135", "84"), ("135", "84"), ("135", "84")), OFF),
        (pressure(("134", "85"), ("134", "85"), ("134", "85")), OFF),
        (pressure(("139", "89"), ("139", "89"), ("139", "89"), source=Source.CLINIC), ON),
        (pressure(("140", "89"), ("139", "89"), ("141", "89"), source=Source.CLINIC), OFF),
        (pressure(("120", "70"), ("120", "70")), FEW),
    ],
)
def test_pressure_is_judged_by_both_values(readings: list[Reading], expected: Result) -> None:
    assert result(readings, programme=PRESSURE) is expected


def test_the_window_ends_forty_five_days_before_the_renewal() -> None:
    assert (window()[0], window()[-1], len(window())) == ((2024, 11), (2025, 10), 12)
    # 45 days before 14 January is 30 November, the month's last day.
    assert window(date(2026, 1, 14))[-1] == (2025, 11)
    assert window(date(2026, 1, 13))[-1] == (2025, 10)


def test_not_enough_breaks_a_run() -> None:
    assert longest_run([ON, ON, FEW, ON, OFF, ON, ON, ON]) == 3
    assert longest_run([OFF, FEW]) == 0


def test_every_course_and_every_share_is_there() -> None:
    hospital = generate(20250101)
    courses = hospital.record.courses
    assert set(courses.values()) == set(Course)
    assert {one.share for one in hospital.participants} >= {Decimal(0), Decimal("0.10")}
    runs = {
        course: [p.run for p in hospital.participants if courses[p.person.key] is course]
        for course in Course
    }
    assert min(runs[Course.WELL]) > 0
    assert max(runs[Course.POOR]) < 3
