"""u: as the core judges months, blind to the future, never better for leaving readings out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from services.common.dated import add_months
from services.pricing.core.incentive import window_of
from services.pricing.core.months import Basis, MonthAssessment, assess_months, in_time
from services.pricing.core.readings import (
    LOINC,
    Fasting,
    Measured,
    Provenance,
    Quantity,
    Written,
    measure,
)
from services.pricing.core.readings import Reading as Counted
from services.pricing.fitting.experience import outcome
from services.pricing.fitting.experience.checking import usable_readings
from services.pricing.fitting.experience.outcome import Stratum
from services.pricing.fitting.experience.tables import Connection
from services.pricing.programmes.loader import example_programmes, load_programmes
from tests.services.pricing.fitting.books import BOOK, opened, plain, rows

SHANGHAI = ZoneInfo("Asia/Shanghai")
KNOWN_ON = date(2024, 3, 1)
UNITS = {"4548-4": "%", "15074-8": "mmol/L", "8480-6": "mm[Hg]", "8462-4": "mm[Hg]"}


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz=SHANGHAI)


def reading(code: str, value: float, effective: str, **more: Any) -> dict[str, Any]:
    when = at(effective)
    received = more.pop("received", when + timedelta(hours=1))
    return {
        "code": code,
        "value": value,
        "unit": UNITS[code],
        "effective_time": when,
        "receive_time": received,
        "provenance": "DEVICE",
    } | more


def known(readings: Sequence[dict[str, Any]], day: date = KNOWN_ON) -> Connection:
    """A database in which `known` stands for p1 on the day."""
    con = opened(plain() | {"readings": rows("readings", *readings)})
    con.execute(
        "CREATE TEMP TABLE persons AS SELECT 'p1' AS person_id, 0 AS pid, false AS held_out"
    )
    usable_readings(con, BOOK)
    outcome.prepare(con)
    outcome.know(con, f"SELECT 0 AS pid, DATE '{day}' AS known_on")
    return con


def months(con: Connection, kind: str) -> dict[str, int]:
    found = con.execute(
        "SELECT strftime(month, '%Y-%m'), value FROM known WHERE outcome = ? ORDER BY month", [kind]
    ).fetchall()
    return dict(found)


def u_of(con: Connection, z: float = 0.8, m0: float = 8.4) -> float:
    segment = f"SELECT 'p1' AS person_id, DATE '{KNOWN_ON}' AS known_on"
    con.execute(f"CREATE OR REPLACE TEMP TABLE segments AS {segment}")
    stratum = Stratum(
        outcome="u_hba1c_percent",
        condition="both",
        m0=m0,
        people=1,
        person_months=1,
        within=1.0,
        between=1.0,
        k=1.0,
        z=z,
    )
    return float(outcome.outcomes(con, [stratum])["u"].iloc[0])


def slots(month: str, code: str, values: Sequence[float], **more: Any) -> list[dict[str, Any]]:
    days = ("03", "10", "17", "24")
    return [
        reading(code, value, f"{month}-{day} 07:00", **more)
        for value, day in zip(values, days, strict=False)
    ]


def test_a_laboratory_value_decides_its_month_and_the_two_before() -> None:
    con = known(
        [
            reading("4548-4", 7.2, "2023-09-10 09:00", provenance="LABORATORY"),
            reading("4548-4", 8.0, "2023-11-10 09:00", provenance="LABORATORY"),
            *slots("2023-07", "15074-8", [9.0, 9.0, 9.0, 9.0]),
            *slots("2023-06", "15074-8", [9.4, 9.4, 9.1]),
            *slots("2023-05", "15074-8", [9.4, 9.4]),
        ]
    )
    assert months(con, "hba1c") == {
        "2023-06": round((9.3 + 2.59) / 1.59 * 1e6),
        "2023-07": 7_200_000,
        "2023-08": 7_200_000,
        "2023-09": 7_200_000,
        "2023-10": 8_000_000,
        "2023-11": 8_000_000,
    }


def test_u_by_hand() -> None:
    """Three months at 7.2 and nine at m0 = 8.4: mean 8.1; u = 0.8 × 8.1 + 0.2 × 8.4 = 8.16."""
    con = known([reading("4548-4", 7.2, "2023-09-10 09:00", provenance="LABORATORY")])
    assert u_of(con) == pytest.approx(8.16)


def test_who_was_never_measured_stands_at_m0() -> None:
    assert u_of(known([reading("8480-6", 150, "2023-09-10 09:00")])) == pytest.approx(8.4)


@pytest.mark.parametrize("received", ["2024-03-01 00:00", "2024-03-05 12:00"])
def test_a_reading_counts_from_the_day_after_its_receipt(received: str) -> None:
    early = [reading("4548-4", 7.2, "2023-09-10 09:00", provenance="LABORATORY")]
    lab = {"provenance": "LABORATORY", "received": at(received)}
    late = reading("4548-4", 5.0, "2024-02-28 09:00", **lab)
    assert u_of(known([*early, late])) == u_of(known(early))


def test_the_evening_before_is_known() -> None:
    early = [reading("4548-4", 7.2, "2023-09-10 09:00", provenance="LABORATORY")]
    seen = {"provenance": "LABORATORY", "received": at("2024-02-29 23:59")}
    late = reading("4548-4", 5.0, "2024-02-28 09:00", **seen)
    assert months(known([*early, late]), "hba1c")["2023-12"] == 5_000_000


def test_no_later_value_hides_an_earlier_one_before_it_is_received() -> None:
    """The month's earliest decides it, but not on a day on which only the second is known."""
    lab = {"provenance": "LABORATORY"}
    second = reading("4548-4", 7.0, "2024-02-20 09:00", **lab)
    first = reading("4548-4", 9.0, "2024-02-05 09:00", **lab, received=at("2024-03-02 09:00"))
    assert months(known([second]), "hba1c") == months(known([first, second]), "hba1c")


