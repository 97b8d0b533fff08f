"""Readings of a patient whom the hospital merged into another: they go on as the other's.

Whoever has taken them hears that they are withdrawn, and gets them anew under the token of the
patient who goes on, as far as that patient's consent reaches.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from services.common.sealing import Erased, Sealer, members
from services.his_bridge.core.bill import Reading
from services.his_bridge.storage import holding, sealed
from services.his_bridge.storage.consents import register_of
from services.his_bridge.storage.holding import PURPOSES, READINGS
from services.his_bridge.storage.leases import next_numbers
from services.his_bridge.storage.portions import portions
from services.his_bridge.storage.tables import reading

# Names what a reading was called before it became another patient's.
MOVED = "~"


def follow(
    connection: Connection,
    sealer: Sealer,
    hospital: str,
    recipient: str,
    zone: str,
    goes_on_as: Mapping[str, tuple[str, str]],
    *,
    now_us: int,
) -> int:
    """Move what stands under merged patients to (member, token) of who goes on; how many moved."""
    rows = [
        row
        for some in portions(sorted(goes_on_as))
        for row in connection.execute(
            select(reading)
            .where(reading.c.hospital == hospital, reading.c.member.in_(some))
            .order_by(reading.c.seq)
        )
    ]
    into = {member for member, _ in goes_on_as.values()}
    sealer.load(map(members.subject_of, into | set(goes_on_as)))
    people = into | {row.member for row in rows}
    register = register_of(connection, sealer, hospital, recipient, people, at_us=now_us)

    def row_of(old: Any, name: str, member: str, component: str, one: Reading) -> dict[str, Any]:
        need = holding.need_of_reading(one, zone)
        found = register.covering(member, PURPOSES[READINGS], need)
        kept = sealed.KeptReading(component, need.first_day, msgspec.Raw(msgspec.json.encode(one)))
        return {
            "name": name,
            "hospital": hospital,
            "external_index": old.external_index,
            "component_index": sealed.component_index(sealer, old.external_index, component),
            "member": member,
            "body": sealed.seal_reading(sealer, name, member, kept),
            "inbox_id": old.inbox_id,
            "consent_id": found.terms.consent_id if found else "",
            "withheld": found is None,
        }

    new: list[dict[str, Any]] = []
    gone: list[str] = []
    for old in rows:
        try:
            kept = sealed.open_reading(sealer, old)
        except Erased:
            continue
        stated = sealed.reading_of(bytes(kept.body))
        if stated.withdrawn:
            continue
        member, token = goes_on_as[old.member]
        withdrawn = msgspec.structs.replace(stated, withdrawn=True)
        # Under the first one's name it stays, as withdrawn.
        new.append(row_of(old, old.name, old.member, f"{MOVED}{old.name[:15]}", withdrawn))
        moved = msgspec.structs.replace(stated, member_token=token)
        new.append(row_of(old, uuid.uuid4().hex, member, kept.component, moved))
        gone.append(old.name)
    if not new:
        return 0
    for some in portions(gone):
        connection.execute(delete(reading).where(reading.c.name.in_(some)))
    first = next_numbers(connection, READINGS, len(new))
    for offset, row in enumerate(new):
        row["seq"] = first + offset
    connection.execute(insert(reading), new)
    return len(gone)
