"""What a programme truly does is found again; what only looks like an effect is not believed.

Negative controls: the plain ratios, whose intervals hold the truth of the outpatient cause almost
never, and two books whose figures must not be believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from math import log

import numpy as np
import pandas as pd
import pytest

from services.pricing.fitting.models.evaluation import evaluate
from services.pricing.fitting.models.evaluation_result import (
    Effect,
    Evaluation,
    Naive,
    Ratio,
    evaluation_bytes,
)
from services.pricing.fitting.models.evaluation_settings import EvaluateSettings
from services.pricing.fitting.models.refusal import FitRefused
from tests.services.pricing.fitting.models.joining import Joining, made, studied

SETTINGS = EvaluateSettings()
# Books of a few thousand people hold fewer injuries.
SMALL = replace(SETTINGS, least_claims=5)


def holds(one: Ratio | Naive, truth: float) -> bool:
    return one.low95 <= truth <= one.high95


def effect(found: Evaluation, cause: str, measure: str = "claims") -> Effect:
    return next(one for one in found.effects if (one.cause, one.measure) == (cause, measure))


def naive(one: Effect, name: str) -> Naive:
    return next(found for found in one.naive if found.name.startswith(name))


@pytest.fixture(scope="module")
def lowered() -> Joining:
    return studied(made(0, 0.80, 6_000))


@pytest.fixture(scope="module")
def found(lowered: Joining) -> Evaluation:
    return evaluate(lowered.experience, lowered.claims, SMALL)


def test_the_interval_holds_the_true_effect_and_the_plain_ratio_does_not(found: Evaluation) -> None:
    outpatient = effect(found, "outpatient")
    assert holds(outpatient.enrolled, 0.80)
    assert outpatient.enrolled.high95 < 0.90
    assert holds(effect(found, "inpatient").enrolled, 0.80)
    assert holds(effect(found, "outpatient", "amount").enrolled, 0.80)
    assert not holds(naive(outpatient, "participants"), 0.80)
    assert not holds(naive(outpatient, "ever"), 0.80)
    assert found.believed


def test_the_same_study_gives_the_same_bytes(lowered: Joining, found: Evaluation) -> None:
    shuffled = lowered.experience.sample(frac=1, random_state=1)
    again = evaluate(shuffled, lowered.claims, SMALL)
    assert evaluation_bytes(again) == evaluation_bytes(found)


def test_a_cause_that_cannot_be_affected_gives_an_uneven_book_away(lowered: Joining) -> None:
    """Claims of participants that are better reported look like an effect, of injuries too."""
    inside = lowered.experience.set_index("segment_id")["participant"]
    claims = lowered.claims
    more = claims[inside.loc[claims["segment_id"]].to_numpy()]
    found = evaluate(lowered.experience, pd.concat([claims, *[more] * 4]), SMALL)
    assert not found.believed
    failed = [one for one in found.checks if not one.passed]
    assert [(one.name, one.cause) for one in failed] == [("control", "injury")]
    assert effect(found, "outpatient").enrolled.low95 > 3


def test_enrolling_the_dearest_people_is_not_believed_to_save() -> None:
    """EVIDENCE: the top tenth of spenders shows a great saving where there is none."""
    plain = made(1, 1.0, 6_000)
    day = date(2025, 1, 1)
    claims = plain.claims
    year = claims[(claims["event_day"] >= date(2024, 1, 1)) & (claims["event_day"] < day)]
    ill = set(plain.people.loc[plain.people["conditions"] != "none", "person_id"])
    spent = year[year["person_id"].isin(ill)].groupby("person_id")["amount_minor"].sum()
    top = spent.nlargest(len(spent) // 10).index
    joined = pd.DataFrame(
        {"person_id": top, "programme": "care", "first_day": day, "after_day": None}
    )
    book = studied(replace(plain, enrolments=joined))
    found = evaluate(book.experience, book.claims, SMALL)
    inpatient = effect(found, "inpatient")
    assert naive(inpatient, "after").high95 < 0.7
    assert inpatient.before.low95 > 1.3
    assert not found.believed
    failed = {(one.name, one.cause) for one in found.checks if not one.passed}
    assert ("before", "inpatient") in failed


def test_everything_that_is_missing_is_told_at_once(lowered: Joining) -> None:
    with pytest.raises(FitRefused) as refused:
        evaluate(
            lowered.experience.drop(columns=["participant", "claims_injury"]),
            lowered.claims.drop(columns=["event_day"]),
            SETTINGS,
        )
    assert sorted(one.text.split(";")[0] for one in refused.value.faults) == [
        "has no column claims_injury",
        "has no column event_day",
        "has no column participant",
    ]


def test_too_little_is_refused_with_its_numbers(lowered: Joining) -> None:
    wanted = replace(SETTINGS, least_joiners=5_000, least_claims=500)
    with pytest.raises(FitRefused) as refused:
        evaluate(lowered.experience, lowered.claims, wanted)
    told = [(one.where, one.code) for one in refused.value.faults]
    assert told == [
        ("enrolments", "TOO_FEW_JOINERS"),
        ("inpatient", "TOO_FEW_CLAIMS"),
        ("injury", "TOO_FEW_CLAIMS"),
    ]


@pytest.mark.fault
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("true", [1.0, 0.80])
def test_intervals_of_a_hundred_books_hold_the_true_effect(true: float) -> None:
    found = []
    for seed in range(100):
        book = studied(made(seed, true))
        found.append(evaluate(book.experience, book.claims, SMALL))
    for cause, measure in [
        ("inpatient", "claims"),
        ("inpatient", "amount"),
        ("outpatient", "claims"),
        ("outpatient", "amount"),
    ]:
        mine = [effect(one, cause, measure) for one in found]
        assert 0.90 <= share(holds(one.enrolled, true) for one in mine) <= 0.99, (cause, measure)
        off = np.array([log(one.enrolled.ratio / true) for one in mine])
        # People join while their control is bad, and it recovers: up to a hundredth of this world.
        chance = float(off.std() / np.sqrt(len(off)))
        assert abs(float(off.mean())) < 0.01 + 3 * chance, (cause, measure)
    assert 0.90 <= share(holds(effect(one, "injury").enrolled, 1) for one in found) <= 0.99
    for name in ("participants", "ever"):
        plain = [naive(effect(one, "outpatient"), name) for one in found]
        assert share(holds(one, true) for one in plain) < 0.10, name
    # False alarms are to be one in twenty.
    assert share(one.believed for one in found) >= 0.88


def share(told: Iterable[bool]) -> float:
    listed = list(told)
    return sum(listed) / len(listed)
