"""No payout is paid twice, whatever the bank, the line or the sender does; and none is lost.

The bank is a process of its own. Each way of failing has its control: a sender without the rule
pays twice under the same bank.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from services.claims.core.life_cycle import Event
from services.claims.payout_steps import (
    Sending,
    UnknownPaymentFile,
    end_to_end_id,
    send_file,
)
from services.claims.payouts import iso20022
from services.claims.payouts.bank import Bank, BankKnowledge, BankUnreachable, SendOutcome
from services.claims.storage.payout_tables import FileState, PayoutState, payout
from services.claims.storage.payouts import find_file, open_payouts, unsent_files
from services.claims.storage.sealed import paying_subject
from tests.sandbox import SandboxBank, sandbox_bank
from tests.services.claims.books import open_books
from tests.services.claims.paying import (
    ACCOUNT,
    PAYING,
    Insurer,
    insurer,
    last_answer,
    payee,
    run,
)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxBank]:
    with sandbox_bank(tmp_path_factory.mktemp("bank")) as sandbox:
        yield sandbox


@pytest.fixture
def bank(sandbox: SandboxBank) -> Bank:
    sandbox.misbehave()
    return Bank(sandbox.url, timeout_s=60)


@pytest.fixture
def payer(sqlite_database: str, bank: Bank) -> Iterator[Insurer]:
    """On SQLite, after whatever the bank said to others."""
    with insurer(sqlite_database) as made:
        made.begin_after(last_answer(bank))
        yield made


@pytest.fixture
def both(database_url: str) -> Iterator[Insurer]:
    """On each database in turn."""
    with insurer(database_url) as made:
        yield made


def claim() -> str:
    return uuid.uuid4().hex


def times_paid(sandbox: SandboxBank, claim_id: str) -> int:
    """How often the bank executed any of the claim's first payouts."""
    ids = {end_to_end_id(claim_id, attempt) for attempt in range(1, 4)}
    return sum(payment["end_to_end_id"] in ids for payment in sandbox.paid())


def file_state(payer: Insurer, message_id: str) -> FileState:
    with payer.database.writing() as connection:
        file = find_file(connection, message_id)
    assert file
    return file.state


def attempts(payer: Insurer, message_id: str) -> int:
    with payer.database.writing() as connection:
        file = find_file(connection, message_id)
    assert file
    return file.attempts


# ------------------------------------------------------------------------------------- gathering


def test_nothing_payable_makes_no_file(both: Insurer) -> None:
    gathered = both.gather()
    assert (gathered.message_id, gathered.payouts, gathered.unpayable) == ("", 0, ())


def test_a_gathered_claim_is_on_its_way_in_the_books_and_never_gathered_again(
    both: Insurer,
) -> None:
    both.owe("c1", 1_205)
    both.owe("c2", 77)
    gathered = both.gather()
    assert gathered.payouts == 2
    assert (both.state("c1"), both.state("c2")) == ("payment_sent", "payment_sent")
    assert both.balances() == {
        "claims:incurred": (1_282, 0),
        "claims:payable": (-1_282, 1_282),
        "bank:main": (0, -1_282),
    }
    assert both.gather().message_id == ""
    with both.database.reading() as connection:
        assert unsent_files(connection, "main") == [gathered.message_id]
        assert open_payouts(connection, "main") == 2


def test_a_limit_leaves_the_rest_for_the_next_file(both: Insurer) -> None:
    for n in range(5):
        both.owe(f"c{n}")
    assert [both.gather(limit=2).payouts for _ in range(4)] == [2, 2, 1, 0]


def test_a_claim_that_no_bank_could_pay_is_named_and_does_not_hold_the_others(
    both: Insurer,
) -> None:
    both.owe("c1", account="no account!")
    both.owe("c2")
    gathered = both.gather()
    assert gathered.payouts == 1
    assert [each.claim_id for each in gathered.unpayable] == ["c1"]
    assert [fault.reason for fault in gathered.unpayable[0].faults] == ["ACCOUNT_NUMBER"]
    assert both.state("c1") == "payable"
    both.payees["c1"] = payee()
    assert both.gather().payouts == 1


