"""What rows of a view say of a bill, and every way in which they can be bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.bill import CareType, Diagnosis, SocialInsurance
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import (
    BillHappened,
    BillStated,
    KeptOut,
    Outcome,
    SetAside,
)
from services.his_bridge.core.row_terms import RowTerms
from services.his_bridge.dialects.sql_rows import BillRowReader
from services.his_bridge.profiles.loader import SourceProfile
from tests.services.his_bridge.records import TOKEN, tokens
from tests.services.his_bridge.sources.sql.hospital import BILL, LINE, profile

Spoil = Callable[[dict[str, Any]], Any]
HEAD_COLUMNS = {key: value for key, value in BILL.items() if key not in ("bill_no", "updated")}
LINE_COLUMNS = {key: value for key, value in LINE.items() if key != "bill_no"}
FOUND = profile("sqlite://")
GROUPED = profile("sqlite://", lambda t: t.replace("total: total", "total: total, bill: visit"))


def record() -> dict[str, Any]:
    return {
        "head": dict(HEAD_COLUMNS),
        "lines": [
            {**LINE_COLUMNS, "qty": "1.0000", "amt": "25.00"},
            {**LINE_COLUMNS, "line_no": "2", "qty": 1, "price": None, "amt": 25},
        ],
        "diagnoses": [],
    }


def judged(raw: bytes, found: SourceProfile = FOUND) -> Outcome:
    assert isinstance(found.dialect_terms, RowTerms)
    reader = BillRowReader(found.dialect_terms, found.terms, tokens)
    glance = reader.glance(raw)
    return KeptOut() if glance.keep_out else reader.judge("b1", glance, {})


def spoilt(spoil: Spoil, found: SourceProfile = FOUND) -> Outcome:
    rows = record()
    spoil(rows)
    return judged(json.dumps(rows, ensure_ascii=False).encode(), found)


def test_rows_are_a_bill() -> None:
    outcome = spoilt(lambda r: None)
    assert isinstance(outcome, BillStated)
    bill = outcome.bill
    assert (bill.bill_number, bill.member_token, bill.total) == ("b1", TOKEN, 5_000)
    assert bill.care_type is CareType.OUTPATIENT
    assert (bill.start, bill.end) == (
        datetime(2026, 3, 1, 1, tzinfo=UTC),
        datetime(2026, 3, 1, 2, tzinfo=UTC),
    )
    assert bill.social_insurance == SocialInsurance(used=True, fund_paid=2_000)
    assert [d.code.code for d in bill.diagnoses] == ["E11.9"]
    assert bill.diagnoses[0] == Diagnosis(number=1, code=bill.diagnoses[0].code, principal=True)
    first, second = bill.lines
    assert (first.quantity, first.unit_price, first.billed) == (Decimal(1), Decimal(25), 2_500)
    assert (first.line_id, second.line_id, second.billed) == ("1", "2", 2_500)
    assert first.local_code is not None
    assert (first.code.code, first.local_code.code) == ("250101001", "XJ")


@pytest.mark.parametrize(("way", "emergency"), [("急诊", True), ("门诊", False), ("", None)])
def test_a_column_says_whether_a_stay_began_as_an_emergency(
    way: str, emergency: bool | None
) -> None:
    told = "total: total, admission: adm_way"
    found = profile(
        "sqlite://",
        lambda t: t.replace("total: total", told).replace(
            "sql_rows:\n", "sql_rows:\n  emergency_admissions: [急诊, 绿色通道]\n"
        ),
    )
    outcome = spoilt(lambda r: r["head"].update(adm_way=way), found)
    assert isinstance(outcome, BillStated)
    assert outcome.bill.emergency is emergency


def test_a_name_in_a_public_text_is_emptied_and_in_a_number_it_stops_the_bill() -> None:
    named = spoilt(lambda r: r["lines"][0].update(item_name=f"血常规 {BILL['pat_name']}"))
    assert isinstance(named, BillStated)
    assert named.bill.lines[0].code.display == ""
    leaking = spoilt(lambda r: r["lines"][0].update(item_code=f"X{BILL['id_no']}"))
    assert isinstance(leaking, SetAside)
    assert {fault.reason for fault in leaking.faults} == {Reason.PERSONAL_DATA}


CASES: list[tuple[str, Spoil, list[tuple[Reason, str]]]] = [
    (
        "a float",
        lambda r: r["head"].update(total={"float": True}),
        [(Reason.BINARY_FLOAT, "head.total")],
    ),
    (
        "rows that disagree",
        lambda r: r["head"].update(id_no={"differs": True}),
        [(Reason.ROWS_DISAGREE, "head.id_no"), (Reason.IDENTITY_MISSING, "head.id_no")],
    ),
    (
        "bytes of another charset",
        lambda r: r["lines"][0].update(item_name={"bytes": "c5"}),
        [(Reason.NOT_IN_CHARSET, "lines[0].item_name")],
    ),
    (
        "not a number",
        lambda r: r["lines"][1].update(amt={"not_a_number": True}),
        [(Reason.NOT_A_NUMBER, "lines[1].amt")],
    ),
    (
        "a value of an odd type",
        lambda r: r["head"].update(begun={"unreadable": "timedelta"}),
        [(Reason.WRONG_TYPE, "head.begun")],
    ),
    (
        "an exponent",
        lambda r: r["lines"][0].update(qty="1e400"),
        [(Reason.NUMBER_MALFORMED, "lines[0].qty")],
    ),
    (
        "no quantity",
        lambda r: r["lines"][0].update(qty=None),
        [(Reason.NUMBER_MALFORMED, "lines[0].qty")],
    ),
    (
        "too many places",
        lambda r: r["lines"][0].update(qty="1.00001"),
        [(Reason.NUMBER_MALFORMED, "lines[0].qty")],
    ),
    (
        "a negative quantity that takes nothing back",
        lambda r: r["lines"][0].update(qty="-1"),
        [(Reason.QUANTITY_NOT_POSITIVE, "lines[0].qty")],
    ),
    (
        "a negative amount",
        lambda r: r["lines"][1].update(amt="-25"),
        [(Reason.NEGATIVE_AMOUNT, "lines[1].amt")],
    ),
    (
        "an impossible day",
        lambda r: r["head"].update(begun="2026-02-30"),
        [(Reason.TIME_IMPOSSIBLE, "head.begun")],
    ),
    (
        "a day of nobody's",
        lambda r: r["head"].update(ended="0000-00-00 00:00:00"),
        [(Reason.TIME_IMPOSSIBLE, "head.ended")],
    ),
    (
        "infinity",
        lambda r: r["head"].update(ended="infinity"),
        [(Reason.TIME_IMPOSSIBLE, "head.ended")],
    ),
    (
        "an end before the begin",
        lambda r: r["head"].update(ended="2026-02-01"),
        [(Reason.END_BEFORE_START, "head.ended")],
    ),
    ("no begin", lambda r: r["head"].update(begun=None), [(Reason.TIME_MISSING, "head.begun")]),
    (
        "an unknown status",
        lambda r: r["head"].update(status="7"),
        [(Reason.STATUS_UNKNOWN, "head.status")],
    ),
    (
        "an unknown kind of visit",
        lambda r: r["head"].update(visit_type="Z"),
        [(Reason.CARE_TYPE_UNKNOWN, "head.visit_type")],
    ),
    ("no lines", lambda r: r.update(lines=[]), [(Reason.NO_LINES, "lines")]),
    (
        "no code",
        lambda r: r["lines"][0].update(yb_code=None, item_code=" "),
        [(Reason.CODE_MISSING, "lines[0].yb_code")],
    ),
    (
        "only the hospital's own code",
        lambda r: r["lines"][0].update(yb_code=None),
        [(Reason.CODE_SYSTEM_UNKNOWN, "lines[0].yb_code")],
    ),
    (
        "a code with a line feed",
        lambda r: r["lines"][0].update(yb_code="1\n2"),
        [(Reason.TEXT_MALFORMED, "lines[0].yb_code")],
    ),
    (
        "no document",
        lambda r: r["head"].update(id_no="  "),
        [(Reason.IDENTITY_MISSING, "head.id_no")],
    ),
    (
        "a document of hyphens",
        lambda r: r["head"].update(id_no="- -"),
        [(Reason.IDENTITY_MISSING, "head.id_no")],
    ),
    ("no total", lambda r: r["head"].update(total=None), [(Reason.TOTAL_MISSING, "head.total")]),
    (
        "lines that do not add up",
        lambda r: r["head"].update(total="49.99"),
        [(Reason.LINES_DO_NOT_ADD_UP, "head.total")],
    ),
    (
        "less than a coin",
        lambda r: r["head"].update(total="50.001"),
        [(Reason.AMOUNT_TOO_FINE, "head.total")],
    ),
    (
        "neither price nor amount",
        lambda r: r["lines"][0].update(price=None, amt=""),
        [(Reason.LINE_WITHOUT_AMOUNT, "lines[0]")],
    ),
    (
        "several at once",
        lambda r: (r["head"].update(status="7", id_no=None), r.update(lines=[])),
        [
            (Reason.STATUS_UNKNOWN, "head.status"),
            (Reason.NO_LINES, "lines"),
            (Reason.IDENTITY_MISSING, "head.id_no"),
        ],
    ),
    (
        "lines that are no list",
        lambda r: r.update(lines=3),
        [(Reason.WRONG_TYPE, "lines"), (Reason.NO_LINES, "lines")][:1],
    ),
    ("a line that is no row", lambda r: r["lines"].append("x"), [(Reason.WRONG_TYPE, "lines[2]")]),
]  # fmt: skip - a case a line reads better


@pytest.mark.parametrize(("_name", "spoil", "faults"), CASES, ids=[name for name, *_ in CASES])
def test_bad_rows_are_set_aside_with_all_their_faults(
    _name: str, spoil: Spoil, faults: list[tuple[Reason, str]]
) -> None:
    outcome = spoilt(spoil)
    assert isinstance(outcome, SetAside), outcome
    assert [(fault.reason, fault.path) for fault in outcome.faults] == faults


RAW: list[tuple[str, bytes, list[Reason]]] = [
    ("no JSON", b"{", [Reason.NOT_JSON]),
    ("a list", b"[]", [Reason.NOT_JSON]),
    ("no UTF-8", b'{"head":{"total":"\xc5"}}', [Reason.NOT_JSON]),
    ("deep", b'{"head":{"total":' + b"[" * 5_000 + b"]" * 5_000 + b"}}", [Reason.TOO_DEEP]),
]


@pytest.mark.parametrize(("_name", "raw", "reasons"), RAW, ids=[name for name, *_ in RAW])
def test_bytes_that_are_no_rows_are_named(_name: str, raw: bytes, reasons: list[Reason]) -> None:
    outcome = judged(raw)
    assert isinstance(outcome, SetAside)
    assert [fault.reason for fault in outcome.faults][: len(reasons)] == reasons


@pytest.mark.parametrize(
    ("old", "new", "reason", "path"),
    [
        ('"total":"50.00"', '"total":NaN', Reason.NOT_A_NUMBER, "head.total"),
        ('"total":"50.00"', '"total":1e400', Reason.NUMBER_MALFORMED, "head.total"),
        ('"total":"50.00"', '"total":"50.00","total":"5"', Reason.DUPLICATE_KEY, "head.total"),
        ('"amt":25', '"amt":-Infinity', Reason.NOT_A_NUMBER, "lines[1].amt"),
    ],
)
def test_what_json_has_no_value_for_is_named(old: str, new: str, reason: Reason, path: str) -> None:
    text = json.dumps(record(), separators=(",", ":"))
    assert old in text
    outcome = judged(text.replace(old, new).encode())
    assert isinstance(outcome, SetAside)
    assert (reason, path) in [(fault.reason, fault.path) for fault in outcome.faults]


def test_texts_of_gb18030_bytes_are_read() -> None:
    name = "玕瑋誠".encode("gb18030").hex()
    outcome = spoilt(lambda r: r["lines"][0].update(item_name={"bytes": name}))
    assert isinstance(outcome, BillStated)
    assert outcome.bill.lines[0].code.display == "玕瑋誠"


def test_blanks_that_fill_a_column_mean_nothing() -> None:
    outcome = spoilt(
        lambda r: r["head"].update(status="1  ", diag="E11.9   ", id_no="11010119900307002X ")
    )
    assert isinstance(outcome, BillStated)
    assert outcome.bill.diagnoses[0].code.code == "E11.9"
    assert outcome.bill.member_token == TOKEN


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01 09:00:00", datetime(2026, 3, 1, 1, tzinfo=UTC)),
        ("2026-03-01T09:00:00.123456", datetime(2026, 3, 1, 1, tzinfo=UTC)),
        ("20260301090000", datetime(2026, 3, 1, 1, tzinfo=UTC)),
        ("2026-03-01 01:00:00+00", datetime(2026, 3, 1, 1, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 2, 28, 16, tzinfo=UTC)),
    ],
)
def test_times_without_an_offset_are_the_hospitals(text: str, moment: datetime) -> None:
    outcome = spoilt(lambda r: r["head"].update(begun=text))
    assert isinstance(outcome, BillStated)
    assert outcome.bill.start == moment


def test_a_draft_and_what_lies_outside_the_period_stay_out() -> None:
    assert spoilt(lambda r: r["head"].update(status="9")) == KeptOut()
    old = profile("sqlite://", lambda t: t + "period: {first_day: 2027-01-01}\n")
    assert spoilt(lambda r: None, old) == KeptOut()
    back = spoilt(lambda r: r["head"].update(status="2", orig_no="b0"), old)
    assert isinstance(back, BillHappened)


def test_a_bill_that_is_taken_back_is_a_reversal() -> None:
    alone = spoilt(lambda r: r["head"].update(status="2"))
    assert isinstance(alone, BillHappened)
    assert (alone.bill_id, alone.kind, alone.reverses) == ("Bill/b1", EventKind.REVERSAL, None)
    of_another = spoilt(lambda r: r["head"].update(status="2", orig_no="b0", total="-50"))
    assert isinstance(of_another, BillHappened)
    assert (of_another.bill_id, of_another.reverses) == ("Bill/b0", "b0")


def test_lines_that_take_back_charges_of_another_bill_are_added_to_it() -> None:
    def refund(rows: dict[str, Any]) -> None:
        rows["head"].update(orig_no="b0", total="-25", fund="-10")
        rows["lines"] = [
            {**LINE_COLUMNS, "qty": "-1", "amt": "-25", "orig_line": "1", "line_no": "9"}
        ]

    outcome = spoilt(refund)
    assert isinstance(outcome, BillHappened)
    assert (outcome.bill_id, outcome.kind) == ("Bill/b0", EventKind.LATE)
    assert outcome.bill is not None
    assert [(line.line_id, line.reverses_line, line.billed) for line in outcome.bill.lines] == [
        ("9", "1", -2_500)
    ]


def test_a_refund_without_lines_waits_for_a_person() -> None:
    def refund(rows: dict[str, Any]) -> None:
        rows["head"].update(orig_no="b0", total="-25", fund=None)
        rows["lines"] = []

    outcome = spoilt(refund)
    assert isinstance(outcome, SetAside)
    assert [fault.reason for fault in outcome.faults] == [Reason.REFUND_WITHOUT_LINES]


def test_a_bill_that_takes_back_a_line_of_its_own_is_an_event() -> None:
    def refund(rows: dict[str, Any]) -> None:
        back = {"qty": "-1", "price": "25", "amt": "-25", "orig_line": "2", "line_no": "3"}
        rows["lines"].append({**LINE_COLUMNS, **back})
        rows["head"].update(total="25.00")

    outcome = spoilt(refund)
    assert isinstance(outcome, BillHappened)
    assert (outcome.bill_id, outcome.kind, outcome.stated_total) == (
        "Bill/b1",
        EventKind.FINAL,
        2_500,
    )  # fmt: skip - a case a line reads better


def test_rows_of_one_visit_are_one_bill() -> None:
    outcome = spoilt(lambda r: r["head"].update(visit="v7", status="0"), GROUPED)
    assert isinstance(outcome, BillHappened)
    assert (outcome.bill_id, outcome.kind) == ("Bill/v7", EventKind.INTERIM)


@pytest.mark.parametrize(
    ("self_paid", "good"), [("30", True), ("25.00", True), ("24", False), ("50", False)]
)
def test_what_the_patient_paid_is_held_against_the_rest(self_paid: str, good: bool) -> None:
    found = profile(
        "sqlite://",
        lambda t: t.replace(
            "fund_paid: fund", "fund_paid: fund, self_paid: own, account_paid: acct"
        ),
    )
    outcome = spoilt(lambda r: r["head"].update(own=self_paid, acct="5"), found)
    assert isinstance(outcome, BillStated if good else SetAside)


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["bytes", "float", "differs", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from(["head", "lines"]),
    st.sampled_from([*HEAD_COLUMNS, *LINE_COLUMNS]),
    _VALUE,
)
def test_no_value_in_any_column_makes_the_reader_raise(part: str, column: str, value: Any) -> None:
    def spoil(rows: dict[str, Any]) -> None:
        (rows["head"] if part == "head" else rows["lines"][0])[column] = value

    for found in (FOUND, GROUPED):
        assert spoilt(spoil, found) is not None


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_reader_raise(content: bytes) -> None:
    assert isinstance(judged(content), SetAside | KeptOut)
