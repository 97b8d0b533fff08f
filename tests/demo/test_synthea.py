"""A folder of FHIR files that is no Synthea population is refused; the sentence names it all."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from demo.synthea import FolderRefused, read

KINDS = ("Claim", "Organization", "Patient", "Condition", "MedicationRequest", "Encounter")
SSN = {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-10-2030"}
NAME = {"given": ["Ann"], "family": "Other"}


def folder_of(folder: Path, **resources: list[Any]) -> Path:
    """One file per type, empty where nothing is given."""
    for kind in KINDS:
        lines = "".join(json.dumps(one) + "\n" for one in resources.get(kind, []))
        with gzip.open(folder / f"{kind}.ndjson.gz", "wt", encoding="utf-8") as file:
            file.write(lines)
    return folder


def claim(key: str, start: str) -> dict[str, Any]:
    return {"id": key, "billablePeriod": {"start": start, "end": start}}


def patient(**parts: Any) -> dict[str, Any]:
    return {"id": "p1", "gender": "female", "birthDate": "1980-01-02", **parts}


def test_every_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderRefused) as refused:
        read(tmp_path)
    assert all(f"{kind}.ndjson.gz" in str(refused.value) for kind in KINDS)


def test_people_without_ssn_and_years_without_bills_are_named_at_once(tmp_path: Path) -> None:
    folder_of(tmp_path, Patient=[patient()], Claim=[claim("c1", "2025-03-01")])
    with pytest.raises(FolderRefused, match=r"1 of 1 patients have no SSN.*no Claim is billed in"):
        read(tmp_path)


@pytest.mark.parametrize("line", [[1], {"no": "id"}, "text"])
def test_what_is_no_resource_is_named_with_its_line(tmp_path: Path, line: object) -> None:
    folder_of(tmp_path, Patient=[patient(), line])
    with pytest.raises(FolderRefused, match=r"Patient\.ndjson\.gz:2: not a FHIR resource"):
        read(tmp_path)


def test_a_file_that_is_no_gzip_is_named_without_its_content(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "Claim.ndjson.gz").write_text("secret")
    with pytest.raises(FolderRefused, match=r"Claim\.ndjson\.gz cannot be read") as refused:
        read(tmp_path)
    assert "secret" not in str(refused.value)


def test_a_population_is_read_and_bills_outside_the_years_are_counted(tmp_path: Path) -> None:
    claims = [
        claim("c1", "2019-05-01"),
        claim("c2", "2021-05-01"),
        claim("c3", "2001-01-01"),
        {"id": "c4"},
    ]
    folder_of(tmp_path, Patient=[patient(identifier=[SSN], name=[NAME])], Claim=claims)
    found = read(tmp_path)
    assert (found.bills, found.outside, len(found.policies)) == (1, 1, 2)
