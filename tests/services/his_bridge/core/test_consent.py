"""Consents against cases worked out by hand (tests/cases/consent), and what must always hold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.strict_yaml import load
from services.his_bridge.core.bill import CareType
from services.his_bridge.core.consent import (
    Consent,
    Content,
    ContradictoryGrants,
    Event,
    Granted,
    Lack,
    Need,
    Purpose,
    Scope,
    State,
    Terms,
    Withdrawn,
    active,
    covers,
    ended_with,
    fold,
    lacking,
    state_at,
)
from tests.services.his_bridge.consenting import INSURER, terms

FILE = Path(__file__).parents[3] / "cases" / "consent" / "active.yaml"
CASES: list[Mapping[str, Any]] = load(FILE.read_bytes(), FILE.name)["cases"]
SHANGHAI = ZoneInfo("Asia/Shanghai")


def moment_us(text: str) -> int:
    form = "%Y-%m-%d %H:%M:%S" if text.count(":") == 2 else "%Y-%m-%d %H:%M"
    at = datetime.strptime(text, form).replace(tzinfo=SHANGHAI)
    return int(at.timestamp()) * 1_000_000


def event_of(said: Mapping[str, Any]) -> Event:
    if "withdrawn" in said:
        return Withdrawn(consent_id=said["withdrawn"], withdrawn_us=moment_us(said["at"]))
    scope = Scope(
        contents=tuple(Content(one.upper()) for one in said["of"]),
        care_types=tuple(CareType(one.upper()) for one in said.get("care", ())),
        first_day=day_of(said.get("first-day")),
        last_day=day_of(said.get("last-day")),
    )
    return Granted(
        terms=terms(
            said.get("member", "li"),
            purpose_of(said["for"]),
            consent_id=said["given"],
            recipient=f"insurers/{said.get('to', 'insurer')}",
            scope=scope,
            from_us=moment_us(said["from"]),
            until_us=moment_us(said["until"]) if "until" in said else None,
        )
    )


def day_of(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def purpose_of(text: str) -> Purpose:
    return Purpose(text.upper().replace("-", "_"))


def asked_of(said: Mapping[str, Any]) -> tuple[Purpose, Need]:
    if "reading" in said:
        day = date.fromisoformat(said["reading"])
        need = Need(content=Content.READINGS, first_day=day, last_day=day)
        return Purpose.HEALTH_PROGRAMME, need
    first, last = map(date.fromisoformat, said["days"])
    need = Need(
        content=Content.BILLS,
        first_day=first,
        last_day=last,
        care_type=CareType(said["bill"].upper()),
    )
    return Purpose.CLAIM_SETTLEMENT, need


def answer(events: Sequence[Event], asked: Mapping[str, Any]) -> str:
    purpose, need = asked_of(asked)
    found = active(
        fold(events).values(),
        member="li",
        recipient=INSURER,
        purpose=purpose,
        need=need,
        at_us=moment_us(asked["at"]),
    )
    return found.terms.consent_id if found else "nothing"


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_a_case_is_answered_as_worked_out(case: Mapping[str, Any]) -> None:
    events = [event_of(said) for said in case["happened"]]
    assert answer(events, case["asked"]) == case["answer"]


def test_the_cases_answer_both_ways() -> None:
    assert {case["answer"] for case in CASES} >= {"nothing", "a", "b"}


# What must always hold.

MEMBERS, IDS = ["li", "other"], ["a", "b", "c", "d"]
DAYS = st.none() | st.dates(date(2026, 1, 1), date(2026, 1, 6))
INSTANTS = st.integers(0, 12)
NEEDS = st.builds(
    lambda content, care_type, first, more: Need(
        content=content,
        first_day=first,
        last_day=date.fromordinal(first.toordinal() + more),
        care_type=care_type if content is Content.BILLS else None,
    ),
    st.sampled_from(Content),
    st.sampled_from(CareType),
    st.dates(date(2026, 1, 1), date(2026, 1, 6)),
    st.integers(0, 3),
)
SCOPES = st.builds(
    Scope,
    contents=st.sampled_from([tuple(Content), (Content.BILLS,), (Content.READINGS,)]),
    care_types=st.sampled_from([(), (CareType.INPATIENT,), (CareType.INPATIENT, CareType.ONLINE)]),
    first_day=DAYS,
    last_day=DAYS,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = []
    for consent_id in draw(st.lists(st.sampled_from(IDS), unique=True)):
        from_us = draw(INSTANTS)
        given_ = terms(
            draw(st.sampled_from(MEMBERS)),
            draw(st.sampled_from(Purpose)),
            consent_id=consent_id,
            recipient=draw(st.sampled_from([INSURER, "insurers/second"])),
            scope=draw(SCOPES),
            from_us=from_us,
            until_us=draw(st.none() | st.integers(from_us + 1, 14)),
        )
        events += [Granted(terms=given_)] * draw(st.integers(1, 2))
    withdrawals = draw(st.lists(st.tuples(st.sampled_from(IDS), INSTANTS)))
    events += [Withdrawn(consent_id=one, withdrawn_us=at) for one, at in withdrawals]
    return events


def whole(events: Sequence[Event], purpose: Purpose, need: Need, at_us: int) -> str | None:
    consents = fold(events).values()
    found = active(
        consents, member="li", recipient=INSURER, purpose=purpose, need=need, at_us=at_us
    )
    return found.terms.consent_id if found else None


ASKED = (st.sampled_from(Purpose), NEEDS, INSTANTS)


@given(histories(), st.randoms(use_true_random=False), *ASKED)
def test_the_order_of_arrival_does_not_matter(
    events: list[Event], chance: random.Random, purpose: Purpose, need: Need, at_us: int
) -> None:
    shuffled = list(events)
    chance.shuffle(shuffled)
    assert fold(shuffled) == fold(events)
    assert whole(shuffled, purpose, need, at_us) == whole(events, purpose, need, at_us)


@given(histories(), st.sampled_from(IDS), INSTANTS, *ASKED)
def test_a_withdrawal_makes_nothing_active(
    events: list[Event], consent_id: str, when: int, purpose: Purpose, need: Need, at_us: int
) -> None:
    more = [*events, Withdrawn(consent_id=consent_id, withdrawn_us=when)]
    before = whole(events, purpose, need, at_us)
    after = whole(more, purpose, need, at_us)
    if after is not None:
        assert before is not None
    if before != consent_id:
        assert after == before
    assert at_us < when or after != consent_id


@given(histories(), *ASKED)
def test_what_is_active_is_this_persons_for_this_purpose_and_in_force(
    events: list[Event], purpose: Purpose, need: Need, at_us: int
) -> None:
    found = whole(events, purpose, need, at_us)
    if found is None:
        return
    consent = fold(events)[found]
    mine = (consent.terms.member_token, consent.terms.recipient, consent.terms.purpose)
    assert mine == ("li", INSURER, purpose)
    assert state_at(consent, at_us) is State.ACTIVE
    assert covers(consent.terms.scope, need)


@given(histories(), st.sampled_from(IDS), INSTANTS, NEEDS)
def test_what_ended_with_a_withdrawal_is_covered_by_nothing_else_as_a_whole(
    events: list[Event], consent_id: str, at_us: int, need: Need
) -> None:
    events = [*events, Withdrawn(consent_id=consent_id, withdrawn_us=at_us)]
    consents = list(fold(events).values())
    if consent_id not in fold(events):
        return
    ended = ended_with(consents, consent_id, at_us)
    mine = fold(events)[consent_id].terms
    assert ended == () or consent_id in ended
    for one in ended:
        assert state_at(fold(events)[one], at_us) is State.WITHDRAWN
    if ended == () and covers(mine.scope, need):
        found = active(
            consents,
            member=mine.member_token,
            recipient=mine.recipient,
            purpose=mine.purpose,
            need=need,
            at_us=at_us,
        )
        assert found is not None


def test_two_grants_of_one_id_are_a_contradiction() -> None:
    first, second = terms("li", consent_id="a"), terms("li", consent_id="a", from_us=5)
    with pytest.raises(ContradictoryGrants):
        fold([Granted(terms=first), Granted(terms=second)])


def test_a_replaced_consent_ends_with_the_one_that_replaced_it() -> None:
    old, new = terms("li", consent_id="a"), terms("li", consent_id="b", from_us=3)
    consents = [Consent(terms=old, withdrawn_us=5), Consent(terms=new)]
    assert ended_with(consents, "a", 6) == ()
    consents[1] = msgspec.structs.replace(consents[1], withdrawn_us=7)
    assert ended_with(consents, "b", 8) == ("a", "b")


def test_one_that_covers_less_does_not_stand_in() -> None:
    narrow = Scope(contents=(Content.BILLS,), care_types=(CareType.INPATIENT,))
    old, new = terms("li", consent_id="a"), terms("li", consent_id="b", scope=narrow)
    consents = [Consent(terms=old, withdrawn_us=5), Consent(terms=new)]
    assert ended_with(consents, "a", 6) == ("a",)


def test_terms_without_anything_optional_read_as_they_were_written() -> None:
    given_ = terms("li", consent_id="a")
    short = msgspec.json.encode(given_)
    assert b"until_us" not in short
    assert msgspec.json.decode(short, type=Terms) == given_


def test_the_reason_why_nothing_covers_a_record_is_the_one_that_helps_most() -> None:
    day = date(2026, 3, 1)
    need = Need(content=Content.BILLS, first_day=day, last_day=day, care_type=CareType.OUTPATIENT)
    elsewhere = Scope(contents=(Content.BILLS,), care_types=(CareType.INPATIENT,))

    def consent(consent_id: str, withdrawn_us: int | None = None, **changes: Any) -> Consent:
        given_terms = terms("li", consent_id=consent_id, **changes)
        return Consent(terms=given_terms, withdrawn_us=withdrawn_us)

    def reason(*consents: Consent, at_us: int = 50) -> tuple[Lack, tuple[str, ...]] | None:
        return lacking(
            consents,
            recipient=INSURER,
            purpose=Purpose.CLAIM_SETTLEMENT,
            need=need,
            at_us=at_us,
        )

    later = consent("later", from_us=60)
    over = consent("over", until_us=40)
    back = consent("back", withdrawn_us=45)
    narrow = consent("narrow", scope=elsewhere)
    other = consent("other", purpose=Purpose.DEIDENTIFIED_STUDY)
    assert reason() == reason(other) == (Lack.NO_CONSENT, ())
    assert reason(over, other) == (Lack.RUN_OUT, ("over",))
    assert reason(over, back) == reason(back, over) == (Lack.WITHDRAWN, ("back",))
    assert reason(narrow) == (Lack.OUTSIDE_SCOPE, ("narrow",))
    assert reason(narrow, over) == (Lack.RUN_OUT, ("over",))
    assert reason(narrow, over, later) == (Lack.NOT_YET, ("later",))
    assert reason(narrow, over, later, at_us=60) is None  # the control: it has begun
    assert reason(back, at_us=44) is None
    # Whatever else became of it, one that was withdrawn is called so.
    assert reason(consent("both", until_us=30, withdrawn_us=45)) == (Lack.WITHDRAWN, ("both",))
