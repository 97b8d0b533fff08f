"""Values of a row or of an interface message, read strictly: texts, exact decimals, local times.

Knows no column and no dialect. A value is JSON as the source wrote it; what a database could not
hand over exactly stands as an object that says so (sources/sql/values.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from services.common.money import parse_decimal
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.dialects.moments import of_day

MAX_TEXT = 64  # codes, numbers of bills and providers, as claims accepts them
_FIRST_YEAR, _LAST_YEAR = 1990, 2199
_MOMENT = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})(?:[ T]?(\d{2}):?(\d{2})(?::?(\d{2})(?:\.\d{1,9})?)?)?"
    r"(Z|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_MARKS = {
    "float": Reason.BINARY_FLOAT,
    "not_a_number": Reason.NOT_A_NUMBER,
    "differs": Reason.ROWS_DISAGREE,
    "unreadable": Reason.WRONG_TYPE,
}

Values = Mapping[str, msgspec.Raw]


class Findings:
    """The faults of one record, each once; what follows from one that was named is not named."""

    def __init__(self, structural: Sequence[Fault]) -> None:
        self.faults = list(structural)
        self._broken = [fault.path for fault in structural]

    def add(self, reason: Reason, path: str) -> None:
        """Name a fault, unless the place was broken to begin with."""
        if not self.broken_at(path):
            self.faults.append(Fault(reason=reason, path=path))

    def faulty_at(self, path: str) -> bool:
        """Whether what stands there has a fault already."""
        return self.broken_at(path) or any(fault.path == path for fault in self.faults)

    def broken_at(self, path: str) -> bool:
        """Whether what stands there could not be read."""
        return any(
            outer in (path, "") or path.startswith((outer + ".", outer + "["))
            for outer in self._broken
        )


class Cells:
    """The values of one row, with the path of it. A missing value is None, and no fault."""

    def __init__(
        self, values: Values, path: str, findings: Findings, zone: ZoneInfo, charset: str
    ) -> None:
        self.path = path
        self._values = values
        self._findings = findings
        self._zone = zone
        self._charset = charset

    def at(self, name: str) -> str:
        """The path of a value."""
        return f"{self.path}.{name}" if self.path else name

    def add(self, reason: Reason, name: str) -> None:
        """Name a fault of a value."""
        self._findings.add(reason, self.at(name))

    def states(self, name: str | None) -> bool:
        """Whether anything stands there, be it faulty."""
        if name is None:
            return False
        return self.text(name) is not None or self._findings.faulty_at(self.at(name))

    def text(self, name: str | None) -> str | None:
        """A text without the blanks around it; empty is missing. Numbers are texts as written."""
        if name is None:
            return None
        value = self._plain(name)
        return value.strip() or None if value is not None else None

    def short(self, name: str | None, *, ascii_only: bool = False) -> str | None:
        """A text of at most 64 characters, none of them a control character."""
        text = self.text(name)
        if text is None or name is None:
            return None
        fits = len(text) <= MAX_TEXT and text.isprintable()
        if not fits or (ascii_only and not text.isascii()):
            self.add(Reason.TEXT_MALFORMED, name)
            return None
        return text

    def decimal(self, name: str | None, *, places: int) -> Decimal | None:
        """An exact decimal, a number or a text; zeros behind the last place do not count."""
        text = self.text(name)
        if text is None or name is None:
            return None
        if "." in text and text.isascii():
            text = text.rstrip("0").rstrip(".")
        try:
            return parse_decimal(text, places=places, what="value")
        except ValueError:
            self.add(Reason.NUMBER_MALFORMED, name)
            return None

    def moment(self, name: str | None, *, day_ends: bool = False) -> datetime | None:
        """A time in UTC, without an offset the hospital's; a bare day's first or last second."""
        text = self.text(name)
        if text is None or name is None:
            return None
        found = moment_of(text, self._zone, day_ends=day_ends)
        if found is None:
            self.add(Reason.TIME_IMPOSSIBLE, name)
        return found

    def _plain(self, name: str) -> str | None:
        raw = bytes(self._values.get(name, b"null"))
        if raw[:1] not in b'"{[tfn':
            return raw.decode("ascii", "replace")
        value = msgspec.json.decode(raw)
        if isinstance(value, str) or value is None:
            return value
        if isinstance(value, dict) and isinstance(value.get("bytes"), str):
            return self._decoded(name, value["bytes"])
        marks: Iterable[str] = value if isinstance(value, dict) else ()
        reason = next((_MARKS[mark] for mark in marks if mark in _MARKS), Reason.WRONG_TYPE)
        self.add(reason, name)
        return None

    def _decoded(self, name: str, hexadecimal: str) -> str | None:
        try:
            return bytes.fromhex(hexadecimal).decode(self._charset)
        except ValueError:  # UnicodeDecodeError included
            self.add(Reason.NOT_IN_CHARSET, name)
            return None


def moment_of(text: str, zone: ZoneInfo, *, day_ends: bool = False) -> datetime | None:
    """A time in UTC, or None for what is none.

    >>> moment_of("2026-03-01 08:00:00", ZoneInfo("Asia/Shanghai"))
    datetime.datetime(2026, 3, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    found = _MOMENT.fullmatch(text)
    if found is None or not _FIRST_YEAR <= int(found[1]) <= _LAST_YEAR:
        return None
    year, month, day = (int(found[place]) for place in (1, 2, 3))
    try:
        if found[4] is None:
            if found[7] is not None:
                return None
            return of_day(date(year, month, day), zone, day_ends=day_ends)
        clock = (int(found[4]), int(found[5]), int(found[6] or 0))
        moment = datetime(year, month, day, *clock, tzinfo=zone)
        if found[7] is not None:
            moment = moment.replace(tzinfo=None) - _offset(found[7])
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _offset(text: str) -> timedelta:
    if text == "Z":
        return timedelta(0)
    digits = text[1:].replace(":", "").ljust(4, "0")
    found = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -found if text[0] == "-" else found
