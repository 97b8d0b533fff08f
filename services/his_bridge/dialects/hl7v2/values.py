"""HL7's values (numbers, times, texts, codes), and what is wrong with them. Knows no segment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Concept, LocalCoding
from services.his_bridge.dialects.hl7v2.message import Delimiters, Segment, UnknownEscape
from services.his_bridge.dialects.moments import in_utc

# NM: a sign, leading zeros and a bare point are HL7's; exponents and other digits are not.
_NUMBER = re.compile(r"([+-]?)0*([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})", re.ASCII)
_TIME = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})"
    r"(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.[0-9]{1,9})?)?)?)?"
    r"([+-][0-9]{4})?",
    re.ASCII,
)
_FIRST_YEAR, _LAST_YEAR = 1990, 2199  # as claims accepts them
MAX_TEXT = 64  # codes, numbers of bills and providers, as claims accepts them
_MAX_DISPLAY = 1_000
_MOST_KNOWN = 8_192
# Codes, and whether some of the field is none.
Coded = tuple[tuple[LocalCoding, ...], bool]


class Coder:
    """Reads coded fields; what a source writes again and again is read once."""

    def __init__(self, systems: Mapping[str, str]) -> None:
        """`systems` turns names of coding systems into systems; others stand for themselves."""
        self._systems = systems
        self._known: dict[tuple[str, str, Delimiters, str], Coded] = {}

    def read(self, segment: Segment, written: str, usual: str) -> Coded:
        """The codes of one CE, CNE or CWE, and whether some of it is no code."""
        key = (written, usual, segment.delimiters, segment.charset)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known = {}
            found = self._known[key] = self._read(segment, written, usual)
        return found

    def _read(self, segment: Segment, written: str, usual: str) -> Coded:
        found: list[LocalCoding] = []
        faulty = False
        parts = [*segment.parts(written), "", "", "", "", "", ""]
        for at in (0, 3):
            if not parts[at]:
                continue
            try:
                code, display, named = (segment.plain(part) for part in parts[at : at + 3])
            except UnknownEscape:
                faulty = True
                continue
            system = self._systems.get(named, named) or usual
            if not code or not system:
                continue
            if not is_short(code):
                faulty = True
                continue
            shown = display if len(display) <= _MAX_DISPLAY else ""
            found.append(LocalCoding(system=system, code=code, display=shown))
        return tuple(found), faulty


class Findings:
    """The faults of one message, each with its place: `FT1[2].11` is the second FT1's field 11."""

    def __init__(self, coder: Coder) -> None:
        self.faults: list[Fault] = []
        self._coder = coder

    def add(self, reason: Reason, path: str) -> None:
        """Name a fault."""
        self.faults.append(Fault(reason=reason, path=path))

    def text(self, segment: Segment, field: int, component: int = 1) -> str:
        """What a component says; empty, with a fault, when an escape in it means nothing."""
        written = segment.first(field, component)
        if not written or written.isalnum():
            return written
        return self.plain(segment, written, field)

    def plain(self, segment: Segment, written: str, field: int) -> str:
        """The same of a component that stands for itself."""
        try:
            return segment.plain(written)
        except UnknownEscape:
            self.add(Reason.TEXT_MALFORMED, path_of(segment, field))
            return ""

    def short(self, text: str, path: str, *, ascii_only: bool = False) -> str | None:
        """A short text without control characters or blanks around it, or a fault."""
        if is_short(text) and (text.isascii() or not ascii_only):
            return text
        self.add(Reason.TEXT_MALFORMED, path)
        return None

    def decimal(self, segment: Segment, field: int, text: str, *, places: int) -> Decimal | None:
        """HL7's NM as it was written, with so many places at most."""
        value = decimal_of(text, places)
        if value is None:
            self.add(Reason.NUMBER_MALFORMED, path_of(segment, field))
        return value

    def money(self, segment: Segment, field: int, currency: str, *, places: int) -> Decimal | None:
        """A CP, MO or plain NM in major units, of either sign; None when it is absent.

        An amount without a currency is in the profile's.
        """
        amount = segment.first(field)
        if not amount or amount == '""':
            return None
        if segment.delimiters.subcomponent in amount:
            amount, _, unit = amount.partition(segment.delimiters.subcomponent)
            named = self.plain(segment, unit, field)
            if named and named != currency:
                self.add(Reason.WRONG_CURRENCY, path_of(segment, field))
                return None
        return self.decimal(segment, field, amount, places=places)

    def moment(
        self,
        segment: Segment,
        field: int,
        zone: str,
        *,
        day_ends: bool = False,
        any_year: bool = False,
    ) -> datetime | None:
        """A TS, DTM or the beginning of a DR in UTC; None when it is absent.

        A time without offset is of the profile's zone; a bare date or hour is its first second, or
        its last.
        """
        written = segment.first(field)
        if not written or written == '""':
            return None
        found = moment_of(written, zone, day_ends)
        if found is None or not (any_year or _FIRST_YEAR <= found.year <= _LAST_YEAR):
            self.add(Reason.TIME_IMPOSSIBLE, path_of(segment, field))
            return None
        return found

    def codings(
        self, segment: Segment, repetition: str, field: int, usual: str
    ) -> tuple[LocalCoding, ...]:
        """The codes of one CE, CNE or CWE: the code, then its alternative.

        `usual` is the system of a code that names none.
        """
        found, faulty = self._coder.read(segment, repetition, usual)
        if faulty:
            self.add(Reason.TEXT_MALFORMED, path_of(segment, field))
        return found

    def concept(self, segment: Segment, field: int, usual: str) -> Concept:
        """A coded field; without any code an empty concept."""
        written = segment.repetitions(field)
        codings = self.codings(segment, written[0], field, usual) if written else ()
        return Concept(codings=codings, path=path_of(segment, field))


