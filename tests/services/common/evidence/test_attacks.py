"""Whatever is done to leaves that a witness has seen is found, and the first bad one is named.

A hundred attacks; `make fault` does thousands (tests/fault/test_evidence_attacks.py).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from services.common.evidence.audit import Findings, audit, main
from services.common.evidence.kept_log import KeptLog, Reason
from services.common.evidence.witnessing import Watch, first_difference
from tests.services.common.evidence.attacks import (
    CHANGES,
    COVERS,
    WHOLE,
    WITNESS,
    attack,
    attacking,
    drawn,
    first_bad,
    witnessed,
)
from tests.services.common.evidence.logs import SIGNER, TABLES, Kept, kept, reads
from tests.services.common.evidence.ports import LocalLog

SEED, ATTACKS = 20261125, 100
SEEN, MORE = 37, 8  # leaves up to the outside checkpoint, and after it
KEYS = [SIGNER.verifier]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with kept(f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.db'}") as found:
        yield found


@pytest.fixture(scope="module")
def outside(log: Kept, tmp_path_factory: pytest.TempPathFactory) -> KeptLog:
    log.sign()
    for start in range(0, SEEN, 5):
        log.append(reads(min(5, SEEN - start), start))
        log.sign()
    outside = asyncio.run(witnessed(log, tmp_path_factory.mktemp("witness")))
    log.append(reads(MORE, SEEN))
    log.sign()
    assert outside.size == SEEN
    return outside


def named(
    log: Kept, outside: KeptLog | None, draw: random.Random, name: str, cover: str
) -> tuple[Findings, int]:
    """What the audit finds after an attack, and the leaf that it should name."""
    with attacking(log.database) as connection:
        before, after = attack(draw, connection, name, cover, SEEN)
        return audit(connection, TABLES, KEYS, outside), first_bad(before, after, SEEN)


def test_a_log_that_nobody_touched_has_no_faults(log: Kept, outside: KeptLog) -> None:
    with log.database.reading() as connection:
        findings = audit(connection, TABLES, KEYS, outside)
    assert (findings.leaves, findings.faults) == (SEEN + MORE, [])


def test_every_attack_is_found_and_its_first_leaf_named(log: Kept, outside: KeptLog) -> None:
    draw, done = random.Random(SEED), Counter[str]()
    for _ in range(ATTACKS):
        name, cover = drawn(draw)
        findings, expected = named(log, outside, draw, name, cover)
        assert findings.first_bad_index == expected, (name, cover, findings)
        done[name] += 1
    assert done.keys() == CHANGES.keys()


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_without_the_witness_a_rebuilt_log_has_no_faults(
    log: Kept, outside: KeptLog, name: str
) -> None:
    # The control: who holds the database and the key can make everything agree.
    for seed in range(5):
        findings, _ = named(log, None, random.Random(seed), name, "everything")
        assert findings.faults == []


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_the_witness_itself_raises_the_alarm_and_stays_where_it_is(
    log: Kept, outside: KeptLog, name: str, tmp_path: Path
) -> None:
    for number, cover in enumerate(("everything",) if name in WHOLE else COVERS):
        mine = asyncio.run(witnessed_again(outside, tmp_path / str(number)))
        with attacking(log.database) as connection:
            draw = random.Random(number)
            before, after = attack(draw, connection, name, cover, SEEN)
            watch = Watch(kept=mine, log=LocalLog(log.database, connection), cosigner=WITNESS)
            alarm = asyncio.run(watch.look(KEYS, log.clock.now_us))
        assert alarm is not None
        assert alarm.first_bad_index == first_bad(before, after, SEEN)
        if cover == "everything":
            assert alarm.reason in {Reason.FORKED, Reason.ROLLED_BACK}
            assert mine.checkpoint == outside.checkpoint


async def witnessed_again(outside: KeptLog, folder: Path) -> KeptLog:
    """A copy of what the witness keeps."""
    copy = KeptLog(folder, outside.name)
    assert outside.checkpoint is not None
    assert outside.note is not None
    copy.move(outside.checkpoint, outside.note, outside.hashes(0, SEEN))
    return copy


def test_the_witness_finds_what_stands_beside_a_leaf_changed(
    log: Kept, outside: KeptLog, tmp_path: Path
) -> None:
    """Bytes and hashes stay: a list by person or record would leave the leaf out."""
    mine = asyncio.run(witnessed_again(outside, tmp_path))
    with attacking(log.database) as connection:
        watch = Watch(kept=mine, log=LocalLog(log.database, connection), cosigner=WITNESS)
        assert asyncio.run(watch.look(KEYS, log.clock.now_us)) is None
        watch.again_from = 0
        connection.execute(INNER["what stands beside a leaf is not what it says"])
        alarm = asyncio.run(watch.look(KEYS, log.clock.now_us))
        assert alarm is not None
        assert (alarm.reason, alarm.first_bad_index) == (Reason.HISTORY_CHANGED, 12)
        # One before it that the log does not confess is the first all the same.
        connection.execute(
            update(TABLES.leaf).where(TABLES.leaf.c.leaf_index == 5).values(body=b"{}")
        )
        assert asyncio.run(first_difference(mine, watch.log)) == 5


def test_a_leaf_mislabelled_before_the_witness_saw_it_is_named(log: Kept, tmp_path: Path) -> None:
    with attacking(log.database) as connection:
        connection.execute(INNER["what stands beside a leaf is not what it says"])
        fresh = KeptLog(tmp_path, "pricing")
        watch = Watch(kept=fresh, log=LocalLog(log.database, connection), cosigner=WITNESS)
        alarm = asyncio.run(watch.look(KEYS, log.clock.now_us))
    assert alarm is not None
    assert (alarm.reason, alarm.first_bad_index) == (Reason.HISTORY_CHANGED, 12)
    assert fresh.checkpoint is None


INNER = {
    "a node of the tree is not that of its leaves": update(TABLES.node)
    .where(TABLES.node.c.level == 2, TABLES.node.c.node_index == 3)
    .values(hash=bytes(32)),
    "what stands beside a leaf is not what it says": update(TABLES.leaf)
    .where(TABLES.leaf.c.leaf_index == 12)
    .values(who="somebody-else"),
    "a leaf does not have its hash": update(TABLES.leaf)
    .where(TABLES.leaf.c.leaf_index == 12)
    .values(hash=bytes(32)),
    "a leaf is not in its one form": update(TABLES.leaf)
    .where(TABLES.leaf.c.leaf_index == 12)
    .values(body=b"{}"),
    "the leaves are not numbered without gaps": delete(TABLES.leaf).where(
        TABLES.leaf.c.leaf_index == 12
    ),
    "the head's tree is not that of the leaves": update(TABLES.head).values(peaks=bytes(32)),
    "the head counts other leaves than there are": update(TABLES.head).values(size=12),
    "a checkpoint is not signed by the log's key": update(TABLES.checkpoint)
    .where(TABLES.checkpoint.c.size == 5)
    .values(note="x"),
    "what stands beside a checkpoint is not what it says": update(TABLES.checkpoint)
    .where(TABLES.checkpoint.c.size == 5)
    .values(root=bytes(32)),
}


@pytest.mark.parametrize("what", INNER)
def test_a_clumsy_hand_is_found_without_a_witness(log: Kept, outside: KeptLog, what: str) -> None:
    with attacking(log.database) as connection:
        connection.execute(INNER[what])
        findings = audit(connection, TABLES, KEYS)
    assert what in {fault.what for fault in findings.faults}
    if "leaf " in what or "node" in what or "gaps" in what:
        assert findings.first_bad_index == 12


def test_the_audit_is_a_command_that_fails_on_a_fault(
    log: Kept, outside: KeptLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "log.vkey"
    key.write_text(SIGNER.verifier.vkey() + "\n")
    folder = outside._folder
    words = ["--database", str(log.database.engine.url), "--key", str(key)]
    assert main([*words, "--witness", str(folder), "--log", "pricing"]) == 0
    assert capsys.readouterr().out == f"{SEEN + MORE} leaves, 0 kinds of fault\n"
    key.write_text(WITNESS.verifier.vkey() + "\n")
    assert main(words) == 1
    assert "not signed by the log's key" in capsys.readouterr().out
