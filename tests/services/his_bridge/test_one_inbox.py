"""One hospital read by search, by export and from files: every bill once, whichever comes first."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from services.common.database import Database
from services.his_bridge.intake import PullReport
from services.his_bridge.profiles.loader import SourceProfile, parse_profile
from services.his_bridge.storage.tables import bill_event, quarantine, released_bill
from services.his_bridge.wiring import hospital_of
from tests.plain_http import NO_TLS
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, all_of, everybody, record
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE, tokens

HOSPITAL, BILLS = "demo-hospital", 30
FAR = 1 << 62
ORDERS = list(itertools.permutations(("search", "export", "files")))
CLOCK_US = 1_900_000_000_000_000  # long after every file was written


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    with fhir_server(tmp_path_factory.mktemp("one-inbox")) as found:
        around, claims, _ = good(BILLS)
        found.put([*around, *claims])
        yield found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = with_tables(f"sqlite:///{tmp_path / 'test.db'}", "services.his_bridge")
    record(found, HOSPITAL, (one for member in everybody() for one in all_of(member)), now_us=0)
    yield found
    found.close()


def searched(server: FhirServer) -> SourceProfile:
    return parse_profile(PROFILE.replace(BASE_URL, server.base_url), "test")


def exported(server: FhirServer) -> SourceProfile:
    text = PROFILE.replace(BASE_URL, server.base_url).replace("max_wait_s: 1", "max_wait_s: 5")
    return parse_profile(f"{text}source: {{kind: fhir_bulk}}\n", "test")


def dropped(server: FhirServer, folder: Path) -> SourceProfile:
    """A file with the very records of the server, written by another system in its own way."""
    place = folder.resolve() / "Claim"
    place.mkdir(parents=True, mode=0o750)
    url = f"{server.base_url}/Claim?_count=100"
    claims = httpx.get(url, timeout=30, verify=NO_TLS).json()["entry"]
    everything = [*good(0)[0], *(entry["resource"] for entry in claims)]
    lines = (json.dumps(one, ensure_ascii=True, sort_keys=True) for one in everything)
    (place / "day.ndjson").write_text("\n".join(lines), "utf-8")
    text = PROFILE.replace(f"base_url: {BASE_URL}\n", "")
    source = f"source: {{kind: files, format: ndjson, folder: {folder.resolve()}, settle_s: 0}}\n"
    return parse_profile(text + source, "test")


def pull(database: Database, profile: SourceProfile) -> PullReport:
    async def run() -> PullReport:
        keys = subject_keys(database)
        hospital = hospital_of(profile, database, keys, tokens, lambda: CLOCK_US, INSURER)
        try:
            return await hospital.bills.pull(10_000, FAR)
        finally:
            assert hospital.source is not None
            await hospital.source.close()

    return asyncio.run(run())


def rows(database: Database) -> tuple[int, int, int]:
    """Events, released bills, records in quarantine."""
    with database.reading() as connection:
        tables = (bill_event, released_bill, quarantine)
        counts = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        ]
    return counts[0], counts[1], counts[2]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_whichever_way_comes_first_every_bill_is_there_once(
    server: FhirServer, database: Database, tmp_path: Path, order: Sequence[str]
) -> None:
    profiles = {
        "search": searched(server),
        "export": exported(server),
        "files": dropped(server, tmp_path / "drop"),
    }
    first = pull(database, profiles[order[0]])
    assert (first.received, first.released, first.quarantined) == (BILLS, BILLS, 0)
    for name in order[1:]:
        report = pull(database, profiles[name])
        assert (report.released, report.quarantined) == (0, 0)
    assert rows(database) == (BILLS, BILLS, 0)
    # And everything once more, from the beginning of each.
    again = dropped(server, tmp_path / "again")
    for profile in (searched(server), exported(server), again):
        report = pull(database, profile)
        assert (report.released, report.quarantined) == (0, 0)
    assert rows(database) == (BILLS, BILLS, 0)


def test_a_search_and_an_export_write_one_record_differently_and_both_are_the_same(
    server: FhirServer, database: Database
) -> None:
    """The record is known, though its bytes are others: nothing new is even stored."""
    assert pull(database, exported(server)).received == BILLS
    assert pull(database, searched(server)).received == 0


def test_of_two_files_each_has_its_own_patient_of_one_id(
    server: FhirServer, database: Database, tmp_path: Path
) -> None:
    """What the first file says of Patient/x is nothing to the second, whoever consented."""
    profile = dropped(server, tmp_path / "drop")
    place = tmp_path.resolve() / "drop" / "Claim"
    (place / "day.ndjson").unlink()
    around, claims, _ = good(2)
    patients = {one["id"]: one for one in around if one["resourceType"] == "Patient"}
    named = [str(claim["patient"]["reference"]).rpartition("/")[2] for claim in claims]
    others = [one for one in around if one["resourceType"] != "Patient"]
    whose = "11010119900300000X"
    stranger = json.loads(json.dumps(patients[named[0]]).replace(whose, "11010119700101001X"))
    assert stranger != patients[named[0]]
    first = [*others, patients[named[0]], claims[0]]
    other = {**claims[1], "patient": claims[0]["patient"]}
    second = [*others, stranger, other]
    third = [*others, {**claims[1], "id": "nobody", "patient": claims[0]["patient"]}]
    for name, resources in (("a", first), ("b", second), ("c", third)):
        text = "\n".join(json.dumps(one) for one in resources)
        (place / f"{name}.ndjson").write_text(text, "utf-8")
    report = pull(database, profile)
    # The stranger has not consented; of the last nobody knows whose it is.
    assert (report.received, report.released, report.held, report.quarantined) == (3, 1, 1, 1)