def test_account_numbers_are_sealed_where_the_file_stands(both: Insurer) -> None:
    both.owe("c1")
    message_id = both.gather().message_id
    with both.database.writing() as connection:
        file = find_file(connection, message_id)
    assert file
    assert ACCOUNT.encode() not in file.sealed
    place = {"table": "payment_file", "column": "sealed", "row": message_id}
    with both.database.reading() as connection:
        sealer = both.keys.sealer(connection)
        data = sealer.open(file.sealed, **place, subject=paying_subject("main"))
    assert iso20022.read_order(data).transfers[0].creditor == payee()


@pytest.mark.both_databases
def test_what_a_file_and_a_payout_are_about_never_changes(both: Insurer) -> None:
    both.owe("c1")
    both.gather()
    for statement in (
        "UPDATE payment_file SET sealed = sealed",
        "UPDATE payment_file SET sha256 = 'x'",
        "UPDATE payout SET amount = 1",
        "UPDATE payout SET end_to_end_id = 'x'",
        "DELETE FROM payout",
        "DELETE FROM payment_file",
    ):
        with (
            pytest.raises(DBAPIError, match="keeps what it is about"),
            both.database.writing() as connection,
        ):
            connection.execute(text(statement))


@pytest.mark.both_databases
def test_two_gatherers_that_read_the_same_claim_cannot_both_pay_it(both: Insurer) -> None:
    both.owe("c1")
    both.gather()
    with both.database.writing() as connection:  # as a gatherer saw it that read before
        connection.execute(text("UPDATE small_claim SET state = 'payable'"))
    with pytest.raises(IntegrityError):
        both.gather()
    assert both.outcome("c1") == [PayoutState.OPEN]


# ------------------------------------------------------------------------------------- happy path


@pytest.mark.on_postgresql
def test_a_claim_is_paid(both: Insurer, sandbox: SandboxBank, bank: Bank) -> None:
    both.begin_after(last_answer(bank))
    name = claim()
    both.owe(name, 1_205)
    message_id = both.gather().message_id
    assert both.send(bank, message_id) is Sending.WITH_BANK
    read = both.read_until_closed(bank)
    assert (read.paid, read.failed, read.faults) == (1, 0, ())
    assert both.state(name) == "paid"
    assert both.balances() == {
        "claims:incurred": (1_205, 0),
        "claims:payable": (0, 0),
        "bank:main": (-1_205, 0),
    }
    with both.database.reading() as connection:
        (paid,) = connection.execute(select(payout))
        assert (paid.state, paid.currency, paid.amount) == ("paid", "CNY", 1_205)
        assert unsent_files(connection, "main") == []
    assert file_state(both, message_id) is FileState.ANSWERED
    # Repeating any step changes nothing.
    assert both.send(bank, message_id) is Sending.WITH_BANK
    assert both.read(bank).paid == 0
    assert times_paid(sandbox, name) == 1


