"""The ledger in both databases: nothing unbalanced, nothing twice, nothing changed afterwards."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from services.claims.core.ledger import Kind, LedgerRefused, balances, begin_payment, resolution
from services.claims.storage.ledger import (
    AlreadyResolved,
    KeyReused,
    TransferIdTaken,
    UnknownPending,
    ledger_transfer,
    post_transfers,
    resolve,
    trial_balance,
)
from services.common.database import Database
from tests.services.claims.books import open_books, owed

PENDING = begin_payment(
    transfer_id="p1", end_to_end_id="E1", paying_account="main", amount=1_200, currency="CNY"
)


@pytest.fixture
def books(database_url: str) -> Iterator[Database]:
    with open_books(database_url) as database:
        yield database


def count(books: Database) -> int:
    with books.reading() as connection:
        return connection.execute(select(func.count()).select_from(ledger_transfer)).scalar_one()


def test_the_trial_balance_is_what_the_rules_say(books: Database) -> None:
    other = msgspec.structs.replace(PENDING, id="p2", key="pay/E2", group="E2", amount=77)
    transfers = [owed(1), owed(2, currency="USD", amount=3), PENDING, other]
    post = resolution(PENDING, Kind.POST, transfer_id="r1")
    void = resolution(other, Kind.VOID, transfer_id="r2")
    with books.writing() as connection:
        post_transfers(connection, transfers, 1)
        half = trial_balance(connection)
        post_transfers(connection, [post, void], 2)
        whole = trial_balance(connection)
    for found, booked in ((half, transfers), (whole, [*transfers, post, void])):
        assert found.off == 0
        assert {(a.account, a.currency): (a.posted, a.pending) for a in found.accounts} == {
            at: (balance.posted, balance.pending) for at, balance in balances(booked).items()
        }


def test_empty_books_balance(books: Database) -> None:
    with books.reading() as connection:
        found = trial_balance(connection)
    assert (found.accounts, found.off) == ((), 0)


@pytest.mark.both_databases
def test_the_trial_balance_tells_books_that_were_altered(books: Database) -> None:
    """Negative control: whoever may drop triggers can alter a row, and it shows."""
    with books.writing() as connection:
        post_transfers(connection, [owed(1), PENDING], 1)
        resolve(connection, "p1", Kind.POST, transfer_id="r1", at_us=2)
        assert trial_balance(connection).off == 0
        if books.is_sqlite:
            connection.execute(text("DROP TRIGGER ledger_transfer_no_update"))
        else:
            connection.execute(text("ALTER TABLE ledger_transfer DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE ledger_transfer SET amount = 900 WHERE id = 'r1'"))
        assert trial_balance(connection).off == 900


UNBALANCED: list[dict[str, Any]] = [
    {"amount": 0},
    {"amount": -1_200},
    {"amount": 10**15 + 1},
    {"credit": "claims:incurred"},
    {"credit": None},
    {"debit": None},
    {"amount": None},
    {"currency": None},
    {"kind": "half"},
    {"kind": "void"},
    {"resolves": "p1"},
]


@pytest.mark.both_databases
def test_the_database_itself_refuses_what_does_not_balance(
    books: Database, subtests: pytest.Subtests
) -> None:
    row = {
        "id": "t1",
        "idempotency_key": "k",
        "request_hash": "h",
        "group_id": "g",
        "kind": "posted",
        "debit": "claims:incurred",
        "credit": "claims:payable",
        "amount": 5,
        "currency": "CNY",
        "at_us": 1,
    }
    with books.writing() as connection:
        connection.execute(ledger_transfer.insert(), row)
    for values in UNBALANCED:
        wrong = {**row, "id": "t2", "idempotency_key": "k2", **values}
        with (
            subtests.test(**values),
            pytest.raises(DBAPIError),
            books.writing() as connection,
        ):
            connection.execute(ledger_transfer.insert(), wrong)
    assert count(books) == 1


@pytest.mark.both_databases
def test_what_is_booked_stays(books: Database) -> None:
    with books.writing() as connection:
        post_transfers(connection, [owed(1)], 1)
    for statement in (
        "UPDATE ledger_transfer SET amount = 1",
        "UPDATE ledger_transfer SET at_us = at_us",
        "DELETE FROM ledger_transfer",
    ):
        with pytest.raises(DBAPIError, match="append-only"), books.writing() as connection:
            connection.execute(text(statement))
    assert count(books) == 1


@pytest.mark.both_databases
def test_the_database_itself_refuses_a_post_that_is_not_its_pending(books: Database) -> None:
    with books.writing() as connection:
        post_transfers(connection, [PENDING], 1)
    post = resolution(PENDING, Kind.POST, transfer_id="r1")
    row = {
        **{name: getattr(post, name) for name in ("id", "debit", "credit", "amount", "currency")},
        "idempotency_key": "k",
        "request_hash": "h",
        "group_id": "g",
        "kind": "post",
        "resolves": "p1",
        "at_us": 1,
    }
    for values in ({"amount": 1}, {"currency": "USD"}, {"debit": "bank:other"}):
        with pytest.raises(DBAPIError, match="mirror"), books.writing() as connection:
            connection.execute(ledger_transfer.insert(), {**row, **values})
    with books.writing() as connection:
        connection.execute(ledger_transfer.insert(), row)  # the control: as it should be


def test_a_repeated_key_books_nothing_and_answers_the_same(books: Database) -> None:
    with books.writing() as connection:
        first = post_transfers(connection, [owed(1), PENDING], 1)
    with books.writing() as connection:
        again = post_transfers(connection, [owed(1, name="another-id"), PENDING], 2)
    assert again == first
    assert count(books) == 2


def test_a_key_with_another_request_is_refused(books: Database) -> None:
    with books.writing() as connection:
        post_transfers(connection, [owed(1)], 1)
    with pytest.raises(KeyReused), books.writing() as connection:
        post_transfers(connection, [owed(2), owed(1, amount=1_201, name="u")], 2)
    assert count(books) == 1


def test_an_id_under_another_key_is_refused(books: Database) -> None:
    with books.writing() as connection:
        post_transfers(connection, [owed(1)], 1)
    with pytest.raises(TransferIdTaken), books.writing() as connection:
        post_transfers(connection, [msgspec.structs.replace(owed(2), id="t1")], 2)
    assert count(books) == 1


def test_linked_legs_are_booked_together_or_not_at_all(books: Database) -> None:
    legs = [msgspec.structs.replace(owed(n), group="both") for n in (1, 2)]
    with books.writing() as connection:
        post_transfers(connection, legs[:1], 1)
    with pytest.raises(KeyReused, match="some legs"), books.writing() as connection:
        post_transfers(connection, legs, 2)
    assert count(books) == 1


@pytest.mark.parametrize("kind", [Kind.POST, Kind.VOID])
def test_a_pending_is_resolved_once(books: Database, kind: Kind) -> None:
    with books.writing() as connection:
        post_transfers(connection, [PENDING], 1)
        first = resolve(connection, "p1", kind, transfer_id="r1", at_us=2)
    with books.writing() as connection:
        assert resolve(connection, "p1", kind, transfer_id="r2", at_us=3) == first
    other = Kind.VOID if kind is Kind.POST else Kind.POST
    with pytest.raises(AlreadyResolved), books.writing() as connection:
        resolve(connection, "p1", other, transfer_id="r3", at_us=4)
    assert count(books) == 2


def test_what_is_not_pending_cannot_be_resolved(books: Database) -> None:
    with books.writing() as connection:
        post_transfers(connection, [owed(1)], 1)
    with pytest.raises(LedgerRefused, match="not pending"), books.writing() as connection:
        resolve(connection, "t1", Kind.POST, transfer_id="r1", at_us=2)
    with pytest.raises(UnknownPending), books.writing() as connection:
        resolve(connection, "nobody", Kind.POST, transfer_id="r1", at_us=2)


def test_a_refused_batch_leaves_nothing(books: Database) -> None:
    with pytest.raises(LedgerRefused), books.writing() as connection:
        post_transfers(connection, [owed(1), resolution(PENDING, Kind.POST, transfer_id="r")], 1)
    assert count(books) == 0


@pytest.mark.on_postgresql
def test_more_transfers_than_a_statement_holds(books: Database) -> None:
    many = [owed(n) for n in range(1_201)]
    with books.writing() as connection:
        post_transfers(connection, many, 1)
    with books.writing() as connection:
        assert post_transfers(connection, many, 2) == many
    assert count(books) == 1_201


def book(url: str, name: str, amount: int) -> str:
    """Book decision 7 under an id of our own; the id that the books hold."""
    with open_books(url, create=False) as database, database.writing() as connection:
        return post_transfers(connection, [owed(7, name=name, amount=amount)], 1)[0].id


def settle(url: str, name: str, kind: str) -> str:
    """Resolve p1; what the books hold, or the refusal."""
    try:
        with open_books(url, create=False) as database, database.writing() as connection:
            return resolve(connection, "p1", Kind(kind), transfer_id=name, at_us=1).kind.value
    except AlreadyResolved:
        return "refused"


def in_threads(work: Callable[..., str], calls: list[tuple[Any, ...]]) -> list[str]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: work(*call), calls))


def in_processes(work: Callable[..., str], calls: list[tuple[Any, ...]]) -> list[str]:
    # Forked off a process that has imported this file, and opened nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(len(calls)) as pool:
        return pool.starmap(work, calls)


@pytest.mark.both_databases
@pytest.mark.parametrize(("run", "writers"), [(in_threads, 6), (in_processes, 2)])
def test_one_key_from_many_writers_is_booked_once(
    books: Database,
    database_url: str,
    run: Callable[[Callable[..., str], list[tuple[Any, ...]]], list[str]],
    writers: int,
) -> None:
    ids = run(book, [(database_url, f"w{n}-", 5) for n in range(writers)])
    assert count(books) == 1
    assert len(set(ids)) == 1


@pytest.mark.both_databases
def test_a_race_between_post_and_void_has_one_winner(books: Database, database_url: str) -> None:
    with books.writing() as connection:
        post_transfers(connection, [PENDING], 1)
    calls = [(database_url, f"r{n}", ("post", "void")[n % 2]) for n in range(6)]
    outcomes = in_threads(settle, calls)
    assert count(books) == 2
    assert outcomes.count("refused") == 3
    assert len(set(outcomes)) == 2


@pytest.mark.both_databases
def test_writers_that_come_from_both_ends_do_not_block_each_other(books: Database) -> None:
    def write(start: int, *, reverse: bool) -> int:
        found = [owed(start + n, name=f"{reverse}") for n in range(300)]
        with books.writing() as connection:
            return len(post_transfers(connection, found[::-1] if reverse else found, 1))

    for start in range(0, 1_500, 300):
        with ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(write, start, reverse=reverse) for reverse in (False, True)]
        assert [writer.result() for writer in writers] == [300, 300]
    assert count(books) == 1_500
