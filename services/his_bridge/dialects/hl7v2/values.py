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
from services.his_bridge.dialects.hl7v2.message import Segment, UnknownEscape

# NM: a sign, leading zeros and a bare point are HL7's; exponents and other digits are not.
_NUMBER = re.compile(r"([+-]?)0*([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})", re.ASCII)
_TIME = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})(?:([0-9]{2})(?:\.[0-9]{1,9})?)?)?"
    r"([+-][0-9]{4})?",
    re.ASCII,
)
_FIRST_YEAR, _LAST_YEAR = 1990, 2199  # as claims accepts them
MAX_TEXT = 64  # codes, numbers of bills and providers, as claims accepts them
_MAX_DISPLAY = 1_000


class Findings:
    """The faults of one message, each with its place: `FT1[2].11` is the second FT1's field 11."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def add(self, reason: Reason, path: str) -> None:
        """Name a fault."""
        self.faults.append(Fault(reason=reason, path=path))

    def text(self, segment: Segment, field: int, component: int = 1) -> str:
        """What a component says; empty, with a fault, when an escape in it means nothing."""
        return self.plain(segment, segment.first(field, component), field)

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

    def decimal(self, text: str, path: str, *, places: int) -> Decimal | None:
        """HL7's NM as it was written, with so many places at most."""
        value = _decimal(text, places)
        if value is None:
            self.add(Reason.NUMBER_MALFORMED, path)
        return value

    def money(self, segment: Segment, field: int, currency: str, *, places: int) -> Decimal | None:
        """A CP, MO or plain NM in major units, of either sign; None when it is absent.

        An amount without a currency is in the profile's.
        """
        written = segment.first(field)
        if not written or segment.is_null(field):
            return None
        path = path_of(segment, field)
        amount, _, unit = written.partition(segment.delimiters.subcomponent)
        if unit:
            named = self.plain(segment, unit, field)
            if named and named != currency:
                self.add(Reason.WRONG_CURRENCY, path)
                return None
        return self.decimal(amount, path, places=places)

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

        A time without offset is of the profile's zone; a bare date is its first second, or its
        last.
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
        self, segment: Segment, repetition: str, field: int, systems: Mapping[str, str], usual: str
    ) -> list[LocalCoding]:
        """The codes of one CE, CNE or CWE: the code, then its alternative."""
        found = []
        parts = segment.parts(repetition)
        for at in (0, 3):
            if at >= len(parts) or not parts[at]:
                continue
            code, display, named = (
                self.plain(segment, part, field) for part in (*parts[at : at + 3], "", "")[:3]
            )
            system = systems.get(named, named) or usual
            if not code or not system:
                continue
            if not is_short(code):
                self.add(Reason.TEXT_MALFORMED, path_of(segment, field))
                continue
            if len(display) > _MAX_DISPLAY:
                display = ""
            found.append(LocalCoding(system=system, code=code, display=display))
        return found

    def concept(
        self, segment: Segment, field: int, systems: Mapping[str, str], usual: str
    ) -> Concept:
        """A coded field; without any code an empty concept."""
        written = segment.repetitions(field)
        codings = self.codings(segment, written[0], field, systems, usual) if written else []
        return Concept(codings=tuple(codings), path=path_of(segment, field))


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
        local = _zone(zone) if offset is None else _offset(offset)
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
            return last.astimezone(UTC) - timedelta(seconds=1)
        return start.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _offset(text: str) -> timezone:
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


@lru_cache(maxsize=4_096)
def _decimal(text: str, places: int) -> Decimal | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    value = Decimal(found.group(1) + found.group(2))
    return None if -int(value.as_tuple().exponent) > places else value
