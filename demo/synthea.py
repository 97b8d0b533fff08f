"""Reads a folder of Synthea FHIR R4 files: the bills of 2019 and 2020, and what they refer to.

Some bills outside those years are loaded too, so that the bridge's own period filter has work:
servers ignore search parameters that they do not know. Policies are not in the data; every patient
gets one a year. What is odd in the files is the source profile's business, not this module's.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from lipei.claims.v1 import policy_pb2

Resource = dict[str, Any]

YEARS = (2019, 2020)
# Two months before and everything after: enough for the filter, few enough to load in seconds.
_OUTSIDE_FROM = "2018-11-01"
_SSN = "http://hl7.org/fhir/sid/us-ssn"
_PLAN = "synthea-usd"
_SEX = {"female": policy_pb2.SEX_FEMALE, "male": policy_pb2.SEX_MALE}


class FolderRefused(ValueError):
    """The folder does not hold what the demo needs; the text says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a folder gave."""

    resources: tuple[Resource, ...]
    # One tuple a year, earliest first.
    policies: tuple[tuple[policy_pb2.Policy, ...], ...]
    bills: int
    outside: int


def read(folder: Path) -> Read:
    """Patients, organisations, bills from 2018-11 on, and what those bills refer to.

    Raises: FolderRefused.
    """
    patients = list(_lines(folder, "Patient"))
    claims = [one for one in _lines(folder, "Claim") if _start(one) >= _OUTSIDE_FROM]
    # Bills reach the server in the order in which they were made out.
    claims.sort(key=lambda one: (one["billablePeriod"]["end"], one["id"]))
    wanted = {reference for claim in claims for reference in _references(claim)}
    resources = patients + list(_lines(folder, "Organization"))
    for kind in ("Condition", "MedicationRequest", "Encounter"):
        resources += [one for one in _lines(folder, kind) if f"urn:uuid:{one['id']}" in wanted]
    bills = sum(_start(one)[:4] in map(str, YEARS) for one in claims)
    return Read(
        resources=(*resources, *claims),
        policies=tuple(
            tuple(_policy(one, year, number) for number, one in enumerate(patients, start=1))
            for year in YEARS
        ),
        bills=bills,
        outside=len(claims) - bills,
    )


def _lines(folder: Path, kind: str) -> Iterator[Resource]:
    path = folder / f"{kind}.ndjson.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise FolderRefused(f"{path} cannot be read as NDJSON.gz: {error}") from error


def _start(claim: Resource) -> str:
    return str(claim["billablePeriod"]["start"])


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "reference" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _policy(patient: Resource, year: int, serial: int) -> policy_pb2.Policy:
    """A calendar year's policy; the later year renews the earlier one without a gap."""
    key = patient["id"]
    earlier = year - 1
    document = next(i["value"] for i in patient["identifier"] if i.get("system") == _SSN)
    name = patient["name"][0]
    start = date(year, 1, 1).isoformat()
    return policy_pb2.Policy(
        policy_id=f"synthea-{year}-{key}",
        plan=_PLAN,
        start_date=start,
        last_date=date(year, 12, 31).isoformat(),
        previous_policy_id=f"synthea-{earlier}-{key}" if earlier in YEARS else "",
        revision=1,
        effective_date=start,
        members=[
            policy_pb2.InsuredMember(
                member_id=key,
                document=policy_pb2.IdentityDocument(kind="US-SSN", number=document),
                birth_date=patient["birthDate"],
                sex=_SEX[patient["gender"]],
                relationship=policy_pb2.RELATIONSHIP_SELF,
            )
        ],
        payee_accounts=[
            policy_pb2.PayeeAccount(
                holder_name=f"{name['given'][0]} {name['family']}",
                # No bank has such an account.
                account_number=f"0000{serial:08d}1",
                bank_code="ZZZZUS00",
                valid_from=start,
            )
        ],
    )
