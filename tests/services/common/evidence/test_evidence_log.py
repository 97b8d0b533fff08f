"""The log: dense, durable before it answers, few transactions for many calls, signed in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bench.statements import counted
from services.common.evidence.checkpoint import opened
from services.common.evidence.leaf import MOST_BYTES, leaf_bytes, read_of
from services.common.evidence.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from services.common.evidence.note import Kind, SignerKey
from services.common.evidence.proofs import Asked, Proofs, TreeBroken
from services.common.evidence.tables import APPEND_ONLY
from services.common.refusals import Refused
from tests.services.common.evidence.logs import (
    NOON_US,
    ORIGIN,
    SIGNER,
    TABLES,
    Kept,
    kept,
    read,
    reads,
)
from tests.services.common.programs import Together, together

EVERY = Asked()


@pytest.fixture
def log(database_url: str) -> Iterator[Kept]:
    with kept(database_url) as found:
        yield found


def bodies(log: Kept) -> list[bytes]:
    with log.proofs() as proofs:
        leaves = proofs.listed(EVERY, 0, 100_000)
    assert [leaf.index for leaf in leaves] == list(range(len(leaves)))
    return [leaf.body for leaf in leaves]


def root_in(log: Kept, size: int) -> bytes:
    with log.proofs() as proofs:
        return proofs.root(size)


def newest(log: Kept) -> Any:
    with log.proofs() as proofs:
        found = proofs.checkpoint()
    assert found is not None
    checkpoint, _ = opened(found.note, [log.signer.verifier])
    assert (checkpoint.size, checkpoint.root) == (found.size, found.root)
    return checkpoint


@pytest.mark.on_postgresql
def test_reads_become_leaves_in_order_and_prove_themselves(log: Kept) -> None:
    log.append(reads(3))
    log.append(reads(2, start=3))
    written = [leaf_bytes(some) for some in reads(5)]
    assert bodies(log) == written
    hashes = [leaf_hash(body) for body in written]
    with log.proofs() as proofs:
        assert proofs.size() == 5
        assert proofs.root(0) == EMPTY_ROOT
        assert [proofs.root(size) for size in range(1, 6)] == [
            root_of(hashes[:size]) for size in range(1, 6)
        ]
        for size in range(1, 6):
            for index in range(size):
                proof = proofs.inclusion(index, size)
                verify_inclusion(index, size, hashes[index], proof, root_of(hashes[:size]))
            proof = proofs.consistency(size, 5)
            verify_consistency(size, 5, root_of(hashes[:size]), root_of(hashes), proof)
        assert [proofs.index_of(found) for found in hashes] == [0, 1, 2, 3, 4]
        assert proofs.index_of(bytes(32)) is None
        assert read_of(proofs.body(4) or b"") == read(4)
        assert proofs.body(5) is None


def test_nothing_read_is_nothing_written(log: Kept) -> None:
    with counted(log.database.engine) as asked:
        log.append([])
    assert (asked.statements, asked.commits) == (0, 0)


@pytest.mark.both_databases
def test_fifty_calls_at_once_share_a_few_transactions(log: Kept) -> None:
    async def at_once() -> None:
        one = log.log()
        await asyncio.gather(*(one.append([read(number)]) for number in range(50)))

    with counted(log.database.engine) as asked:
        asyncio.run(at_once())
    assert asked.commits <= 3
    assert sorted(bodies(log)) == sorted(leaf_bytes(some) for some in reads(50))


def test_one_call_after_the_other_is_a_transaction_each(log: Kept) -> None:
    # The control of the test above.
    async def in_turn() -> None:
        one = log.log()
        for number in range(10):
            await one.append([read(number)])

    with counted(log.database.engine) as asked:
        asyncio.run(in_turn())
    assert asked.commits == 10


WRITER = """
import asyncio, json, sys
from services.common.evidence.evidence_log import EvidenceLog
from services.common.database import Database
from tests.services.common.evidence.logs import Kept, read
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    database = Database(order["url"], threads=2)
    log = Kept(database).log(sign_after_leaves=10)
    async def write():
        for number in range(10):
            calls = (log.append([read(100 * number + n)]) for n in range(3))
            await asyncio.gather(*calls)
    asyncio.run(write())
    database.close()
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def writers() -> Iterator[Together]:
    with together(3, WRITER) as found:
        yield found


