"""What was read out of records, made durable: one transaction a batch."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from services.common.bulk import one_of
from services.common.sealing import Sealer, members
from services.his_bridge.core.bill import Reading
from services.his_bridge.core.consent import Consent, Need, Purpose
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.outcomes import (
    BillHappened,
    BillStated,
    BillWithdrawn,
    KeptOut,
    Merged,
    MergeLevel,
    Outcome,
    ReadingsStated,
    ReadingsWithdrawn,
    SetAside,
)
from services.his_bridge.storage import holding, moved_readings, sealed
from services.his_bridge.storage.bills import Bills
from services.his_bridge.storage.code_maps import note_unmapped
from services.his_bridge.storage.consents import Register, register_of
from services.his_bridge.storage.holding import HELD, PURPOSES, READINGS, Held, Version
from services.his_bridge.storage.inbox import (
    QUARANTINED,
    READ,
    Pending,
    SetAsideRow,
    set_aside,
    still_unread,
)
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.moved_readings import MOVED
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.tables import inbox, reading
from services.his_bridge.storage.versions import Rank, newest_read

# Nothing was made of these records, or of a newer version: nobody needs their bytes.
_NEEDS_NO_BYTES = ("unchanged", "filtered", holding.SUPERSEDED)
_OF_BILLS = (BillStated, BillWithdrawn, BillHappened, Merged)
_ERASED = SetAside(faults=(Fault(reason=Reason.MEMBER_ERASED, path=""),))
_SEAL_ANEW = (
    update(inbox)
    .where(inbox.c.id == bindparam("at"))
    .values(
        state=bindparam("now"),
        member=bindparam("of"),
        external_id=bindparam("external_id"),
        raw=bindparam("raw"),
    )
)


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a batch. A record that says nothing new is in none of them."""

    released: int = 0
    quarantined: int = 0
    filtered: int = 0
    held: int = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where records come from and to whom they may be released."""

    hospital: str
    channel: str
    recipient: str
    currency: str
    zone: str


def settle(
    connection: Connection,
    sealer: Sealer,
    place: Place,
    judged: Sequence[tuple[Pending, Outcome]],
    *,
    now_us: int,
) -> Settled:
    """Write the outcomes of a batch, and mark its records as read, or as held.

    What states anything about a person is released only under a consent that is active now; else
    it is held, and only its newest version is.
    """
    # Whose a reading is, is decided while nobody merges patients.
    merges = any(isinstance(one, Merged) and one.level is MergeLevel.PATIENT for _, one in judged)
    holding.one_at_a_time(connection, place.hospital, reads=not merges)
    judged = _unread(connection, judged)
    batch = _Batch(connection, sealer, place, judged, now_us)
    for pending, outcome in judged:
        batch.add(pending, outcome)
    return batch.write()


def _unread(
    connection: Connection, judged: Sequence[tuple[Pending, Outcome]]
) -> list[tuple[Pending, Outcome]]:
    """Without what went with its patient, who was erased after it was read into memory."""
    known = [pending.inbox_id for pending, _ in judged if pending.member is not None]
    unread = still_unread(connection, known)
    return [one for one in judged if one[0].member is None or one[0].inbox_id in unread]


class _Batch:
    """Outcomes on their way into the database, with what is already known of their bills."""

    def __init__(
        self,
        connection: Connection,
        sealer: Sealer,
        place: Place,
        judged: Sequence[tuple[Pending, Outcome]],
        now_us: int,
    ) -> None:
        self._connection = connection
        self._sealer = sealer
        self._place = place
        self._hospital = hospital = place.hospital
        self._now_us = now_us
        self._held: dict[int, Held] = {}
        self._superseded: list[int] = []
        self._states: dict[str, list[int]] = defaultdict(list)
        self._read: list[tuple[Pending, str | None]] = []
        self._pending = {pending.inbox_id: pending for pending, _ in judged}
        self._aside: list[SetAsideRow] = []
        self._new_readings: list[dict[str, Any]] = []
        of_bills = [(p, o) for p, o in judged if isinstance(o, _OF_BILLS)]
        self._bills = Bills(connection, sealer, hospital, of_bills, now_us=now_us)
        readings = {
            p.external_id
            for p, o in judged
            if isinstance(o, ReadingsStated | ReadingsWithdrawn | KeptOut)
        }
        self._index_of = {pending.external_id: pending.external_index for pending, _ in judged}
        of_readings = {self._index_of[external_id]: external_id for external_id in readings}
        self._readings = _readings_of(connection, sealer, hospital, of_readings)
        # Bills are folded from all versions; of a record of readings only the newest counts.
        self._by_newest = PURPOSES[place.channel] is Purpose.HEALTH_PROGRAMME
        self._newest = self._newest_of(of_readings) if self._by_newest else {}
        tokens = self._tokens(judged)
        self._member_of = self._bills.members_of(tokens)
        if readings:
            go_on = self._bills.who_go_on(self._member_of.values())
            self._member_of |= self._bills.members_of(go_on)
        sealer.load(map(members.subject_of, self._member_of.values()))
        self._register: Register = register_of(
            connection,
            sealer,
            hospital,
            place.recipient,
            set(self._member_of.values()),
            at_us=now_us,
        )
        self._bills.know(self._member_of, self._consent)
        names = {self._index_of[p.external_id]: p.external_id for p, _ in of_bills} | of_readings
        waiting = holding.waiting_versions(
            connection,
            hospital,
            place.channel,
            names,
            {pending.inbox_id for pending, _ in judged},
        )
        self._waiting = {names[index]: versions for index, versions in waiting.items()}

    def _tokens(self, judged: Sequence[tuple[Pending, Outcome]]) -> set[str]:
        """Whoever the outcomes speak of, or what is known of their records."""
        known = [sealed.reading_of(body).member_token for _, body in self._readings.values()]
        needs = (_need_of(outcome, self._place.zone) for _, outcome in judged)
        return {*self._bills.tokens(), *known, *(need[0] for need in needs if need is not None)}

    def add(self, pending: Pending, outcome: Outcome) -> None:
        """Decide what one outcome changes."""
        state, member = READ, None
        if isinstance(outcome, _OF_BILLS) and self._bills.is_erased(pending, outcome):
            outcome = _ERASED
        if isinstance(outcome, ReadingsStated):
            outcome = self._of_survivor(outcome)
        if not isinstance(outcome, SetAside) and self._is_overtaken(pending):
            self._superseded.append(pending.inbox_id)
            return
        need = self._need(pending, outcome)
        if need is not None and not self._may_be_read(pending, outcome, need):
            self._hold(pending, *need)
            return
        if isinstance(outcome, SetAside):
            row = SetAsideRow(
                inbox_id=pending.inbox_id,
                faults=outcome.faults,
                total_minor=outcome.total,
                unmapped=outcome.unmapped,
            )
            self._aside.append(row)
            state = QUARANTINED
        elif isinstance(outcome, _OF_BILLS):
            became = self._bills.add(pending, outcome)
            state, member = became.state, became.member
        elif isinstance(outcome, ReadingsStated):
            state = self._add_readings(pending, outcome)
        elif isinstance(outcome, ReadingsWithdrawn):
            state = self._withdraw_readings(pending)
        elif isinstance(outcome, KeptOut):
            # A record that stated readings before, and now none that a programme uses.
            taken_back = self._withdraw_readings(pending) == READ
            state = READ if taken_back else "filtered"
        if state == READ:
            self._read.append((pending, member or self._patient_of(pending, outcome)))
        else:
            self._states[state].append(pending.inbox_id)

    def _may_be_read(self, pending: Pending, outcome: Outcome, need: tuple[str, Need]) -> bool:
        """A consent covers it, or its bill is the insurer's as another person's.

        Such a bill is taken back when it is looked at, and held then.
        """
        covered = self._consent(*need) is not None
        return covered or self._bills.are_told_of_another(pending, outcome, need[0])

    def _need(self, pending: Pending, outcome: Outcome) -> tuple[str, Need] | None:
        """What a record that states everything by itself needs a consent for."""
        need = _need_of(outcome, self._place.zone)
        if need is None:
            return None
        return self._bills.token_at(need[0], pending.updated_us), need[1]

    def _of_survivor(self, outcome: ReadingsStated) -> ReadingsStated:
        """The readings of the patient who goes on, whichever came first, they or the merge."""
        return ReadingsStated(
            readings=tuple(
                (
                    component,
                    msgspec.structs.replace(
                        one,
                        member_token=self._bills.survivor_token(one.member_token),
                    ),
                )
                for component, one in outcome.readings
            )
        )

    def _consent(self, token: str, need: Need, rather: str = "") -> Consent | None:
        purpose = PURPOSES[self._place.channel]
        return self._register.covering(self._member_of[token], purpose, need, rather)

    def _patient_of(self, pending: Pending, outcome: Outcome) -> str | None:
        """Whose readings a record stated, or took back."""
        need = _need_of(outcome, self._place.zone)
        tokens = (
            [need[0]]
            if need
            else [
                sealed.reading_of(body).member_token
                for (external_id, _), (_, body) in self._readings.items()
                if external_id == pending.external_id
            ]
        )
        return self._member_of[tokens[0]] if tokens else None

    def _is_overtaken(self, pending: Pending) -> bool:
        """Whether a newer version of the record is held, or of readings was read.

        When a consent comes, the newer one is read. Older ones that wait are overtaken now.
        """
        mine = (pending.updated_us, pending.inbox_id)
        waiting = self._waiting.get(pending.external_id, [])
        for version in waiting:
            if version.rank < mine:
                self._held.pop(version.inbox_id, None)
                self._superseded.append(version.inbox_id)
        newer = [version for version in waiting if version.rank > mine]
        self._waiting[pending.external_id] = newer
        newest = self._newest.get(pending.external_id, mine)
        if mine < newest or any(version.held for version in newer):
            return True
        if self._by_newest:
            self._newest[pending.external_id] = mine
        return False

    def _newest_of(self, of_readings: Mapping[str, str]) -> dict[str, Rank]:
        """The rank of what readings rest on, by the source's id of the record."""
        channel = self._place.channel
        found = newest_read(self._connection, self._hospital, channel, of_readings)
        return {of_readings[index]: rank for index, rank in found.items()}

    def _hold(self, pending: Pending, token: str, need: Need) -> None:
        member = self._member_of[token]
        self._held[pending.inbox_id] = Held(inbox_id=pending.inbox_id, member=member, need=need)
        version = Version(updated_us=pending.updated_us, inbox_id=pending.inbox_id, held=True)
        self._waiting.setdefault(pending.external_id, []).append(version)

    def write(self) -> Settled:
        """Write everything that was decided."""
        place, now_us = self._place, self._now_us
        self._aside += self._bills.write()
        self._change_holds()
        set_aside(
            self._connection, self._hospital, self._aside, currency=place.currency, now_us=now_us
        )
        note_unmapped(self._connection, self._sealer, self._hospital, self._aside)
        holding.supersede(self._connection, self._superseded)
        holding.hold(
            self._connection,
            self._sealer,
            self._hospital,
            place.channel,
            self._held.values(),
            now_us=now_us,
        )
        self._number(self._bills.releases.rows, f"bills/{self._hospital}")
        self._bills.releases.write(self._connection)
        self._write_readings()
        goes_on_as = self._bills.goes_on_as()
        if goes_on_as:
            moved_readings.follow(
                self._connection,
                self._sealer,
                self._hospital,
                place.recipient,
                place.zone,
                goes_on_as,
                now_us=now_us,
            )
        self._seal_anew()
        for state, ids in self._states.items():
            values: dict[str, Any] = {"state": state}
            if state in _NEEDS_NO_BYTES:
                values["raw"] = None
            for some in portions(ids):
                these = one_of(self._connection, inbox.c.id, some)
                self._connection.execute(update(inbox).where(these).values(**values))
        return Settled(
            released=len(self._bills.releases.rows) + len(self._new_readings),
            quarantined=len(self._aside),
            filtered=len(self._states["filtered"]),
            held=len(self._held),
        )

    def _change_holds(self) -> None:
        """Bills that are held by another of their records now, or no more."""
        holds = self._bills.holds
        freed = []
        for inbox_id in holds.let_go:
            held = self._held.pop(inbox_id, None)
            if held is None:
                freed.append(inbox_id)
            else:
                self._read.append((self._pending[inbox_id], held.member))
        holding.let_go(self._connection, freed)
        now_held = holds.also_held.keys() & self._pending.keys()
        if now_held:
            self._read = [one for one in self._read if one[0].inbox_id not in now_held]
            for state, ids in self._states.items():
                self._states[state] = [one for one in ids if one not in now_held]
            self._held |= {inbox_id: holds.also_held[inbox_id] for inbox_id in now_held}
        holding.hold(
            self._connection,
            self._sealer,
            self._hospital,
            self._place.channel,
            [one for i, one in holds.also_held.items() if i not in now_held],
            now_us=self._now_us,
            read_before=True,
        )

    def _seal_anew(self) -> None:
        """Seal what was read or is held under the key of the patient whom it is about.

        What is set aside is nobody's until a person has looked at it.
        """
        rows = []
        held = [(self._pending[one.inbox_id], one.member, HELD) for one in self._held.values()]
        read = [(pending, member, READ) for pending, member in self._read]
        aside = [self._pending[inbox_id] for inbox_id in self._states.pop(QUARANTINED, ())]
        for pending, member, state in (*held, *read, *((one, None, QUARANTINED) for one in aside)):
            if pending.member == member and (member is not None or state == QUARANTINED):
                self._states[state].append(pending.inbox_id)
                continue
            columns = sealed.seal_record(
                self._sealer,
                pending.bound,
                sealed.subject_of(self._hospital, member),
                external_id=pending.external_id,
                raw=None if member is None and state == READ else pending.raw,
            )
            rows.append({"at": pending.inbox_id, "of": member, "now": state, **columns})
        if rows:
            self._connection.execute(_SEAL_ANEW, rows)

    def _add_readings(self, pending: Pending, outcome: ReadingsStated) -> str:
        stated = dict(outcome.readings)
        # What an earlier version stated and this one does not, it has taken back.
        gone = [component for component in self._known(pending) if component not in stated]
        changed = [self._withdraw(pending, component) for component in gone]
        changed += [self._state(pending, name, measured) for name, measured in stated.items()]
        return READ if any(changed) else "unchanged"

    def _withdraw_readings(self, pending: Pending) -> str:
        changed = [self._withdraw(pending, component) for component in self._known(pending)]
        return READ if any(changed) else "unchanged"

    def _known(self, pending: Pending) -> list[str]:
        return sorted(c for external_id, c in self._readings if external_id == pending.external_id)

    def _state(self, pending: Pending, component: str, measured: Reading) -> bool:
        name, known = self._readings.get((pending.external_id, component), (uuid.uuid4().hex, b""))
        if known and sealed.reading_of(known).member_token != measured.member_token:
            # Another patient's after all. Under the first one's name it stays, as withdrawn.
            self._withdraw(pending, component, kept_as=f"{MOVED}{name[:15]}")
            name, known = uuid.uuid4().hex, b""
        return self._release_reading(pending, component, name, measured)

    def _withdraw(self, pending: Pending, component: str, kept_as: str = "") -> bool:
        """Whoever has taken it must hear of it, so it is released once more, as withdrawn."""
        name, known = self._readings[pending.external_id, component]
        gone = msgspec.structs.replace(sealed.reading_of(known), withdrawn=True)
        return self._release_reading(pending, kept_as or component, name, gone)

    def _release_reading(
        self, pending: Pending, component: str, name: str, measured: Reading
    ) -> bool:
        key = pending.external_id, component
        body = msgspec.json.encode(measured)
        if self._readings.get(key) == (name, body):
            return False
        self._readings[key] = name, body
        need = holding.need_of_reading(measured, self._place.zone)
        found = self._consent(measured.member_token, need)
        external = self._index_of[pending.external_id]
        member = self._member_of[measured.member_token]
        kept = sealed.KeptReading(component, need.first_day, msgspec.Raw(body))
        self._new_readings.append(
            {
                "name": name,
                "hospital": self._hospital,
                "external_index": external,
                "component_index": sealed.component_index(self._sealer, external, component),
                "member": member,
                "body": sealed.seal_reading(self._sealer, name, member, kept),
                "inbox_id": pending.inbox_id,
                "consent_id": found.terms.consent_id if found else "",
                "withheld": found is None,
            }
        )
        return True

    def _write_readings(self) -> None:
        if not self._new_readings:
            return
        # A corrected reading keeps its name and moves to the end of the list.
        newest = {row["name"]: row for row in self._new_readings}
        rows = list(newest.values())
        for names in portions(newest):
            self._connection.execute(delete(reading).where(reading.c.name.in_(names)))
        self._number(rows, READINGS)
        self._connection.execute(insert(reading), rows)

    def _number(self, rows: list[dict[str, Any]], name: str) -> None:
        if rows:
            first = next_numbers(self._connection, name, len(rows))
            for offset, row in enumerate(rows):
                row["seq"] = first + offset


def _need_of(outcome: Outcome, zone: str) -> tuple[str, Need] | None:
    """Whose consent an outcome needs, and for what; None when it states nothing about anybody."""
    if isinstance(outcome, BillStated):
        return outcome.bill.member_token, holding.need_of_bill(outcome.bill)
    if isinstance(outcome, ReadingsStated) and outcome.readings:
        # All readings of one record are of one person and one moment.
        _, first = outcome.readings[0]
        return first.member_token, holding.need_of_reading(first, zone)
    return None


def _readings_of(
    connection: Connection, sealer: Sealer, hospital: str, names: Mapping[str, str]
) -> dict[tuple[str, str], tuple[str, bytes]]:
    """(external id, component) → name and body of what each record stated."""
    if not names:
        return {}
    rows = connection.execute(
        select(reading).where(
            reading.c.hospital == hospital, reading.c.external_index.in_(list(names))
        )
    ).all()
    sealer.load(members.subject_of(row.member) for row in rows)
    found: dict[tuple[str, str], tuple[str, bytes]] = {}
    for row in rows:
        kept = sealed.open_reading(sealer, row)
        found[names[row.external_index], kept.component] = row.name, bytes(kept.body)
    return found
