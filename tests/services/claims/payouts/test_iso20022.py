"""The bank's language: what we write is valid, and what others write is read or refused whole."""

from __future__ import annotations

import re
import string
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.claims.payouts.iso20022 import (
    CreditTransfer,
    InvalidDocument,
    Party,
    PaymentOrder,
    PaymentStatus,
    StatusReport,
    party_faults,
    read_order,
    read_report,
    write_order,
    write_report,
)
from services.claims.payouts.iso20022.documents import MAX_BYTES, MAX_TAGS

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
INSURER = Party(
    holder_name="保险股份有限公司", account_number="1100-0001/88", bank_code="104100000004"
)
MEMBER = Party(
    holder_name="阿卜杜勒·热合曼", account_number="6222020200012345678", bank_code="102100099996"
)
GERMAN = Party(
    holder_name="Erika Mustermann",
    account_number="DE89370400440532013000",
    bank_code="COBADEFFXXX",
)
AMERICAN = Party(holder_name="J. O'Neil (Jr.)", account_number="0012345", bank_code="021000021")


def transfer(number: int, creditor: Party = MEMBER, **values: Any) -> CreditTransfer:
    made = CreditTransfer(
        end_to_end_id=f"E{number}", amount=1_205, currency="CNY", creditor=creditor
    )
    return msgspec.structs.replace(made, **values)


def order(*transfers: CreditTransfer, **values: Any) -> PaymentOrder:
    made = PaymentOrder(
        message_id="M1",
        created=datetime(2026, 3, 1, 23, 30, tzinfo=UTC),
        execution_date=date(2026, 3, 2),
        debtor=INSURER,
        transfers=transfers or (transfer(1),),
    )
    return msgspec.structs.replace(made, **values)


def texts(data: bytes, path: str) -> list[str | None]:
    names = "/".join(f"{{{NAMESPACE}}}{name}" for name in path.split("/"))
    return [element.text for element in ET.fromstring(data).iterfind(f".//{names}")]


def reasons(refused: pytest.ExceptionInfo[InvalidDocument]) -> set[str]:
    return {fault.reason for fault in refused.value.faults}


def test_an_order_says_what_a_chinese_bank_needs() -> None:
    data = write_order(order())
    assert texts(data, "CdtrAcct/Id/Othr/Id") == [MEMBER.account_number]
    assert texts(data, "CdtrAgt/FinInstnId/ClrSysMmbId/ClrSysId/Cd") == ["CNAPS"]
    assert texts(data, "CdtrAgt/FinInstnId/ClrSysMmbId/MmbId") == [MEMBER.bank_code]
    assert texts(data, "Cdtr/Nm") == [MEMBER.holder_name]
    assert texts(data, "Amt/InstdAmt") == ["12.05"]
    assert texts(data, "ReqdExctnDt/Dt") == ["2026-03-02"]
    assert texts(data, "CreDtTm") == ["2026-03-01T23:30:00Z"]


def test_other_countries_ways_of_naming_accounts_and_banks() -> None:
    data = write_order(order(transfer(1, GERMAN, currency="EUR"), transfer(2, AMERICAN)))
    assert texts(data, "CdtrAcct/Id/IBAN") == [GERMAN.account_number]
    assert texts(data, "CdtrAgt/FinInstnId/BICFI") == [GERMAN.bank_code]
    assert texts(data, "CdtrAgt/FinInstnId/ClrSysMmbId/ClrSysId/Cd") == ["USABA"]


def test_a_number_that_only_looks_like_an_iban_is_no_iban() -> None:
    almost = msgspec.structs.replace(GERMAN, account_number="DE89370400440532013001")
    data = write_order(order(transfer(1, almost)))
    assert texts(data, "CdtrAcct/Id/IBAN") == []
    assert texts(data, "CdtrAcct/Id/Othr/Id") == [almost.account_number]


def test_each_currency_is_a_batch_with_its_own_sum() -> None:
    yen = transfer(3, currency="JPY", amount=500)
    data = write_order(order(transfer(1), transfer(2, currency="USD"), yen, transfer(4)))
    assert texts(data, "PmtInf/PmtInfId") == ["M1-CNY", "M1-USD", "M1-JPY"]
    assert texts(data, "PmtInf/CtrlSum") == ["24.10", "12.05", "500"]
    assert texts(data, "GrpHdr/CtrlSum") == ["536.15"]
    assert texts(data, "PmtInf/DbtrAcct/Ccy") == ["CNY", "USD", "JPY"]


