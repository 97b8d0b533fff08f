"""Whether an incoming reading or event is new, known, a correction, or contradicts. Pure."""

from __future__ import annotations

from datetime import date
from enum import Enum, auto

import msgspec

from services.pricing.core.adherence import SupplyKind
from services.pricing.core.readings import Written


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A reading as it is to be recorded. Two are the same when all of it is.

    `stated_us` is the receive time that the caller stated; None: when it was recorded.
    """

    name: str
    member_token: str
    effective_us: int
    stated_us: int | None
    written: Written


class Verdict(Enum):
    """What recording a reading means."""

    NEW = auto()
    KNOWN = auto()
    CORRECTION = auto()
    DIFFERS = auto()


def verdict(incoming: Incoming, kept: Incoming | None) -> Verdict:
    """What recording `incoming` means where `kept` is what counts under its name.

    Only a hospital's information system corrects or takes back what it said, under the same name;
    a release older than the one that counts is a late delivery and changes nothing. Which is older
    the hospital's own numbers tell, else the times. A device's or a typed reading is a fact of its
    moment: another value is another reading.
    """
    if kept is None:
        return Verdict.NEW
    if incoming == kept:
        return Verdict.KNOWN
    if not (incoming.written.provenance.through_his and kept.written.provenance.through_his):
        return Verdict.DIFFERS
    return Verdict.KNOWN if _is_older(incoming, kept) else Verdict.CORRECTION


def _is_older(one: Incoming, other: Incoming) -> bool:
    if one.written.release and other.written.release:
        return one.written.release <= other.written.release
    if one.stated_us is None or other.stated_us is None:
        return False
    return one.stated_us < other.stated_us


class IncomingSupply(msgspec.Struct, frozen=True, kw_only=True):
    """A fill, an opening or a stay as it is to be recorded. Two are the same when all of it is."""

    name: str
    member_token: str
    kind: SupplyKind
    drug: str
    first: date
    days: int
    stated_us: int | None
    withdrawn: bool = False


def supply_verdict(
    incoming: IncomingSupply, kept: IncomingSupply | None, *, by_hospital: bool
) -> Verdict:
    """What recording an event means where `kept` is what counts under its name; as `verdict`."""
    if kept is None:
        return Verdict.NEW
    if incoming == kept:
        return Verdict.KNOWN
    if not by_hospital:
        return Verdict.DIFFERS
    stated = incoming.stated_us, kept.stated_us
    is_older = stated[0] is not None and stated[1] is not None and stated[0] < stated[1]
    return Verdict.KNOWN if is_older else Verdict.CORRECTION
