"""fit/survival.json: curves of every segment, checks of every coefficient, the same bytes again."""

from __future__ import annotations

import msgspec
import pytest

from services.pricing.fitting.models.survival_files import Survival, survival, survival_bytes
from tests.services.pricing.fitting.models.fitting import settings
from tests.services.pricing.fitting.models.made_book import MadeBook, made_book


@pytest.fixture(scope="module")
def book() -> MadeBook:
    return made_book(1_000, 4, rate=0.12)


@pytest.fixture(scope="module")
def found(book: MadeBook) -> Survival:
    return survival(book.experience, book.claims, settings(), synthetic=True)


def test_every_coefficient_is_checked_against_poisson(found: Survival) -> None:
    (cause,) = found.causes
    assert not cause.refused
    assert {one.name for one in cause.checked} == {"age", "sex", "condition", "hba1c"}
    assert max(one.apart for one in cause.checked) <= 0.02
    tested = [one.p_proportional for one in cause.checked if one.p_proportional is not None]
    assert len(tested) > 4


def test_curves_fall_and_hazards_rise_within_their_intervals(found: Survival) -> None:
    curves = found.causes[0].curves
    assert {(one.kind, one.by) for one in curves} == {
        (kind, by)
        for kind in ("kaplan_meier", "nelson_aalen", "next_event")
        for by in ("", "condition", "sex")
    }
    assert {one.level for one in curves if one.by == "sex"} == {"F", "M"}
    for one in curves:
        order = sorted(one.value, reverse=one.kind != "nelson_aalen")
        assert list(one.value) == order
        assert all(
            low <= value <= high
            for low, value, high in list(zip(one.low95, one.value, one.high95, strict=True))[1:]
        )


def test_the_same_book_gives_the_same_bytes(book: MadeBook, found: Survival) -> None:
    again = survival(book.experience[::-1], book.claims, settings(), synthetic=True)
    assert survival_bytes(again) == survival_bytes(found)
    assert msgspec.json.decode(survival_bytes(found), type=Survival) == found


def test_a_model_that_cannot_be_made_says_why_and_the_curves_stand(book: MadeBook) -> None:
    text = (
        "fit:\n  target_loss_ratio: none\n"
        "  factors:\n    sex: {base: F}\n    gender: {column: sex, base: F}\n"
        "  causes:\n    inpatient: {frequency: [sex, gender], severity: []}\n"
    )
    found = survival(book.experience, book.claims, settings(text), synthetic=True)
    assert found.causes[0].refused
    assert not found.causes[0].checked
    assert found.causes[0].curves


_OF_TWO = """\
fit:
  target_loss_ratio: none
  factors: {sex: {base: F}, condition: {base: none}}
  causes:
    inpatient: {frequency: [sex, condition], severity: []}
"""


@pytest.mark.parametrize(
    ("with_events", "places"),
    [
        ({"M"}, ["inpatient.survival.sex: nobody of its base F "]),
        (set(), ["inpatient.survival: nobody "]),
        ({"F", "M"}, []),
    ],
)
def test_without_a_first_event_to_stand_against_a_cause_is_refused_by_name(
    book: MadeBook, with_events: set[str], places: list[str]
) -> None:
    people = book.experience.loc[book.experience["sex"].isin(with_events), "person_id"]
    claims = book.claims[book.claims["person_id"].isin(people)]
    (cause,) = survival(book.experience, claims, settings(_OF_TWO), synthetic=True).causes
    told = cause.refused.splitlines()
    assert [line.startswith(place) for line, place in zip(told, places, strict=True)] == [
        True for _ in places
    ]
    assert bool(cause.checked) == (not places)
