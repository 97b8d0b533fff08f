"""What the bank says moves money once; what it cannot mean moves nothing and is named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from services.claims.core.life_cycle import Event
from services.claims.payouts.bank import Answer, Bank, BankUnreachable
from services.claims.payouts.iso20022 import (
    BatchStatus,
    PaymentStatus,
    StatusReport,
    write_report,
)
from services.claims.storage.payout_tables import PayoutState, bank_answer_outcome
from services.claims.storage.sealed import paying_subject
from tests.sandbox import SandboxBank, sandbox_bank
from tests.services.claims.paying import ACCOUNT, Insurer, insurer, last_answer

OPEN, PAID, FAILED = PayoutState.OPEN, PayoutState.PAID, PayoutState.FAILED


class Feed(Bank):
    """A bank that says what it is told to, a file at a time."""

    def __init__(self, *, page: int = 2) -> None:
        super().__init__("http://127.0.0.1:9")
        self.files: list[bytes] = []
        self.reports: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._page = page

    async def answers(self, after: str) -> list[Answer]:
        start = int(after or 0)
        numbered = enumerate(self.files[start : start + self._page], start + 1)
        return [Answer(str(number), data) for number, data in numbered]

    async def report(self, message_id: str) -> bytes:
        self.asked.append(message_id)
        if message_id not in self.reports:
            raise BankUnreachable("nothing to report")
        return self.reports[message_id]


class Case:
    """One insurer with one file of payouts, and a bank that has not spoken yet."""

    def __init__(self, payer: Insurer, claims: int = 1) -> None:
        self.payer = payer
        self.feed = Feed()
        self.names = [f"c{n}" for n in range(1, claims + 1)]
        for name in self.names:
            payer.owe(name)
        self.message_id = payer.gather().message_id
        self._number = 0

    def end_to_end(self, name: str) -> str:
        return self.payer.payouts(name)[-1].end_to_end_id

    def status(self, name: str, status: str, *reasons: str, **values: Any) -> PaymentStatus:
        return PaymentStatus(
            end_to_end_id=self.end_to_end(name),
            status=status,
            reasons=reasons,
            batch_id=f"{self.message_id}-CNY",
            **values,
        )

    def file(self, *payments: PaymentStatus, **values: Any) -> bytes:
        self._number += 1
        made = {
            "message_id": f"R{self._number}",
            "created": datetime(2026, 3, 2, tzinfo=UTC),
            "order_id": self.message_id,
            "payments": payments,
            **values,
        }
        return write_report(StatusReport(**made))

    def says(self, *payments: PaymentStatus, **values: Any) -> tuple[str, ...]:
        """The bank puts a file out and it is read; the faults found."""
        self.feed.files.append(self.file(*payments, **values))
        return self.payer.read(self.feed).faults

    def outcomes(self) -> list[PayoutState]:
        return [self.payer.outcome(name)[-1] for name in self.names]


@pytest.fixture
def payer(sqlite_database: str) -> Iterator[Insurer]:
    with insurer(sqlite_database) as made:
        yield made


@pytest.mark.parametrize("status", ["RCVD", "PDNG", "ACTC", "ACCP", "ACSP", "ACWC", "ACCC"])
def test_what_is_not_settled_is_not_paid(payer: Insurer, status: str) -> None:
    case = Case(payer)
    assert case.says(case.status("c1", status)) == ()
    assert case.outcomes() == [OPEN]
    assert payer.payouts("c1")[0].bank_status == status
    assert payer.balances()["bank:main"] == (0, -1_205)
    case.says(case.status("c1", "ACSC"))
    assert case.outcomes() == [PAID]


def test_each_payment_has_its_own_outcome(payer: Insurer) -> None:
    case = Case(payer, claims=3)
    case.says(
        case.status("c1", "ACSC", amount=Decimal("12.05"), currency="CNY"),
        case.status("c2", "RJCT", "AC04", "NARR"),
        case.status("c3", "ACSP"),
        order_status="PART",
    )
    assert case.outcomes() == [PAID, FAILED, OPEN]
    assert [payer.state(name) for name in case.names] == ["paid", "payment_failed", "payment_sent"]
    assert payer.payouts("c2")[0].reason == "AC04,NARR"
    assert payer.balances() == {
        "claims:incurred": (3_615, 0),
        "claims:payable": (-2_410, 1_205),
        "bank:main": (-1_205, -1_205),
    }


def test_the_same_word_twice_pays_once(payer: Insurer) -> None:
    case = Case(payer)
    settled = case.status("c1", "ACSC")
    case.says(settled)
    assert case.says(settled) == ()  # in another file
    case.feed.files.append(case.feed.files[0])  # the same file
    assert payer.read(case.feed).paid == 0
    assert payer.balances()["bank:main"] == (-1_205, 0)


@pytest.mark.parametrize(("status", "outcome"), [("ACSC", PAID), ("RJCT", FAILED), ("ACCP", OPEN)])
def test_a_word_on_the_whole_order_is_one_on_each_payment(
    payer: Insurer, status: str, outcome: PayoutState
) -> None:
    case = Case(payer, claims=2)
    case.says(order_status=status, order_reasons=("FF01",) if status == "RJCT" else ())
    assert case.outcomes() == [outcome, outcome]


def test_a_word_on_a_batch_yields_to_one_on_a_payment(payer: Insurer) -> None:
    case = Case(payer, claims=2)
    batch = BatchStatus(batch_id=f"{case.message_id}-CNY", status="RJCT", reasons=("AC01",))
    case.says(case.status("c1", "ACSC"), batches=(batch,), order_status="PART")
    assert case.outcomes() == [PAID, FAILED]


def test_part_of_an_order_says_nothing_of_what_is_not_named(payer: Insurer) -> None:
    case = Case(payer, claims=2)
    assert case.says(case.status("c1", "ACSC"), order_status="PART") == ()
    assert case.outcomes() == [PAID, OPEN]


@pytest.mark.parametrize("reason", ["AM05", "DU01", "DU04"])
def test_a_rejection_as_duplicate_is_no_failure_but_a_question(payer: Insurer, reason: str) -> None:
    case = Case(payer)
    case.feed.reports[case.message_id] = case.file(case.status("c1", "ACSC"))
    assert case.says(case.status("c1", "RJCT", reason)) == ()
    assert case.feed.asked == [case.message_id]
    assert case.outcomes() == [PAID]


def test_a_duplicate_stays_open_until_the_bank_can_be_asked(payer: Insurer) -> None:
    case = Case(payer)
    with pytest.raises(BankUnreachable):
        case.says(order_status="RJCT", order_reasons=("AM05",))
    assert case.outcomes() == [OPEN]
    case.feed.reports[case.message_id] = case.file(case.status("c1", "ACSC"))
    assert payer.read(case.feed).paid == 1


def test_a_file_sent_again_to_a_bank_that_paid_is_paid_once(tmp_path: Path) -> None:
    """The first ACSC is out of reach, as after a restored backup; only AM05 is heard."""
    with sandbox_bank(tmp_path / "bank") as sandbox:
        bank = Bank(sandbox.url, timeout_s=60)
        with insurer(f"sqlite:///{tmp_path / 'claims.db'}") as payer:
            payer.owe("c1")
            message_id = payer.gather().message_id
            payer.send(bank, message_id)
            wait_until_settled(sandbox)
            payer.begin_after(last_answer(bank))
            with payer.database.writing() as connection:
                connection.execute(text("UPDATE payment_file SET state = 'prepared'"))
            payer.send(bank, message_id)
            read = payer.read(bank)
            assert (read.paid, read.failed, read.faults) == (1, 0, ())
            assert len(sandbox.paid()) == 1


def wait_until_settled(sandbox: SandboxBank) -> None:
    while any(payment["status"] != "ACSC" for payment in sandbox.paid()):
        pass


def test_a_word_that_cannot_be_about_the_payout_changes_nothing(payer: Insurer) -> None:
    case = Case(payer)
    settled = case.status("c1", "ACSC")
    name = settled.end_to_end_id
    amount = {"amount": Decimal("12.06"), "currency": "CNY"}
    assert case.says(replace(settled, **amount)) == (f"OTHER_AMOUNT {name}",)
    usd = {"amount": Decimal("12.05"), "currency": "USD"}
    assert case.says(replace(settled, **usd)) == (f"OTHER_AMOUNT {name}",)
    assert case.says(replace(settled, end_to_end_id="E9")) == ("UNKNOWN_PAYMENT E9",)
    assert case.says(settled, order_id="F99") == ("UNKNOWN_ORDER F99", f"OTHER_ORDER {name}")
    assert case.says(replace(settled, status="CANC")) == (f"UNKNOWN_STATUS CANC {name}",)
    assert case.outcomes() == [OPEN]
    with payer.database.reading() as connection:
        kept = connection.execute(select(bank_answer_outcome.c.faults)).scalars().all()
    assert sum(len(msgspec.json.decode(faults)) for faults in kept) == 6
    assert case.says(settled) == ()  # the control
    assert case.outcomes() == [PAID]


@pytest.mark.parametrize(("first", "then"), [("RJCT", "ACSC"), ("ACSC", "RJCT")])
def test_a_bank_that_contradicts_itself_is_named_and_changes_nothing(
    payer: Insurer, first: str, then: str
) -> None:
    case = Case(payer)
    case.says(case.status("c1", first))
    before = (case.outcomes(), payer.balances())
    (fault,) = case.says(case.status("c1", then))
    assert fault.startswith("CONTRADICTION")
    assert (case.outcomes(), payer.balances()) == before


def test_a_file_that_cannot_be_read_waits_and_the_others_go_on(payer: Insurer) -> None:
    case = Case(payer)
    case.feed.files.append(b"<!DOCTYPE a>" + case.file(case.status("c1", "RJCT")))
    case.feed.files.append(b"\xff\xfe")
    (doctype, encoding) = case.says(case.status("c1", "ACSC"))
    assert doctype.startswith("DOCTYPE answer 1")
    assert encoding.startswith("ENCODING answer 2")
    assert case.outcomes() == [PAID]
    with payer.database.reading() as connection:
        kept = connection.execute(text("SELECT count(*) FROM bank_answer")).scalar_one()
    assert kept == 3


def test_the_books_follow_the_bank_even_where_the_claim_cannot(
    payer: Insurer, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(payer, claims=2)
    with payer.database.writing() as connection:
        connection.execute(text("UPDATE small_claim SET state = 'withdrawn' WHERE id = 'c1'"))
        connection.execute(text("CREATE TABLE half_done (claim_id TEXT)"))

    def write_then_refuse(connection: Any, payout: Any, event: Event, at_us: int) -> None:
        connection.execute(text("INSERT INTO half_done VALUES (:id)"), {"id": payout.claim_id})
        Insurer.move_claim(payer, connection, payout, event, at_us)

    monkeypatch.setattr(payer, "move_claim", write_then_refuse)
    faults = case.says(case.status("c1", "ACSC"), case.status("c2", "ACSC"))
    assert [fault.split()[:3] for fault in faults] == [
        ["ILLEGAL_MOVE", "withdrawn", "confirm_payment"]
    ]
    assert case.outcomes() == [PAID, PAID]
    assert [payer.state(name) for name in case.names] == ["withdrawn", "paid"]
    with payer.database.reading() as connection:
        written = connection.execute(text("SELECT claim_id FROM half_done")).scalars().all()
    assert written == ["c2"]  # of the claim that could not move, nothing is left
    assert payer.balances()["bank:main"] == (-2_410, 0)


@pytest.mark.on_postgresql
def test_answers_are_kept_as_they_came_and_sealed(database_url: str) -> None:
    with insurer(database_url) as payer:
        case = Case(payer)
        case.says(case.status("c1", "ACSC"))
        with payer.database.reading() as connection:
            row = connection.execute(text("SELECT sealed, sha256 FROM bank_answer")).one()
            place = {"table": "bank_answer", "column": "sealed", "row": row.sha256}
            sealer = payer.keys.sealer(connection)
            opened = sealer.open(row.sealed, **place, subject=paying_subject("main"))
        assert opened == case.feed.files[0]
        for statement in ("UPDATE bank_answer SET sealed = ''", "DELETE FROM bank_answer_outcome"):
            with (
                pytest.raises(DBAPIError, match="append-only"),
                payer.database.writing() as connection,
            ):
                connection.execute(text(statement))


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_while_reading_loses_nothing_and_pays_once(
    payer: Insurer, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(payer, claims=3)
    case.feed.files.append(case.file(*(case.status(name, "ACSC") for name in case.names)))
    moved: list[str] = []

    def die_at_the_second(connection: Any, payout: Any, event: Event, at_us: int) -> None:
        moved.append(payout.claim_id)
        if len(moved) == 2:
            raise Killed
        Insurer.move_claim(payer, connection, payout, event, at_us)

    with monkeypatch.context() as patch:
        patch.setattr(payer, "move_claim", die_at_the_second)
        with pytest.raises(Killed):
            payer.read(case.feed)
    assert case.outcomes() == [OPEN, OPEN, OPEN]  # one transaction
    assert payer.read(case.feed).paid == 3
    assert payer.balances()["bank:main"] == (-3_615, 0)


def test_more_payments_than_a_transaction_holds(payer: Insurer) -> None:
    case = Case(payer, claims=230)
    case.says(*(case.status(name, "ACSC") for name in case.names))
    assert set(case.outcomes()) == {PAID}
    assert payer.balances()["bank:main"] == (-230 * 1_205, 0)


def test_faults_name_no_person(payer: Insurer) -> None:
    case = Case(payer)
    wrong = case.status("c1", "ACSC", amount=Decimal("1.00"), currency="CNY")
    assert ACCOUNT not in "".join(case.says(wrong))