@pytest.mark.both_databases
def test_replicas_make_one_dense_sequence(log: Kept, database_url: str, writers: Together) -> None:
    assert writers.do(json.dumps({"url": database_url})) == ["done"] * 3
    found = bodies(log)
    assert len(found) == 3 * 30
    assert root_in(log, 90) == root_of([leaf_hash(body) for body in found])
    with log.database.reading() as connection:
        sizes = connection.execute(text("SELECT size FROM evidence_checkpoint ORDER BY size"))
        assert list(sizes.scalars()) == list(range(10, 100, 10))


def test_a_log_that_cannot_be_written_says_so_to_each_caller(log: Kept) -> None:
    async def at_once() -> list[BaseException | None]:
        one = log.log()
        calls = (one.append([read(number)]) for number in range(5))
        return await asyncio.gather(*calls, return_exceptions=True)

    with log.database.writing() as connection:
        connection.execute(text("DROP TABLE evidence_node"))
    for fault in asyncio.run(at_once()):
        assert isinstance(fault, Refused)
        assert (fault.code, fault.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "EVIDENCE_NOT_WRITTEN",
        )
        assert fault.retry_after_s
    assert bodies(log) == []  # nothing is half there


def test_a_boundless_read_is_refused_and_spoils_nobody_elses(log: Kept) -> None:
    async def at_once() -> list[BaseException | None]:
        one = log.log()
        calls = [one.append([read(1)]), one.append([read(2, record="r" * MOST_BYTES)])]
        return await asyncio.gather(*calls, return_exceptions=True)

    good, bad = asyncio.run(at_once())
    assert good is None
    assert isinstance(bad, Refused)
    assert bodies(log) == [leaf_bytes(read(1))]


def test_a_caller_that_gives_up_holds_nobody_up(log: Kept) -> None:
    async def give_up() -> None:
        one = log.log()
        calls = [asyncio.ensure_future(one.append([read(number)])) for number in range(3)]
        await asyncio.sleep(0)
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await one.append([read(3)])

    asyncio.run(give_up())
    assert {leaf_bytes(read(number)) for number in (0, 2, 3)} <= set(bodies(log))


def test_the_empty_log_is_signed_and_then_whenever_it_is_time(log: Kept) -> None:
    one = log.log(sign_after_s=60)
    one._sign_when_due(True)
    assert (newest(log).size, newest(log).root) == (0, EMPTY_ROOT)
    log.append(reads(3))
    log.clock.pass_s(59)
    one._sign_when_due(False)
    assert newest(log).size == 0
    log.clock.pass_s(1)
    one._sign_when_due(False)
    assert newest(log).size == 3
    log.clock.pass_s(600)
    one._sign_when_due(False)  # nothing new: nothing to say
    with log.database.reading() as connection:
        count = connection.execute(text("SELECT count(*) FROM evidence_checkpoint")).scalar()
    assert count == 2


def test_a_checkpoint_stands_at_every_thousandth_leaf_whatever_a_call_brings(log: Kept) -> None:
    for count in (999, 1, 2_500):
        log.append(reads(count))
    with log.database.reading() as connection:
        sizes = connection.execute(text("SELECT size FROM evidence_checkpoint ORDER BY size"))
        assert list(sizes.scalars()) == [1_000, 2_000, 3_000]
    assert newest(log).root == root_in(log, 3_000)


