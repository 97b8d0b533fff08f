"""Subjects' keys for tests, under a master key that nobody else has, and a database with them."""

from __future__ import annotations

import time

from services.common.database import Database
from services.common.sealing import KeySet, SubjectKeys

MASTER = KeySet({"m1": bytes(range(32, 64))}, "m1")


def now_us() -> int:
    return time.time_ns() // 1_000


def subject_keys(database: Database, master: KeySet = MASTER) -> SubjectKeys:
    """Prepared keys of a database that was migrated."""
    keys = SubjectKeys(master, now_us=now_us)
    keys.prepare(database)
    return keys
