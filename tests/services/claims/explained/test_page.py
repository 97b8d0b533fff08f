"""The page tells every amount in both languages, and no text of anybody's becomes code in it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from services.claims.core.decision import LineOutcome
from services.claims.core.life_cycle import ClaimState
from services.claims.explained.page import page
from services.claims.explained.told import printable
from services.claims.explained.view import view
from services.claims.explained.words import LABELS, OUTCOMES, STATES, Language, grouped
from tests.services.claims.core.bills import ROOT, bill, line, plan_named
from tests.services.claims.explained.telling import (
    Decided,
    decided,
    decided_in_cases,
    told,
    unlike,
)

PLAN = plan_named("every-term")
BOTH = (Language.ZH, Language.EN)
HOSTILE = "<script>alert(1)</script><img src=x onerror=y> {{ 7*7 }} \"'&"
_MARKS = re.compile(r"<style>.*?</style>|<[^>]*>", re.DOTALL)
_VOID = {"meta", "br", "img", "link", "input", "hr"}


class Read(HTMLParser):
    """What a browser would make of a page: its tags, in order, and the text between them."""

    def __init__(self, made: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(made.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.mark.parametrize("languages", [BOTH, BOTH[:1], BOTH[1:]], ids=["both", "zh", "en"])
def test_every_kind_of_decision_has_a_page_with_all_its_amounts(
    languages: tuple[Language, ...],
) -> None:
    of_a_kind = unlike(decided_in_cases())
    assert len(of_a_kind) > 150
    # One language's page is the same form without the other's texts: a browser reads some.
    _have_pages(of_a_kind, languages, of_a_kind if languages == BOTH else of_a_kind[::8])


@pytest.mark.fault
def test_every_decision_of_the_cases_has_a_page_with_all_its_amounts() -> None:
    every = decided_in_cases()
    _have_pages(every, BOTH, unlike(every))


def _have_pages(
    every: Sequence[Decided], languages: tuple[Language, ...], of_a_kind: Sequence[Decided]
) -> None:
    for one in every:
        made = page(told(one), languages)
        text = html.unescape(_MARKS.sub("", made.decode()))
        if one in of_a_kind:  # what a browser makes of it takes long to read
            read = Read(made)
            assert read.open == []
            assert read.text == text
        for decided_line in one.decision.lines:
            for share in decided_line.shares:
                assert grouped(share.amount, one.decision.currency) in text
                assert share.clause in text
        for language in languages:
            word = LABELS["title"].zh if language is Language.ZH else LABELS["title"].en
            assert word in text


FREE = "It uses no limit and no deductible any more."


def test_what_came_back_and_the_net_stand_beside_what_was_paid() -> None:
    paid = told(decided(PLAN, bill()))
    facts = view(replace(paid, recovered=1_801), BOTH[1])["facts"]
    assert [text for label, text in facts if label in ("Came back", "Paid, net")] == [
        "CNY 18.01",
        "CNY 29.99",
    ]
    read = Read(page(replace(paid, recovered=1_801), BOTH))
    assert all(one in read.text for one in ("已追回", "净付款", "29.99"))
    assert "已追回" not in Read(page(paid, BOTH)).text


def test_a_member_is_told_what_became_of_a_paid_claim_since() -> None:
    paid = told(decided(PLAN, bill()))
    assert paid.since is None
    less = replace(paid, recovered=1_801, to_return=500, corrected=2)
    read = Read(page(less, BOTH))
    for said in (
        "医院已更正账单（第 2 次），以下以更正后的账单为准。",
        "已付款 48.00 元，已退回 18.01 元，尚需退回保险公司 5.00 元。",
        "The hospital has corrected the bill; what follows is about it.",
        "Paid: CNY 48.00; CNY 18.01 came back; CNY 5.00 is still to be paid back to the insurer.",
        "Still to be paid back",
    ):
        assert said in read.text
        assert said not in Read(page(paid, BOTH)).text
    more = replace(paid, due=700, state=ClaimState.PAYABLE)
    assert more.since is not None
    assert more.since.en == "Paid: CNY 48.00; CNY 7.00 more is to be paid."
    assert replace(paid, due=700, paid=0).since is None  # nothing was paid before: its state tells


def test_a_member_is_told_by_when_the_notice_of_a_refusal_is_due() -> None:
    claim = told(decided(PLAN, bill()))
    denied = replace(claim, notice_due=date(2026, 5, 12))
    said = denied.since
    assert said is not None
    assert said.zh == "保险公司最迟应于 2026-05-12 发出拒赔通知书并说明理由。"
    assert said.en == "The notice of the refusal, with its reasons, is due by 2026-05-12."
    assert claim.since is None


def test_a_reversed_claim_tells_that_its_limits_are_free_and_who_bore_what_before() -> None:
    read = Read(page(told(decided(PLAN, bill()), state=ClaimState.REVERSED), BOTH))
    for said in ("所占用的额度与免赔额已全部退还。", "原结论：谁承担多少", "who bore what"):
        assert said in read.text
        assert said not in Read(page(told(decided(PLAN, bill())), BOTH)).text


def test_a_hostile_name_of_a_service_is_text() -> None:
    made = page(told(decided(PLAN, bill()), texts={1: HOSTILE}), BOTH)
    read = Read(made)
    assert HOSTILE in read.text
    assert b"<script" not in made
    assert not {tag for tag, _ in read.tags} & {"script", "img", "iframe", "link", "form", "object"}
    assert not [name for _, attributes in read.tags for name in attributes if name[:2] == "on"]
    # The control: unescaped it would have been a script.
    assert "script" in {tag for tag, _ in Read(f"<p>{HOSTILE}</p>".encode()).tags}


def test_the_page_stands_alone() -> None:
    made = page(told(decided(PLAN, bill())), BOTH).decode()
    assert "default-src 'none'" in made
    assert not re.search(r"https?:|//|@import|url\(|src=|href=", made)


def test_amounts_stand_right_and_the_page_fits_paper_and_phone() -> None:
    made = page(told(decided(PLAN, bill())), BOTH).decode()
    cells = re.findall(r"<td([^>]*)>([\d,]+\.\d\d)</td>", made)
    assert len(cells) > 10
    assert all("num" in attributes for attributes, _ in cells)
    assert ".num { text-align: right" in made
    assert "@media print" in made
    assert "max-width: 620px" in made
    assert "print-color-adjust: exact" in made


def test_who_bears_what_is_in_words_and_not_in_colours_only() -> None:
    read = Read(page(told(decided(PLAN, bill())), BOTH[1:]))
    assert "copay · you" in re.sub(r"\s+", " ", read.text)


def test_what_nobody_bears_yet_is_said_to_be_undecided() -> None:
    facts = msgspec.structs.replace(bill(), care_type=None)
    made = view(told(decided(PLAN, facts)), Language.EN)
    assert [(one["name"], one["amount"]) for one in made["bearers"]] == [
        ("the insurer", "0.00"),
        ("not decided yet", "100.00"),
    ]
    assert made["awaited"] == ["line 1: how the care was given (clause 8.4)"]
    assert made["reserved"]
    withdrawn = view(told(decided(PLAN, facts), state=ClaimState.WITHDRAWN), Language.EN)
    assert withdrawn["awaited"] == []
    assert not withdrawn["reserved"]
    assert withdrawn["standing"] == f"Withdrawn; nothing is paid. {FREE}"


def test_a_reversed_claim_says_that_its_decision_holds_no_longer() -> None:
    made = view(told(decided(PLAN, bill()), state=ClaimState.REVERSED), Language.EN)
    assert made["standing"] == f"Reversed; what had been decided holds no longer. {FREE}"


def test_an_adjusted_claim_of_which_money_is_got_back_has_a_decision_that_holds() -> None:
    stands, facts = ClaimState.RECOVERY_OPEN, decided(PLAN, bill())
    made = view(told(facts, state=stands, released=False), Language.EN)
    assert made["standing"] == "Decided."
    back = view(told(facts, state=stands, released=True), Language.EN)
    assert back["standing"] == f"Reversed; what had been decided holds no longer. {FREE}"


def test_a_line_of_nothing_still_says_why_it_is_denied() -> None:
    (made,) = view(told(decided(PLAN, bill(line(1, "X1", "0"), line(2)))), Language.EN)["lines"][:1]
    assert made["refusal"] == "This is yours: the plan does not cover this service (clause 6.3)"


def test_every_state_and_outcome_has_words_and_states_have_the_glossarys() -> None:
    assert set(OUTCOMES) == set(LineOutcome)
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    states = glossary.split("## States of a claim")[1].split("\n## ")[0]
    chinese = dict(re.findall(r"^\| ([a-z ]+) \| (\S+) \|", states, re.MULTILINE))
    assert {one.value.replace("_", " "): STATES[one].zh for one in ClaimState} == chinese


def test_what_turns_or_breaks_a_line_of_writing_is_dropped() -> None:
    assert printable("挂\u202e号\x1b[31m费\n药\u200b") == "挂号[31m费 药"
    assert len(printable("长" * 500)) == 200


def test_the_same_claim_gives_the_same_page() -> None:
    one = decided(PLAN, bill())
    assert page(told(one), BOTH) == page(told(one), BOTH)
