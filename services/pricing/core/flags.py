"""Statements about readings that a person should look at, and what they do to months until then.

A flag names what is conspicuous, which readings show it, and what to do. It changes no price
unless the programme says `hold`: then a month that rests on a flagged reading counts as not enough,
until a person has cleared the flag with a reason. Knows no check, no database and no wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from enum import StrEnum

import msgspec

from services.pricing.core.months import MonthAssessment, Result
from services.pricing.core.programme import Measure, Then


class FlagCode(StrEnum):
    """What is conspicuous."""

    HBA1C_ABOVE_GLUCOSE = "HBA1C_ABOVE_GLUCOSE"
    MANY_UPLOADS = "MANY_UPLOADS"
    BACKDATED = "BACKDATED"
    SOURCES_DISAGREE = "SOURCES_DISAGREE"
    BUNCHED_AT_TARGET = "BUNCHED_AT_TARGET"
    DIGIT_PREFERENCE = "DIGIT_PREFERENCE"
    DEVICE_GAP = "DEVICE_GAP"
    IMPOSSIBLE_PRESSURE = "IMPOSSIBLE_PRESSURE"


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One conspicuous thing of one member in one window.

    `id` is made of all the rest: what was looked at and cleared is this very finding, and another
    reading makes another flag.
    """

    id: str
    code: FlagCode
    months: tuple[str, ...]
    measure: Measure | None
    readings: tuple[str, ...]
    then: Then
    cleared: bool
    zh: str
    en: str

    @property
    def holds(self) -> bool:
        """Whether months wait for a person."""
        return self.then is Then.HOLD and not self.cleared


def flag_of(
    code: FlagCode,
    months: Iterable[str],
    measure: Measure | None,
    readings: Iterable[str],
    then: Then,
    *,
    zh: str,
    en: str,
    cleared: Container[str],
) -> Flag:
    """A flag under the id that its content gives it."""
    about, named = tuple(sorted(set(months))), tuple(sorted(set(readings)))
    content = "\n".join([code, *about, str(measure), *named])
    made = hashlib.sha256(content.encode()).hexdigest()[:32]
    return Flag(
        id=made,
        code=code,
        months=about,
        measure=measure,
        readings=named,
        then=then,
        cleared=made in cleared,
        zh=zh,
        en=en,
    )


def held(months: Sequence[MonthAssessment], flags: Sequence[Flag]) -> tuple[MonthAssessment, ...]:
    """The months, those that rest on a reading of a flag that holds as not enough.

    No month gets better by it, so that a hold never lowers a price. What they were judged by stays
    in them, for whoever looks.
    """
    holding = [(flag, frozenset(flag.readings)) for flag in flags if flag.holds]
    found = []
    for month in months:
        by = tuple(flag.id for flag, named in holding if not named.isdisjoint(month.evidence))
        is_held = by and month.result is not Result.NOT_ENOUGH
        not_enough = {"result": Result.NOT_ENOUGH, "held_by": by}
        found.append(msgspec.structs.replace(month, **not_enough) if is_held else month)
    return tuple(found)
