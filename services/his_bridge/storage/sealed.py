"""What of the bridge's database is sealed, and under whose key. Decides nothing.

A record comes in sealed under the hospital's inbox, because nobody knows yet whose it is; once it
was read, it is sealed anew under the key of the patient. A patient of two hospitals is two members:
each hospital's records office erases its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import Connection

from services.common.sealing import Sealer, members
from services.his_bridge.core.bill import Bill, Reading
from services.his_bridge.core.consent import Need

_BILL = msgspec.json.Decoder(Bill)


class KeptReading(msgspec.Struct, frozen=True):
    """A reading as it was stated: by which part of its record, on which day of the hospital's."""

    component: str
    day: date
    body: msgspec.Raw


_KEPT = msgspec.json.Decoder(KeptReading)
_READING = msgspec.json.Decoder(Reading)
_NEED = msgspec.json.Decoder(Need)
_NUMBERS = msgspec.json.Decoder(dict[str, int])


def inbox_subject(hospital: str) -> str:
    """The subject of records that were not read, or of which nobody can tell whose they are."""
    return f"inbox:{hospital}"


def subject_of(hospital: str, member: str | None) -> str:
    """The subject of what stands in a row with this member."""
    return inbox_subject(hospital) if member is None else members.subject_of(member)


def patient(hospital: str, token: str) -> str:
    """A member token as one hospital's."""
    return f"{hospital}/{token}"


def members_of(
    connection: Connection, sealer: Sealer, hospital: str, tokens: Iterable[str], now_us: int
) -> dict[str, str]:
    """Token → member's id at this hospital; new ones are made."""
    by_patient = {patient(hospital, token): token for token in tokens}
    found = members.find_or_add(connection, sealer, by_patient, now_us)
    return {by_patient[key]: member for key, member in found.items()}


def known_members(
    connection: Connection, sealer: Sealer, hospital: str, tokens: Iterable[str]
) -> dict[str, str]:
    """Token → member's id at this hospital, for those that are known."""
    by_patient = {patient(hospital, token): token for token in tokens}
    found = members.find_all(connection, sealer, by_patient)
    return {by_patient[key]: member for key, member in found.items()}


def external_index(sealer: Sealer, hospital: str, external_id: str) -> str:
    """Blind index of a source's own id of a record: some sources put a patient's number there."""
    return sealer.index(f"{hospital}/{external_id}", table="inbox", column="external_index")


def component_index(sealer: Sealer, external: str, component: str) -> str:
    """Blind index of one part of a record: the part's name says what was measured."""
    return sealer.index(f"{external}/{component}", table="reading", column="component_index")


def content_hash(sealer: Sealer, raw: bytes) -> str:
    """Keyed hash of a record's bytes, by which the same bytes are known again."""
    return sealer.fingerprint(raw, table="inbox", column="content_hash")


def inbox_row(hospital: str, channel: str, external: str, version: str, content: str) -> str:
    """What an inbox row is bound to: what makes it unique. Its number comes with the insert."""
    return f"{hospital}/{channel}/{external}/{version}/{content}"


def seal_record(
    sealer: Sealer, row: str, subject: str, *, external_id: str, raw: bytes | None
) -> dict[str, bytes | None]:
    """The sealed columns of an inbox row; without `raw` the bytes are not kept."""

    def seal(column: str, plain: bytes) -> bytes:
        return sealer.seal(plain, table="inbox", column=column, row=row, subject=subject)

    return {
        "external_id": seal("external_id", external_id.encode()),
        "raw": None if raw is None else seal("raw", raw),
    }


def open_record(sealer: Sealer, row: Any, column: str) -> bytes:
    """The bytes of an inbox row's column. Raises: Erased, CannotOpen."""
    bound = inbox_row(row.hospital, row.channel, row.external_index, row.version, row.content_hash)
    content: bytes = getattr(row, column)
    subject = subject_of(row.hospital, row.member)
    return sealer.open(content, table="inbox", column=column, row=bound, subject=subject)


def seal_event(sealer: Sealer, row: str, member: str, bill: Bill) -> bytes:
    """What an event says of a bill."""
    subject = members.subject_of(member)
    place = {"table": "bill_event", "column": "body", "row": row, "subject": subject}
    return sealer.seal(msgspec.json.encode(bill), **place)


def open_event(sealer: Sealer, row: Any) -> Bill:
    """The same again. Raises: Erased, CannotOpen."""
    bound = f"{row.hospital}/{row.bill_id}/{row.number}"
    subject = members.subject_of(row.member)
    place = {"table": "bill_event", "column": "body", "row": bound, "subject": subject}
    return _BILL.decode(sealer.open(row.body, **place))


