"""A plan in words is whole: no field can change without a word about it, in either language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from services.claims.core.plan import Plan
from services.claims.core.plan_parts import Text
from services.claims.plans.in_words import diff, explain
from services.claims.plans.in_words.cover_words import COMMON
from services.claims.plans.in_words.diff import Change, Side, compare
from services.claims.plans.in_words.effects import effect
from services.claims.plans.in_words.statements import KINDS, WORDS, Term
from services.claims.plans.in_words.vocabulary import Absent, Effect
from tests.services.claims.core.bills import CASES, PLANS, plan_of_file
from tests.services.claims.plans.in_words.every_field import Changed, changes, full_plan

FULL = full_plan()
CHANGES = list(changes(FULL))
LANGUAGES = ("zh", "en")
# Parts that are no terms; what they hold is.
HOLDERS = ((Plan, "edits"), (Plan, "providers"))


def _called(changed: Changed) -> tuple[str, str]:
    """What the deepest place that has words on the way to the change is called."""
    for step in reversed(changed.steps):
        key = (step.owner, step.field)
        if key in HOLDERS:
            return "", ""
        if key in KINDS and (step.item or key not in WORDS):
            return KINDS[key].name.zh, KINDS[key].name.en
        words = WORDS.get(key) or COMMON.get(step.field)
        if words is not None:
            return words.label.zh, words.label.en
    raise AssertionError(f"no words on the way to {changed.name}")


def _languages(changed: Changed) -> tuple[str, ...]:
    """The languages in which the change can be heard: a text has one of its own for each."""
    last = changed.steps[-1]
    return (last.field,) if last.owner is Text else LANGUAGES


def _names(one: Change, called: tuple[str, str]) -> bool:
    sentence = one.sentence()
    return called[0] in sentence.zh and called[1] in sentence.en


def _fields(part: type) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(part))


def test_the_generator_reaches_every_field_of_every_part() -> None:
    reached = {(step.owner, step.field) for change in CHANGES for step in change.steps}
    parts = {owner for owner, _ in reached}
    assert {(owner, name) for owner in parts for name in _fields(owner)} == reached
    assert len(parts) > 40


def test_no_field_changes_without_a_word_and_another_explanation() -> None:
    # One test of all: their number, near nine hundred, is what would take the time.
    assert len({changed.name for changed in CHANGES}) == len(CHANGES)
    full, before = Side.of(FULL), _explained(FULL)
    missing: list[str] = []
    for changed in CHANGES:
        other_side = Side.of(changed.plan)
        missing += _untold(full, other_side, changed)
        missing += _unexplained(full, before, other_side, changed)
    assert not missing, "\n".join(missing)


def _untold(full: Side, other_side: Side, changed: Changed) -> Iterator[str]:
    """What the difference does not say about a change, there and back."""
    found = compare(full, other_side)
    called = _called(changed)
    if not any(_names(one, called) for one in found):
        yield f"{changed.name}: nothing names {called}"
    # The way back is told as well, and is the opposite where either is judged.
    back = {(one.place, one.field, one.first): one for one in compare(other_side, full)}
    for one in found:
        if one.old is not None and one.new is not None:
            for language in _languages(changed):
                if getattr(one.old, language) == getattr(one.new, language):
                    yield f"{changed.name}: the same words in {language}: {one}"
        other = back.get((one.place, one.field, one.first))
        if other is None:
            yield f"{changed.name}: the way back is not told: {one}"
        elif other.effect is not one.effect.opposite:
            yield f"{changed.name}: the way back is {other.effect} against {one.effect}"


def _unexplained(
    full: Side, before: dict[str, list[str]], other_side: Side, changed: Changed
) -> Iterator[str]:
    """In which language the explanation says nothing else."""
    here = list(_terms_explained(full, other_side))
    for language in _languages(changed):
        if any(getattr(was, language) != getattr(now, language) for was, now in here):
            continue
        if _explained(changed.plan)[language] == before[language]:
            yield f"{changed.name}: nothing else is said in {language}"


def _terms_explained(full: Side, other_side: Side) -> Iterator[tuple[Text, Text]]:
    """The sentences about each term that is another one or that only one plan has."""
    for place in dict.fromkeys((*full.terms, *other_side.terms)):
        was, now = full.terms.get(place), other_side.terms.get(place)
        if was != now:
            yield _said(full, was), _said(other_side, now)


def _said(side: Side, term: Term | None) -> Text:
    return explain.paragraph(term, side.names, side.plan) if term else Text(zh="", en="")


# What more of a field means for the insured, other things being equal, typed off by hand from what
# the plan language says of each; `none` is what an absent or ended value amounts to. A field that
# is not here says nothing of amounts, or its change depends on the case.
BETTER = """
Appeals.values most; Ceiling.values most; CountLimit.values most
Deductible.social_insurance_counts least; Eligibility.values least; EmergencyException.hours most
Filing.exceptions least; Filing.values most; FixedLimit.values most
MedicalNecessity.diagnoses apart; MutualRecognition.overrides least
OutOfPocketMaximum.counts apart; PairEdits.modifiers least
PlanProvider.listed least; PreExisting.otherwise apart; PreExistingRule.values apart
QualifiedCare.values most; RefillWindow.values most; Share.values apart; UnitLimit.values most
UnitRow.units most; WaitingPeriod.exempt_care_types least; WaitingPeriod.exempt_diagnoses least
"""
WORSE = """
AuthorisationTerm.requires least; ClockTerms.decision_days apart; ClockTerms.minimum_days apart
ClockTerms.notice_days apart; ClockTerms.payment_days apart; Copay.values least
Deductible.values least
FrequencyLimit.values least; MutualRecognition.values least; OtherLiability.values least
OutOfPocketMaximum.values most; RequiredPapers.values least; WaitingPeriod.values least
"""


def test_of_every_field_more_is_judged_as_the_plan_language_means_it() -> None:
    def typed(text: str) -> dict[str, str]:
        entries = text.replace("\n", ";").split(";")
        return dict(one.split() for one in entries if one.strip())

    judged: dict[Effect, dict[str, str]] = {Effect.BETTER: {}, Effect.WORSE: {}}
    for (owner, field), words in WORDS.items():
        if words.more in judged:
            judged[words.more][f"{owner.__name__}.{field}"] = words.none.value
    assert judged == {Effect.BETTER: typed(BETTER), Effect.WORSE: typed(WORSE)}
    kind = next(iter(KINDS.values()))
    for words in WORDS.values():
        if words.more in judged and not words.about:
            more = words.more
            assert effect(words, kind, 1, 2) is more
            assert effect(words, kind, 2, 1) is more.opposite
            ended = {Absent.MOST: more, Absent.LEAST: more.opposite, Absent.APART: Effect.DEPENDS}
            assert effect(words, kind, 1, None) is ended[words.none]


def _explained(plan: Plan) -> dict[str, list[str]]:
    """What the sentences of the explanation say, in each language."""
    said = [one.said for one in explain.explain(plan)]
    return {language: [getattr(one, language) for one in said] for language in LANGUAGES}


def test_code_sets_and_outcome_tiers_are_called_what_the_plan_calls_them() -> None:
    plan = plan_of_file(PLANS / "hypertension-tiers.yaml")
    said = {one.place: one.said for one in explain.explain(plan)}
    assert "健康管理等级：血压达标。" in said["shares/controlled"].zh
    assert "Outcome tiers: in control." in said["shares/controlled"].en
    assert "代码集“降压药品”" in said["sections/drugs"].zh
    # The plan names no day for its tiers, and what holds then is told; without tiers nothing is.
    assert "the first day of the policy year counts" in said["outcome_tier_day"].en
    other = plan_of_file(PLANS / "million-medical.yaml")
    assert "outcome_tier_day" not in {one.place for one in explain.explain(other)}
    assert said["code_sets/pressure-drugs"].zh.startswith("降压药品：")
    bare = msgspec.structs.replace(plan, names=())
    said = {one.place: one.said for one in explain.explain(bare)}
    assert "健康管理等级：controlled。" in said["shares/controlled"].zh
    assert "代码集“pressure-drugs”" in said["sections/drugs"].zh
    # A new name is a change of words and of nothing else.
    assert {one.effect.value for one in diff.diff(bare, plan)} == {"none"}


def test_the_last_of_several_shares_is_for_all_other_cases() -> None:
    plan = plan_of_file(PLANS / "million-medical.yaml")
    said = {one.place: one.said for one in explain.explain(plan)}
    assert "其余情形：" in said["shares/not-settled"].zh
    assert "In all other cases: " in said["shares/not-settled"].en
    assert "全部费用" not in said["shares/not-settled"].zh
    alone = msgspec.structs.replace(plan, shares=plan.shares[-1:])
    (only,) = [one.said for one in explain.explain(alone) if one.place.startswith("shares/")]
    assert "适用于全部费用。" in only.zh


@pytest.mark.parametrize(
    "path", [*sorted(PLANS.glob("*.yaml")), *sorted((CASES / "plans").glob("*.yaml"))], ids=str
)
def test_a_plan_does_not_differ_from_itself_however_it_is_ordered(path: object) -> None:
    plan = plan_of_file(PLANS / str(path))
    assert diff.diff(plan, plan) == ()
    assert diff.diff(plan, _turned(plan)) == ()


def _turned(plan: Plan) -> Plan:
    """The plan with every list turned round whose order says nothing."""
    parts: dict[str, Any] = {}
    for name in ("sections", "exclusions", "waiting_periods", "ceilings", "code_sets", "clauses"):
        parts[name] = tuple(reversed(getattr(plan, name)))
    parts["exclusions"] = tuple(
        msgspec.structs.replace(one, codes=tuple(reversed(one.codes)))
        for one in parts["exclusions"]
    )
    listing = tuple(reversed(plan.providers.listing))
    parts["providers"] = msgspec.structs.replace(plan.providers, listing=listing)
    return msgspec.structs.replace(plan, **parts)


def test_an_order_that_says_something_is_told() -> None:
    plan = plan_of_file(PLANS / "chronic-diabetes.yaml")
    first, second, *rest = plan.shares
    turned = msgspec.structs.replace(plan, shares=(second, first, *rest))
    (told,) = diff.diff(plan, turned)
    assert (told.field, told.place) == ("order", "shares")
    assert "not-settled" in told.sentence().en
