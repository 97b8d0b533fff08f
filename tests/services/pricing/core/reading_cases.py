"""Reads tests/cases/readings/*.yaml: written readings into those that the core counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from services.common.strict_yaml import load
from services.pricing.core.months import PersonalTarget
from services.pricing.core.programme import Measure, Programmes, Target
from services.pricing.core.readings import (
    LOINC,
    Fasting,
    Measured,
    Provenance,
    Reading,
    Written,
    measure,
    places_of,
)
from services.pricing.core.tariff import scaled
from services.pricing.programmes.loader import example_programmes, load_programmes

FOLDER = Path(__file__).parents[3] / "cases" / "readings"
SHANGHAI = ZoneInfo("Asia/Shanghai")
# Who records and sets targets where a case does not say.
RECORDER = "hospital/general"
# What a case calls a reading → code, unit, fasting status.
KINDS = {
    "hba1c": ("4548-4", "%", Fasting.UNKNOWN),
    "fasting": ("14771-0", "mmol/L", Fasting.UNKNOWN),
    "glucose": ("15074-8", "mmol/L", Fasting.UNKNOWN),
    "after-meal": ("15074-8", "mmol/L", Fasting.NON_FASTING),
    "systolic": ("8480-6", "mm[Hg]", Fasting.UNKNOWN),
    "diastolic": ("8462-4", "mm[Hg]", Fasting.UNKNOWN),
}


def cases(name: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = load((FOLDER / name).read_bytes(), name)["cases"]
    return found


@cache
def programmes() -> Programmes:
    return load_programmes(example_programmes())


def written(kind: str, value: str, by: str = "typed") -> Written:
    code, unit, fasting = KINDS[kind]
    return Written(
        system=LOINC,
        code=code,
        value=value,
        unit=unit,
        fasting=fasting,
        provenance=Provenance(by.upper()),
    )


def reading(
    name: str,
    kind: str,
    value: str,
    effective: datetime,
    by: str = "typed",
    received: datetime | None = None,
    recorder: str = RECORDER,
    device: str = "",
) -> Reading:
    measured = measure(written(kind, value, by))
    assert isinstance(measured, Measured), measured
    return Reading(
        name=name,
        measured=measured,
        provenance=Provenance(by.upper()),
        effective=effective,
        received=received or effective,
        recorder=recorder,
        device=device,
    )


def zone_of(case: Mapping[str, Any]) -> tzinfo:
    return ZoneInfo(case.get("zone", "Asia/Shanghai"))


def moment(text: str, zone: tzinfo) -> datetime:
    if text.endswith("Z"):
        return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=zone)


def readings_of(case: Mapping[str, Any]) -> list[Reading]:
    zone = zone_of(case)
    found = []
    for entry in case["readings"]:
        kinds = [key for key in entry if key not in ("id", "at", "by", "received", "of", "with")]
        assert len(kinds) == 1, entry
        kind = kinds[0]
        parts = [(entry["id"], kind, entry[kind])]
        if kind == "pressure":
            upper, lower = entry[kind].split("/")
            parts = [
                (f"{entry['id']}-sys", "systolic", upper),
                (f"{entry['id']}-dia", "diastolic", lower),
            ]
        at = moment(entry["at"], zone)
        received = moment(entry["received"], zone) if "received" in entry else None
        by = entry.get("by", "typed")
        source = (entry.get("of", RECORDER), entry.get("with", ""))
        found += [
            reading(name, what, value, at, by, received, *source) for name, what, value in parts
        ]
    return found


def doctors_targets(case: Mapping[str, Any]) -> list[PersonalTarget]:
    found = []
    for entry in case.get("doctor", ()):
        what = Measure(entry["measure"])
        bounds = {
            key: scaled(entry[key], places_of(what.quantity))
            for key in ("at_least", "at_most", "below")
            if key in entry
        }
        start = date.fromisoformat(entry["from"])
        target = Target(**bounds) if bounds else None
        found.append(PersonalTarget(what, start, target, entry.get("of", RECORDER)))
    return found


def weekly(month: str, value: str, by: str = "typed") -> list[Reading]:
    """Three fasting readings that fill three slots of a month."""
    return [
        reading(f"{month}-{day}", "fasting", value, moment(f"{month}-{day} 07:00", SHANGHAI), by)
        for day in ("03", "10", "17")
    ]


def month_days(months: Sequence[str]) -> list[date]:
    return [date.fromisoformat(f"{month}-01") for month in months]
