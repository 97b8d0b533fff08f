"""Keys of subjects: made once, bound, destroyed for ever; on both databases."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import MetaData, event, select, text, update

from services.common.database import Database
from services.common.sealing import (
    CannotOpen,
    Erased,
    KeyRetired,
    KeySet,
    KeyUnknown,
    SubjectKeys,
    members,
)
from services.common.sealing.subject_keys import subject_key
from services.common.sealing.tables import member_table, subject_key_table
from tests.services.common.programs import Together, together
from tests.services.common.sealing.keys import MASTER, now_us, subject_keys

HELLO = b"hello, this is what a person said"
PLACE = {"table": "bill", "column": "body", "row": "b1"}
MAKER = """
import sys
from services.common.database import Database
from tests.services.common.sealing.keys import subject_keys
print("ready", flush=True)
urls = {}
for line in sys.stdin:
    url, subject = line.strip().split(maxsplit=1)
    if url not in urls:
        database = Database(url)
        urls[url] = database, subject_keys(database)
    database, keys = urls[url]
    with database.writing() as connection:
        sealer = keys.sealer(connection)
        sealed = sealer.seal(b"x", table="t", column="c", row="r", subject=subject)
    print(sealed.hex(), flush=True)
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, threads=4)
    metadata = MetaData()
    subject_key_table(metadata)
    member_table(metadata)
    with found.writing() as connection:
        metadata.create_all(connection)
    yield found
    found.close()


@pytest.fixture
def keys(database: Database) -> SubjectKeys:
    return subject_keys(database)


def seal(database: Database, keys: SubjectKeys, subject: str, plain: bytes = HELLO) -> bytes:
    with database.writing() as connection:
        return keys.sealer(connection).seal(plain, **PLACE, subject=subject)


def opened(database: Database, keys: SubjectKeys, sealed: bytes, subject: str) -> bytes:
    with database.reading() as connection:
        return keys.sealer(connection).open(sealed, **PLACE, subject=subject)


def destroy(database: Database, keys: SubjectKeys, subject: str) -> int:
    with database.writing() as connection:
        return keys.sealer(connection).destroy(subject)


def test_a_value_opens_for_its_subject_only(database: Database, keys: SubjectKeys) -> None:
    mine, yours = seal(database, keys, "anna"), seal(database, keys, "ben")
    assert opened(database, keys, mine, "anna") == HELLO
    assert opened(database, keys, yours, "ben") == HELLO
    for sealed, other in ((mine, "ben"), (yours, "anna")):
        with pytest.raises(CannotOpen):
            opened(database, keys, sealed, other)


def test_a_subject_without_keys_is_unknown(database: Database, keys: SubjectKeys) -> None:
    sealed = seal(database, keys, "anna")
    with pytest.raises(KeyUnknown):
        opened(database, keys, sealed, "nobody")
    unknown = sealed[:1] + (9).to_bytes(2, "big") + sealed[3:]
    with pytest.raises(KeyUnknown, match="missing"):
        opened(database, keys, unknown, "anna")


@pytest.mark.both_databases
def test_another_replica_opens_what_this_one_sealed(database: Database, keys: SubjectKeys) -> None:
    sealed = seal(database, keys, "anna")
    assert opened(database, subject_keys(database), sealed, "anna") == HELLO


@pytest.mark.both_databases
def test_a_key_of_a_transaction_that_was_rolled_back_seals_nothing_later(
    database: Database, keys: SubjectKeys
) -> None:
    class Undone(Exception):
        pass

    def undone() -> None:
        with database.writing() as connection:
            keys.sealer(connection).seal(HELLO, **PLACE, subject="anna")
            raise Undone

    with pytest.raises(Undone):
        undone()
    sealed = seal(database, keys, "anna")
    assert opened(database, subject_keys(database), sealed, "anna") == HELLO


def test_a_new_generation_seals_and_older_ones_still_open(
    database: Database, keys: SubjectKeys
) -> None:
    old = seal(database, keys, "anna")
    with database.writing() as connection:
        assert keys.sealer(connection).renew("anna") == 2
    new = seal(database, keys, "anna")
    assert [sealed[2] for sealed in (old, new)] == [1, 2]
    for sealed in (old, new):
        assert opened(database, keys, sealed, "anna") == HELLO
    # Generations are bound as well: an old value does not pass for a new one.
    with pytest.raises(CannotOpen):
        opened(database, keys, new[:2] + old[2:3] + new[3:], "anna")


