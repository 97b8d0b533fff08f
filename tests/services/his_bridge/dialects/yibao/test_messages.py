"""What interface messages say of bills, and every way in which they can be bad."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.bill import CareType, SocialInsurance
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.folding import BillStatus, fold
from services.his_bridge.core.outcomes import BillHappened, KeptOut, SetAside
from services.his_bridge.dialects.yibao import identified
from tests.services.his_bridge.dialects.yibao.messages import (
    ZONE,
    Message,
    cancelled,
    events,
    fee,
    fees,
    judged,
    listed,
    message,
    profile,
    raw,
    reader,
    settled,
)
from tests.services.his_bridge.records import NAME, NUMBER, TOKEN

FEES = fees("2026-03-01 10:00:00", fee("f1", "80.00"), fee("f2", "40.00"))
REFUND = fees(
    "2026-03-02 10:00:00",
    fee(
        "f3", "20.00", cnt="-0.5", det_item_fee_sumamt="-20.00", pric="40.00", init_feedetl_sn="f2"
    ),
)
SETTLED = settled("2026-03-05 11:00:00", "100.00", dscgTime="2026-03-05 10:00:00")
CANCELLED = cancelled("2026-03-06 09:00:00")
MORE = fees("2026-03-06 10:00:00", fee("f4", "25.00"))
AGAIN = settled("2026-03-06 11:00:00", "125.00", "s2", dscgTime="2026-03-05 10:00:00")
LIST = listed("2026-03-07 08:00:00")
STORY = (FEES, REFUND, SETTLED, CANCELLED, MORE, AGAIN, LIST)


def test_fees_add_lines_and_some_take_charges_back() -> None:
    outcome = judged(FEES)
    assert isinstance(outcome, BillHappened)
    assert (outcome.bill_id, outcome.kind) == ("Message/v1", EventKind.LATE)
    assert outcome.stated_total is None
    assert outcome.bill is not None
    bill = outcome.bill
    assert (bill.member_token, bill.provider_id, bill.total) == (TOKEN, "H11010800001", 12_000)
    assert [(one.line_id, one.billed) for one in bill.lines] == [("f1", 8_000), ("f2", 4_000)]
    assert bill.lines[0].service_time == datetime(2026, 3, 1, 1, tzinfo=UTC)
    back = judged(REFUND)
    assert isinstance(back, BillHappened)
    assert back.bill is not None
    (line,) = back.bill.lines
    assert (line.reverses_line, line.quantity, line.billed) == ("f2", Decimal("-0.5"), -2_000)


def test_a_settlement_closes_the_bill_with_what_each_paid() -> None:
    outcome = judged(SETTLED)
    assert isinstance(outcome, BillHappened)
    assert (outcome.bill_id, outcome.kind) == ("Message/v1", EventKind.FINAL)
    assert outcome.stated_total == 10_000
    assert outcome.bill is not None
    assert outcome.bill.lines == ()
    assert outcome.bill.care_type is CareType.INPATIENT
    assert outcome.bill.bill_number == "s1"
    assert outcome.bill.social_insurance == SocialInsurance(
        used=True, fund_paid=6_000, account_paid=1_000
    )


def test_a_part_of_nothing_that_the_hospital_bears_says_nothing() -> None:
    """The control: platforms write the zero."""
    said = json.loads(json.dumps(SETTLED))
    answer(said).update(hosp_part_amt="0.00")
    assert judged(said) == judged(SETTLED)


def test_a_cancellation_takes_back_the_settlement_that_it_names() -> None:
    outcome = judged(CANCELLED)
    assert isinstance(outcome, BillHappened)
    assert (outcome.kind, outcome.reverses) == (EventKind.REVERSAL, "setl-s1")
    assert identified(raw(SETTLED), ZONE).record_id == "setl-s1"


def test_a_settlement_list_adds_western_diagnoses_and_the_days_of_the_stay() -> None:
    outcome = judged(LIST)
    assert isinstance(outcome, BillHappened)
    assert outcome.bill is not None
    assert [(d.code.code, d.principal) for d in outcome.bill.diagnoses] == [
        ("E11.900", True),
        ("I10.x00", False),
    ]
    assert outcome.bill.start == datetime(2026, 3, 1, 0, tzinfo=UTC)


def test_a_stay_that_began_as_an_emergency_says_so_whatever_comes_first() -> None:
    """By 医疗类别 24 (急诊转住院) or 入院途径 1; another 医疗类别 says nothing of how it began."""
    from_emergency = copy.deepcopy(SETTLED)
    from_emergency["output"]["setlinfo"]["med_type"] = "24"
    came_in = copy.deepcopy(LIST)
    came_in["input"]["setlinfo"]["adm_way"] = "1"
    by_clinic = copy.deepcopy(LIST)
    by_clinic["input"]["setlinfo"]["adm_way"] = "2"
    for story, emergency in (
        ((FEES, REFUND, SETTLED, LIST), None),
        ((FEES, REFUND, from_emergency, LIST), True),
        ((FEES, REFUND, SETTLED, came_in), True),
        ((FEES, REFUND, SETTLED, by_clinic), False),
    ):
        for order in permutations(story):
            found = fold(events(order))
            assert found is not None
            assert found.bill is not None
            assert found.bill.emergency is emergency
    others = profile(
        lambda text: text.replace("  med_types", '  emergency_med_types: ["9924"]\n  med_types')
    )
    outcome = judged(from_emergency, others)
    assert isinstance(outcome, BillHappened)
    assert outcome.bill is not None
    assert outcome.bill.emergency is None


def test_the_story_of_a_stay_is_one_bill() -> None:
    found = fold(events(STORY))
    assert found is not None
    assert (found.status, found.aside) == (BillStatus.FINAL, {})
    assert found.bill is not None
    assert found.bill.total == 12_500
    assert {line.line_id: line.billed for line in found.bill.lines} == {
        "f1": 8_000,
        "f2": 2_000,
        "f4": 2_500,
    }  # fmt: skip - a case a line reads better
    assert found.bill.bill_number == "s2"
    assert [d.code.code for d in found.bill.diagnoses] == ["E11.900", "I10.x00"]
    assert (found.bill.start, found.bill.end) == (
        datetime(2026, 3, 1, 0, tzinfo=UTC),
        datetime(2026, 3, 5, 2, tzinfo=UTC),
    )
    cancelled_only = fold(events(STORY[:4]))
    assert cancelled_only is not None
    assert cancelled_only.status is BillStatus.OPEN


@given(st.permutations(STORY), st.lists(st.sampled_from(STORY), max_size=4))
def test_every_order_of_arrival_makes_the_same_bill(
    order: list[Message], again: list[Message]
) -> None:
    assert fold(events([*order, *again])) == fold(events(STORY))


def test_every_order_of_four_messages_makes_the_same_bill() -> None:
    few = (FEES, REFUND, SETTLED, CANCELLED)
    expected = fold(events(few))
    assert all(fold(events(order)) == expected for order in permutations(few))


def test_request_and_answer_may_stand_apart_as_they_went_over_the_wire() -> None:
    request = {key: SETTLED[key] for key in SETTLED if key not in ("infcode", "output")}
    answer = {"infcode": "0", "output": SETTLED["output"]}
    apart: Message = {"request": json.dumps(request), "response": json.dumps(answer)}
    assert judged(apart) == judged(SETTLED)
    assert identified(raw(apart), ZONE).record_id == "setl-s1"
    failed = {**apart, "response": json.dumps({"infcode": -1, "err_msg": "x"})}
    assert judged(failed) == KeptOut()
    broken = judged({**apart, "response": '{"infcode":0,"infcode":0}'})
    assert isinstance(broken, SetAside)
    assert (Reason.DUPLICATE_KEY, "response.infcode") in [(f.reason, f.path) for f in broken.faults]


def test_what_changes_no_bill_stays_out() -> None:
    assert judged(message("1101", "2026-03-01 10:00:00", input={"data": {}})) == KeptOut()
    assert judged({**SETTLED, "infcode": -1}) == KeptOut()
    late = profile(lambda t: t + "period: {first_day: 2026-04-01}\n")
    assert judged(SETTLED, late) == KeptOut()
    assert isinstance(judged(FEES, late), BillHappened)  # of a stay that may end within it
    month = profile(lambda t: t + "period: {first_day: 2026-04-01, last_day: 2026-04-30}\n")
    assert isinstance(judged(FEES, month), BillHappened)
    assert judged(FEES, profile(lambda t: t + "period: {first_day: 2027-04-01}\n")) == KeptOut()
    assert judged(FEES, profile(lambda t: t + "period: {last_day: 2026-02-28}\n")) == KeptOut()


def test_a_batch_of_charges_is_a_bill_where_the_profile_says_so() -> None:
    by_batch = profile(lambda t: t.replace("  med_types", "  bill_per_batch: true\n  med_types"))
    outpatient = fees("2026-03-01 10:00:00", fee("f1", "80.00", chrg_bchno="c7"), infno="2204")
    outcome = judged(outpatient, by_batch)
    assert isinstance(outcome, BillHappened)
    assert outcome.bill_id == "Message/v1/c7"
    stay = judged(FEES, by_batch)
    assert isinstance(stay, BillHappened)
    assert stay.bill_id == "Message/v1"
    nameless = judged(cancelled("2026-03-01 11:00:00", infno="2208"), by_batch)
    assert isinstance(nameless, SetAside)
    assert [(f.reason, f.path) for f in nameless.faults] == [
        (Reason.REFERENCE_MISSING, "input.data.chrg_bchno")
    ]


def test_all_fees_of_a_stay_can_be_taken_back_and_single_ones_wait_for_a_person() -> None:
    data = {"mdtrt_id": "v1", "psn_no": "p1", "feedetl_sn": "0000"}
    outcome = judged(message("2302", "2026-03-01 12:00:00", input={"data": data}))
    assert isinstance(outcome, BillHappened)
    assert (outcome.kind, outcome.reverses) == (EventKind.REVERSAL, None)
    one = {**data, "feedetl_sn": "f1"}
    aside = judged(message("2302", "2026-03-01 12:00:00", input={"data": one}))
    assert isinstance(aside, SetAside)
    assert [(f.reason, f.path) for f in aside.faults] == [
        (Reason.MESSAGE_UNSUPPORTED, "input.data.feedetl_sn")
    ]


@pytest.mark.parametrize(
    ("said", "needs"),
    [
        (FEES, {("Person", "p1")}),
        (SETTLED, set()),
        ({**FEES, "baseinfo": {"psn_cert_type": "01", "certno": NUMBER, "psn_name": NAME}}, set()),
    ],
)
def test_a_person_is_looked_up_when_a_message_names_none(said: Message, needs: set[Any]) -> None:
    assert reader().glance(raw(said)).needs == needs
    outcome = judged(said)
    assert isinstance(outcome, BillHappened)
    assert outcome.bill is not None
    assert outcome.bill.member_token == TOKEN


def test_the_insured_persons_own_number_may_be_the_document() -> None:
    own = profile(lambda t: t.replace('{system: "01", kind: CN-ID}', "{system: psn_no, kind: PSN}"))
    assert reader(own).glance(raw(FEES)).needs == set()
    for said in (FEES, SETTLED):
        outcome = judged(said, own)
        assert isinstance(outcome, BillHappened)
        assert outcome.bill is not None
        assert outcome.bill.member_token != TOKEN


def test_names_and_telephones_of_a_settlement_list_never_leave() -> None:
    leaking = copy.deepcopy(LIST)
    leaking["input"]["diseinfo"][0]["diag_code"] = f"E{NUMBER}"
    outcome = judged(leaking)
    assert isinstance(outcome, SetAside)
    assert Reason.PERSONAL_DATA in {fault.reason for fault in outcome.faults}


Spoil = Callable[[Message], Any]
DETAIL = "input.feedetail[0]"
ANSWER = "output.setlinfo"


def detail(said: Message) -> Message:
    found: Message = said["input"]["feedetail"][0]
    return found


def answer(said: Message) -> Message:
    found: Message = said["output"]["setlinfo"]
    return found


CASES: list[tuple[str, Message, Spoil, list[tuple[Reason, str]]]] = [
    (
        "a settlement list of no settlement",
        LIST,
        lambda m: m["input"]["setlinfo"].pop("setl_id"),
        [(Reason.REFERENCE_MISSING, "input.setlinfo.setl_id")],
    ),
    (
        "a quantity with an exponent",
        FEES,
        lambda m: detail(m).update(cnt="1e400"),
        [(Reason.NUMBER_MALFORMED, f"{DETAIL}.cnt")],
    ),
    (
        "a negative quantity without original",
        FEES,
        lambda m: detail(m).update(cnt=-1),
        [(Reason.QUANTITY_NOT_POSITIVE, f"{DETAIL}.cnt")],
    ),
    (
        "a quantity of nothing",
        FEES,
        lambda m: detail(m).update(cnt=0),
        [(Reason.QUANTITY_NOT_POSITIVE, f"{DETAIL}.cnt")],
    ),
    (
        "an original that is not taken back",
        FEES,
        lambda m: detail(m).update(init_feedetl_sn="f0"),
        [(Reason.QUANTITY_NOT_POSITIVE, f"{DETAIL}.cnt"), (Reason.REVERSAL_DOES_NOT_FIT, DETAIL)],
    ),
    (
        "an impossible day",
        FEES,
        lambda m: detail(m).update(fee_ocur_time="2026-02-30 00:00:00"),
        [(Reason.TIME_IMPOSSIBLE, f"{DETAIL}.fee_ocur_time")],
    ),
    (
        "no time",
        FEES,
        lambda m: detail(m).pop("fee_ocur_time"),
        [(Reason.TIME_MISSING, f"{DETAIL}.fee_ocur_time")],
    ),
    (
        "no id of the charge",
        FEES,
        lambda m: detail(m).pop("feedetl_sn"),
        [(Reason.REFERENCE_MISSING, f"{DETAIL}.feedetl_sn")],
    ),
    (
        "no visit",
        FEES,
        lambda m: [one.pop("mdtrt_id") for one in m["input"]["feedetail"]],
        [(Reason.REFERENCE_MISSING, f"{DETAIL}.mdtrt_id")],
    ),
    (
        "charges of two visits",
        FEES,
        lambda m: detail(m).update(mdtrt_id="v2"),
        [(Reason.ROWS_DISAGREE, "input.feedetail")],
    ),
    (
        "charges of two visits, one of which has the patient's number",
        FEES,
        lambda m: detail(m).update(mdtrt_id="p1"),
        [(Reason.ROWS_DISAGREE, "input.feedetail")],
    ),
    (
        "no charges",
        FEES,
        lambda m: m["input"].update(feedetail=[]),
        [
            (Reason.REFERENCE_MISSING, f"{DETAIL}.mdtrt_id"),
            (Reason.NO_LINES, "input.feedetail"),
            (Reason.IDENTITY_MISSING, f"{DETAIL}.psn_no"),
        ],
    ),
    (
        "no code",
        FEES,
        lambda m: (detail(m).pop("med_list_codg"), detail(m).pop("medins_list_codg")),
        [(Reason.CODE_MISSING, f"{DETAIL}.med_list_codg")],
    ),
    (
        "a sum that is no product",
        FEES,
        lambda m: detail(m).update(pric="79.99"),
        [(Reason.LINE_DOES_NOT_MULTIPLY, DETAIL)],
    ),
    (
        "a kind of care that nobody knows",
        SETTLED,
        lambda m: answer(m).update(med_type="99"),
        [(Reason.CARE_TYPE_UNKNOWN, f"{ANSWER}.med_type")],
    ),
    (
        "more paid than billed",
        SETTLED,
        lambda m: answer(m).update(psn_cash_pay="30.01"),
        [(Reason.SOCIAL_INSURANCE_CONTRADICTS, f"{ANSWER}.psn_cash_pay")],
    ),
    (
        "a part that the hospital bears",
        SETTLED,
        lambda m: answer(m).update(hosp_part_amt="10.00"),
        [(Reason.MESSAGE_UNSUPPORTED, f"{ANSWER}.hosp_part_amt")],
    ),
    (
        "a settlement in the middle",
        SETTLED,
        lambda m: m["input"]["data"].update(mid_setl_flag="1"),
        [(Reason.MESSAGE_UNSUPPORTED, "input.data.mid_setl_flag")],
    ),
    (
        "a settlement without answer",
        SETTLED,
        lambda m: (m.pop("output"), m.pop("infcode")),
        [(Reason.REFERENCE_MISSING, f"{ANSWER}.setl_id")],
    ),
    (
        "a document of an unknown kind",
        SETTLED,
        lambda m: answer(m).update(psn_cert_type="88"),
        [(Reason.IDENTITY_MISSING, f"{ANSWER}.certno")],
    ),
    (
        "no provider",
        FEES,
        lambda m: m.pop("fixmedins_code"),
        [(Reason.PROVIDER_UNKNOWN, "fixmedins_code")],
    ),
    (
        "a cancellation of nothing",
        CANCELLED,
        lambda m: m["input"]["data"].pop("setl_id"),
        [(Reason.REFERENCE_MISSING, "input.data.setl_id")],
    ),
    (
        "outpatient fees taken back",
        CANCELLED,
        lambda m: m.update(infno="2205"),
        [(Reason.MESSAGE_UNSUPPORTED, "infno")],
    ),
    (
        "a stay that ends before it begins",
        LIST,
        lambda m: m["input"]["setlinfo"].update(dscg_time="2026-02-01"),
        [(Reason.END_BEFORE_START, "input.setlinfo.dscg_time")],
    ),
    (
        "an object for a text",
        FEES,
        lambda m: detail(m).update(feedetl_sn={"x": 1}),
        [(Reason.WRONG_TYPE, f"{DETAIL}.feedetl_sn")],
    ),
]  # fmt: skip - a case a line reads better


@pytest.mark.parametrize(
    ("_name", "said", "spoil", "faults"), CASES, ids=[name for name, *_ in CASES]
)
def test_bad_messages_are_set_aside_with_all_their_faults(
    _name: str, said: Message, spoil: Spoil, faults: list[tuple[Reason, str]]
) -> None:
    spoilt = copy.deepcopy(said)
    spoil(spoilt)
    outcome = judged(spoilt)
    assert isinstance(outcome, SetAside), outcome
    assert [(fault.reason, fault.path) for fault in outcome.faults] == faults


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (rb'{"infno": "2301", "msgid": "x", "zzz": "\ud83d"}', "?"),
        (rb'{"infno": "2301", "input": {"feedetail": [{"mdtrt_id": "\ud83d"}]}}', "@"),
        (rb'{"request": "{\"infno\": \"2301\", \"msgid\": \"\\ud83d\"}"}', "request.msgid"),
    ],
)
def test_half_a_character_is_a_fault_of_its_message_alone(content: bytes, path: str) -> None:
    assert identified(content, ZONE).record_id
    outcome = judged(content)
    assert isinstance(outcome, SetAside)
    where = path.replace("@", "input.feedetail[0].mdtrt_id")
    assert (Reason.TEXT_MALFORMED, where) in {(f.reason, f.path) for f in outcome.faults}


def test_a_person_whom_nobody_knows_is_named_as_missing() -> None:
    outcome = judged(FEES, known=False)
    assert isinstance(outcome, SetAside)
    assert [(f.reason, f.path) for f in outcome.faults] == [
        (Reason.PERSON_NOT_FOUND, f"{DETAIL}.psn_no")
    ]
    # What is to be done is said in the hospital's own words: nobody can send a person.
    assert "source.persons" in outcome.faults[0].text
    assert "baseinfo beside infno" in outcome.faults[0].text
    assert "send" not in outcome.faults[0].text


@pytest.mark.parametrize("place", ["infno", "request"])
def test_baseinfo_stands_beside_what_the_text_says(place: str) -> None:
    base = {"psn_cert_type": "01", "certno": NUMBER, "psn_name": NAME}
    said: Message = {**FEES} if place == "infno" else {"request": json.dumps(FEES)}
    assert isinstance(judged({**said, "baseinfo": base}, known=False), BillHappened)
    within = {**FEES, "input": {**FEES["input"], "baseinfo": base}}
    assert isinstance(judged(within, known=False), SetAside)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"cnt": 1,', '"cnt": NaN,', Reason.NOT_A_NUMBER),
        ('"cnt": 1,', '"cnt": 1e400,', Reason.NUMBER_MALFORMED),
        ('"cnt": 1,', '"cnt": 1, "cnt": 2,', Reason.DUPLICATE_KEY),
        ('"cnt": 1,', f'"cnt": {"[" * 5000}{"]" * 5000},', Reason.TOO_DEEP),
    ],
)
def test_what_json_has_no_value_for_is_named(old: str, new: str, reason: Reason) -> None:
    text = json.dumps(FEES)
    assert old in text
    outcome = judged(text.replace(old, new, 1).encode())
    assert isinstance(outcome, SetAside)
    assert reason in {fault.reason for fault in outcome.faults}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_reader_raise(content: bytes) -> None:
    outcome = judged(content)
    assert isinstance(outcome, SetAside | KeptOut)
    assert identified(content, ZONE).record_id.startswith("msg-")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(STORY), st.data())
def test_no_value_in_any_field_makes_the_reader_raise(said: Message, data: st.DataObject) -> None:
    spoilt = copy.deepcopy(said)
    node: Any = spoilt
    while True:
        keys = range(len(node)) if isinstance(node, list) else sorted(node)
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            node[key] = data.draw(_JSON)
            break
        node = node[key]
    assert judged(spoilt) is not None
