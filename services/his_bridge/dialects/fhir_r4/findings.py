"""Reads FHIR's primitive values strictly and gathers what is wrong with them. Knows no resource."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from services.common.money import parse_decimal
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Concept, LocalCoding
from services.his_bridge.dialects.fhir_r4.structs import CodeableConcept, Money
from services.his_bridge.dialects.moments import in_utc, of_day

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(Z|[+-]\d{2}:\d{2})?", re.ASCII
)
_FIRST_YEAR, _LAST_YEAR = 1990, 2199  # as claims accepts them
_WHOLE = re.compile(rb"[1-9][0-9]{0,8}")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_LITERAL = re.compile(
    r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]{1,64})?", re.ASCII
)
MAX_TEXT = 64  # codes, numbers of bills and providers, as claims accepts them


class Findings:
    """The faults of one record.

    A value whose very structure was wrong has been named already; what follows from its absence
    is not named again.
    """

    def __init__(self, structural: Sequence[Fault]) -> None:
        self.faults = list(structural)
        self._broken = [fault.path for fault in structural]

    def add(self, reason: Reason, path: str) -> None:
        """Name a fault, unless the place was broken to begin with."""
        if not any(_is_within(path, broken) for broken in self._broken):
            self.faults.append(Fault(reason=reason, path=path))

    def broken_at(self, path: str) -> bool:
        """Whether something stood there, or around it, that could not be read."""
        return any(_is_within(broken, path) or _is_within(path, broken) for broken in self._broken)

    def decimal(self, raw: msgspec.Raw, path: str, *, places: int) -> Decimal | None:
        """A plain decimal as it was written; strings, exponents and too many digits are faults."""
        try:
            return parse_decimal(bytes(raw).decode("ascii"), places=places, what="value")
        except ValueError:  # UnicodeDecodeError included
            self.add(Reason.NUMBER_MALFORMED, path)
            return None

    def number(self, raw: msgspec.Raw, path: str, seen: set[int]) -> int:
        """A position number from 1, not used before; 0 with a fault otherwise."""
        value = int(bytes(raw)) if _WHOLE.fullmatch(bytes(raw)) else 0
        if value == 0 or value in seen:
            self.add(Reason.NUMBER_REPEATED, path)
        seen.add(value)
        return value

    def money(
        self, money: Money | None, path: str, currency: str, *, places: int
    ) -> Decimal | None:
        """An amount in major units of the expected currency, not negative."""
        value = self.signed_money(money, path, currency, places=places)
        if value is not None and value < 0:
            self.add(Reason.NEGATIVE_AMOUNT, f"{path}.value")
            return None
        return value

    def signed_money(
        self, money: Money | None, path: str, currency: str, *, places: int
    ) -> Decimal | None:
        """An amount in major units of the expected currency, of either sign."""
        if money is None:
            return None
        if money.currency != currency:
            self.add(Reason.WRONG_CURRENCY, f"{path}.currency")
        value = self.decimal(money.value, f"{path}.value", places=places)
        return value if money.currency == currency else None

    def moment(
        self,
        text: str | None,
        path: str,
        zone: ZoneInfo,
        *,
        day_ends: bool = False,
        any_year: bool = False,
    ) -> datetime | None:
        """A FHIR dateTime in UTC. A bare date is its first second in the zone, or its last."""
        if text is None:
            return None
        found = _MOMENT.fullmatch(text)
        if found is not None and found.group(2) is None:
            self.add(Reason.TIME_WITHOUT_ZONE, path)
            return None
        try:
            if found is None and not _DATE.fullmatch(text):
                raise ValueError
            if not any_year and not _FIRST_YEAR <= int(text[:4]) <= _LAST_YEAR:
                raise ValueError
            if found is not None:
                return in_utc(datetime.fromisoformat(text), zone)
            return of_day(date.fromisoformat(text), zone, day_ends=day_ends)
        except (ValueError, OverflowError):
            self.add(Reason.TIME_IMPOSSIBLE, path)
            return None

    def text(self, text: str, path: str, *, ascii_only: bool = False) -> str | None:
        """A short text without control characters or blanks around it."""
        fits = 0 < len(text) <= MAX_TEXT and text.isprintable() and text == text.strip()
        if not fits or (ascii_only and not text.isascii()):
            self.add(Reason.TEXT_MALFORMED, path)
            return None
        return text

    def concept(self, concept: CodeableConcept | None, path: str) -> Concept | None:
        """All complete codings of a concept; one without a system means nothing and is left out."""
        if concept is None:
            self.add(Reason.CODE_MISSING, path)
            return None
        codings = []
        for index, coding in enumerate(concept.coding):
            if not coding.system or not coding.code:
                continue
            where = f"{path}.coding[{index}]"
            code = self.text(coding.code, f"{where}.code")
            if code is not None:
                codings.append(
                    LocalCoding(system=coding.system, code=code, display=coding.display or "")
                )
        if not codings and self.broken_at(path):
            return None
        return Concept(codings=tuple(codings), path=path)

    def reference(
        self, text: str | None, path: str, kind: str, base_url: str
    ) -> tuple[str, str] | None:
        """Type and id that a reference means, "#" standing before a contained one's id."""
        if not text:
            self.add(Reason.REFERENCE_MISSING, path)
            return None
        if text.startswith("#"):
            return self._checked(kind, kind, text[1:], path, prefix="#")
        if text.startswith("urn:uuid:"):
            return self._checked(kind, kind, text.removeprefix("urn:uuid:"), path)
        if "://" in text:
            base = base_url.rstrip("/") + "/"
            if not text.startswith(base):
                self.add(Reason.REFERENCE_ELSEWHERE, path)
                return None
            text = text.removeprefix(base)
        found = _LITERAL.fullmatch(text)
        if found is None:
            self.add(Reason.REFERENCE_MALFORMED, path)
            return None
        return self._checked(kind, found.group(1), found.group(2), path)

    def _checked(
        self, kind: str, named: str, record_id: str, path: str, *, prefix: str = ""
    ) -> tuple[str, str] | None:
        if named != kind or not _ID.fullmatch(record_id):
            self.add(Reason.REFERENCE_MALFORMED, path)
            return None
        return kind, prefix + record_id


def below(path: str, name: str) -> str:
    """The path of a field of what stands at a path, be it here or behind a pointer."""
    if not path or path.endswith("->"):
        return path + name
    return f"{path}.{name}"


def _is_within(path: str, outer: str) -> bool:
    return outer in (path, "") or path.startswith((outer + ".", outer + "["))
