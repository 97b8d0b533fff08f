"""What partners achieved, as immutable data: the file partners/partners.json."""

from __future__ import annotations

from collections import Counter
from datetime import date
from fractions import Fraction

import msgspec

from services.pricing.core.partners import (
    Control,
    Interval,
    Readmission,
    Stratum,
    control_of,
    discharges_of,
    readmissions_of,
    strata_of,
    unassessed,
)
from services.pricing.fitting.partners.reading import Tables
from services.pricing.fitting.partners.settings import PartnersSettings

FILE = "partners.json"
FORMAT = 1
# Above this share of a stratum a partner is measured mostly on itself.
_OWN_MEASURE = Fraction(1, 2)
_PLACES = 6


class NoMinimum(ValueError):
    """A minimum that has no default is not set; the text names it and says what to write."""


class ControlRate(msgspec.Struct, frozen=True, kw_only=True):
    """A partner's months, and the share that were on target; None with too few members."""

    partner: str
    members: int
    months: int
    on_target: int
    off_target: int
    not_enough: int
    missing: int  # of those not enough: never handed in
    rate: float | None
    low95: float | None
    high95: float | None
    why_none: str = ""


class ReadmissionRatio(msgspec.Struct, frozen=True, kw_only=True):
    """A partner's discharges, observed and expected readmissions; None with too few discharges."""

    partner: str
    members: int
    discharges: int
    observed: int
    expected: float
    ratio: float | None
    low95: float | None
    high95: float | None
    why_none: str = ""


class BookStratum(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of like discharges: the whole book's rate."""

    names: tuple[tuple[str, ...], ...]
    discharges: int
    readmitted: int
    rate: float
    pooled: bool
    greatest_share: float


class Partners(msgspec.Struct, frozen=True, kw_only=True):
    """The file: what was measured, from which minimum, and what counted nowhere."""

    format: int
    known_before: date
    least_members: int
    least_stays: int
    expected_of: str  # "rows", or the columns that make the strata
    control: tuple[ControlRate, ...] | None
    readmission: tuple[ReadmissionRatio, ...] | None
    strata: tuple[BookStratum, ...]
    left_out: dict[str, int]
    warnings: tuple[str, ...]


def measure(tables: Tables, settings: PartnersSettings, *, known_before: date) -> Partners:
    """Control rates of the months, readmission ratios of the stays, whichever there are.

    Raises: NoMinimum when the minimum of a table that is there is not set.
    """
    _demand(tables, settings)
    control = readmission = None
    strata: tuple[Stratum, ...] = ()
    left_out: dict[str, int] = {}
    expected_of = ""
    if tables.months is not None:
        missing = unassessed(tables.months)
        lacking = Counter(one.partner for one in missing)
        control = tuple(
            _control(one, settings.least_members, lacking[one.partner])
            for one in control_of((*tables.months, *missing), least_members=settings.least_members)
        )
    if tables.stays is not None:
        given = any(stay.expected is not None for stay in tables.stays)
        found = discharges_of(tables.stays, known_before=known_before)
        strata = () if given else strata_of(found.counted, least_stays=settings.least_stays)
        readmission = tuple(
            _readmission(one, settings.least_stays)
            for one in readmissions_of(found.counted, strata, least_stays=settings.least_stays)
        )
        expected_of = "rows" if given else ", ".join(settings.strata) or "the whole book"
        left_out = {
            "died there": found.died,
            "transferred on the day: the stay went on": found.transferred,
            "30 days after it are not known": found.not_known,
        }
    return Partners(
        format=FORMAT,
        known_before=known_before,
        least_members=settings.least_members,
        least_stays=settings.least_stays,
        expected_of=expected_of,
        control=control,
        readmission=readmission,
        strata=tuple(map(_stratum, strata)),
        left_out={why: number for why, number in left_out.items() if number},
        warnings=tuple(_warnings(strata)),
    )


def partners_bytes(found: Partners) -> bytes:
    """The one JSON form: the same tables and settings give the same bytes."""
    return msgspec.json.format(msgspec.json.encode(found, order="sorted")) + b"\n"


def _demand(tables: Tables, settings: PartnersSettings) -> None:
    lacking = []
    if tables.months is not None and not settings.least_members:
        lacking.append("partners.least_members: with fewer members a partner gets no control rate")
    if tables.stays is not None and not settings.least_stays:
        lacking.append("partners.least_stays: with fewer discharges a partner gets no ratio")
    if lacking:
        do = "write it into pricing.yaml; it has no default, for a rate of few is chance"
        raise NoMinimum("\n".join(f"{line}; {do}" for line in lacking))


def _control(found: Control, least: int, missing: int) -> ControlRate:
    why = ""
    if found.rate is None:
        why = (
            f"{found.members} of the {least} members that partners.least_members asks for: take"
            " more of its members, or tell several partners as one"
        )
    low, high = _ends(found.interval)
    return ControlRate(
        partner=found.partner,
        members=found.members,
        months=found.months,
        on_target=found.on_target,
        off_target=found.off_target,
        not_enough=found.not_enough,
        missing=missing,
        rate=_told(found.rate),
        low95=low,
        high95=high,
        why_none=why,
    )


def _readmission(found: Readmission, least: int) -> ReadmissionRatio:
    why = ""
    if found.ratio is None and found.discharges < least:
        why = (
            f"{found.discharges} of the {least} discharges that partners.least_stays asks for: take"
            " a longer period, or tell several partners as one"
        )
    elif found.ratio is None:
        why = "none is expected: nobody in its strata was readmitted; take fewer strata"
    low, high = _ends(found.interval)
    return ReadmissionRatio(
        partner=found.partner,
        members=found.members,
        discharges=found.discharges,
        observed=found.observed,
        expected=round(float(found.expected), _PLACES),
        ratio=_told(found.ratio),
        low95=low,
        high95=high,
        why_none=why,
    )


def _stratum(found: Stratum) -> BookStratum:
    return BookStratum(
        names=found.names,
        discharges=found.discharges,
        readmitted=found.readmitted,
        rate=round(float(found.rate), _PLACES),
        pooled=found.pooled,
        greatest_share=round(float(found.greatest_share), _PLACES),
    )


def _warnings(strata: tuple[Stratum, ...]) -> list[str]:
    told = []
    for one in strata:
        name = "pooled strata" if one.pooled else f"stratum {', '.join(one.names[0]) or 'of all'}"
        if one.pooled:
            told.append(
                f"{len(one.names)} strata with fewer than partners.least_stays discharges are taken"
                f" as one ({one.discharges} discharges): take fewer columns into partners.strata"
            )
        if one.greatest_share > _OWN_MEASURE:
            told.append(
                f"{name}: one partner has {float(one.greatest_share):.0%} of its discharges and is"
                " measured mostly on itself: take a larger book, or give `expected`"
            )
    return told


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    if interval is None:
        return None, None
    return round(interval.low, _PLACES), round(interval.high, _PLACES)


def _told(value: Fraction | None) -> float | None:
    return None if value is None else round(float(value), _PLACES)