def test_a_rejected_payout_leaves_the_debt_and_can_be_tried_again(
    payer: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    name = claim()
    payer.owe(name, 500, account="6222020200010000")
    payer.send(bank, payer.gather().message_id)
    read = payer.read_until_closed(bank)
    assert (read.paid, read.failed) == (0, 1)
    assert payer.state(name) == "payment_failed"
    assert payer.balances()["claims:payable"] == (-500, 0)
    assert payer.payouts(name)[0].reason == "AC04"
    payer.payees[name] = payee()
    payer.move(name, Event.RETRY_PAYMENT)
    payer.send(bank, payer.gather().message_id)
    payer.read_until_closed(bank)
    assert payer.state(name) == "paid"
    assert payer.outcome(name) == [PayoutState.FAILED, PayoutState.PAID]
    assert times_paid(sandbox, name) == 1


def test_a_file_that_nobody_prepared_is_unknown(payer: Insurer, bank: Bank) -> None:
    with pytest.raises(UnknownPaymentFile):
        payer.send(bank, "F00")


# ------------------------------------------------------------------------------------- doubt


def test_a_bank_that_pays_and_then_says_nothing_pays_once(
    payer: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    sandbox.misbehave(commit_then_timeout=1)
    name = claim()
    payer.owe(name)
    message_id = payer.gather().message_id
    assert payer.send(bank, message_id) is Sending.WITH_BANK  # it asked
    assert payer.send(bank, message_id) is Sending.WITH_BANK
    payer.read_until_closed(bank)
    assert payer.state(name) == "paid"
    assert times_paid(sandbox, name) == 1


def order_for(claim_id: str, attempt: int) -> iso20022.PaymentOrder:
    transfer = iso20022.CreditTransfer(
        end_to_end_id=end_to_end_id(claim_id, attempt),
        amount=1_205,
        currency="CNY",
        creditor=payee(),
    )
    return iso20022.PaymentOrder(
        message_id=f"N{uuid.uuid4().hex[:30]}",
        created=datetime(2026, 3, 1, tzinfo=UTC),
        execution_date=date(2026, 3, 1),
        debtor=PAYING.debtor,
        transfers=(transfer,),
    )


def pay_without_key(bank: Bank, claim_id: str) -> None:
    """A payer without the rule: new ids on every try, and no question in between."""
    for attempt in range(1, 4):
        order = order_for(claim_id, attempt)
        outcome = run(bank.send(iso20022.write_order(order), order.message_id))
        if outcome is SendOutcome.ACCEPTED:
            return


def test_control_without_the_key_the_same_bank_pays_twice(sandbox: SandboxBank, bank: Bank) -> None:
    sandbox.misbehave(commit_then_timeout=1)
    name = claim()
    pay_without_key(bank, name)
    assert times_paid(sandbox, name) == 2


def test_a_lost_file_leaves_again_unchanged_once_nothing_can_still_arrive(
    payer: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    sandbox.misbehave(drop_before_commit=1)
    name = claim()
    payer.owe(name)
    message_id = payer.gather().message_id
    assert payer.send(bank, message_id) is Sending.STILL_UNKNOWN
    assert payer.send(bank, message_id) is Sending.STILL_UNKNOWN  # asked, and too early to send
    assert times_paid(sandbox, name) == 0
    assert file_state(payer, message_id) is FileState.UNKNOWN
    payer.wait_before_resending()
    assert payer.send(bank, message_id) is Sending.WITH_BANK
    payer.read_until_closed(bank)
    assert payer.outcome(name) == [PayoutState.PAID]
    assert times_paid(sandbox, name) == 1


def test_even_a_dumb_bank_pays_once_because_it_is_asked(tmp_path: Path) -> None:
    with (
        sandbox_bank(tmp_path / "bank", "--dumb", "--commit-then-timeout", "1") as dumb,
        insurer(f"sqlite:///{tmp_path / 'claims.db'}") as payer,
    ):
        bank = Bank(dumb.url, timeout_s=60)
        payer.owe("ours")
        message_id = payer.gather().message_id
        for _ in range(3):
            assert payer.send(bank, message_id) is Sending.WITH_BANK
            payer.wait_before_resending()
        assert times_paid(dumb, "ours") == 1
        # The control: the same file twice, not asking. A key that the bank ignores is no key.
        order = order_for("naive", 1)
        for _ in range(2):
            run(bank.send(iso20022.write_order(order), order.message_id))
        assert times_paid(dumb, "naive") == 2


def test_nothing_has_left_when_no_connection_came_about(
    payer: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        nobody = Bank(f"http://127.0.0.1:{closed.getsockname()[1]}")
        name = claim()
        payer.owe(name)
        message_id = payer.gather().message_id
        assert payer.send(nobody, message_id) is Sending.NOT_SENT
        assert file_state(payer, message_id) is FileState.PREPARED
    assert payer.send(bank, message_id) is Sending.WITH_BANK
    assert times_paid(sandbox, name) == 1


def test_a_refused_connection_clears_up_no_earlier_doubt(
    payer: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    sandbox.misbehave(drop_before_commit=1)
    payer.owe(name := claim())
    message_id = payer.gather().message_id
    assert payer.send(bank, message_id) is Sending.STILL_UNKNOWN

    class GoneAfterTheQuestion(Bank):
        async def send(self, file: bytes, message_id: str) -> SendOutcome:
            return SendOutcome.NOT_SENT

    payer.wait_before_resending()
    assert payer.send(GoneAfterTheQuestion(sandbox.url), message_id) is Sending.NOT_SENT
    assert file_state(payer, message_id) is FileState.UNKNOWN
    assert times_paid(sandbox, name) == 0


def test_a_bank_that_cannot_be_asked_is_sent_nothing(
    payer: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    sandbox.misbehave(drop_before_commit=1)
    payer.owe(claim())
    message_id = payer.gather().message_id
    payer.send(bank, message_id)
    payer.wait_before_resending()

    class CannotBeAsked(Bank):
        async def ask(self, message_id: str) -> BankKnowledge:
            raise BankUnreachable("down")

        async def send(self, file: bytes, message_id: str) -> SendOutcome:
            raise AssertionError("it was not asked")

    assert payer.send(CannotBeAsked(sandbox.url), message_id) is Sending.STILL_UNKNOWN


@pytest.mark.both_databases
def test_senders_at_once_hand_the_file_over_once(
    both: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    sandbox.misbehave(commit_then_timeout=1, hang_s=0.3)
    both.owe(name := claim())
    message_id = both.gather().message_id

    async def at_once() -> list[Sending]:
        return await asyncio.gather(
            *(send_file(both.database, bank, both.keys, message_id, both.now_us) for _ in range(6))
        )

    assert Sending.NOT_SENT not in run(at_once())
    assert both.send(bank, message_id) is Sending.WITH_BANK
    assert times_paid(sandbox, name) == 1
    assert attempts(both, message_id) == 1


@pytest.mark.both_databases
def test_senders_at_once_after_a_doubt_hand_the_file_over_once_more(
    both: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    sandbox.misbehave(drop_before_commit=1)
    both.owe(name := claim())
    message_id = both.gather().message_id
    assert both.send(bank, message_id) is Sending.STILL_UNKNOWN
    both.wait_before_resending()
    everybody_asked = asyncio.Event()
    asked: list[str] = []

    class AsksTogether(Bank):
        async def ask(self, message_id: str) -> BankKnowledge:
            knowledge = await super().ask(message_id)
            asked.append(message_id)
            if len(asked) == 4:
                everybody_asked.set()
            await everybody_asked.wait()
            return knowledge

    async def at_once() -> list[Sending]:
        together = AsksTogether(sandbox.url)
        send = (both.database, together, both.keys, message_id, both.now_us)
        return await asyncio.gather(*(send_file(*send) for _ in range(4)))

    outcomes = run(at_once())
    assert sorted(outcomes) == [Sending.STILL_UNKNOWN] * 3 + [Sending.WITH_BANK]
    assert attempts(both, message_id) == 2
    assert times_paid(sandbox, name) == 1


# ------------------------------------------------------------------------------------- kills


def send_as_another_process(url: str, bank_url: str, message_id: str, now_us: int) -> None:
    with open_books(url, create=False) as database:
        sender = Insurer(database)
        sender.now_us = now_us
        sender.send(Bank(bank_url, timeout_s=60), message_id)


@contextmanager
def killed_sender(payer: Insurer, url: str, bank_url: str, message_id: str) -> Iterator[None]:
    """Another process that sends the file, and is killed at the end of the block."""
    sender = multiprocessing.get_context("spawn").Process(
        target=send_as_another_process, args=(url, bank_url, message_id, payer.now_us)
    )
    sender.start()
    try:
        yield
    finally:
        sender.kill()
        sender.join()


def test_a_sender_that_is_killed_after_the_bank_paid(
    payer: Insurer, sandbox: SandboxBank, bank: Bank, sqlite_database: str
) -> None:
    sandbox.misbehave(commit_then_timeout=1, hang_s=60)
    payer.owe(name := claim())
    message_id = payer.gather().message_id
    with killed_sender(payer, sqlite_database, sandbox.url, message_id):
        while not times_paid(sandbox, name):
            time.sleep(0.02)
    assert file_state(payer, message_id) is FileState.SENDING
    assert payer.send(bank, message_id) is Sending.WITH_BANK
    payer.read_until_closed(bank)
    assert payer.outcome(name) == [PayoutState.PAID]
    assert times_paid(sandbox, name) == 1


def test_a_sender_that_is_killed_while_its_bytes_are_under_way(
    payer: Insurer, sandbox: SandboxBank, bank: Bank, sqlite_database: str
) -> None:
    payer.owe(name := claim())
    message_id = payer.gather().message_id
    # Takes the connection and reads nothing: the bytes hang between the two.
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as until_killed:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with killed_sender(payer, sqlite_database, silent_url, message_id):
            until_killed.enter_context(silent.accept()[0])
    assert file_state(payer, message_id) is FileState.SENDING
    assert payer.send(bank, message_id) is Sending.STILL_UNKNOWN  # they could still arrive
    payer.wait_before_resending()
    assert payer.send(bank, message_id) is Sending.WITH_BANK
    payer.read_until_closed(bank)
    assert payer.outcome(name) == [PayoutState.PAID]
    assert times_paid(sandbox, name) == 1


def test_a_bank_that_is_killed_after_it_paid(tmp_path: Path) -> None:
    with (
        sandbox_bank(tmp_path / "bank", "--commit-then-timeout", "1", "--hang-s", "60") as sandbox,
        insurer(f"sqlite:///{tmp_path / 'claims.db'}") as payer,
    ):
        payer.owe("c1")
        message_id = payer.gather().message_id
        bank = Bank(sandbox.url, timeout_s=60)

        def kill_once_paid() -> None:
            while not times_paid(sandbox, "c1"):
                time.sleep(0.02)
            sandbox.kill()

        killer = threading.Thread(target=kill_once_paid)
        killer.start()
        assert payer.send(bank, message_id) is Sending.STILL_UNKNOWN
        killer.join()
        assert payer.send(bank, message_id) is Sending.STILL_UNKNOWN  # nobody to ask
        sandbox.start()
        assert payer.send(bank, message_id) is Sending.WITH_BANK
        payer.read_until_closed(bank)
        assert payer.outcome("c1") == [PayoutState.PAID]
        assert times_paid(sandbox, "c1") == 1


def test_many_payouts_under_a_bank_that_fails_at_random(
    payer: Insurer, sandbox: SandboxBank, bank: Bank
) -> None:
    chance = random.Random(20260301)
    ours, naive = [claim() for _ in range(8)], [claim() for _ in range(8)]
    for name in ours:
        payer.owe(name)
    while message_id := payer.gather(limit=1).message_id:
        for _ in range(20):
            sandbox.misbehave(**{chance.choice(["commit_then_timeout", "drop_before_commit"]): 1})
            if chance.random() < 0.5:
                sandbox.misbehave()
            if payer.send(bank, message_id) is Sending.WITH_BANK:
                break
            payer.wait_before_resending()
    for name in naive:
        sandbox.misbehave(commit_then_timeout=chance.randrange(2))
        pay_without_key(bank, name)
    sandbox.misbehave()
    payer.read_until_closed(bank)
    assert [payer.outcome(name) for name in ours] == [[PayoutState.PAID]] * len(ours)
    paid = Counter(payment["end_to_end_id"] for payment in sandbox.paid())
    assert [paid[end_to_end_id(name, 1)] for name in ours] == [1] * len(ours)
    assert payer.balances()["bank:main"] == (-1_205 * len(ours), 0)
    assert sum(times_paid(sandbox, name) > 1 for name in naive) > 0  # the control