def test_a_destroyed_key_opens_and_seals_nothing_any_more(
    database: Database, keys: SubjectKeys
) -> None:
    replica = subject_keys(database)
    sealed = seal(database, keys, "anna")
    with database.writing() as connection:
        keys.sealer(connection).renew("anna")
    newer, other = seal(database, keys, "anna"), seal(database, keys, "ben")
    for one in (keys, replica):  # both have it cached now
        assert opened(database, one, sealed, "anna") == HELLO
    assert destroy(database, keys, "anna") == 2
    for one in (keys, replica, subject_keys(database)):
        for gone in (sealed, newer):
            with pytest.raises(Erased) as erased:
                opened(database, one, gone, "anna")
            assert erased.value.reason == "ERASED"
        with pytest.raises(Erased):
            seal(database, one, "anna")
        assert opened(database, one, other, "ben") == HELLO
    with pytest.raises(Erased), database.writing() as connection:
        keys.sealer(connection).renew("anna")
    assert destroy(database, keys, "anna") == 0


def test_a_subject_that_never_had_a_key_gets_none_after_its_erasure(
    database: Database, keys: SubjectKeys
) -> None:
    assert destroy(database, keys, "carl") == 0
    with pytest.raises(Erased):
        seal(database, keys, "carl")


class Files:
    """A database with fifty people's keys, and what of them stands in its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'keys.db'}"
        self.database = Database(self.url)
        metadata = MetaData()
        subject_key_table(metadata)
        with self.database.writing() as connection:
            metadata.create_all(connection)
        self.keys = subject_keys(self.database)
        for number in range(50):
            seal(self.database, self.keys, f"person {number}")
        with self.database.reading() as connection:
            rows = connection.execute(select(subject_key).where(subject_key.c.subject != "index"))
            self.wrapped = {row.subject: row.wrapped for row in rows}

    def found(self) -> set[str]:
        files = b"".join(path.read_bytes() for path in self.folder.glob("keys.db*"))
        return {subject for subject, key in self.wrapped.items() if key in files}

    @contextmanager
    def being_read(self) -> Iterator[sqlite3.Connection]:
        """Somebody holds the state of now: a backup, or a shell."""
        with closing(sqlite3.connect(self.folder / "keys.db", check_same_thread=False)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM subject_key").fetchone()
            yield reader


def test_a_key_destroyed_while_somebody_reads_is_scrubbed_with_a_later_write(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path)
    with files.being_read():
        destroy(files.database, files.keys, "person 7")
        assert not files.database.scrub("subject_key")  # in the end it is owed
        assert "person 7" in files.found()
    assert "person 7" in files.found()  # the control: that the reader is gone takes nothing away
    for number in range(100, 150):
        seal(files.database, files.keys, f"person {number}")
        if "person 7" not in files.found():
            break
        time.sleep(0.1)
    assert files.found() == files.wrapped.keys() - {"person 7"}
    files.database.close()


def test_a_key_destroyed_before_a_crash_is_scrubbed_at_the_next_start(tmp_path: Path) -> None:
    files = Files(tmp_path)
    destroy(files.database, files.keys, "person 7")
    # Whoever holds the database open keeps SQLite itself from emptying the log, as a crash does.
    with closing(sqlite3.connect(tmp_path / "keys.db")) as other:
        other.execute("SELECT count(*) FROM subject_key").fetchone()
        files.database.close()
        assert "person 7" in files.found()
        Database(files.url).close()
        assert files.found() == files.wrapped.keys() - {"person 7"}


def test_scrubbing_waits_for_somebody_who_reads_for_a_moment(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with files.being_read() as reader:
        destroy(files.database, files.keys, "person 7")
        leaving = threading.Timer(0.2, reader.close)
        leaving.start()
        assert files.database.scrub("subject_key")
        leaving.join()
    assert files.found() == files.wrapped.keys() - {"person 7"}
    files.database.close()


def test_a_destroyed_key_is_in_no_file_of_the_database(tmp_path: Path) -> None:
    files = Files(tmp_path)
    database, keys, wrapped, found = files.database, files.keys, files.wrapped, files.found
    assert found() == wrapped.keys()
    destroy(database, keys, "person 7")
    assert "person 7" in found()  # the control: it is the scrubbing that takes it away
    database.scrub("subject_key")
    assert found() == wrapped.keys() - {"person 7"}
    database.close()


@pytest.mark.on_postgresql
def test_scrubbing_works_on_both_databases(database: Database, keys: SubjectKeys) -> None:
    sealed = seal(database, keys, "ben")
    seal(database, keys, "anna")
    destroy(database, keys, "anna")
    database.scrub("subject_key")
    assert opened(database, keys, sealed, "ben") == HELLO
    with database.writing() as connection:  # the connection serves on
        assert connection.execute(text("SELECT count(*) FROM subject_key")).scalar_one() == 3


@pytest.fixture(scope="module")
def makers() -> Iterator[Together]:
    with together(2, MAKER) as found:
        yield found


@pytest.mark.both_databases
def test_two_processes_that_need_a_subjects_key_at_once_make_one(
    database: Database, database_url: str, makers: Together
) -> None:
    subject_keys(database)
    for number in range(10):
        said = makers.do(f"{database_url} person {number}")
        keys = subject_keys(database)
        for sealed in said:
            with database.reading() as connection:
                plain = keys.sealer(connection).open(
                    bytes.fromhex(sealed),
                    table="t",
                    column="c",
                    row="r",
                    subject=f"person {number}",
                )
            assert plain == b"x"
    with database.reading() as connection:
        made = connection.execute(text("SELECT count(*) FROM subject_key")).scalar_one()
    assert made == 11  # and the one of the blind indexes


@pytest.mark.both_databases
def test_threads_that_need_a_subjects_key_at_once_make_one(
    database: Database, keys: SubjectKeys
) -> None:
    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(lambda _: seal(database, keys, "anna"), range(24)))
    assert {opened(database, keys, one, "anna") for one in sealed} == {HELLO}


def test_a_wrapped_key_that_was_swapped_or_altered_opens_nothing(
    database: Database, keys: SubjectKeys
) -> None:
    sealed = seal(database, keys, "anna")
    seal(database, keys, "ben")
    with database.writing() as connection:
        bens = connection.execute(
            select(subject_key.c.wrapped).where(subject_key.c.subject == "ben")
        ).scalar_one()
        connection.execute(
            update(subject_key).where(subject_key.c.subject == "anna").values(wrapped=bens)
        )
    with pytest.raises(CannotOpen):
        opened(database, keys, sealed, "anna")


def test_a_missing_and_a_retired_master_key_are_told_apart(
    database: Database, keys: SubjectKeys
) -> None:
    sealed = seal(database, keys, "anna")
    other = bytes(32)
    for master, reason in (
        (KeySet({"m2": other}, "m2"), KeyUnknown),
        (KeySet({"m1": None, "m2": other}, "m2"), KeyRetired),
    ):
        lost = SubjectKeys(master, now_us=now_us)
        with pytest.raises(reason):
            lost.prepare(database)
        with pytest.raises(reason):
            opened(database, lost, sealed, "anna")
    wrong = SubjectKeys(KeySet({"m1": other}, "m1"), now_us=now_us)
    with pytest.raises(CannotOpen):
        opened(database, wrong, sealed, "anna")


def test_a_batch_of_subjects_costs_one_statement(database: Database, keys: SubjectKeys) -> None:
    sealed = {f"person {n}": seal(database, keys, f"person {n}") for n in range(20)}
    asked: list[str] = []
    with database.reading() as connection:
        event.listen(connection, "before_cursor_execute", lambda *args: asked.append(args[2]))
        sealer = keys.sealer(connection)
        sealer.load(sealed)
        for subject, value in sealed.items():
            assert sealer.open(value, **PLACE, subject=subject) == HELLO
    assert len(asked) == 1


def test_the_cache_of_keys_is_bounded(database: Database) -> None:
    keys = SubjectKeys(MASTER, now_us=now_us, most_cached=3)
    keys.prepare(database)
    sealed = [seal(database, keys, f"person {n}") for n in range(9)]
    for number, value in enumerate(sealed):
        assert opened(database, keys, value, f"person {number}") == HELLO
    assert len(keys._ciphers) == 3


def test_a_blind_index_finds_and_tells_nothing(database: Database, keys: SubjectKeys) -> None:
    token = "k1." + "a" * 64
    index = keys.index(token, table="member", column="token_index")
    assert index == subject_keys(database).index(token, table="member", column="token_index")
    assert len(index) == 64
    others = {
        keys.index(token[:-1] + "b", table="member", column="token_index"),
        keys.index(token, table="member", column="other"),
        keys.index(token, table="other", column="token_index"),
    }
    assert index not in others
    assert len(others) == 3


def test_blind_indexes_of_two_databases_do_not_match(
    database: Database, keys: SubjectKeys, tmp_path: Path
) -> None:
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    metadata = MetaData()
    subject_key_table(metadata)
    with other.writing() as connection:
        metadata.create_all(connection)
    token = "k1." + "a" * 64
    here, there = (
        one.index(token, table="member", column="token_index")
        for one in (keys, subject_keys(other))
    )
    assert here != there
    other.close()


def test_a_member_is_found_by_the_token_until_it_is_forgotten(
    database: Database, keys: SubjectKeys
) -> None:
    anna, ben = "k1." + "a" * 64, "k1." + "b" * 64

    def added() -> dict[str, str]:
        with database.writing() as connection:
            return members.find_or_add(connection, keys.sealer(connection), [ben, anna], 1)

    first = added()
    assert added() == first
    with database.writing() as connection:
        members.forget(connection, keys.sealer(connection), anna, 2)
    with database.reading() as connection:
        sealer = keys.sealer(connection)
        assert members.find_all(connection, sealer, [anna, ben]) == {ben: first[ben]}
        assert anna not in str(connection.execute(text("SELECT * FROM member")).all())
    later = added()
    assert later[ben] == first[ben]
    assert later[anna] != first[anna]


def test_keys_that_were_not_prepared_index_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError, match="prepare"):
        SubjectKeys(MASTER, now_us=now_us).index("x", table="t", column="c")
