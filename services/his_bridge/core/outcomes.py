"""What became of one record after it was read. Pure."""

from __future__ import annotations

from datetime import date

import msgspec

from services.his_bridge.core.bill import Bill, Reading
from services.his_bridge.core.faults import Fault


class BillStated(msgspec.Struct, frozen=True, kw_only=True):
    """The record states a whole bill. `day` is its last, in the hospital's zone."""

    bill: Bill
    day: date


class BillWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The hospital takes the whole bill back."""


class ReadingsStated(msgspec.Struct, frozen=True, kw_only=True):
    """The record states measurements, by component."""

    readings: tuple[tuple[str, Reading], ...]


class ReadingsWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The hospital takes the measurements back."""


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """The record waits for a person. `total` is what it claims, when that could be read."""

    faults: tuple[Fault, ...]
    total: int | None = None


class KeptOut(msgspec.Struct, frozen=True, kw_only=True):
    """The record is none of the bridge's business: a draft, or outside the period."""


Outcome = BillStated | BillWithdrawn | ReadingsStated | ReadingsWithdrawn | SetAside | KeptOut
