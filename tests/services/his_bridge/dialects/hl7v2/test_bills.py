"""What each message says of a bill, and every fault that holds one back."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from services.his_bridge.core.bill import Bill, CareType
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import BillHappened, KeptOut, Merged, MergeLevel, SetAside
from services.his_bridge.dialects.hl7v2 import Hl7Reading
from tests.services.his_bridge.messages_hl7 import (
    DG1,
    FT1,
    NAME,
    NUMBER,
    PHONE,
    PID,
    PV1,
    TOKEN,
    dft,
    judge,
    message,
    profile,
    reading,
    with_field,
    without,
)
from tests.services.his_bridge.records import tokens

R = Reason
CREDIT = "FT1|2|T9||20260302||{type}|110200001^^YB|||{quantity}|{amount}|50" + "|" * 19 + "T1"
OLD_NUMBER = "110101199003070038"


def happened(text: str, **changes: str) -> BillHappened:
    outcome = judge(text, changed(**changes))
    assert isinstance(outcome, BillHappened), outcome
    return outcome


def bill_of(text: str, **changes: str) -> Bill:
    bill = happened(text, **changes).bill
    assert bill is not None
    return bill


def changed(**terms: str) -> Hl7Reading:
    lines = "".join(f"  {key}: {value}\n" for key, value in terms.items())
    return reading(profile(lambda text: text.replace("hl7v2:\n  ", f"hl7v2:\n{lines}  ")))


@pytest.mark.parametrize(
    ("written", "terms", "emergency"),
    [
        ("", {}, None),
        ("E", {}, True),
        ("R", {}, False),
        ("1", {"emergency_admissions": '["1"]'}, True),
        ("E", {"emergency_admissions": '["1"]'}, False),
    ],
)
def test_the_admission_type_says_whether_a_stay_began_as_an_emergency(
    written: str, terms: dict[str, str], emergency: bool | None
) -> None:
    assert bill_of(with_field(dft(), "PV1", 4, written), **terms).emergency is emergency


@pytest.mark.parametrize(
    ("second", "terms", "fault"),
    [
        (PID.replace(NUMBER, OLD_NUMBER), {}, "PID[2]"),
        (PID.replace("ACC001", "ACC002"), {}, "PID[2]"),
        (PID, {}, None),
        (PV1.replace("V001", "V002"), {"bill": "visit"}, "PV1[2].19"),
        (PV1.replace("V001", "V002"), {}, None),
    ],
)
def test_a_message_of_two_patients_or_bills_is_not_taken_as_one_of_the_first(
    second: str, terms: dict[str, str], fault: str | None
) -> None:
    text = dft(FT1[0], second, FT1[1])
    if fault is None:
        assert len(bill_of(text, **terms).lines) == 2
    else:
        outcome = judge(text, changed(**terms))
        assert isinstance(outcome, SetAside)
        assert [(one.reason, one.path) for one in outcome.faults] == [
            (R.MESSAGE_UNSUPPORTED, fault)
        ]


def test_charges_are_added_to_the_bill_of_their_account() -> None:
    outcome = happened(dft())
    assert (outcome.bill_id, outcome.kind, outcome.day) == (
        "ACC001",
        EventKind.LATE,
        date(2026, 3, 1),
    )
    bill = outcome.bill
    assert bill is not None
    assert bill.member_token == TOKEN
    assert (bill.care_type, bill.provider_id) == (CareType.INPATIENT, "H110101")
    assert bill.start == datetime(2026, 2, 28, 1, tzinfo=UTC)
    assert bill.end == datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC)
    first, second = bill.lines
    assert (first.line_id, str(first.quantity), str(first.unit_price)) == ("T1", "1", "50")
    assert first.billed == 5_000
    assert (first.code.code, first.code.display) == ("110200001", "普通门诊诊察费")
    assert (str(second.quantity), str(second.unit_price)) == ("3", "3.335")
    assert second.billed == 1_001
    assert (second.code.code, second.code.display) == ("250101001", "")
    assert second.service_time == datetime(2026, 3, 1, 2, 15, tzinfo=UTC)
    assert [(d.number, d.code.code, d.principal) for d in bill.diagnoses] == [(1, "E11.9", True)]
    assert first.diagnosis_numbers == (1,)


def test_the_bill_goes_by_the_number_that_the_profile_names() -> None:
    assert happened(dft(), bill="visit").bill_id == "V001"
    whole = happened(dft(), bill="message")
    assert (whole.bill_id, whole.kind) == ("M1", EventKind.FINAL)


@pytest.mark.parametrize(
    ("kind", "quantity", "amount"),
    [("CD", "1", "50"), ("CR", "1", "-50"), ("CR", "-1", "-50"), ("CG", "-1", "-50")],
)
def test_a_credit_takes_its_charge_back_however_it_writes_the_sign(
    kind: str, quantity: str, amount: str
) -> None:
    bill = bill_of(dft(CREDIT.format(type=kind, quantity=quantity, amount=amount)))
    (line,) = bill.lines
    assert (line.line_id, line.reverses_line) == ("T9", "T1")
    assert (str(line.quantity), str(line.unit_price)) == ("-1", "50")
    assert (line.billed, bill.total) == (-5_000, -5_000)


def test_a_credit_may_repeat_the_id_of_its_charge() -> None:
    bill = bill_of(
        dft(CREDIT.format(type="CR", quantity=1, amount=50)), credit_names="transaction_id"
    )
    assert (bill.lines[0].line_id, bill.lines[0].reverses_line) == ("", "T9")


def test_payments_are_no_charges() -> None:
    payment = FT1[0].replace("|CG|", "|PY|")
    assert len(bill_of(dft(payment, FT1[1])).lines) == 1
    assert isinstance(judge(dft(payment)), KeptOut)
    adjusted = happened(dft(FT1[0].replace("|CG|", "|AJ|")), transaction_types="{AJ: charge}")
    assert adjusted.bill is not None


def test_an_amount_may_be_the_unit_price_where_the_profile_says_so() -> None:
    line = "FT1|1|T1||20260301||CG|110200001^^YB|||4|2.50"
    assert bill_of(dft(line), extended_amount="unit_price").total == 1_000
    assert bill_of(dft(line)).total == 250


@pytest.mark.parametrize(
    ("amount", "total"), [("50&CNY", 5_000), ("+50.00", 5_000), ("050", 5_000), ("50.", 5_000)]
)
def test_amounts_are_numbers_as_hl7_writes_them(amount: str, total: int) -> None:
    assert bill_of(dft(with_field(FT1[0], "FT1", 11, amount))).total == total


def test_a_number_of_the_person_may_stand_where_older_senders_put_it() -> None:
    pid = with_field(PID.replace(f"~{NUMBER}^^^GA^NI", ""), "PID", 19, OLD_NUMBER)
    assert bill_of(message("DFT^P03", pid, PV1, *FT1)).member_token == tokens("CN-ID", OLD_NUMBER)
    passport = PID.replace(f"{NUMBER}^^^GA^NI", "E12345678^^^NIA^PPN")
    bill = bill_of(message("DFT^P03", passport, PV1, *FT1))
    assert bill.member_token == tokens("PASSPORT", "E12345678")


def test_what_an_update_knows_joins_the_bill_without_lines() -> None:
    outcome = happened(message("ADT^A08", PID, PV1, DG1))
    assert (outcome.bill_id, outcome.kind) == ("ACC001", EventKind.LATE)
    assert outcome.bill is not None
    assert (outcome.bill.lines, outcome.bill.total) == ((), 0)
    assert [d.code.code for d in outcome.bill.diagnoses] == ["E11.9"]


@pytest.mark.parametrize("kind", ["BAR^P01", "BAR^P05", "BAR^P12", "ADT^A08"])
def test_an_update_without_diagnoses_or_account_says_nothing(kind: str) -> None:
    assert isinstance(judge(message(kind, PID, PV1)), KeptOut)
    assert isinstance(judge(message(kind, PID.removesuffix("ACC001"), PV1, DG1)), KeptOut)


def test_a_discharge_closes_the_bill() -> None:
    outcome = happened(message("ADT^A03", PID, PV1 + "20260305", DG1))
    assert (outcome.kind, outcome.day) == (EventKind.FINAL, date(2026, 3, 5))
    assert outcome.bill is not None
    assert outcome.bill.lines == ()
    bare = happened(message("BAR^P06", PID))
    assert (bare.kind, bare.bill) == (EventKind.FINAL, None)


def test_what_closes_or_takes_back_is_the_profiles_to_say() -> None:
    text = message("BAR^P02", PID, PV1, DG1)
    assert isinstance(judge(text), KeptOut)
    assert happened(text, takes_back='["BAR^P02"]').kind is EventKind.REVERSAL
    assert happened(message("ADT^A03", PID, PV1, DG1), closes="[]").kind is EventKind.LATE
    assert isinstance(judge(message("ADT^A03", PID), changed(closes="[]")), KeptOut)


def test_accounts_are_merged() -> None:
    found = judge(message("ADT^A41", PID, "MRG|M2||ACC000", PID, "MRG|M2||ACC999"))
    assert found == Merged(level=MergeLevel.ACCOUNT, into="ACC001", out_of="ACC000")
    second = judge(
        message("ADT^A41", PID, "MRG|M2||ACC000", PID, "MRG|M2||ACC999"), record_id="x#1"
    )
    assert second == Merged(level=MergeLevel.ACCOUNT, into="ACC001", out_of="ACC999")


def test_patients_are_merged_under_their_tokens() -> None:
    prior = f"MRG|M2^^^HIS^MR~{OLD_NUMBER}^^^GA^NI"
    assert judge(message("ADT^A40", PID, prior)) == Merged(
        level=MergeLevel.PATIENT, into=TOKEN, out_of=tokens("CN-ID", OLD_NUMBER)
    )
    # The hospital's own numbers, or one number twice, change nobody's token.
    assert isinstance(judge(message("ADT^A40", PID, "MRG|M2^^^HIS^MR")), KeptOut)
    assert isinstance(judge(message("ADT^A40", PID, f"MRG|{NUMBER}^^^GA^NI")), KeptOut)


def test_a_bill_outside_the_period_is_kept_out() -> None:
    old = reading(profile(lambda text: text + "period: {first_day: 2026-03-02}\n"))
    assert isinstance(judge(dft(), old), KeptOut)


def test_a_message_may_state_its_total() -> None:
    text = with_field(dft(), "PV1", 47, "60.01&CNY")
    terms = {"bill": "message", "total_from": "visit"}
    assert bill_of(text, **terms).total == 6_001
    wrong = judge(with_field(text, "PV1", 47, "60.02"), changed(**terms))
    assert isinstance(wrong, SetAside)
    assert {one.reason for one in wrong.faults} == {R.LINES_DO_NOT_ADD_UP}


def spoilt(field: int, value: str, segment: str = "FT1") -> str:
    return with_field(dft(), segment, field, value)


UNNAMED_CREDIT = CREDIT.format(type="CR", quantity=1, amount=50)[:-2]
TWO_NUMBERS = f"^^^GA^NI~{OLD_NUMBER}^^^GA^NI"
CASES = [
    ("an unknown transaction", spoilt(6, "XX"), {(R.TRANSACTION_TYPE_UNKNOWN, "FT1[1].6")}),
    ("an unnamed credit", dft(UNNAMED_CREDIT), {(R.CREDIT_WITHOUT_CHARGE, "FT1[1].31")}),
    ("another currency", spoilt(11, "50&USD"), {(R.WRONG_CURRENCY, "FT1[1].11")}),
    ("an exponent", spoilt(11, "5e1"), {(R.NUMBER_MALFORMED, "FT1[1].11")}),
    ("full-width digits", spoilt(10, "１"), {(R.NUMBER_MALFORMED, "FT1[1].10")}),
    ("quantity 0", spoilt(10, "0"), {(R.QUANTITY_NOT_POSITIVE, "FT1[1].10")}),
    ("a negative charge", spoilt(11, "-50"), {(R.NEGATIVE_AMOUNT, "FT1[1].11")}),
    (
        "no amount",
        spoilt(11, '""').replace('|""|50|', '|""||'),
        {(R.LINE_WITHOUT_AMOUNT, "FT1[1]")},
    ),
    ("30 February", spoilt(4, "20260230"), {(R.TIME_IMPOSSIBLE, "FT1[1].4")}),
    ("hour 24", spoilt(4, "2026030224"), {(R.TIME_IMPOSSIBLE, "FT1[1].4")}),
    ("half an hour's digits", spoilt(4, "202603020"), {(R.TIME_IMPOSSIBLE, "FT1[1].4")}),
    ("a month for a day", spoilt(44, "202603", "PV1"), {(R.TIME_IMPOSSIBLE, "PV1[1].44")}),
    (
        "discharged before admitted",
        spoilt(45, "20260101", "PV1"),
        {(R.END_BEFORE_START, "PV1[1].45")},
    ),
    ("a class that nobody knows", spoilt(2, "Q", "PV1"), {(R.CARE_TYPE_UNKNOWN, "PV1[1].2")}),
    ("an account in Chinese", spoilt(18, "账户一", "PID"), {(R.TEXT_MALFORMED, "PID[1].18")}),
    ("no document", dft().replace("^^^GA^NI", "^^^GA^XX"), {(R.IDENTITY_MISSING, "PID[1].3")}),
    (
        "two documents of one kind",
        dft().replace("^^^GA^NI", TWO_NUMBERS),
        {(R.IDENTITY_AMBIGUOUS, "PID[1].3")},
    ),
    ("no code", spoilt(7, "^只有文字"), {(R.CODE_MISSING, "FT1[1].7")}),
    ("an unknown system", spoilt(7, "X1^^C4"), {(R.CODE_SYSTEM_UNKNOWN, "FT1[1].7")}),
    ("a code that no map knows", spoilt(7, "X1^^HIS"), {(R.CODE_NOT_MAPPED, "FT1[1].7")}),
    ("a diagnosis without code", spoilt(3, "", "DG1"), {(R.CODE_MISSING, "DG1[1].3")}),
    ("another product", spoilt(11, "51"), {(R.LINE_DOES_NOT_MULTIPLY, "FT1[1]")}),
    (
        "a fraction of a fen",
        spoilt(11, "50.001").replace("|50.001|50|", "|50.001||"),
        {(R.AMOUNT_TOO_FINE, "FT1[1].net")},
    ),
    (
        "the patient's number as a code",
        spoilt(7, f"{NUMBER}^^YB"),
        {(R.PERSONAL_DATA, "item[0].productOrService")},
    ),
    (
        "everything at once",
        with_field(with_field(spoilt(11, "50&USD"), "FT1", 10, "0", 2), "PID", 3, "M1"),
        {
            (R.WRONG_CURRENCY, "FT1[1].11"),
            (R.QUANTITY_NOT_POSITIVE, "FT1[2].10"),
            (R.IDENTITY_MISSING, "PID[1].3"),
        },
    ),
]


@pytest.mark.parametrize(("name", "text", "faults"), CASES, ids=[case[0] for case in CASES])
def test_a_bad_message_shows_every_fault(
    name: str, text: str, faults: set[tuple[Reason, str]]
) -> None:
    outcome = judge(text)
    assert isinstance(outcome, SetAside)
    assert {(fault.reason, fault.path) for fault in outcome.faults} == faults


def test_bytes_that_nobody_can_read_wait_for_a_person() -> None:
    for raw, reason in (
        (b"nothing", R.NOT_HL7),
        (dft().encode("gb18030") + b"\xff", R.NOT_IN_CHARSET),
        (dft().replace("GB18030", "8859/1").encode("gb18030"), R.CHARSET_CONTRADICTED),
    ):
        outcome = judge(raw)
        assert isinstance(outcome, SetAside)
        assert [fault.reason for fault in outcome.faults] == [reason]


def test_nothing_of_the_patient_leaves() -> None:
    text = with_field(dft(), "FT1", 7, f"110200001^{NAME}的诊察费^YB")
    text = with_field(text, "FT1", 7, f"XUEJIAN^{PHONE}^HIS", nth=2)
    written = repr(bill_of(text))
    for secret in (NAME, "建国", NUMBER, PHONE, "MRN7701", "幸福路"):
        assert secret not in written


@pytest.mark.parametrize(
    ("admitted", "discharged", "start", "end"),
    [
        # The profile's zone is eight hours before UTC.
        (
            "2026030208",
            "2026030216",
            datetime(2026, 3, 2, 0, tzinfo=UTC),
            datetime(2026, 3, 2, 8, 59, 59, tzinfo=UTC),
        ),
        # Within one hour: who left in it left no earlier than he came.
        (
            "202603020830",
            "2026030208",
            datetime(2026, 3, 2, 0, 30, tzinfo=UTC),
            datetime(2026, 3, 2, 0, 59, 59, tzinfo=UTC),
        ),
        (
            "2026030208+0000",
            "2026030223-0130",
            datetime(2026, 3, 2, 8, tzinfo=UTC),
            datetime(2026, 3, 3, 1, 29, 59, tzinfo=UTC),
        ),
    ],
)
def test_a_time_may_be_written_to_the_hour(
    admitted: str, discharged: str, start: datetime, end: datetime
) -> None:
    text = with_field(with_field(dft(), "PV1", 44, admitted), "PV1", 45, discharged)
    bill = bill_of(text)
    assert (bill.start, bill.end) == (start, end)


def test_without_a_visit_the_days_are_the_charges() -> None:
    default = reading(profile(lambda text: text + "quirks: {care_type_default: outpatient}\n"))
    outcome = judge(without(dft(), "PV1"), default)
    assert isinstance(outcome, BillHappened)
    assert outcome.bill is not None
    assert outcome.bill.start == datetime(2026, 2, 28, 16, tzinfo=UTC)
    assert outcome.bill.care_type is CareType.OUTPATIENT
