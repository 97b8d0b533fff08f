"""Keys of the people (and other subjects) that values are about, in the service's own database.

A subject's key is made in the transaction of its first use. Whether it was destroyed is looked at
in the very transaction that reads or writes a value, so that an erasure by another replica counts
at once; what is cached is only the unwrapping of a key that this transaction has found.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, MetaData, Row, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.common.database import Database, is_writing
from services.common.sealing.faults import Erased, KeyUnknown
from services.common.sealing.master import MasterKeys
from services.common.sealing.tables import SUBJECT_KEY, subject_key_table
from services.common.sealing.value import (
    LAST_GENERATION,
    Place,
    generation_of,
    joined,
    opened_value,
    sealed_value,
)

MOST_CACHED = 20_000
_KEY_BYTES = 32
# The key of this database's blind indexes stands among the subjects, wrapped like any other.
_INDEX = "index"

# One shape in every service's database; each migration creates it there.
subject_key = subject_key_table(MetaData())
_columns = subject_key.c


class SubjectKeys:
    """The subjects' keys of one database. `prepare` comes before everything else."""

    def __init__(
        self, master: MasterKeys, *, now_us: Callable[[], int], most_cached: int = MOST_CACHED
    ) -> None:
        self.master = master
        self.now_us = now_us
        self._most_cached = most_cached
        self._lock = threading.Lock()
        self._ciphers: OrderedDict[tuple[str, int], tuple[bytes, AESGCM]] = OrderedDict()
        self._index: bytes | None = None

    def prepare(self, database: Database) -> None:
        """Make the key of the blind indexes if there is none, and load it. Blocks.

        Raises: KeyUnknown, KeyRetired when the master keys at hand cannot open it.
        """
        with database.reading() as connection:
            row = _newest(connection, _INDEX)
        if row is None:
            with database.writing() as connection:
                self._add(connection, _INDEX, 1)
                row = _newest(connection, _INDEX)
        assert row is not None  # noqa: S101 - added above, by us or by somebody else
        self._index = self._unwrapped(row)

    def sealer(self, connection: Connection) -> Sealer:
        """What seals and opens within this transaction."""
        return Sealer(self, connection)

    def index(self, text: str, *, table: str, column: str) -> str:
        """Blind index of a text, to look it up by: equal texts of one column have equal ones.

        HMAC-SHA256 under a key of this database; without the key it tells nothing, and another
        column's or database's index of the same text does not match.
        """
        return self.fingerprint(text.encode(), table=table, column=column)

    def fingerprint(self, content: bytes, *, table: str, column: str) -> str:
        """Keyed hash of content, in hex: so few facts could be guessed back out of a plain one."""
        if self._index is None:
            raise RuntimeError("prepare the subject keys of this database first")
        message = joined(table, column) + content
        return hmac.new(self._index, message, hashlib.sha256).hexdigest()

    def cipher(self, row: Row[Any]) -> AESGCM:
        """The cipher of a key's row that this transaction has read.

        Raises: Erased, KeyUnknown, KeyRetired, CannotOpen.
        """
        at = (row.subject, row.generation)
        if row.wrapped is None:
            self.forget(row.subject)
            raise Erased
        with self._lock:
            cached = self._ciphers.get(at)
            # Made in a transaction that was rolled back, it is not what the database has.
            if cached is not None and cached[0] == row.wrapped:
                self._ciphers.move_to_end(at)
                return cached[1]
        made = AESGCM(self._unwrapped(row))
        with self._lock:
            self._ciphers[at] = (row.wrapped, made)
            while len(self._ciphers) > self._most_cached:
                self._ciphers.popitem(last=False)
        return made

    def forget(self, subject: str) -> None:
        """Drop a subject's keys from memory."""
        with self._lock:
            for at in [at for at in self._ciphers if at[0] == subject]:
                del self._ciphers[at]

    def add(self, connection: Connection, subject: str, generation: int) -> None:
        """Make a key, unless somebody has made this generation meanwhile."""
        self._add(connection, subject, generation)

    def _add(self, connection: Connection, subject: str, generation: int) -> None:
        place = key_place(subject, generation)
        master_key_id, wrapped = self.master.wrap(os.urandom(_KEY_BYTES), place)
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(
            dialect.insert(subject_key).on_conflict_do_nothing(),
            {
                "subject": subject,
                "generation": generation,
                "wrapped": wrapped,
                "master_key_id": master_key_id,
                "created_us": self.now_us(),
            },
        )

    def _unwrapped(self, row: Row[Any]) -> bytes:
        place = key_place(row.subject, row.generation)
        return self.master.unwrap(row.master_key_id, row.wrapped, place)


