"""The 1,457 synthetic bills of 2019 and 2020 go through the bridge whole, and nobody is named."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.common.identity import is_member_token
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import BillStated, ReadingsStated, SetAside
from services.his_bridge.dialects.fhir_r4 import ClaimReader, ObservationReader
from services.his_bridge.main import EXAMPLE_PROFILES
from services.his_bridge.profiles.loader import SourceProfile, load_profiles
from tests.services.his_bridge.fhir_server import fhir_server
from tests.services.his_bridge.records import tokens
from tests.services.his_bridge.running import CALL_S, Bridge, running_bridge

BILLS, PATIENTS, CLAIMS = 1457, 298, 11_384
OUTSIDE = 400  # bills of other years that the server holds, too
# The hospital as whom the tests call, with the profile of these data.
HOSPITAL = "hospitals/demo-hospital"
SSN = "http://hl7.org/fhir/sid/us-ssn"
SUPPORT = ("Patient", "Organization", "Encounter", "Condition", "MedicationRequest")

pytestmark = [pytest.mark.data, pytest.mark.timeout(600)]


def lines(kind: str) -> list[bytes]:
    path = Path(os.environ["DATA"]) / "fhir_synthea_r4" / f"{kind}.ndjson.gz"
    with gzip.open(path) as file:
        return [line.strip() for line in file]


@pytest.fixture(scope="module")
def profile() -> SourceProfile:
    return load_profiles(EXAMPLE_PROFILES, {})["synthea"]


@pytest.fixture(scope="module")
def claims() -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines("Claim")]


def in_period(claim: dict[str, Any]) -> bool:
    return claim["billablePeriod"]["end"][:4] in ("2019", "2020")


@pytest.fixture(scope="module")
def bridge(
    claims: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bridge]:
    folder = tmp_path_factory.mktemp("synthea")
    sent = [one for one in claims if in_period(one)]
    sent += [one for one in claims if not in_period(one)][-OUTSIDE:]
    text = json.dumps(sent)
    with fhir_server(folder / "his") as server:
        for kind in SUPPORT:
            found = [json.loads(line) for line in lines(kind)]
            server.put(one for one in found if f"urn:uuid:{one['id']}" in text)
        server.put(sent)
        profiles = folder / "profiles"
        profiles.mkdir()
        example = (EXAMPLE_PROFILES / "synthea.yaml").read_text("utf-8")
        example = example.replace("hospital: synthea", "hospital: demo-hospital")
        (profiles / "demo-hospital.yaml").write_text(
            example.replace("http://127.0.0.1:8090/fhir", server.base_url), "utf-8"
        )
        with running_bridge(folder / "state", profiles) as found_bridge:
            found_bridge.consented(map(token_of, lines("Patient")), HOSPITAL)
            yield found_bridge


def token_of(patient: bytes) -> str:
    found = json.loads(patient)["identifier"]
    return tokens("US-SSN", next(one["value"] for one in found if one.get("system") == SSN))


@pytest.fixture(scope="module")
def report(bridge: Bridge) -> Counter[str]:
    found: Counter[str] = Counter()
    more = True
    while more:
        answer = bridge.pull(hospital=HOSPITAL)
        more = answer.more
        for name in ("received", "released", "quarantined", "filtered"):
            found[name] += getattr(answer, name)
    return found


@pytest.fixture(scope="module")
def bills(bridge: Bridge, report: Counter[str]) -> list[bill_pb2.Bill]:
    return [one.bill for one in bridge.bills(page_size=500, hospital=HOSPITAL)]


def test_every_bill_of_the_period_is_released_and_no_other(report: Counter[str]) -> None:
    assert (report["received"], report["released"]) == (BILLS, BILLS)
    assert (report["quarantined"], report["filtered"]) == (0, OUTSIDE)


def test_every_total_is_the_claims_and_the_sum_of_its_lines(
    bills: list[bill_pb2.Bill], claims: list[dict[str, Any]]
) -> None:
    totals = {one["id"]: Decimal(str(one["total"]["value"])) for one in claims if in_period(one)}
    assert len(bills) == BILLS
    for bill in bills:
        assert sum(line.billed.minor_units for line in bill.lines) == bill.total.minor_units
        assert totals.pop(bill.bill_number) * 100 == bill.total.minor_units
        assert {line.billed.currency_code for line in bill.lines} == {"USD"}
    assert totals == {}


def test_codes_persons_and_kinds_of_care_are_those_of_the_data(
    bills: list[bill_pb2.Bill],
) -> None:
    care = Counter(bill_pb2.CareType.Name(bill.care_type) for bill in bills)
    assert care["CARE_TYPE_PHARMACY"] == 205
    assert sum(care.values()) == BILLS
    systems = {line.code.system for bill in bills for line in bill.lines}
    assert len(systems) == 3  # SNOMED CT, RxNorm, CVX
    assert all(is_member_token(bill.member_token) for bill in bills)
    assert sum(len(bill.diagnoses) > 0 for bill in bills) == 222
    assert all(bill.diagnoses[0].principal for bill in bills if bill.diagnoses)


def test_nobody_is_named(bills: list[bill_pb2.Bill], bridge: Bridge) -> None:
    said = "\n".join(map(str, bills)) + bridge.log.read_text("utf-8")
    for line in lines("Patient"):
        patient = json.loads(line)
        name = patient["name"][0]
        secrets = [f"{name['given'][0]} {name['family']}", patient["id"]]
        secrets += [one["value"] for one in patient["identifier"]]
        secrets += [one["value"] for one in patient["telecom"]]
        assert not [secret for secret in secrets if secret in said]


def test_the_period_is_the_only_reason_to_keep_any_of_the_whole_file_out(
    profile: SourceProfile,
) -> None:
    reader = ClaimReader(profile.terms, tokens)
    support = {
        (kind, json.loads(line)["id"]): reader.read_supporting(kind, line)
        for kind in SUPPORT
        for line in lines(kind)
    }
    outcomes: Counter[str] = Counter()
    for line in lines("Claim"):
        glance = reader.glance(line)
        if glance.keep_out:
            outcomes["kept out"] += 1
        else:
            outcomes[type(reader.judge("x", glance, support)).__name__] += 1
    assert outcomes == {"kept out": CLAIMS - BILLS, BillStated.__name__: BILLS}


def test_all_readings_that_programmes_use_are_read(profile: SourceProfile) -> None:
    reader = ObservationReader(profile.terms, tokens)
    support = {
        ("Patient", json.loads(line)["id"]): reader.read_supporting("Patient", line)
        for line in lines("Patient")
    }
    codes: Counter[str] = Counter()
    without_unit = 0
    for line in lines("Observation"):
        glance = reader.glance(line)
        if glance.keep_out:
            continue
        outcome = reader.judge("x", glance, support)
        if isinstance(outcome, SetAside):
            assert {fault.reason for fault in outcome.faults} == {Reason.UNIT_UNKNOWN}
            without_unit += 1
            continue
        assert isinstance(outcome, ReadingsStated)
        codes.update(reading.code.code for _, reading in outcome.readings)
    assert codes == {"4548-4": 847, "2339-0": 1251, "8480-6": 2593, "8462-4": 2593}
    # 182 blood pressures carry no unit: nobody guesses it.
    assert without_unit == 182


def test_readings_are_pulled_too(bridge: Bridge) -> None:
    answer = bridge.stub.PullReadings(pb.PullReadingsRequest(hospital=HOSPITAL), timeout=CALL_S)
    assert (answer.received, answer.more) == (0, False)  # none was put there
