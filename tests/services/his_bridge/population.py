"""A hospital with patients of many names, good bills, and one bad bill of each kind."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.services.his_bridge.cases import BILLS, Case
from tests.services.his_bridge.records import (
    Resource,
    claim,
    condition,
    encounter,
    everything,
    observation,
    organization,
    patient,
)

_NAMES = ["欧阳建国", "司马相如", "诸葛孔明", "上官婉儿", "Adalberto Hartmann", "Maribel Ojeda"]
_POINTERS = re.compile(r'"(Patient|Organization|Condition|Encounter)/(p1|org1|c1|e1)"')
# A server files records by what they are: what does not say so cannot be put there.
SENDABLE = [case for case in BILLS if case.name != "no word on what it is"]


@dataclass(frozen=True)
class Person:
    """A patient, and what of them must never be seen outside."""

    resource: Resource
    secrets: tuple[str, ...]


def person(index: int) -> Person:
    name = _NAMES[index % len(_NAMES)] + ("" if index < len(_NAMES) else f"·{index}")
    number = f"1101011990030{index:04d}X"
    found = patient(f"person-{index:03d}", number, name)
    phone = f"1391234{index:04d}"
    found["telecom"] = [{"value": phone}]
    secrets = [number, phone, f"MRN-person-{index:03d}-77", f"person-{index:03d}"]
    if index < len(_NAMES):
        secrets.append(name)
    return Person(found, tuple(secrets))


def good(count: int, people: int = 12) -> tuple[list[Resource], list[Resource], list[str]]:
    """What bills point at, so many bills, and every secret of their patients."""
    persons = [person(index) for index in range(people)]
    around = [organization(), *map(_of_nobody, (condition(), encounter()))]
    around += [one.resource for one in persons]
    claims = []
    for index in range(count):
        one = claim(f"b{index:05d}", f"person-{index % people:03d}")
        one["note"] = [{"text": f"{persons[index % people].resource['name'][0]['text']} 来电"}]
        claims.append(one)
    return around, claims, [secret for one in persons for secret in one.secrets]


def _of_nobody(resource: Resource) -> Resource:
    """A visit or disease that everybody's bills share; whose it is, it does not say."""
    return {key: value for key, value in resource.items() if key != "subject"}


def readings(count: int, people: int = 12) -> list[Resource]:
    found = []
    for index in range(count):
        one = observation(f"o{index:05d}")
        one["subject"]["reference"] = f"Patient/person-{index % people:03d}"
        found.append(one)
    return found


def bad(case: Case, index: int) -> list[Resource]:
    """The bad bill of a case and what it points at, under ids of its own."""
    resources = everything()
    case.spoil(resources)
    for kind, own in (
        ("Patient", "p"),
        ("Organization", "org"),
        ("Condition", "c"),
        ("Encounter", "e"),
    ):
        resources[kind]["id"] = f"bad-{own}1-{index:03d}"
    text = json.dumps(resources, ensure_ascii=False)
    text = _POINTERS.sub(rf'"\1/bad-\2-{index:03d}"', text)
    spoilt: dict[str, Any] = json.loads(text)
    spoilt["Claim"]["id"] = bad_id(index)
    return list(spoilt.values())


def bad_id(index: int) -> str:
    return f"bad-{index:03d}"
