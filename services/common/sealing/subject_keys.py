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
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, MetaData, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.common.bulk import one_of
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


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One generation of a subject's key as it stands in the table; destroyed without `wrapped`."""

    subject: str
    generation: int
    wrapped: bytes | None
    master_key_id: str


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
        # By table and column: what all of its fingerprints begin with, which takes half their time.
        self._begun: dict[tuple[str, str], hmac.HMAC] = {}

    def prepare(self, database: Database) -> None:
        """Make the key of the blind indexes if there is none, and load it. Blocks.

        Raises: KeyUnknown, KeyRetired when the master keys at hand cannot open it.
        """
        with database.reading() as connection:
            found = self.sealer(connection).newest(_INDEX)
        if found is None:
            with database.writing() as connection:
                found = self.sealer(connection).made(_INDEX)
        self._index = self._unwrapped(found)
        self._begun = {}

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
        begun = self._begun.get((table, column))
        if begun is None:
            if self._index is None:
                raise RuntimeError("prepare the subject keys of this database first")
            begun = hmac.new(self._index, joined(table, column), hashlib.sha256)
            self._begun[table, column] = begun
        made = begun.copy()
        made.update(content)  # it may be large: no copy of it is made
        return made.hexdigest()

    def cipher(self, key: WrappedKey) -> AESGCM:
        """The cipher of a key that this transaction has read.

        Raises: Erased, KeyUnknown, KeyRetired, CannotOpen.
        """
        at = (key.subject, key.generation)
        if key.wrapped is None:
            self.forget(key.subject)
            raise Erased
        with self._lock:
            cached = self._ciphers.get(at)
            # Made in a transaction that was rolled back, it is not what the database has.
            if cached is not None and cached[0] == key.wrapped:
                self._ciphers.move_to_end(at)
                return cached[1]
        made = AESGCM(self._unwrapped(key))
        with self._lock:
            self._ciphers[at] = (key.wrapped, made)
            while len(self._ciphers) > self._most_cached:
                self._ciphers.popitem(last=False)
        return made

    def forget(self, subject: str) -> None:
        """Drop a subject's keys from memory."""
        with self._lock:
            for at in [at for at in self._ciphers if at[0] == subject]:
                del self._ciphers[at]

    def add(self, connection: Connection, subject: str, generation: int) -> WrappedKey | None:
        """Make a key; None when somebody else has made this generation meanwhile."""
        place = key_place(subject, generation)
        master_key_id, wrapped = self.master.wrap(os.urandom(_KEY_BYTES), place)
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        made = WrappedKey(subject, generation, wrapped, master_key_id)
        added = connection.execute(
            dialect.insert(subject_key).on_conflict_do_nothing(),
            {**asdict(made), "created_us": self.now_us()},
        )
        return made if added.rowcount == 1 else None

    def _unwrapped(self, key: WrappedKey) -> bytes:
        if key.wrapped is None:
            raise Erased
        place = key_place(key.subject, key.generation)
        return self.master.unwrap(key.master_key_id, key.wrapped, place)


class Sealer:
    """Seals and opens within one transaction. Not for another one, and not for another thread."""

    def __init__(self, keys: SubjectKeys, connection: Connection) -> None:
        self._keys = keys
        self._connection = connection
        self._keys_of: dict[str, dict[int, WrappedKey]] = {}
        # Of keys that this transaction has read; emptied when it changes any.
        self._ciphers: dict[tuple[str, int], AESGCM] = {}

    def load(self, subjects: Iterable[str]) -> None:
        """Read the keys of many subjects at once; sealing and opening then ask for none of them."""
        missing = sorted(set(subjects) - self._keys_of.keys())
        if not missing:
            return
        for subject in missing:
            self._keys_of[subject] = {}
        for row in self._connection.execute(_of(self._connection, missing)):
            self._keys_of[row.subject][row.generation] = WrappedKey(*row)

    def newest(self, subject: str) -> WrappedKey | None:
        """The subject's newest key; None when it never had one."""
        found = self._generations(subject)
        return found[max(found)] if found else None

    def made(self, subject: str) -> WrappedKey:
        """The subject's newest key, which is made if there is none yet."""
        found = self.newest(subject)
        if found is None:
            found = self._keys.add(self._connection, subject, 1)
            if found is not None:
                self._keys_of[subject] = {1: found}
            else:
                found = self._generations(subject, anew=True)[1]
        return found

    def seal(self, plaintext: bytes, *, table: str, column: str, row: str, subject: str) -> bytes:
        """The value under the subject's newest key, which is made if there is none yet.

        Raises: Erased when the subject's key was destroyed; KeyUnknown, KeyRetired.
        """
        newest = self.made(subject)
        place = Place(table, column, row, subject)
        return sealed_value(plaintext, place, self._cipher(newest), newest.generation)

    def open(self, sealed: bytes, *, table: str, column: str, row: str, subject: str) -> bytes:
        """The plaintext.

        Raises: CannotOpen for another place or altered bytes; Erased when the subject's key was
        destroyed; KeyUnknown, KeyRetired when a key is missing.
        """
        generation = generation_of(sealed)
        found = self._generations(subject)
        if generation not in found:
            if any(key.wrapped is None for key in found.values()):
                raise Erased
            raise KeyUnknown(f"generation {generation}", of_subject=True)
        cipher = self._cipher(found[generation])
        return opened_value(sealed, Place(table, column, row, subject), cipher)

    def index(self, text: str, *, table: str, column: str) -> str:
        """Blind index of a text; see SubjectKeys.index."""
        return self._keys.index(text, table=table, column=column)

    def fingerprint(self, content: bytes, *, table: str, column: str) -> str:
        """Keyed hash of content; see SubjectKeys.fingerprint."""
        return self._keys.fingerprint(content, table=table, column=column)

    def is_erased(self, subject: str) -> bool:
        """Whether the subject's key was destroyed."""
        return any(key.wrapped is None for key in self._generations(subject).values())

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
        del self._keys_of[subject]
        self._ciphers = {}
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
        self._keys_of.pop(subject, None)
        self._ciphers = {}
        self._keys.forget(subject)
        return destroyed

    def _overwrite(self, subject: str) -> int:
        return self._connection.execute(
            update(subject_key)
            .where(_columns.subject == subject, _columns.wrapped.is_not(None))
            .values(wrapped=None, destroyed_us=self._keys.now_us())
        ).rowcount

    def _cipher(self, key: WrappedKey) -> AESGCM:
        at = (key.subject, key.generation)
        found = self._ciphers.get(at)
        if found is None:
            found = self._ciphers[at] = self._keys.cipher(key)
        return found

    def _generations(self, subject: str, *, anew: bool = False) -> dict[int, WrappedKey]:
        if anew:
            self._keys_of.pop(subject, None)
            self._ciphers = {}
        if subject not in self._keys_of:
            self.load([subject])
        return self._keys_of[subject]


def key_place(subject: str, generation: int) -> bytes:
    """What a wrapped key is bound to."""
    return joined(SUBJECT_KEY, "wrapped", subject, str(generation))


_ALL = select(_columns.subject, _columns.generation, _columns.wrapped, _columns.master_key_id)
# A writer holds the keys that it uses until it commits: an erasure waits for it, or it finds the
# subject erased. SQLite has one writer anyway.
_ALL_HELD = _ALL.order_by(_columns.subject, _columns.generation).with_for_update(read=True)


def _of(connection: Connection, subjects: list[str]) -> Any:
    query = _ALL_HELD if is_writing(connection) else _ALL
    return query.where(one_of(connection, _columns.subject, subjects))
