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
# What bills refer to.
_REFERRED = ("Condition", "MedicationRequest", "Encounter")
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

    Raises: FolderRefused, also when the files are no Synthea population of those years.
    """
    _refuse_missing_files(folder)
    patients = list(_lines(folder, "Patient"))
    claims = [one for one in _lines(folder, "Claim") if _start(one) >= _OUTSIDE_FROM]
    # Bills reach the server in the order in which they were made out.
    claims.sort(key=lambda one: (one["billablePeriod"].get("end", ""), one["id"]))
    wanted = {reference for claim in claims for reference in _references(claim)}
    resources = patients + list(_lines(folder, "Organization"))
    for kind in _REFERRED:
        resources += [one for one in _lines(folder, kind) if f"urn:uuid:{one['id']}" in wanted]
    bills = sum(_start(one)[:4] in map(str, YEARS) for one in claims)
    _refuse_other_data(folder, patients, bills)
    return Read(
        resources=(*resources, *claims),
        policies=tuple(
            tuple(_policy(one, year, number) for number, one in enumerate(patients, start=1))
            for year in YEARS
        ),
        bills=bills,
        outside=len(claims) - bills,
    )


def _refuse_missing_files(folder: Path) -> None:
    names = [f"{kind}.ndjson.gz" for kind in ("Claim", "Organization", "Patient", *_REFERRED)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FolderRefused(f"{folder} has no {', '.join(missing)}")


def _refuse_other_data(folder: Path, patients: list[Resource], bills: int) -> None:
    """The demo insures Synthea's patients, by SSN, for the years of its bills: name what is not."""
    faults = []
    nameless = sum(_document(one) is None or not one.get("name") for one in patients)
    if nameless:
        faults.append(f"{nameless} of {len(patients)} patients have no SSN or no name")
    if not bills:
        faults.append(f"no Claim is billed in {' or '.join(map(str, YEARS))}")
    if faults:
        said = "; ".join(faults)
        raise FolderRefused(f"{folder} is no Synthea population that the demo can insure: {said}")


def _document(patient: Resource) -> str | None:
    found = (i["value"] for i in patient.get("identifier", []) if i.get("system") == _SSN)
    return next(found, None)


def _lines(folder: Path, kind: str) -> Iterator[Resource]:
    path = folder / f"{kind}.ndjson.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                resource = json.loads(line)
                if not isinstance(resource, dict) or not isinstance(resource.get("id"), str):
                    raise FolderRefused(f"{path}:{number}: not a FHIR resource with an id")
                yield resource
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, FolderRefused):
            raise
        raise FolderRefused(
            f"{path} cannot be read as NDJSON.gz ({type(error).__name__})"
        ) from None


def _start(claim: Resource) -> str:
    return str(claim.get("billablePeriod", {}).get("start", ""))


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
                document=policy_pb2.IdentityDocument(
                    kind="US-SSN", number=_document(patient) or ""
                ),
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
