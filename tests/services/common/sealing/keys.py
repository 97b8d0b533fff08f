"""Subjects' keys for tests, under a master key that nobody else has, and a database with them."""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from services.common.database import Database
from services.common.sealing import KeySet, Sealer, SubjectKeys

_PREPARED: WeakKeyDictionary[Engine, SubjectKeys] = WeakKeyDictionary()
MASTER = KeySet({"m1": bytes(range(32, 64))}, "m1")


def now_us() -> int:
    return time.time_ns() // 1_000


def subject_keys(database: Database, master: KeySet = MASTER) -> SubjectKeys:
    """Prepared keys of a database that was migrated."""
    keys = SubjectKeys(master, now_us=now_us)
    keys.prepare(database)
    _PREPARED[database.engine] = keys
    return keys


def prepared(database: Database) -> SubjectKeys:
    """The keys that were prepared before, else those of the same master key."""
    return _PREPARED.get(database.engine) or subject_keys(database)


def sealer(connection: Connection) -> Sealer:
    """The keys of the connection's database, prepared before, within its transaction."""
    return _PREPARED[connection.engine].sealer(connection)