@pytest.mark.on_postgresql
def test_signing_runs_beside_and_outlives_a_fault(log: Kept) -> None:
    async def beside() -> None:
        one = log.log()
        signing = asyncio.ensure_future(one.keep_signing())
        while True:
            with log.proofs() as proofs:
                if proofs.checkpoint() is not None:
                    break
            await asyncio.sleep(0.01)
        assert not signing.done()
        signing.cancel()

    asyncio.run(beside())
    assert newest(log).size == 0


def test_a_new_key_signs_what_the_old_one_had_signed(log: Kept) -> None:
    log.append(reads(3))
    log.sign()
    log.signer = SignerKey(ORIGIN, Kind.LOG, bytes([9]) * 32)
    log.clock.pass_s(1)
    log.log()._sign_when_due(False)
    with log.proofs() as proofs:
        found = proofs.checkpoint()
        assert found is not None
        opened(found.note, [SIGNER.verifier])
    log.log()._sign_when_due(True)
    assert newest(log).size == 3


@pytest.mark.on_postgresql
def test_leaves_are_found_by_record_person_and_time(log: Kept) -> None:
    log.append(reads(30))

    def numbers(**asked: Any) -> list[int]:
        with log.proofs() as proofs:
            return [leaf.index for leaf in proofs.listed(Asked(**asked), 0, 100)]

    assert numbers(record="policies/p3/claims/c17") == [17]
    assert numbers(who="person-2") == list(range(2, 30, 5))
    assert numbers(from_us=NOON_US + 10, before_us=NOON_US + 13) == [10, 11, 12]
    assert numbers(who="person-2", from_us=NOON_US + 10) == [12, 17, 22, 27]
    with log.proofs() as proofs:
        assert [leaf.index for leaf in proofs.listed(EVERY, 28, 5)] == [28, 29]


@pytest.mark.both_databases
@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}"])
def test_leaves_nodes_and_checkpoints_are_append_only(
    log: Kept, table: str, statement: str
) -> None:
    log.append(reads(3))
    log.sign()
    column = "node_index" if table == "evidence_node" else "at_us"
    with pytest.raises(DBAPIError, match="append-only"), log.database.writing() as connection:
        connection.execute(text(statement.format(table, column, column)))


@pytest.mark.on_postgresql
def test_missing_hashes_are_told_apart(log: Kept) -> None:
    log.append(reads(8))
    with log.database.writing() as connection:
        connection.execute(text("DROP TABLE evidence_node"))
        connection.execute(
            text("CREATE TABLE evidence_node (level INTEGER, node_index BIGINT, hash BYTEA)")
        )
    with log.proofs() as proofs, pytest.raises(TreeBroken):
        proofs.inclusion(0, 8)


def test_big_trees_are_proved_with_few_hashes(log: Kept) -> None:
    log.append(reads(1_500))
    with counted(log.database.engine) as asked, log.proofs() as proofs:
        proof = proofs.inclusion(777, 1_500)
    assert len(proof) <= 11
    assert asked.statements <= 2


def test_a_proof_on_sqlite_reads_no_table_through(tmp_path: Path) -> None:
    seen: list[str] = []
    with kept(f"sqlite:///{tmp_path / 'log.db'}") as log:
        log.append(reads(100))
        with log.database.reading() as connection:
            raw: Any = connection.connection.driver_connection
            raw.set_trace_callback(seen.append)
            Proofs(connection, TABLES).inclusion(7, 100)
            Proofs(connection, TABLES).consistency(33, 100)
            raw.set_trace_callback(None)
            asked = [line for line in seen if line.startswith("SELECT")]
            assert len(asked) >= 3
            assert [line for line in asked if reads_through(raw, line)] == []
            # The control: the obvious way to ask for several nodes is no look-up.
            pairs = "(level, node_index) IN (VALUES (1, 2), (3, 4))"
            assert reads_through(raw, f"SELECT hash FROM evidence_node WHERE {pairs}")


def reads_through(raw: Any, statement: str) -> bool:
    plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}")]
    return any(step.startswith("SCAN evidence") for step in plan)
