"""What became of one record after it was read. Pure."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import Bill, Reading
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.mapping import Unmapped


class MergeLevel(StrEnum):
    """What was merged."""

    PATIENT = "patient"
    ACCOUNT = "account"


class BillStated(msgspec.Struct, frozen=True, kw_only=True):
    """The record states a whole bill. `day` is its last, in the hospital's zone."""

    bill: Bill
    day: date


class BillWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The hospital takes the whole bill back."""


class BillHappened(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to a bill that several records make together.

    `bill_id` is the source's own id of the bill (an account, a visit, a settlement), the one by
    which its reconciliation names it. A statement (INTERIM, FINAL, CORRECTION) carries the bill as
    a whole; one whose bill has no lines says all the rest of it and leaves the lines as they were
    added, and a FINAL without a bill just closes what was added so far. LATE carries the lines that
    it adds, or takes back by negative lines. REVERSAL carries none, and takes back the record that
    `reverses` names (its `record_id`, of the same kind of record), or all before it.

    `stated_total` is what the source says that the whole bill amounts to, in minor units: a FINAL
    or CORRECTION waits until its lines add up to it.
    """

    bill_id: str
    kind: EventKind
    bill: Bill | None
    reverses: str | None = None
    day: date | None = None
    stated_total: int | None = None


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What the source knew under two ids is one: `out_of` goes on as `into`.

    Of accounts both are ids of bills (`BillHappened.bill_id`), of patients both are member tokens.
    To undo a merge is not supported: a dialect sets such a record aside (UNMERGE_UNSUPPORTED).
    """

    level: MergeLevel
    into: str
    out_of: str


class ReadingsStated(msgspec.Struct, frozen=True, kw_only=True):
    """The record states measurements, by component."""

    readings: tuple[tuple[str, Reading], ...]


class ReadingsWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The hospital takes the measurements back."""


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """The record waits for a person. `total` is what it claims, when that could be read.

    `unmapped`: codes for which a map would help.
    """

    faults: tuple[Fault, ...]
    total: int | None = None
    unmapped: tuple[Unmapped, ...] = ()


class KeptOut(msgspec.Struct, frozen=True, kw_only=True):
    """The record is none of the bridge's business: a draft, or outside the period."""


Outcome = (
    BillStated
    | BillWithdrawn
    | BillHappened
    | Merged
    | ReadingsStated
    | ReadingsWithdrawn
    | SetAside
    | KeptOut
)


def token_in(outcome: Outcome) -> str | None:
    """The member token of whom a record states something; None when it names nobody.

    All readings of one record are of one person.
    """
    if isinstance(outcome, BillStated | BillHappened):
        return None if outcome.bill is None else outcome.bill.member_token
    if isinstance(outcome, ReadingsStated) and outcome.readings:
        return outcome.readings[0][1].member_token
    return None
