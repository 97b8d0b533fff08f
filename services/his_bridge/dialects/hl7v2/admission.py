"""What is to become of a message that has just arrived: a record, nothing, or a refusal.

Only what a sender can be told at once is judged here: charset, version, type, and that the parts
are there which make a record of it. What the record says is judged when it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime
from functools import lru_cache

import msgspec

from services.his_bridge.core import hl7v2_terms as kinds
from services.his_bridge.core.hl7v2_terms import BillBy, Hl7v2Terms, MessageId
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.hl7v2.message import Header, Message, Segment, read_message
from services.his_bridge.dialects.hl7v2.orders import Order, orders_of
from services.his_bridge.dialects.hl7v2.refusals import Denial, Place, Refusal, Refused
from services.his_bridge.dialects.hl7v2.values import Coder, is_short, moment_again, moment_of

KIND = "HL7v2"
BILLS, READINGS = "bills", "readings"
_VERSIONS = frozenset(
    {"2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6"}
    | {"2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"}
)
_OF_BILLS = frozenset({"EVN", "PID", "PV1", "FT1", "DG1", "MRG"})
_OF_RESULTS = frozenset({"EVN", "PID", "PV1", "OBR", "OBX"})
_TYPES = frozenset(name.partition("^")[0] for name in kinds.SUPPORTED)
# MSH-16: nothing is ever reported after the bytes were accepted, hence no error either.
_NO_APPLICATION_ANSWER = frozenset({"", "NE", "ER"})
_ONE_VERSION = "1"
_MOST_KNOWN, _SHORT_BYTES = 256, 1 << 14


class Piece(msgspec.Struct, frozen=True):
    """A record to store with the message's bytes.

    `again` is what its time may mean as well: one of the hour that comes twice as summer time ends.
    """

    channel: str
    record_id: str
    version: str
    updated: datetime | None
    again: datetime | None = None


class Hl7Reading:
    """All that it takes to read one source's messages."""

    def __init__(self, terms: SourceTerms, own: Hl7v2Terms) -> None:
        self.terms = terms
        self.own = own
        self.coder = Coder(own.systems)

    def message(self, raw: bytes) -> Message:
        """The message with the segments that its type needs. Raises: Refused."""
        if len(raw) <= _SHORT_BYTES:
            return _short_message(raw, self.own.charset)
        return read_message(raw, self.own.charset, segments_for)


# A message is looked at when it arrives, when it is stored and when it is read; mostly within
# moments.
@lru_cache(maxsize=_MOST_KNOWN)
def _short_message(raw: bytes, charset: str) -> Message:
    return read_message(raw, charset, segments_for)


def segments_for(header: Header) -> Collection[str]:
    """The segments that are read of a message."""
    kind = header.part(9)
    if kind == "ORU":
        return _OF_RESULTS
    return _OF_BILLS if kind in _TYPES else ()


def type_of(message: Message) -> str:
    """Type and trigger event, such as "DFT^P03"; older senders put the event into EVN-1."""
    named = message.header.type
    if "^" in named:
        return named
    evn = message.first("EVN")
    event = evn.first(1) if evn is not None else ""
    return f"{named}^{event}" if event else named


def is_kept_out(named: str, own: Hl7v2Terms) -> bool:
    """Whether the profile says to take the message and make nothing of it."""
    return named in own.kept_out or named.partition("^")[0] in own.kept_out


def admit(raw: bytes, reading: Hl7Reading) -> tuple[Message, tuple[Piece, ...]]:
    """The message, and the records that it makes; none when it is to be kept out.

    Raises: Refused naming all that stands against it.
    """
    message = reading.message(raw)
    own = reading.own
    named = type_of(message)
    denials = _against_header(message.header, named, own)
    if denials:
        raise Refused(*denials)
    if is_kept_out(named, own):
        return message, ()
    denials = _against_parts(message, named, reading)
    if denials:
        raise Refused(*denials)
    return message, _pieces(message, named, reading)


def unreadable_piece(raw: bytes) -> Piece:
    """The record of bytes that nobody can read: its id is made of them."""
    digest = hashlib.sha256(raw).hexdigest()
    return Piece(BILLS, f"unreadable/{digest}", _ONE_VERSION, None)


def bill_id_of(message: Message, own: Hl7v2Terms) -> str:
    """The number of the bill that a message is about, as it is written; empty without one."""
    if own.bill is BillBy.MESSAGE:
        return message.header.part(10)
    name, field = ("PV1", 19) if own.bill is BillBy.VISIT else ("PID", 18)
    segment = message.first(name)
    return "" if segment is None or segment.is_null(field) else segment.first(field)


def merge_field(named: str) -> tuple[int, int]:
    """Where a merge names what goes on (in PID) and what does not (in MRG)."""
    return (3, 1) if named == "ADT^A40" else (18, 3)


def merges_of(message: Message) -> list[tuple[Segment, Segment]]:
    """Each PID with the MRG behind it."""
    found: list[tuple[Segment, Segment]] = []
    pid: Segment | None = None
    for segment in message.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG" and pid is not None:
            found.append((pid, segment))
            pid = None
    return found


