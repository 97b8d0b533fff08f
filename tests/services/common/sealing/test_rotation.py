"""New keys for old, in steps that may be cut off anywhere, under running services."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import MetaData, func, select, text, update

from lipei.keys.v1 import keys_pb2 as pb
from services.common.database import Database
from services.common.refusals import Refused
from services.common.sealing import KeySet, KeyUnknown, SubjectKeys, rotation
from services.common.sealing.key_sources import KeyFile
from services.common.sealing.master import KeyState, RereadKeys
from services.common.sealing.servicer import KeysServicer, readiness
from services.common.sealing.subject_keys import subject_key
from services.common.sealing.tables import subject_key_table
from tests.services.common.sealing.keys import now_us

PLACE = {"table": "bill", "column": "body", "row": "b1"}
NOBODY: Any = None


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, threads=4)
    metadata = MetaData()
    subject_key_table(metadata)
    with found.writing() as connection:
        metadata.create_all(connection)
    yield found
    found.close()


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "master_keys.json")


@pytest.fixture
def keys(database: Database, file: KeyFile, tmp_path: Path) -> SubjectKeys:
    return replica(database, tmp_path)


def replica(database: Database, folder: Path) -> SubjectKeys:
    """Another process of the service, as far as keys are concerned."""
    made = SubjectKeys(RereadKeys(KeyFile(folder / "master_keys.json")), now_us=now_us)
    made.prepare(database)
    return made


def seal(database: Database, keys: SubjectKeys, subject: str) -> bytes:
    with database.writing() as connection:
        return keys.sealer(connection).seal(b"said", **PLACE, subject=subject)


def opens(database: Database, keys: SubjectKeys, sealed: bytes, subject: str) -> bool:
    with database.reading() as connection:
        return keys.sealer(connection).open(sealed, **PLACE, subject=subject) == b"said"


def uses(database: Database, keys: SubjectKeys) -> dict[str, int]:
    return {use.key_id: use.subject_keys for use in rotation.master_uses(database, keys)}


@pytest.mark.both_databases
def test_a_rotation_wraps_every_key_anew_and_stops_nobody(
    database: Database, keys: SubjectKeys, file: KeyFile, tmp_path: Path
) -> None:
    other = replica(database, tmp_path)
    sealed = {f"p{n}": seal(database, keys, f"p{n}") for n in range(10)}
    file.add()
    assert uses(database, keys) == {"m1": 11, "m2": 0}
    left: list[int] = []
    while not left or left[-1]:
        left.append(rotation.rewrap(database, keys, 4).left)
        for one in (keys, other):  # in the middle of it, everywhere
            assert all(opens(database, one, value, who) for who, value in sealed.items())
    assert left == [7, 3, 0]
    assert uses(database, keys) == {"m2": 11}
    file.retire("m1")
    for one in (keys, other, replica(database, tmp_path)):
        assert all(opens(database, one, value, who) for who, value in sealed.items())
    assert rotation.rewrap(database, keys, 4) == rotation.Rewrapped(0, 0)


@pytest.mark.both_databases
def test_a_rotation_that_is_cut_off_goes_on_where_it_was(
    database: Database, keys: SubjectKeys, file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = {f"p{n}": seal(database, keys, f"p{n}") for n in range(6)}
    file.add()
    rotation.rewrap(database, keys, 3)
    wrapped = 0
    wrap = keys.master.wrap

    class PowerCut(Exception):
        pass

    def cut(key: bytes, place: bytes) -> tuple[str, bytes]:
        nonlocal wrapped
        wrapped += 1
        if wrapped == 3:
            raise PowerCut
        return wrap(key, place)

    monkeypatch.setattr(keys.master, "wrap", cut)
    with pytest.raises(PowerCut):
        rotation.rewrap(database, keys, 3)
    monkeypatch.undo()
    assert uses(database, keys) == {"m1": 4, "m2": 3}  # the step was undone whole
    assert rotation.rewrap(database, keys, 100) == rotation.Rewrapped(4, 0)
    assert all(opens(database, keys, value, who) for who, value in sealed.items())


@pytest.mark.both_databases
def test_a_rotation_and_a_busy_service_wait_for_nobody_and_lose_nothing(
    database: Database, keys: SubjectKeys, file: KeyFile, tmp_path: Path
) -> None:
    other = replica(database, tmp_path)
    sealed: dict[str, bytes] = {}

    def work() -> None:
        for n in range(30):
            sealed[f"p{n}"] = seal(database, other, f"p{n}")

    busy = threading.Thread(target=work)
    busy.start()
    while busy.is_alive():
        if sealed:
            file.add()
        rotation.rewrap(database, keys, 5)
    busy.join()
    while rotation.rewrap(database, keys, 5).left:
        pass
    assert sum(uses(database, keys).values()) == 31
    assert uses(database, keys)[keys.master.current()] == 31
    assert all(opens(database, keys, value, who) for who, value in sealed.items())


def test_a_key_that_cannot_be_opened_is_left_and_reported(
    database: Database, keys: SubjectKeys
) -> None:
    seal(database, keys, "p1")
    elsewhere = SubjectKeys(KeySet({"m9": bytes(32)}, "m9"), now_us=now_us)
    seal(database, elsewhere, "p2")
    assert rotation.rewrap(database, elsewhere, 10) == rotation.Rewrapped(0, 0)
    (bad,) = rotation.unusable(database, elsewhere)
    assert (bad.key_id, bad.state, bad.subject_keys) == ("m1", KeyState.UNKNOWN, 2)


def test_a_destroyed_key_is_not_wrapped_again(
    database: Database, keys: SubjectKeys, file: KeyFile
) -> None:
    seal(database, keys, "p1")
    with database.writing() as connection:
        keys.sealer(connection).destroy("p1")
    file.add()
    assert rotation.rewrap(database, keys, 10) == rotation.Rewrapped(1, 0)
    with database.reading() as connection:
        gone = select(subject_key.c.wrapped).where(subject_key.c.subject == "p1")
        assert connection.execute(gone).scalar_one() is None
    assert uses(database, keys) == {"m2": 1}


@pytest.mark.on_postgresql
def test_subjects_get_a_next_key_once(database: Database, keys: SubjectKeys) -> None:
    sealed = {f"p{n}": seal(database, keys, f"p{n}") for n in range(5)}
    with database.writing() as connection:
        connection.execute(update(subject_key).values(created_us=1_000))
        keys.sealer(connection).destroy("p4")
    fresh = seal(database, keys, "fresh")
    left = [rotation.renew(database, keys, before_us=2_000, most=3).left for _ in range(2)]
    assert left == [1, 0]
    assert rotation.renew(database, keys, before_us=2_000, most=3) == rotation.Rewrapped(0, 0)
    with database.reading() as connection:
        newest = connection.execute(
            select(subject_key.c.subject, func.max(subject_key.c.generation)).group_by(
                subject_key.c.subject
            )
        )
        assert {row[0]: row[1] for row in newest} == {
            **{f"p{n}": 2 for n in range(4)},
            "p4": 1,
            "fresh": 1,
            "index": 1,
        }
    del sealed["p4"]
    assert all(opens(database, keys, value, who) for who, value in sealed.items())
    assert opens(database, keys, fresh, "fresh")


def servicer(database: Database, keys: SubjectKeys) -> KeysServicer:
    return KeysServicer(database, keys)


def test_an_operator_rotates_over_the_wire(
    database: Database, keys: SubjectKeys, file: KeyFile
) -> None:
    sealed = seal(database, keys, "p1")
    service = servicer(database, keys)
    file.add()
    first = asyncio.run(service.RewrapKeys(pb.RewrapKeysRequest(most=1), NOBODY))
    assert (first.rewrapped_count, first.left_count) == (1, 1)
    second = asyncio.run(service.RewrapKeys(pb.RewrapKeysRequest(), NOBODY))
    assert (second.rewrapped_count, second.left_count) == (1, 0)
    found = asyncio.run(service.DescribeKeys(pb.DescribeKeysRequest(), NOBODY))
    assert [(use.key_id, use.state, use.subject_keys) for use in found.master_keys] == [
        ("m2", pb.MASTER_KEY_STATE_CURRENT, 2)
    ]
    request = pb.RenewKeysRequest()
    request.before_time.GetCurrentTime()
    renewed = asyncio.run(service.RenewKeys(request, NOBODY))
    assert (renewed.renewed_count, renewed.left_count) == (1, 0)
    assert opens(database, keys, sealed, "p1")


NO_YEAR, NO_NANOS = Timestamp(seconds=1 << 60), Timestamp(seconds=1, nanos=-1)


@pytest.mark.parametrize(
    ("rpc", "request_", "faults"),
    [
        ("RewrapKeys", pb.RewrapKeysRequest(most=-1), "most OUT_OF_RANGE"),
        ("RenewKeys", pb.RenewKeysRequest(), "before_time MISSING"),
        ("RenewKeys", pb.RenewKeysRequest(most=-1), "most OUT_OF_RANGE, before_time MISSING"),
        ("RenewKeys", pb.RenewKeysRequest(before_time=NO_YEAR), "before_time NOT_A_TIME"),
        ("RenewKeys", pb.RenewKeysRequest(before_time=NO_NANOS), "before_time NOT_A_TIME"),
    ],
    ids=str,
)
def test_a_step_that_says_too_little_or_no_time_is_refused(
    database: Database, keys: SubjectKeys, rpc: str, request_: Any, faults: str
) -> None:
    with pytest.raises(Refused) as refused:
        asyncio.run(getattr(servicer(database, keys), rpc)(request_, NOBODY))
    told = refused.value.violations
    assert ", ".join(f"{one.field} {one.reason}" for one in told) == faults


@pytest.mark.parametrize(
    ("master", "ready"),
    [
        ("its own", True),
        ("one more", True),
        ("retired", False),
        ("unknown", False),
        ("wrong", False),
    ],
)
def test_readiness_says_whether_every_key_that_is_needed_is_there(
    database: Database, keys: SubjectKeys, file: KeyFile, master: str, ready: bool
) -> None:
    seal(database, keys, "p1")
    own, other = cast(bytes, file.read().keys["m1"]), bytes(32)
    sets = {
        "its own": KeySet({"m1": own}, "m1"),
        "one more": KeySet({"m1": own, "m2": other}, "m2"),
        "retired": KeySet({"m1": None, "m2": other}, "m2"),
        "unknown": KeySet({"m2": other}, "m2"),
        "wrong": KeySet({"m1": other}, "m1"),
    }
    check = readiness(database, SubjectKeys(sets[master], now_us=now_us))
    assert asyncio.run(check()) is ready


def test_a_database_without_its_master_key_says_so_before_anything_is_written(
    database: Database, keys: SubjectKeys
) -> None:
    with pytest.raises(KeyUnknown):
        SubjectKeys(KeySet({"m2": bytes(32)}, "m2"), now_us=now_us).prepare(database)
    with database.reading() as connection:
        found = connection.execute(text("SELECT count(*) FROM subject_key")).scalar_one()
    assert found == 1