def test_an_order_names_no_claim_and_no_illness() -> None:
    names = {
        re.sub(r"\{.*\}", "", element.tag) for element in ET.fromstring(write_order(order())).iter()
    }
    assert not names & {"RmtInf", "Ustrd", "Strd", "SplmtryData", "InstrInf"}


def test_the_same_order_gives_the_same_bytes() -> None:
    assert write_order(order(transfer(1), transfer(2))) == write_order(
        order(transfer(1), transfer(2))
    )


_ALNUM = string.ascii_letters + string.digits
names = st.text("张三李四абвABC dé·ཀ", min_size=1, max_size=140).filter(
    lambda name: name == name.strip()
)
# Not from a pattern, which takes ten times as long to draw.
accounts = st.builds(str.__add__, st.sampled_from(_ALNUM), st.text(f"{_ALNUM}/-", max_size=33))
parties = st.builds(
    Party,
    holder_name=names,
    account_number=accounts,
    bank_code=st.one_of(
        st.text(string.digits, min_size=12, max_size=12),
        st.text(string.digits, min_size=9, max_size=9),
        st.just("COBADEFF"),
    ),
)
transfers = st.lists(
    st.builds(
        CreditTransfer,
        end_to_end_id=st.uuids().map(lambda found: found.hex),
        amount=st.integers(1, 10**15),
        currency=st.sampled_from(["CNY", "USD", "JPY"]),
        creditor=parties,
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda each: each.end_to_end_id,
)


@settings(max_examples=30)
@given(transfers)
def test_what_is_written_is_read_as_it_was(found: list[CreditTransfer]) -> None:
    _is_read_as_written(found)


@pytest.mark.fault
@settings(max_examples=300)
@given(transfers)
def test_what_is_written_is_read_as_it_was_of_many(found: list[CreditTransfer]) -> None:
    _is_read_as_written(found)


def _is_read_as_written(found: list[CreditTransfer]) -> None:
    read = read_order(write_order(order(*found)))
    plain = [msgspec.structs.replace(each, batch_id="") for each in read.transfers]
    assert sorted(plain, key=lambda t: t.end_to_end_id) == sorted(
        found, key=lambda t: t.end_to_end_id
    )
    assert read.debtor == INSURER
    assert read.execution_date == date(2026, 3, 2)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"holder_name": ""}, "NAME_LENGTH"),
        ({"holder_name": "a" * 141}, "NAME_LENGTH"),
        ({"holder_name": " Li"}, "NAME_LENGTH"),
        ({"holder_name": "Li\nSi"}, "NAME_CHARACTER"),
        ({"holder_name": "Li\x00Si"}, "NAME_CHARACTER"),
        ({"holder_name": "Li\u202eSi"}, "NAME_CHARACTER"),
        ({"holder_name": "Li\ud800"}, "NAME_CHARACTER"),
        ({"holder_name": "<Li>"}, "NAME_CHARACTER"),
        ({"account_number": ""}, "ACCOUNT_NUMBER"),
        ({"account_number": "1" * 35}, "ACCOUNT_NUMBER"),
        ({"account_number": "１２３"}, "ACCOUNT_NUMBER"),
        ({"account_number": "12 34"}, "ACCOUNT_NUMBER"),
        ({"bank_code": "1021000999"}, "BANK_CODE"),
        ({"bank_code": "１０２１０００９９９９６"}, "BANK_CODE"),
        ({"bank_code": "cobadeff"}, "BANK_CODE"),
        ({"bank_code": ""}, "BANK_CODE"),
    ],
)
def test_a_payee_that_no_bank_could_pay_is_named(values: dict[str, str], reason: str) -> None:
    wrong = msgspec.structs.replace(MEMBER, **values)
    assert [fault.reason for fault in party_faults(wrong, "payee")] == [reason]
    with pytest.raises(InvalidDocument) as refused:
        write_order(order(transfer(1, wrong)))
    assert reasons(refused) == {reason}
    for value in values.values():
        assert not value or value not in str(refused.value)  # personal


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (order(message_id="M" * 32), "MESSAGE_ID"),
        (order(message_id="M 1"), "MESSAGE_ID"),
        (order(transfers=()), "COUNT"),
        (order(*map(transfer, range(501))), "COUNT"),
        (order(transfer(1), transfer(1)), "END_TO_END_ID"),
        (order(transfer(1, end_to_end_id="E" * 36)), "END_TO_END_ID"),
        (order(transfer(1, amount=0)), "AMOUNT"),
        (order(transfer(1, amount=-5)), "AMOUNT"),
        (order(transfer(1, currency="XXX")), "CURRENCY"),
        (order(created=datetime(2026, 3, 1)), "TIME_ZONE"),  # noqa: DTZ001 the fault
    ],
)
def test_an_order_that_cannot_be_sent_is_refused(wrong: PaymentOrder, reason: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        write_order(wrong)
    assert reasons(refused) == {reason}


def test_every_fault_is_named_at_once() -> None:
    wrong = msgspec.structs.replace(MEMBER, account_number="", bank_code="x")
    with pytest.raises(InvalidDocument) as refused:
        write_order(order(transfer(1, wrong, amount=0), transfer(2, currency="XXX")))
    assert reasons(refused) == {"ACCOUNT_NUMBER", "BANK_CODE", "AMOUNT", "CURRENCY"}


VALID = write_order(order(transfer(1), transfer(2)))
BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (VALID.replace(b"?>", b"?>" + BOMB, 1), "DOCTYPE"),
        (VALID.replace(b"?>", b'?><!DOCTYPE a SYSTEM "file:///etc/passwd">', 1), "DOCTYPE"),
        (VALID.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "ENCODING"),
        (VALID.replace(b'encoding="UTF-8"', b'encoding="GBK"'), "PROCESSING_INSTRUCTION"),
        (VALID.replace(b"?>", b'?><?xml-stylesheet href="x"?>', 1), "PROCESSING_INSTRUCTION"),
        (VALID[:-20], "NOT_WELL_FORMED"),
        (b"", "NOT_WELL_FORMED"),
        (VALID + b" " * MAX_BYTES, "TOO_LARGE"),
        (b"<a>" + b"<b/>" * MAX_TAGS + b"</a>", "TOO_LARGE"),
        (VALID.replace(b"pain.001.001.09", b"pain.001.001.03"), "NAMESPACE"),
        (VALID.replace(b"<Purp>", b'<Purp xmlns="urn:evil">', 1), "NAMESPACE"),
        (VALID.replace(b"Document", b"Dokument"), "NAMESPACE"),
    ],
)
def test_what_could_harm_the_reader_is_refused_before_it_is_built(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_order(data)
    assert reasons(refused) == {reason}


def once(old: str, new: str) -> bytes:
    changed = VALID.decode().replace(old, new, 1)
    assert changed != VALID.decode()
    return changed.encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (once("<MsgId>M1</MsgId>", ""), "MISSING"),
        (once("<MsgId>M1</MsgId>", "<MsgId>M1</MsgId>" * 2), "REPEATED"),
        (once("<MsgId>M1</MsgId>", f"<MsgId>{'M' * 36}</MsgId>"), "LENGTH"),
        (once("<EndToEndId>E1</EndToEndId>", "<EndToEndId/>"), "LENGTH"),
        (once("<Purp>", "<Zzz/><Purp>"), "UNKNOWN"),
        (once("<Purp>", "words<Purp>"), "UNKNOWN"),
        (once("<EndToEndId>E1", "<EndToEndId><a/>E1"), "UNKNOWN"),
        (once("<GrpHdr>", '<GrpHdr a="1">'), "UNKNOWN"),
        (once("<Othr>", "<IBAN>DE89370400440532013000</IBAN><Othr>"), "CHOICE"),
        (once("<Dt>2026-03-02</Dt>", ""), "CHOICE"),
        (once("<Dt>2026-03-02</Dt>", "<Dt>2026-02-29</Dt>"), "DATE"),
        (once("<Dt>2026-03-02</Dt>", "<Dt>２０２６-03-02</Dt>"), "DATE"),
        (once("2026-03-01T23:30:00Z", "2026-03-01T25:30:00Z"), "DATE"),
        (once("<PmtMtd>TRF</PmtMtd>", "<PmtMtd>CASH</PmtMtd>"), "CODE"),
        (once('Ccy="CNY">12.05', 'Ccy="cny">12.05'), "PATTERN"),
        (once('Ccy="CNY">12.05', ">12.05"), "MISSING"),
        (once(">12.05</InstdAmt>", ">NaN</InstdAmt>"), "NUMBER"),
        (once(">12.05</InstdAmt>", ">1e400</InstdAmt>"), "NUMBER"),
        (once(">12.05</InstdAmt>", ">1_2</InstdAmt>"), "NUMBER"),
        (once(">12.05</InstdAmt>", ">１２</InstdAmt>"), "NUMBER"),
        (once(">12.05</InstdAmt>", ">-12.05</InstdAmt>"), "RANGE"),
        (once(">12.05</InstdAmt>", ">12.050001</InstdAmt>"), "DIGITS"),
        (once(">12.05</InstdAmt>", f">{'9' * 19}</InstdAmt>"), "DIGITS"),
        (once("<Cdtr><Nm>", "<Purp><Cd>INSC</Cd></Purp><Cdtr><Nm>"), "ORDER"),
    ],
)
def test_what_the_schema_forbids_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_order(data)
    assert reason in reasons(refused)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (once(">12.05</InstdAmt>", ">12.055</InstdAmt>"), "AMOUNT"),
        (once(">12.05</InstdAmt>", ">0</InstdAmt>"), "AMOUNT"),
        (once('Ccy="CNY">12.05', 'Ccy="XXX">12.05'), "AMOUNT"),
        (once("<NbOfTxs>2</NbOfTxs>", "<NbOfTxs>3</NbOfTxs>"), "COUNT"),
        (once("<CtrlSum>24.10</CtrlSum>", "<CtrlSum>24.11</CtrlSum>"), "SUM"),
        (once("<PmtMtd>TRF</PmtMtd>", "<PmtMtd>CHK</PmtMtd>"), "METHOD"),
        (once(f"<Cdtr><Nm>{MEMBER.holder_name}</Nm></Cdtr>", ""), "PARTY"),
        (once("<Dt>2026-03-02</Dt>", "<DtTm>2026-03-02T10:00:00Z</DtTm>"), "DATE"),
    ],
)
def test_what_the_schema_allows_and_a_bank_cannot_do_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_order(data)
    assert reason in reasons(refused)


