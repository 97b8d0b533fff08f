"""New keys for old: master keys are rotated by wrapping anew, a subject's by a new generation.

Both go in small transactions and can be cut off anywhere: what was done is done, and the next call
goes on with what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from services.common.database import Database
from services.common.sealing.faults import CannotOpen
from services.common.sealing.master import KeyState
from services.common.sealing.subject_keys import SubjectKeys, key_place, subject_key

_c = subject_key.c


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What one step did, and what is left of keys that can be opened."""

    rewrapped: int
    left: int


@dataclass(frozen=True, slots=True)
class MasterUse:
    """A master key, what is known of it, and how many subjects' keys are wrapped under it."""

    key_id: str
    state: KeyState
    subject_keys: int


def rewrap(database: Database, keys: SubjectKeys, most: int) -> Rewrapped:
    """Wrap up to so many subjects' keys anew under the current master key. Blocks.

    Rows in use by other transactions are left for the next call, which waits for nobody.
    """
    keys.master.refresh()
    with database.writing() as connection:
        current = keys.master.current()
        usable = [use.key_id for use in _uses(connection, keys) if use.state is KeyState.KNOWN]
        stale = (_c.wrapped.is_not(None), _c.master_key_id.in_(usable))
        rows = connection.execute(
            select(subject_key)
            .where(*stale)
            .order_by(_c.subject, _c.generation)
            .limit(most)
            .with_for_update(skip_locked=True)
        ).all()
        done = 0
        for row in rows:
            place = key_place(row.subject, row.generation)
            plain = keys.master.unwrap(row.master_key_id, row.wrapped, place)
            key_id, wrapped = keys.master.wrap(plain, place)
            connection.execute(
                update(subject_key)
                .where(_c.subject == row.subject, _c.generation == row.generation)
                .values(wrapped=wrapped, master_key_id=key_id)
            )
            done += key_id == current
        left = connection.execute(select(func.count()).where(*stale)).scalar_one()
    return Rewrapped(done, int(left))


def renew(database: Database, keys: SubjectKeys, *, before_us: int, most: int) -> Rewrapped:
    """Give up to so many subjects a next key whose newest was made before then. Blocks.

    What older keys sealed still opens.
    """
    newest = (
        select(_c.subject, func.max(_c.created_us).label("newest_us"))
        .where(_c.subject != "index")
        .group_by(_c.subject)
        .having(func.max(_c.created_us) < before_us, func.count(_c.destroyed_us) == 0)
        .order_by(_c.subject)
    )
    with database.writing() as connection:
        subjects = connection.execute(newest.limit(most)).all()
        sealer = keys.sealer(connection)
        sealer.load(row.subject for row in subjects)
        for row in subjects:
            sealer.renew(row.subject)
        left = connection.execute(
            select(func.count()).select_from(newest.order_by(None).subquery())
        ).scalar_one()
    return Rewrapped(len(subjects), int(left))


def master_uses(database: Database, keys: SubjectKeys) -> list[MasterUse]:
    """Every master key that is current or under which something is wrapped. Blocks."""
    with database.reading() as connection:
        return _uses(connection, keys)


def unusable(database: Database, keys: SubjectKeys) -> list[MasterUse]:
    """Master keys that something needs and that are missing or retired; empty when all is well."""
    bad = (KeyState.UNKNOWN, KeyState.RETIRED)
    return [use for use in master_uses(database, keys) if use.state in bad]


def proves(database: Database, keys: SubjectKeys) -> bool:
    """Whether one key of every master key at hand opens: a wrong key under a right name shows."""
    with database.reading() as connection:
        for use in _uses(connection, keys):
            if use.state not in (KeyState.CURRENT, KeyState.KNOWN):
                return False
            row = connection.execute(
                select(subject_key)
                .where(_c.master_key_id == use.key_id, _c.wrapped.is_not(None))
                .limit(1)
            ).first()
            if row is None:
                continue
            try:
                place = key_place(row.subject, row.generation)
                keys.master.unwrap(row.master_key_id, row.wrapped, place)
            except CannotOpen:
                return False
    return True


def _uses(connection: Connection, keys: SubjectKeys) -> list[MasterUse]:
    rows = connection.execute(
        select(_c.master_key_id, func.count())
        .where(_c.wrapped.is_not(None))
        .group_by(_c.master_key_id)
    )
    counts = {str(key_id): int(count) for key_id, count in rows}
    counts.setdefault(keys.master.current(), 0)
    return [MasterUse(key, keys.master.state(key), counts[key]) for key in sorted(counts)]