def path_of(segment: Segment, field: int) -> str:
    """Where a field stands, as it is shown to people."""
    return f"{segment.name}[{segment.number}].{field}"


def is_short(text: str) -> bool:
    """Whether claims would take the text as a code or a number."""
    return 0 < len(text) <= MAX_TEXT and text.isprintable() and text == text.strip()


@lru_cache(maxsize=4_096)
def moment_of(written: str, zone: str, day_ends: bool = False) -> datetime | None:
    """The time in UTC; None when it is none of the calendar, or less exact than a day."""
    found = _TIME.fullmatch(written)
    if found is None:
        return None
    year, month, day, hour, minute, second, offset = found.groups()
    try:
        own = _zone(zone)
        local = own if offset is None else _offset(offset)
        start = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=local,
        )
        if hour is None and day_ends:
            last = datetime(start.year, start.month, start.day, tzinfo=local) + timedelta(days=1)
            return in_utc(last.astimezone(UTC) - timedelta(seconds=1), own)
        if minute is None and hour is not None and day_ends:
            return in_utc(start.astimezone(UTC) + timedelta(hours=1, seconds=-1), own)
        return in_utc(start, own)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4_096)
def moment_again(written: str, zone: str) -> datetime | None:
    """The second moment that a time without offset may mean, when the clocks go back over it."""
    first, found = moment_of(written, zone), _TIME.fullmatch(written)
    if first is None or found is None or found[4] is None or found[7] is not None:
        return None
    own = _zone(zone)
    again = first.astimezone(own).replace(fold=1).astimezone(UTC)
    return again if again > first else None


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _offset(text: str) -> timezone:
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


@lru_cache(maxsize=4_096)
def decimal_of(text: str, places: int) -> Decimal | None:
    """The number; None when it is no plain one, or too fine."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    value = Decimal(found.group(1) + found.group(2))
    return None if -int(value.as_tuple().exponent) > places else value
