"""The sandbox bank behaves like a bank: it pays once, remembers, and says what it did."""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from services.claims.payouts.iso20022 import (
    CreditTransfer,
    Party,
    PaymentOrder,
    StatusReport,
    read_report,
    write_order,
)
from services.common.state import read_addresses
from tests.plain_http import NO_TLS
from tests.sandbox import SandboxBank, sandbox_bank

GOOD = Party(holder_name="张三", account_number="6222020200012345678", bank_code="102100099996")
CLOSED = Party(holder_name="李四", account_number="6222020200010000", bank_code="102100099996")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBank]:
    with sandbox_bank(tmp_path_factory.mktemp("bank")) as bank:
        yield bank


def order(message_id: str, *payees: tuple[str, Party]) -> bytes:
    transfers = tuple(
        CreditTransfer(end_to_end_id=name, amount=100 + n, currency="CNY", creditor=payee)
        for n, (name, payee) in enumerate(payees)
    )
    return write_order(
        PaymentOrder(
            message_id=message_id,
            created=datetime(2026, 3, 1, tzinfo=UTC),
            execution_date=date(2026, 3, 1),
            debtor=GOOD,
            transfers=transfers,
        )
    )


def post(bank: SandboxBank, file: bytes) -> httpx.Response:
    url = f"{bank.url}/payments"
    return httpx.post(url, content=file, trust_env=False, verify=NO_TLS, timeout=60)


def get(bank: SandboxBank, path: str) -> httpx.Response:
    return httpx.get(f"{bank.url}{path}", trust_env=False, verify=NO_TLS, timeout=60)


def executed(bank: SandboxBank) -> list[tuple[str, str]]:
    """The message and the id of every payment. Its status changes by itself, as it settles."""
    return [(payment["message_id"], payment["end_to_end_id"]) for payment in bank.paid()]


def reports(bank: SandboxBank, message_id: str) -> list[StatusReport]:
    """Every report on a message so far, read page by page."""
    found: list[StatusReport] = []
    after = 0
    while answers := get(bank, f"/answers?after={after}").json()["answers"]:
        found += [read_report(base64.b64decode(answer["data"])) for answer in answers]
        after = answers[-1]["id"]
    return [report for report in found if report.order_id == message_id]


def settled(bank: SandboxBank, message_id: str) -> list[StatusReport]:
    """The reports on a message, once it has settled."""
    while len(found := reports(bank, message_id)) < 2:
        time.sleep(0.02)
    return found


def test_a_file_is_acknowledged_then_settled(bank: SandboxBank) -> None:
    assert post(bank, order("M1", ("A1", GOOD), ("A2", GOOD))).status_code == 202
    first, second = settled(bank, "M1")
    assert [p.status for p in first.payments] == ["ACSP", "ACSP"]
    assert [p.status for p in second.payments] == ["ACSC", "ACSC"]
    paid = {p["end_to_end_id"]: p for p in bank.paid() if p["message_id"] == "M1"}
    assert {name: p["amount"] for name, p in paid.items()} == {"A1": 100, "A2": 101}


def test_a_closed_account_is_rejected_and_not_paid(bank: SandboxBank) -> None:
    post(bank, order("M2", ("B1", GOOD), ("B2", CLOSED)))
    first, second = settled(bank, "M2")
    assert first.order_status == "PART"
    assert [(p.status, p.reasons) for p in first.payments] == [("ACSP", ()), ("RJCT", ("AC04",))]
    assert [p.end_to_end_id for p in second.payments] == ["B1"]
    assert [p["end_to_end_id"] for p in bank.paid() if p["message_id"] == "M2"] == ["B1"]


def test_a_known_end_to_end_id_is_rejected_as_duplicate(bank: SandboxBank) -> None:
    for message_id in ("M3", "M4"):
        post(bank, order(message_id, ("C1", GOOD)))
    (report,) = reports(bank, "M4")
    assert (report.payments[0].status, report.payments[0].reasons) == ("RJCT", ("AM05",))
    assert len([p for p in bank.paid() if p["end_to_end_id"] == "C1"]) == 1


def test_a_dumb_bank_pays_duplicates(tmp_path: Path) -> None:
    with sandbox_bank(tmp_path, "--dumb") as bank:
        for _ in range(2):
            post(bank, order("M1", ("C1", GOOD)))
        assert len(bank.paid()) == 2


def test_it_tells_whether_it_knows_a_message(bank: SandboxBank) -> None:
    post(bank, order("M5", ("D1", GOOD)))
    assert get(bank, "/payments/M5").json() == {"message_id": "M5", "state": "known"}
    never = get(bank, "/payments/M99")
    assert (never.status_code, never.json()["state"]) == (404, "never_received")
    assert read_report(get(bank, "/payments/M5/report").content).order_id == "M5"
    assert get(bank, "/payments/M99/report").status_code == 404


def test_a_file_that_is_no_order_is_refused_and_leaves_nothing(bank: SandboxBank) -> None:
    before = executed(bank)
    wrong = order("M6", ("E1", GOOD)).replace(b"<NbOfTxs>1</NbOfTxs>", b"<NbOfTxs>2</NbOfTxs>")
    answer = post(bank, wrong)
    assert answer.status_code == 400
    assert {fault["reason"] for fault in answer.json()["faults"]} == {"COUNT"}
    assert get(bank, "/payments/M6").status_code == 404
    assert executed(bank) == before


def test_a_file_that_is_too_large_is_refused_unread(bank: SandboxBank) -> None:
    connection = http.client.HTTPConnection(bank.url.removeprefix("http://"))
    connection.putrequest("POST", "/payments")
    connection.putheader("content-length", str(9 * 1024 * 1024))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_it_can_execute_and_then_say_nothing(bank: SandboxBank) -> None:
    bank.misbehave(commit_then_timeout=1)
    with pytest.raises(httpx.RemoteProtocolError):
        post(bank, order("M7", ("F1", GOOD)))
    assert get(bank, "/payments/M7").status_code == 200
    assert post(bank, order("M8", ("F2", GOOD))).status_code == 202


def test_it_can_lose_a_file(bank: SandboxBank) -> None:
    bank.misbehave(drop_before_commit=1)
    with pytest.raises(httpx.RemoteProtocolError):
        post(bank, order("M9", ("G1", GOOD)))
    assert get(bank, "/payments/M9").status_code == 404


def test_faults_are_out_of_reach_without_the_flag(tmp_path: Path) -> None:
    bank = SandboxBank(tmp_path)
    bank.start()
    try:
        assert (
            httpx.post(f"{bank.url}/faults", json={}, trust_env=False, verify=NO_TLS).status_code
            == 404
        )
    finally:
        assert bank.stop() == 0
    assert "bank" not in read_addresses(tmp_path)


def test_after_a_kill_it_knows_what_it_paid_and_is_where_it_was(tmp_path: Path) -> None:
    with sandbox_bank(tmp_path) as bank:
        post(bank, order("M1", ("A1", GOOD)))
        url = bank.url
        bank.kill()
        bank.start()
        assert bank.url == url
        assert [p["end_to_end_id"] for p in bank.paid()] == ["A1"]
        assert settled(bank, "M1")[-1].payments[0].status == "ACSC"
