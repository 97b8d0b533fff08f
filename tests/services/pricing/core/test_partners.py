"""Partners' control rates and readmissions: cases worked by hand, and what must always hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.dated import add_months
from services.common.strict_yaml import load
from services.pricing.core.months import Result
from services.pricing.core.partners import (
    Interval,
    PartnerMonth,
    Stay,
    control_of,
    discharges_of,
    readmissions_of,
    strata_of,
    unassessed,
)

FOLDER = Path(__file__).parents[3] / "cases" / "partners"
LETTERS = {"+": Result.ON_TARGET, "-": Result.OFF_TARGET, "?": Result.NOT_ENOUGH}
KNOWN_BEFORE = "2026-01-01"


def cases(name: str) -> list[Any]:
    found = load((FOLDER / name).read_bytes(), name)["cases"]
    return [pytest.param(case, id=case["case"]) for case in found]


def months_of(written: Sequence[Mapping[str, Any]]) -> list[PartnerMonth]:
    return [
        PartnerMonth(
            entry["partner"],
            entry["member"],
            add_months(date.fromisoformat(f"{entry['from']}-01"), place),
            LETTERS[letter],
        )
        for entry in written
        for place, letter in enumerate(entry["results"])
        if letter in LETTERS
    ]


def stays_of(written: Sequence[Mapping[str, Any]]) -> list[Stay]:
    return [
        Stay(
            name=entry["id"],
            member=entry["of"],
            admitted=date.fromisoformat(entry["in"]),
            discharged=date.fromisoformat(entry["out"]) if "out" in entry else None,
            planned=entry.get("planned", False),
            partner=entry.get("by", ""),
            died=entry.get("died", False),
            stratum=(entry["stratum"],) if "stratum" in entry else (),
            expected=Fraction(entry["expected"]) if "expected" in entry else None,
        )
        for entry in written
    ]


def near(found: Interval | None, wanted: Sequence[float]) -> bool:
    return found is not None and (found.low, found.high) == pytest.approx(
        [float(end) for end in wanted], abs=1e-6
    )


@pytest.mark.parametrize("case", cases("control.yaml"))
def test_control_by_hand(case: Mapping[str, Any]) -> None:
    months = months_of(case["months"])
    missing = unassessed(months)
    found = control_of((*months, *missing), least_members=case.get("least", 1))
    assert {one.partner for one in found} == set(case["control"])
    for one in found:
        wanted = case["control"][one.partner]
        assert (one.on_target, one.off_target) == (wanted["on"], wanted["off"])
        assert one.not_enough == wanted["not_enough"]
        assert sum(month.partner == one.partner for month in missing) == wanted["missing"]
        assert one.rate == (None if wanted["rate"] == "none" else Fraction(wanted["rate"]))
        assert (one.interval is None) == (one.rate is None)
        assert "interval" not in wanted or near(one.interval, wanted["interval"])


@pytest.mark.parametrize("case", cases("readmission.yaml"))
def test_readmission_by_hand(case: Mapping[str, Any]) -> None:
    least = case.get("least", 1)
    known_before = date.fromisoformat(case.get("known_before", KNOWN_BEFORE))
    found = discharges_of(stays_of(case["stays"]), known_before=known_before).counted
    assert len(found) == case["counted"]
    assert sorted(one.stay.name for one in found if one.readmitted) == case["readmitted"]
    told = readmissions_of(found, strata_of(found, least_stays=least), least_stays=least)
    for one in told:
        wanted = case["partners"][one.partner]
        assert (one.discharges, one.observed) == (wanted["discharges"], wanted["observed"])
        assert one.expected == Fraction(wanted["expected"])
        assert one.ratio == (None if wanted["ratio"] == "none" else Fraction(wanted["ratio"]))
        assert "interval" not in wanted or near(one.interval, wanted["interval"])


MEMBER_MONTHS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("mno"), st.integers(0, 8)),
    unique=True,
    min_size=2,
    max_size=20,
).flatmap(
    lambda keys: st.tuples(*(st.tuples(st.just(key), st.sampled_from(Result)) for key in keys))
)


@given(MEMBER_MONTHS, st.data())
def test_leaving_out_a_month_within_a_membership_never_raises_the_rate(
    written: Sequence[tuple[tuple[str, str, int], Result]], data: st.DataObject
) -> None:
    months = [
        PartnerMonth(partner, member, add_months(date(2025, 1, 1), ahead), result)
        for (partner, member, ahead), result in written
    ]
    left_out = data.draw(st.sampled_from(months))
    mine = [m.month for m in months if (m.partner, m.member) == (left_out.partner, left_out.member)]
    inside = min(mine) < left_out.month < max(mine)
    elsewhere = any(
        (m.member, m.month) == (left_out.member, left_out.month) and m.partner != left_out.partner
        for m in months
    )
    if not inside or elsewhere:
        return

    def rate(of: Sequence[PartnerMonth]) -> Fraction | None:
        found = control_of((*of, *unassessed(of)), least_members=1)
        return next(one.rate for one in found if one.partner == left_out.partner)

    before, after = rate(months), rate([m for m in months if m is not left_out])
    assert before is not None
    assert after is not None
    assert after <= before


STAYS = st.lists(
    st.tuples(
        st.sampled_from("mnop"),
        st.integers(0, 300),
        st.integers(0, 20),
        st.booleans(),
        st.sampled_from(["", "steps", "coach"]),
        st.sampled_from(["x", "y", "z"]),
    ),
    max_size=25,
)


@given(STAYS, st.integers(1, 6), st.randoms())
def test_all_that_is_expected_of_a_book_is_what_was_observed_in_any_order(
    written: Sequence[tuple[str, int, int, bool, str, str]], least: int, chance: Any
) -> None:
    first = date(2024, 1, 1)
    stays = [
        Stay(
            name=f"{place:02d}",
            member=member,
            admitted=first + timedelta(days=day),
            discharged=first + timedelta(days=day + long),
            planned=planned,
            partner=partner or "nobody",
            stratum=(stratum,),
        )
        for place, (member, day, long, planned, partner, stratum) in enumerate(written)
    ]

    def told(of: Sequence[Stay]) -> Any:
        found = discharges_of(of, known_before=date(2024, 10, 1)).counted
        strata = strata_of(found, least_stays=least)
        return readmissions_of(found, strata, least_stays=least)

    found = told(stays)
    assert sum(one.expected for one in found) == sum(one.observed for one in found)
    chance.shuffle(stays)
    assert told(stays) == found
