"""A small insurer that pays: claims as a table that obeys the life cycle, and the books."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from services.claims.bank_answers import AnswersRead, read_answers
from services.claims.core.ledger import owe
from services.claims.core.life_cycle import ClaimState, Event, advance
from services.claims.payout_steps import (
    RESEND_AFTER_S,
    Gathered,
    Payable,
    PayingAccount,
    Sending,
    gather,
    send_file,
)
from services.claims.payouts.bank import Bank
from services.claims.payouts.iso20022 import MAX_TRANSFERS, Party
from services.claims.storage.ledger import TrialBalance, post_transfers, trial_balance
from services.claims.storage.payout_tables import PayoutState
from services.claims.storage.payouts import (
    Payout,
    move_cursor,
    payouts_of_claim,
    payouts_off_ledger,
)
from services.common.database import Database
from tests.services.claims.books import open_books
from tests.services.common.sealing.keys import subject_keys

T = TypeVar("T")
ACCOUNT = "6222020200012345678"
START_US = 1_772_400_000_000_000
PAYING = PayingAccount(
    name="main",
    debtor=Party(
        holder_name="保险股份有限公司", account_number="11000001", bank_code="104100000004"
    ),
)


def payee(account: str = ACCOUNT) -> Party:
    return Party(holder_name="张三", account_number=account, bank_code="102100099996")


class Insurer:
    """Claims that are owed, the steps that pay them, and what may be asked afterwards."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.keys = subject_keys(database)
        self.now_us = START_US
        self.payees: dict[str, Party] = {}

    def open_table(self) -> None:
        with self.database.writing() as connection:
            connection.execute(
                text("CREATE TABLE small_claim (id TEXT PRIMARY KEY, amount BIGINT, state TEXT)")
            )

    def owe(self, claim_id: str, amount: int = 1_205, account: str = ACCOUNT) -> None:
        """A decision made this claim payable."""
        self.payees[claim_id] = payee(account)
        with self.database.writing() as connection:
            connection.execute(
                text("INSERT INTO small_claim VALUES (:id, :amount, 'payable')"),
                {"id": claim_id, "amount": amount},
            )
            owed = owe(
                transfer_id=f"owe-{claim_id}",
                claim_id=claim_id,
                decision_id=claim_id,
                amount=amount,
                currency="CNY",
            )
            post_transfers(connection, [owed], self.now_us)

    def state(self, claim_id: str) -> str:
        with self.database.reading() as connection:
            found = text("SELECT state FROM small_claim WHERE id = :id")
            return str(connection.execute(found, {"id": claim_id}).scalar_one())

    def move(self, claim_id: str, event: Event) -> None:
        with self.database.writing() as connection:
            self._move(connection, claim_id, event)

    def gather(self, limit: int = MAX_TRANSFERS) -> Gathered:
        with self.database.writing() as connection:
            return gather(
                connection,
                PAYING,
                self.keys.sealer(connection),
                payables=self.payables,
                move_claim=self.move_claim,
                at_us=self.now_us,
                limit=limit,
            )

    def send(self, bank: Bank, message_id: str) -> Sending:
        return run(send_file(self.database, bank, self.keys, message_id, self.now_us))

    def read(self, bank: Bank) -> AnswersRead:
        return run(
            read_answers(
                self.database,
                bank,
                self.keys,
                PAYING.name,
                move_claim=self.move_claim,
                at_us=self.now_us,
            )
        )

    def read_until_closed(self, bank: Bank) -> AnswersRead:
        """Read answers until no payout is open; the bank settles in its own time."""
        paid = failed = 0
        faults: tuple[str, ...] = ()
        deadline = time.monotonic() + 60
        while True:
            found = self.read(bank)
            paid, failed, faults = paid + found.paid, failed + found.failed, faults + found.faults
            if not found.open:
                return AnswersRead(paid=paid, failed=failed, open=0, faults=faults)
            assert time.monotonic() < deadline, f"{found.open} payouts stay open: {faults}"
            time.sleep(0.02)

    def wait_before_resending(self) -> None:
        """Let the time pass after which bytes of an earlier attempt cannot arrive any more."""
        self.now_us += RESEND_AFTER_S * 1_000_000

    def begin_after(self, answer_id: str) -> None:
        """Leave the bank's earlier answers to others."""
        with self.database.writing() as connection:
            move_cursor(connection, PAYING.name, answer_id)

    def payouts(self, claim_id: str) -> list[Payout]:
        with self.database.reading() as connection:
            return payouts_of_claim(connection, claim_id)

    def outcome(self, claim_id: str) -> list[PayoutState]:
        return [payout.state for payout in self.payouts(claim_id)]

    def trial_balance(self) -> TrialBalance:
        with self.database.reading() as connection:
            assert payouts_off_ledger(connection) == 0
            return trial_balance(connection)

    def balances(self) -> dict[str, tuple[int, int]]:
        """Account → posted, pending, in fen; the books are checked on the way."""
        found = self.trial_balance()
        assert found.off == 0
        return {each.account: (each.posted, each.pending) for each in found.accounts}

    def payables(self, connection: Connection, most: int) -> Sequence[Payable]:
        rows = connection.execute(
            text("SELECT id, amount FROM small_claim WHERE state = 'payable' ORDER BY id LIMIT :n"),
            {"n": most},
        )
        return [
            Payable(claim_id=name, amount=amount, currency="CNY", payee=self.payees[name])
            for name, amount in rows
        ]

    def move_claim(self, connection: Connection, payout: Payout, event: Event, _at_us: int) -> None:
        self._move(connection, payout.claim_id, event)

    def _move(self, connection: Connection, claim_id: str, event: Event) -> None:
        found = text("SELECT state FROM small_claim WHERE id = :id")
        state = ClaimState(connection.execute(found, {"id": claim_id}).scalar_one())
        connection.execute(
            text("UPDATE small_claim SET state = :state WHERE id = :id"),
            {"id": claim_id, "state": advance(state, event).state.value},
        )


@contextmanager
def insurer(url: str) -> Iterator[Insurer]:
    """An insurer with empty books."""
    with open_books(url) as database:
        made = Insurer(database)
        made.open_table()
        yield made


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a loop of its own. Banks keep no connection between two calls."""
    return asyncio.run(work)


def last_answer(bank: Bank) -> str:
    """The cursor at the end of what the bank has said so far."""

    async def follow() -> str:
        after = ""
        while answers := await bank.answers(after):
            after = answers[-1].id
        return after

    return run(follow())
