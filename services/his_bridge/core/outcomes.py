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

    `bill_id` is the source's own id of the bill (an account, a visit, a settlement). A statement
    (INTERIM, FINAL, CORRECTION) carries the bill as a whole, and a FINAL without one closes what
    was added so far; LATE carries the lines that it adds; REVERSAL carries none, and takes back
    the record that `reverses` names, or all before it.
    """

    bill_id: str
    kind: EventKind
    bill: Bill | None
    reverses: str | None = None
    day: date | None = None


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What the source knew under two ids is one: `out_of` goes on as `into`."""

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