def seal_merged(sealer: Sealer, hospital: str, inbox_id: int, subject: str, into_id: str) -> bytes:
    """The source's id, or the token, of what goes on after a merge."""
    return sealer.seal(into_id.encode(), **_merged(hospital, inbox_id, subject))


def open_merged(sealer: Sealer, row: Any, subject: str) -> str:
    """The same again. Raises: Erased, CannotOpen."""
    return sealer.open(row.into_id, **_merged(row.hospital, row.inbox_id, subject)).decode()


def seal_released(
    sealer: Sealer,
    hospital: str,
    name: str,
    member: str,
    *,
    bill: Bill,
    external_id: str,
    other_numbers: Mapping[str, int],
) -> dict[str, bytes | None]:
    """The sealed columns of a released bill."""
    bound, subject = f"{hospital}/{name}", members.subject_of(member)

    def seal(column: str, plain: bytes) -> bytes:
        return sealer.seal(plain, table="released_bill", column=column, row=bound, subject=subject)

    return {
        "body": seal("body", msgspec.json.encode(bill)),
        "external_id": seal("external_id", external_id.encode()),
        "other_numbers": (
            seal("other_numbers", msgspec.json.encode(other_numbers)) if other_numbers else None
        ),
    }


def open_released(sealer: Sealer, row: Any, column: str) -> bytes:
    """The bytes of a released bill's column. Raises: Erased, CannotOpen."""
    content: bytes = getattr(row, column)
    return sealer.open(
        content,
        table="released_bill",
        column=column,
        row=f"{row.hospital}/{row.name}",
        subject=members.subject_of(row.member),
    )


def open_bill(sealer: Sealer, row: Any) -> Bill:
    """The bill in a released row. Raises: Erased, CannotOpen."""
    return _BILL.decode(open_released(sealer, row, "body"))


def open_numbers(sealer: Sealer, row: Any) -> dict[str, int]:
    """Numbers that charges had which are not on the bill any more. Raises: Erased, CannotOpen."""
    if row.other_numbers is None:
        return {}
    return _NUMBERS.decode(open_released(sealer, row, "other_numbers"))


def seal_reading(sealer: Sealer, name: str, member: str, kept: KeptReading) -> bytes:
    """What a reading's row says."""
    return sealer.seal(msgspec.json.encode(kept), **_reading(name, member))


def open_reading(sealer: Sealer, row: Any) -> KeptReading:
    """The same again. Raises: Erased, CannotOpen."""
    return _KEPT.decode(sealer.open(row.body, **_reading(row.name, row.member)))


def reading_of(body: bytes) -> Reading:
    """The reading in a body."""
    return _READING.decode(body)


def seal_need(sealer: Sealer, inbox_id: int, member: str, need: Need) -> bytes:
    """What a held record needs a consent for."""
    return sealer.seal(msgspec.json.encode(need), **_need(inbox_id, member))


def open_need(sealer: Sealer, row: Any) -> Need:
    """The same again. Raises: Erased, CannotOpen."""
    return _NEED.decode(sealer.open(row.need, **_need(row.inbox_id, row.member)))


def seal_cursor(sealer: Sealer, hospital: str, channel: str, scope: str, position: bytes) -> bytes:
    """Where a source's next page begins: its own ids and names of files stand there."""
    return sealer.seal(position, **_cursor(hospital, channel, scope))


def open_cursor(sealer: Sealer, hospital: str, channel: str, scope: str, position: bytes) -> bytes:
    """The same again. Raises: CannotOpen."""
    return sealer.open(position, **_cursor(hospital, channel, scope))


def _cursor(hospital: str, channel: str, scope: str) -> dict[str, str]:
    row = f"{hospital}/{channel}/{scope}"
    subject = inbox_subject(hospital)
    return {"table": "read_cursor", "column": "position", "row": row, "subject": subject}


def _merged(hospital: str, inbox_id: int, subject: str) -> dict[str, str]:
    row = f"{hospital}/{inbox_id}"
    return {"table": "merge_event", "column": "into_id", "row": row, "subject": subject}


def _need(inbox_id: int, member: str) -> dict[str, str]:
    subject = members.subject_of(member)
    return {"table": "held_record", "column": "need", "row": str(inbox_id), "subject": subject}


def _reading(name: str, member: str) -> dict[str, str]:
    subject = members.subject_of(member)
    return {"table": "reading", "column": "body", "row": name, "subject": subject}