REPORT = StatusReport(
    message_id="R1",
    created=datetime(2026, 3, 2, tzinfo=UTC),
    order_id="M1",
    order_status="PART",
    payments=(
        PaymentStatus(
            end_to_end_id="E1",
            status="ACSC",
            batch_id="M1-CNY",
            amount=Decimal("12.05"),
            currency="CNY",
        ),
        PaymentStatus(end_to_end_id="E2", status="RJCT", reasons=("AC04",), batch_id="M1-CNY"),
        PaymentStatus(end_to_end_id="E3", status="ACSP", batch_id="M1-USD"),
    ),
)


def test_a_report_is_read_as_it_was_written() -> None:
    read = read_report(write_report(REPORT))
    assert read.payments == REPORT.payments
    assert (read.order_id, read.order_status) == ("M1", "PART")
    assert [batch.batch_id for batch in read.batches] == ["M1-CNY", "M1-USD"]


def test_a_payment_without_a_status_has_its_batch_s() -> None:
    data = write_report(REPORT).replace(b"<TxSts>ACSC</TxSts>", b"")
    data = data.replace(
        b"<OrgnlPmtInfId>M1-CNY</OrgnlPmtInfId>",
        b"<OrgnlPmtInfId>M1-CNY</OrgnlPmtInfId><PmtInfSts>RJCT</PmtInfSts>"
        b"<StsRsnInf><Rsn><Cd>AM05</Cd></Rsn></StsRsnInf>",
    )
    first = read_report(data).payments[0]
    assert (first.status, first.reasons) == ("RJCT", ("AM05",))


def test_a_reason_may_be_the_bank_s_own() -> None:
    data = write_report(REPORT).replace(b"<Cd>AC04</Cd>", b"<Prtry>X-17</Prtry>")
    assert read_report(data).payments[1].reasons == ("X-17",)


def test_a_report_in_another_version_is_refused() -> None:
    with pytest.raises(InvalidDocument) as refused:
        read_report(write_report(REPORT).replace(b"pain.002.001.10", b"pain.002.001.03"))
    assert reasons(refused) == {"NAMESPACE"}
    with pytest.raises(InvalidDocument):
        read_report(VALID)


def test_a_byte_order_mark_and_comments_do_no_harm() -> None:
    data = VALID.replace(b"<GrpHdr>", b"<!-- made by hand --><GrpHdr>")
    assert read_order(b"\xef\xbb\xbf" + data).transfers[0].end_to_end_id == "E1"


def test_a_party_does_not_show_in_a_log() -> None:
    assert MEMBER.account_number not in f"{MEMBER!r}{transfer(1)!r}{order()!r}"