@pytest.mark.parametrize("seed", range(4))
def test_months_are_the_core_s_and_blind_to_order_and_future(seed: int) -> None:
    chance = random.Random(seed)
    drawn = [one for _ in range(400) for one in _drawn(chance)]
    con = known(drawn)
    window = window_of(KNOWN_ON)
    asked = [add_months(window.first, ahead) for ahead in range(12)]
    for kind, programme in (("hba1c", "diabetes-glucose"), ("systolic", "hypertension-pressure")):
        judged = _judged(drawn, programme, asked)
        expected = {one.month: _value(one, kind) for one in judged if one.basis}
        assert len(expected) > 3
        assert months(con, kind) == pytest.approx(expected, abs=1_000)
    before = con.execute("SELECT * FROM known ORDER BY ALL").fetchall()
    since = datetime(2024, 3, 1, tzinfo=SHANGHAI)
    whole = [*drawn, *(one for _ in range(20) for one in _drawn(chance, since))]
    again = known(chance.sample(whole, len(whole)))
    assert again.execute("SELECT * FROM known ORDER BY ALL").fetchall() == before


@pytest.mark.parametrize("seed", range(3))
def test_leaving_out_what_a_person_controls_lowers_no_u(seed: int) -> None:
    chance = random.Random(seed)
    drawn = [one for _ in range(160) for one in _drawn(chance)]
    whole = u_of(known(drawn))
    for month in ("2023-04", "2023-08", "2023-12"):
        kept = [
            one
            for one in drawn
            if one["provenance"] in ("LABORATORY", "CLINIC")
            or f"{one['effective_time']:%Y-%m}" != month
        ]
        assert u_of(known(kept)) >= whole - 1e-9


def _drawn(chance: random.Random, since: datetime | None = None) -> list[dict[str, Any]]:
    """One measurement. A pressure is two readings, or its upper one alone, and may be absurd."""
    code = chance.choice(["4548-4", "15074-8", "15074-8", "8480-6"])
    start = since or datetime(2022, 12, 1, tzinfo=SHANGHAI)
    moment = start + timedelta(minutes=chance.randrange(0, 440 if since else 60 * 24 * 455))
    provenance = "LABORATORY" if code == "4548-4" else chance.choice(["DEVICE", "TYPED", "CLINIC"])
    value = {"4548-4": 7.5, "15074-8": 9.0, "8480-6": 140}[code] * chance.uniform(0.4, 1.4)
    said = f"{moment:%Y-%m-%d %H:%M}"
    wait = timedelta(hours=chance.choice([0, 5, 50, 300]))
    told = {"provenance": provenance, "received": at(said) + wait}
    found = [reading(code, round(value, 0 if code == "8480-6" else 1), said, **told)]
    if code == "8480-6" and chance.random() < 0.9:
        found.append(reading("8462-4", round(value * chance.uniform(0.5, 1.03)), said, **told))
    return found


def _judged(
    drawn: Sequence[dict[str, Any]], programme: str, asked: Sequence[date]
) -> Sequence[MonthAssessment]:
    counted = []
    for place, one in enumerate(drawn, 1):
        if one["receive_time"].date() >= KNOWN_ON:
            continue
        said = measure(
            Written(
                system=LOINC,
                code=one["code"],
                value=str(Decimal(str(one["value"]))),
                unit=one["unit"],
                fasting=Fasting.UNKNOWN,
                provenance=Provenance(one["provenance"]),
            )
        )
        assert isinstance(said, Measured)
        counted.append(
            Counted(
                name=f"r{place}",
                measured=said,
                provenance=Provenance(one["provenance"]),
                effective=one["effective_time"].to_pydatetime(),
                received=one["receive_time"].to_pydatetime(),
                recorder="r",
            )
        )
    found = load_programmes(example_programmes()).named(programme)
    return assess_months(in_time(counted, SHANGHAI), found, (), asked, SHANGHAI)


def _value(one: MonthAssessment, kind: str) -> float:
    """The month's value in millionths, from the core's means of home and clinic."""
    upper = [j for j in one.measures if j.measure.quantity is not Quantity.DIASTOLIC]
    mean = sum(float(j.mean) * j.readings for j in upper) / sum(j.readings for j in upper)
    if kind == "systolic" or one.basis is Basis.LABORATORY_HBA1C:
        return mean * 1e6
    return (mean + 2.59) / 1.59 * 1e6