def _against_header(header: Header, named: str, own: Hl7v2Terms) -> list[Denial]:
    denials = []
    if header.part(12) not in (own.versions or _VERSIONS):
        denials.append(Denial(Refusal.VERSION_UNSUPPORTED, Place("MSH", 12)))
    if header.part(11) not in own.processing_ids:
        denials.append(Denial(Refusal.PROCESSING_ID_UNSUPPORTED, Place("MSH", 11)))
    if not header.part(10):
        denials.append(Denial(Refusal.CONTROL_ID_MISSING, Place("MSH", 10)))
    if not is_kept_out(named, own) and named not in kinds.SUPPORTED:
        known = header.part(9) in _TYPES
        refusal = Refusal.EVENT_UNSUPPORTED if known else Refusal.TYPE_UNSUPPORTED
        denials.append(Denial(refusal, Place("MSH", 9)))
    # Accept acknowledgements alone, or application acknowledgements alone (the original mode).
    accept, application = header.part(15), header.part(16)
    original = accept in ("", "NE") and application in ("", "AL")
    if not original and application not in _NO_APPLICATION_ANSWER:
        denials.append(Denial(Refusal.ACKNOWLEDGEMENT_UNSUPPORTED, Place("MSH", 16)))
    return denials


def _against_parts(message: Message, named: str, reading: Hl7Reading) -> list[Denial]:
    own = reading.own
    if named in kinds.RESULTS:
        of_nobody = any(one.pid is None for one in orders_of(message, reading.terms))
        return [Denial(Refusal.SEGMENT_MISSING, Place("PID"))] if of_nobody else []
    needed = ["PID"]
    if named in kinds.CHARGES:
        needed.append("FT1")
        if own.bill is BillBy.VISIT:
            needed.append("PV1")
    if named in kinds.MERGES:
        needed.append("MRG")
    denials = [
        Denial(Refusal.SEGMENT_MISSING, Place(name))
        for name in needed
        if message.first(name) is None
    ]
    if denials:
        return denials
    if named in kinds.MERGES:
        into, out_of = merge_field(named)
        for pid, merge in merges_of(message):
            for segment, field in ((pid, into), (merge, out_of)):
                if not segment.first(field):
                    denials.append(Denial(Refusal.FIELD_MISSING, Place(segment.name, field)))
    elif named in kinds.CHARGES and not bill_id_of(message, own):
        where = Place("PV1", 19) if own.bill is BillBy.VISIT else Place("PID", 18)
        denials.append(Denial(Refusal.FIELD_MISSING, where))
    return denials


def _pieces(message: Message, named: str, reading: Hl7Reading) -> tuple[Piece, ...]:
    header, own = message.header, reading.own
    name = _name_of(header, own)
    updated = moment_of(header.part(7), reading.terms.zone)
    again = moment_again(header.part(7), reading.terms.zone)
    if named in kinds.RESULTS:
        # An order's later results replace its earlier ones.
        version = _version(name)
        return tuple(
            Piece(READINGS, order_id(header, own, one), version, updated, again)
            for one in orders_of(message, reading.terms)
        )
    if named in kinds.MERGES:
        if named == "ADT^A41" and own.bill is not BillBy.ACCOUNT:
            return ()
        count = len(merges_of(message))
        return tuple(
            Piece(BILLS, f"{name}#{at}", _ONE_VERSION, updated, again) for at in range(count)
        )
    if named in kinds.UPDATES and not says_anything(message, named, own):
        return ()
    return (Piece(BILLS, name, _ONE_VERSION, updated, again),)


def says_anything(message: Message, named: str, own: Hl7v2Terms) -> bool:
    """Whether an update of an account or a visit says anything about a bill."""
    if own.bill is BillBy.MESSAGE or not bill_id_of(message, own):
        return False
    if named in own.closes or named in own.takes_back:
        return True
    return named != "BAR^P02" and message.first("DG1") is not None


def order_id(header: Header, own: Hl7v2Terms, order: Order) -> str:
    """What the results of an order are known by; without a number, by their message."""
    if order.number:
        return f"{_sender(header)}/{order.number}"
    return f"{_name_of(header, own)}#{order.at}"


def merge_at(record_id: str) -> int:
    """Which merge of its message a record is, from 0."""
    _, _, at = record_id.rpartition("#")
    return int(at) if at.isdecimal() and at.isascii() else 0


def _sender(header: Header) -> str:
    return f"{header.part(3)}/{header.part(4)}"


def _name_of(header: Header, own: Hl7v2Terms) -> str:
    """What a message is known by: who sent it, and its control id."""
    name = f"{_sender(header)}/{header.part(10)}"
    if own.message_id is MessageId.CONTROL_ID_AND_TIME:
        name += f"/{header.part(7)}"
    return name


def _version(name: str) -> str:
    """A message's name as a version, which is short."""
    return name if is_short(name) else hashlib.sha256(name.encode()).hexdigest()