class Sealer:
    """Seals and opens within one transaction. Not for another one, and not for another thread."""

    def __init__(self, keys: SubjectKeys, connection: Connection) -> None:
        self._keys = keys
        self._connection = connection
        self._rows: dict[str, dict[int, Row[Any]]] = {}

    def load(self, subjects: Iterable[str]) -> None:
        """Read the keys of many subjects at once; sealing and opening then ask for none of them."""
        missing = sorted(set(subjects) - self._rows.keys())
        if not missing:
            return
        for subject in missing:
            self._rows[subject] = {}
        for row in self._connection.execute(_of(self._connection), {"subjects": missing}):
            self._rows[row.subject][row.generation] = row

    def seal(self, plaintext: bytes, *, table: str, column: str, row: str, subject: str) -> bytes:
        """The value under the subject's newest key, which is made if there is none yet.

        Raises: Erased when the subject's key was destroyed; KeyUnknown, KeyRetired.
        """
        found = self._generations(subject)
        if not found:
            self._keys.add(self._connection, subject, 1)
            found = self._generations(subject, anew=True)
        newest = found[max(found)]
        cipher = self._keys.cipher(newest)
        place = Place(table, column, row, subject)
        return sealed_value(plaintext, place, cipher, newest.generation)

    def open(self, sealed: bytes, *, table: str, column: str, row: str, subject: str) -> bytes:
        """The plaintext.

        Raises: CannotOpen for another place or altered bytes; Erased when the subject's key was
        destroyed; KeyUnknown, KeyRetired when a key is missing.
        """
        generation = generation_of(sealed)
        found = self._generations(subject)
        if generation not in found:
            if any(row.wrapped is None for row in found.values()):
                raise Erased
            raise KeyUnknown(f"generation {generation}")
        cipher = self._keys.cipher(found[generation])
        return opened_value(sealed, Place(table, column, row, subject), cipher)

    def index(self, text: str, *, table: str, column: str) -> str:
        """Blind index of a text; see SubjectKeys.index."""
        return self._keys.index(text, table=table, column=column)

    def fingerprint(self, content: bytes, *, table: str, column: str) -> str:
        """Keyed hash of content; see SubjectKeys.fingerprint."""
        return self._keys.fingerprint(content, table=table, column=column)

    def is_erased(self, subject: str) -> bool:
        """Whether the subject's key was destroyed."""
        return any(row.wrapped is None for row in self._generations(subject).values())

    def renew(self, subject: str) -> int:
        """Make the subject's next key; what older ones sealed still opens. Its generation.

        Raises: Erased.
        """
        found = self._generations(subject)
        if self.is_erased(subject):
            raise Erased
        generation = max(found, default=0) + 1
        if generation > LAST_GENERATION // 2:  # a SMALLINT's last
            raise KeyUnknown("the subject has had every key that there can be")
        self._keys.add(self._connection, subject, generation)
        del self._rows[subject]
        return generation

    def destroy(self, subject: str) -> int:
        """Erase: overwrite every key of the subject with nothing; how many there were.

        Its rows stay, so that the subject never gets a key again. Until the transaction commits,
        nothing has happened; `Database.scrub` then empties the log that holds the old row.
        """
        # Written before it is read: two erasures that held the row for reading would wait for
        # each other for ever.
        destroyed = self._overwrite(subject)
        if not destroyed and not self._generations(subject, anew=True):
            self._keys.add(self._connection, subject, 1)
            self._overwrite(subject)
        self._rows.pop(subject, None)
        self._keys.forget(subject)
        return destroyed

    def _overwrite(self, subject: str) -> int:
        return self._connection.execute(
            update(subject_key)
            .where(_columns.subject == subject, _columns.wrapped.is_not(None))
            .values(wrapped=None, destroyed_us=self._keys.now_us())
        ).rowcount

    def _generations(self, subject: str, *, anew: bool = False) -> dict[int, Row[Any]]:
        if anew:
            self._rows.pop(subject, None)
        if subject not in self._rows:
            self.load([subject])
        return self._rows[subject]


def key_place(subject: str, generation: int) -> bytes:
    """What a wrapped key is bound to."""
    return joined(SUBJECT_KEY, "wrapped", subject, str(generation))


_ALL = select(subject_key).where(_columns.subject.in_(bindparam("subjects", expanding=True)))
# A writer holds the keys that it uses until it commits: an erasure waits for it, or it finds the
# subject erased. SQLite has one writer anyway.
_ALL_HELD = _ALL.order_by(_columns.subject, _columns.generation).with_for_update(read=True)


def _of(connection: Connection) -> Any:
    return _ALL_HELD if is_writing(connection) else _ALL


def _newest(connection: Connection, subject: str) -> Row[Any] | None:
    newest = select(func.max(_columns.generation)).where(_columns.subject == subject)
    return connection.execute(
        select(subject_key).where(
            _columns.subject == subject, _columns.generation == newest.scalar_subquery()
        )
    ).one_or_none()
