"""The readings of an insurer's members as a study is told of them, member by member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from services.common.access.tenant import Tenant
from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.pricing.core.recording import Incoming
from services.pricing.storage.readings import READINGS, Kept
from services.pricing.storage.revisions import received_us
from services.pricing.storage.tables import available, holding, reading
from services.pricing.storage.tenancy import holder_of, holders, subject_of


class Read(msgspec.Struct, frozen=True):
    """One member who is in the study, with their readings as they count, by time and name."""

    token: str
    readings: tuple[Kept, ...]


class Portion(msgspec.Struct, frozen=True):
    """Some of the members: those in the study; the last one looked at, "" at the end; how far."""

    people: tuple[Read, ...]
    last: str
    done: int
    total: int


class Most(msgspec.Struct, frozen=True):
    """A portion ends with so many members, or before the one with whom readings would be more."""

    members: int
    readings: int


class StudyReadings:
    """Reads. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    def portion(
        self,
        tenant: Tenant,
        is_wanted: Callable[[str], bool],
        before_us: int,
        after: str,
        most: Most,
    ) -> Portion:
        """What the tenant's next members read before a moment, of those whose token is wanted.

        Of a member who is not wanted one reading is opened, for the token, and none is told.
        """
        with available(), self._database.reading() as connection:
            own = holding.c.tenant == holder_of(tenant)
            theirs = own & holding.c.member.is_not(None)
            found = select(holding.c.member).where(theirs, holding.c.member > after)
            next_ones = found.order_by(holding.c.member).limit(most.members)
            ids = connection.execute(next_ones).scalars().all()
            more = len(ids) == most.members
            fitting = _fitting(connection, ids, most.readings)
            ids, more = ids[:fitting], more or fitting < len(ids)
            people = self._people(connection, ids, is_wanted, before_us)
            last = ids[-1] if ids else after
            counts = select(func.count().filter(holding.c.member <= last), func.count()).where(
                theirs
            )
            done, total = connection.execute(counts.select_from(holding)).one()
        return Portion(tuple(people), last if more else "", done, total)

    def _people(
        self,
        connection: Connection,
        member_ids: Sequence[str],
        is_wanted: Callable[[str], bool],
        before_us: int,
    ) -> list[Read]:
        sealer = self._keys.sealer(connection)
        held_by = holders(connection, member_ids)
        whose = {held: member for member, some in held_by.items() for held in some}
        sealer.load(map(subject_of, whose))
        rows: dict[str, list[Row[Any]]] = {}
        order = reading.c.name_index, reading.c.revision
        for row in connection.execute(
            select(reading).where(reading.c.holding.in_(list(whose))).order_by(*order)
        ):
            rows.setdefault(whose[row.holding], []).append(row)
        found = []
        for member, some in rows.items():
            token = READINGS.opened(sealer, some[0]).member_token
            if not is_wanted(token):
                continue
            newest: dict[str, Incoming] = {}
            first_us: dict[str, int] = {}
            by: dict[str, str] = {}
            for row in some:
                said = READINGS.opened(sealer, row)
                newest[row.name_index] = said
                first_us.setdefault(row.name_index, received_us(row, said))
                by[row.name_index] = held_by[member][row.holding]
            kept = [
                Kept(said, first_us[at], by[at])
                for at, said in newest.items()
                if not said.written.withdrawn and first_us[at] < before_us
            ]
            if kept:
                kept.sort(key=lambda one: (one.reading.effective_us, one.reading.name))
                found.append(Read(token, tuple(kept)))
        return found


def _fitting(connection: Connection, member_ids: Sequence[str], most: int) -> int:
    """How many of the members, from the first on, have no more readings together; at least one."""
    counted = (
        select(holding.c.member, func.count())
        .join(reading, reading.c.holding == holding.c.id)
        .where(holding.c.member.in_(list(member_ids)))
        .group_by(holding.c.member)
    )
    has = {row[0]: row[1] for row in connection.execute(counted)}
    total = 0
    for index, member in enumerate(member_ids):
        total += has.get(member, 0)
        if index and total > most:
            return index
    return len(member_ids)
