"""What is held or withheld because no consent covers it, and what a change of consents frees.

Every function works in the caller's transaction and is called with the register's turn taken, so
that nobody gives or withdraws a consent in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from services.common.bulk import one_of
from services.common.database import take_turns
from services.common.sealing import Sealer
from services.his_bridge.core.bill import Bill, Reading
from services.his_bridge.core.consent import Content, Need, Purpose
from services.his_bridge.storage import sealed
from services.his_bridge.storage.consents import NOT_APPLIED, Register, register_of
from services.his_bridge.storage.inbox import PENDING, READ
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.tables import consent, held_record, inbox, reading

HELD = "held_no_consent"
# A newer version of the same record was read, or is held in its place.
SUPERSEDED = "superseded"
# Its patient was erased before it was released.
ERASED = "erased"
# The list of all readings, whichever hospital they come from.
READINGS = "readings"
# What a channel's records are handed out for.
PURPOSES = {"bills": Purpose.CLAIM_SETTLEMENT, "readings": Purpose.HEALTH_PROGRAMME}


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A record to hold, and what it needs a consent for."""

    inbox_id: int
    member: str  # opaque id
    need: Need


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A stored version of a record that was not read, or is held."""

    updated_us: int
    inbox_id: int
    held: bool

    @property
    def rank(self) -> tuple[int, int]:
        """Its place among the versions of its record."""
        return self.updated_us, self.inbox_id


def need_of_bill(bill: Bill) -> Need:
    """What a bill needs a consent for: its days in the hospital's zone, and how care was given."""
    zone = ZoneInfo(bill.zone)
    return Need(
        content=Content.BILLS,
        first_day=bill.start.astimezone(zone).date(),
        last_day=bill.end.astimezone(zone).date(),
        care_type=bill.care_type,
    )


def need_of_reading(measured: Reading, zone: str) -> Need:
    """What a reading needs a consent for: its day in the hospital's zone."""
    return need_of_day(measured.effective.astimezone(ZoneInfo(zone)).date())


def need_of_day(day: date) -> Need:
    """What a reading of this day needs a consent for."""
    return Need(content=Content.READINGS, first_day=day, last_day=day)


def one_at_a_time(connection: Connection, hospital: str, *, reads: bool = False) -> None:
    """Take the register's turn, alone, or beside others that only read it."""
    take_turns(connection, f"consents/{hospital}", shared=reads)


def due(
    connection: Connection, hospital: str, recipient: str, channel: str, now_us: int
) -> set[str]:
    """People, by opaque id, whose consents changed, began or ran out since they were applied."""
    began = and_(consent.c.applied_us < consent.c.from_us, consent.c.from_us <= now_us)
    ran_out = and_(consent.c.applied_us < consent.c.until_us, consent.c.until_us <= now_us)
    return set(
        connection.execute(
            select(consent.c.member).where(
                consent.c.hospital == hospital,
                consent.c.recipient == recipient,
                consent.c.purpose == str(PURPOSES[channel]),
                or_(consent.c.applied_us == NOT_APPLIED, began, ran_out),
            )
        ).scalars()
    )


def apply(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    channel: str,
    members: Collection[str],
    *,
    now_us: int,
) -> None:
    """Let these people's consents have their effect on what one channel holds and has released.

    `members` are their opaque ids.

    What was held and is covered now is read by the next pull, in the order of arrival. A released
    reading that is no longer covered is released anew as withdrawn, and the other way round; a
    released bill needs nothing, since each look at it asks for the consent.
    """
    if not members:
        return
    register = register_of(connection, sealer, hospital, recipient, members, at_us=now_us)
    _wake(connection, sealer, hospital, channel, register, members)
    if channel == "readings":
        _judge_readings(connection, sealer, hospital, register, members)
    connection.execute(
        update(consent)
        .where(
            consent.c.hospital == hospital,
            consent.c.recipient == recipient,
            consent.c.purpose == str(PURPOSES[channel]),
            consent.c.member.in_(set(members)),
        )
        .values(applied_us=now_us)
    )


