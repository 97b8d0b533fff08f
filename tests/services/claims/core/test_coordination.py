"""Which policies answer for a bill, and in which order, whatever there are of them."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.claims.core.coordination import Candidate, coordinated, place_on
from services.claims.core.plan import Coordination, Place
from services.common.dated import Dated
from tests.services.claims.core.bills import plan_named


def _policy(name: str, **more: object) -> Candidate:
    return Candidate(**({"policy_id": name, "covers": True, "renews": False} | more))  # type: ignore[arg-type] # a test's own words


ORDERS = [
    ((), []),
    ((_policy("old"), _policy("new")), ["old", "new"]),
    ((_policy("old"), _policy("new", choice=1)), ["new", "old"]),
    ((_policy("old", choice=2), _policy("new", choice=1)), ["new", "old"]),
    ((_policy("old", place=Place.LAST, choice=1), _policy("new")), ["new", "old"]),
    ((_policy("old", choice=1), _policy("new", place=Place.FIRST)), ["new", "old"]),
    ((_policy("gone", covers=False), _policy("new")), ["new"]),
    ((_policy("gone", covers=False), _policy("too", covers=False)), ["too"]),
    (
        (_policy("first"), _policy("second", covers=False, renews=True, previous="first")),
        ["second"],
    ),
    # Covered at admission already, it takes no place of the one before.
    ((_policy("first"), _policy("second", renews=True, previous="first")), ["first", "second"]),
]


@pytest.mark.parametrize(("policies", "order"), ORDERS)
def test_policies_answer_in_this_order(policies: tuple[Candidate, ...], order: list[str]) -> None:
    assert coordinated(policies) == order


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        policy_id=st.uuids().map(str),
        covers=st.booleans(),
        renews=st.booleans(),
        choice=st.integers(0, 3),
        place=st.sampled_from(Place),
    ),
    max_size=6,
)


@given(CANDIDATES)
def test_every_policy_in_force_answers_once_and_the_last_one_without_any(
    policies: list[Candidate],
) -> None:
    found = coordinated(policies)
    in_force = {one.policy_id for one in policies if one.covers or one.renews}
    assert len(found) == len(set(found))
    assert set(found) == (in_force or {one.policy_id for one in policies[-1:]})


def test_a_place_is_that_of_the_day_and_null_leaves_it_to_the_member() -> None:
    plan = plan_named("conventions-options")
    places = [place_on(plan, date(year, 6, 1)) for year in (2023, 2024, 2026, 2027)]
    assert places == [Place.CHOICE, Place.CHOICE, Place.LAST, Place.FIRST]
    silent = msgspec.structs.replace(plan, coordination=Coordination(clause="3.3"))
    assert place_on(silent, date(2026, 6, 1)) is Place.CHOICE
    first = Dated(values=((date(2026, 1, 1), Place.FIRST),))
    said = msgspec.structs.replace(plan, coordination=Coordination(clause="3.3", place=first))
    assert place_on(said, date(2025, 6, 1)) is Place.FIRST  # before its day, as on it
