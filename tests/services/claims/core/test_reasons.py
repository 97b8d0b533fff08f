"""The list of reasons: the wire's numbers, every code and sentence, and who can reach which."""

from __future__ import annotations

import re

import pytest

from lipei.claims.v1 import reason_pb2
from services.claims.core.reasons import PRECEDENCE, WORDS, Reason
from services.claims.core.rules import RULES


def test_numbers_and_names_are_the_wires() -> None:
    on_the_wire = {
        name.removeprefix("REASON_"): number
        for name, number in reason_pb2.Reason.items()
        if number != reason_pb2.REASON_UNSPECIFIED
    }
    assert {reason.name: reason.value for reason in Reason} == on_the_wire


def test_every_reason_has_words() -> None:
    assert list(WORDS) == list(Reason)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_sentences_name_amount_and_clause_and_nothing_unknown(reason: Reason) -> None:
    for template in (WORDS[reason].zh, WORDS[reason].en):
        assert set(re.findall(r"{(\w+)}", template)) >= {"amount", "clause"}
        told = template.format(amount="12.34", clause="2.4", bearer="you")
        assert "12.34" in told
        assert "2.4" in told
    assert re.search(r"[一-鿿]", WORDS[reason].zh)
    assert not re.search(r"[一-鿿]", WORDS[reason].en)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_but_payment_has_x12_codes(reason: Reason) -> None:
    words = WORDS[reason]
    if reason is Reason.BENEFIT:
        assert (words.carc, words.group_code) == ("", "")
        return
    assert re.fullmatch(r"[1-9][0-9]{0,2}", words.carc)
    assert words.group_code in {"CO", "OA", "PI", "PR"}
    assert all(re.fullmatch(r"[1-9][0-9]{0,2}", code) for code in words.carc_also)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_carcs_that_need_a_remark_code_have_one(reason: Reason) -> None:
    # X12: "At least one Remark Code must be provided" for 16, 96 and 252.
    if WORDS[reason].carc in {"16", "96", "252"}:
        assert re.fullmatch(r"(M|MA|N)[0-9]+", WORDS[reason].rarc)


def test_rules_stand_in_the_order_of_precedence_each_reason_once() -> None:
    reasons = [reason for reason, _ in RULES]
    assert reasons == [reason for reason in PRECEDENCE if reason in set(reasons)]


def test_every_reason_has_one_place_in_the_order_of_precedence() -> None:
    assert sorted(PRECEDENCE) == list(Reason)