def _wake(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    channel: str,
    register: Register,
    members: Collection[str],
) -> None:
    rows = connection.execute(
        select(held_record).where(
            held_record.c.hospital == hospital,
            held_record.c.channel == channel,
            held_record.c.member.in_(set(members)),
        )
    )
    free = [
        row.inbox_id
        for row in rows
        if register.covering(row.member, PURPOSES[channel], sealed.open_need(sealer, row))
    ]
    _leave_hold(connection, free, PENDING)


def _leave_hold(connection: Connection, inbox_ids: Sequence[int], state: str) -> None:
    values: dict[str, object] = {"state": state}
    if state == SUPERSEDED:  # nobody needs their bytes
        values["raw"] = None
    for ids in portions(inbox_ids):
        connection.execute(delete(held_record).where(held_record.c.inbox_id.in_(ids)))
        connection.execute(update(inbox).where(inbox.c.id.in_(ids)).values(**values))


def _judge_readings(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    register: Register,
    members: Collection[str],
) -> None:
    rows = connection.execute(
        select(reading)
        .where(reading.c.hospital == hospital, reading.c.member.in_(set(members)))
        .order_by(reading.c.seq)
    ).all()
    changed: list[tuple[str, bool, str]] = []
    for row in rows:
        need = need_of_day(sealed.open_reading(sealer, row).day)
        found = register.covering(row.member, Purpose.HEALTH_PROGRAMME, need, rather=row.consent_id)
        if (found is None) is not row.withheld:
            consent_id = found.terms.consent_id if found else row.consent_id
            changed.append((row.name, found is None, consent_id))
    if not changed:
        return
    first = next_numbers(connection, READINGS, len(changed))
    for offset, (name, withheld, consent_id) in enumerate(changed):
        connection.execute(
            update(reading)
            .where(reading.c.name == name)
            .values(seq=first + offset, withheld=withheld, consent_id=consent_id)
        )


def hold(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    channel: str,
    held: Iterable[Held],
    *,
    now_us: int,
    read_before: bool = False,
) -> None:
    """Remember what these records wait for.

    The state in the inbox is the caller's to write, but for records that were read before.
    """
    rows = [
        {
            "inbox_id": one.inbox_id,
            "hospital": hospital,
            "channel": channel,
            "member": one.member,
            "need": sealed.seal_need(sealer, one.inbox_id, one.member, one.need),
            "at_us": now_us,
        }
        for one in held
    ]
    if rows:
        connection.execute(insert(held_record), rows)
        if read_before:
            for ids in portions(row["inbox_id"] for row in rows):
                connection.execute(update(inbox).where(inbox.c.id.in_(ids)).values(state=HELD))


def let_go(connection: Connection, inbox_ids: Sequence[int]) -> None:
    """These records were read, and their bill is not held by them any more."""
    _leave_hold(connection, inbox_ids, READ)


def waiting_versions(
    connection: Connection,
    hospital: str,
    channel: str,
    external: Collection[str],
    besides: Collection[int],
) -> dict[str, list[Version]]:
    """Stored versions of these records that were not read, or are held, by blind index."""
    if not external:
        return {}
    rows = connection.execute(
        select(inbox.c.external_index, inbox.c.updated_us, inbox.c.id, inbox.c.state).where(
            inbox.c.hospital == hospital,
            inbox.c.channel == channel,
            one_of(connection, inbox.c.external_index, external),
            inbox.c.state.in_((HELD, PENDING)),
        )
    )
    found: dict[str, list[Version]] = {}
    for row in rows:
        if row.id not in besides:
            version = Version(updated_us=row.updated_us, inbox_id=row.id, held=row.state == HELD)
            found.setdefault(row.external_index, []).append(version)
    return found


def forget(connection: Connection, member: str) -> None:
    """What is held of a person, or waits to be read, is not to be read any more: erased."""
    connection.execute(delete(held_record).where(held_record.c.member == member))
    waiting = and_(inbox.c.member == member, inbox.c.state.in_((HELD, PENDING)))
    connection.execute(update(inbox).where(waiting).values(state=ERASED, raw=None))


def supersede(connection: Connection, inbox_ids: Sequence[int]) -> None:
    """These versions are not to be read any more: a newer one was."""
    _leave_hold(connection, inbox_ids, SUPERSEDED)
