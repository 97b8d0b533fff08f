"""Profiles of FHIR servers with SMART, of bulk exports and of folders are read strictly too."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.strict_yaml import StrictYamlError
from services.his_bridge.core.fhir_terms import BillsFrom, CoverageRule, FhirTerms, GroupBy
from services.his_bridge.main import EXAMPLE_PROFILES
from services.his_bridge.profiles.loader import SourceProfile, parse_profile
from services.his_bridge.profiles.source_kinds.fhir_bulk import FhirBulkSettings
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.profiles.source_kinds.files import FileFormat, FilesSettings, Ready
from services.his_bridge.profiles.source_kinds.smart import SmartClient
from tests.services.his_bridge.records import PROFILE

EXAMPLES = EXAMPLE_PROFILES / "examples"
KEY = {"LIPEI_HIS_BRIDGE_SMART_KEY_FILE_FHIR_HOSPITAL": "/run/keys/fhir.pem"}


def example(name: str) -> SourceProfile:
    path = EXAMPLES / f"{name}.yaml"
    found = parse_profile(path.read_bytes(), path.name, KEY)
    assert found.terms.hospital == name
    return found


def test_the_example_of_a_fhir_server() -> None:
    found = example("fhir-hospital")
    assert found.source == FhirRestSettings(
        base_url="https://fhir.hospital.example/r4",
        smart=SmartClient(
            client_id="lipei",
            key_file=Path("/run/keys/fhir.pem"),
            algorithm="ES384",
            scopes=("system/*.read",),
        ),
    )
    assert found.dialect_terms == FhirTerms(
        bills_from=BillsFrom.CHARGE_ITEM,
        group_by=GroupBy.ACCOUNT,
        coverages=(CoverageRule(system="urn:example:payors", payor="LIPEI", kind="MEMBER-NO"),),
    )


def test_the_example_of_a_bulk_export() -> None:
    found = example("bulk-hospital")
    assert isinstance(found.source, FhirBulkSettings)
    assert found.source.export == "Group/lipei-members"
    assert found.source.file_hosts == ("files.hospital.example",)
    assert found.terms.base_url == found.source.base_url
    assert found.scope != example("fhir-hospital").scope


def test_the_example_of_a_folder() -> None:
    source = example("folder-hospital").source
    assert source == FilesSettings(
        folder=Path("/srv/lipei/folder-hospital"),
        format=FileFormat.NDJSON,
        ready=Ready.RENAME,
        settle_s=5,
        keep_days=30,
    )


def test_a_fhir_profile_without_more_reads_claims_by_search() -> None:
    found = parse_profile(PROFILE, "x")
    assert found.dialect_terms == FhirTerms()
    assert isinstance(found.source, FhirRestSettings)
    assert found.source.smart is None


def faults(more: str, *, without: str = "\0") -> set[str]:
    with pytest.raises(StrictYamlError) as caught:
        parse_profile(PROFILE.replace(without, "") + more, "bad.yaml")
    return {fault.path for fault in caught.value.faults}


AUTH = "source: {{kind: fhir_rest, auth: {{client_id: lipei, key_file: /k, {}}}}}\n"
BULK = "source: {{kind: fhir_bulk, {}}}\n"
FILES = "source: {{kind: files, {}}}\n"
COVERAGE = "fhir_r4.coverage_identities[0]"
FHIR = "fhir_r4: {{{}}}\n"


@pytest.mark.parametrize(
    ("form", "more", "path"),
    [
        (AUTH, "algorithm: HS256", "source.auth.algorithm"),
        (AUTH, "scopes: [everything]", "source.auth.scopes"),
        (AUTH, "scopes: [patient/*.read]", "source.auth.scopes"),
        (AUTH, "token_url: 'http://10.0.0.5/token'", "source.auth.token_url"),
        (AUTH, "token_url: 'https://u:p@h.example/token'", "source.auth.token_url"),
        (AUTH, "secret: s", "source.auth.secret"),
        (BULK, "export: '../x'", "source.export"),
        (BULK, "export: Group", "source.export"),
        (BULK, "every_s: -1", "source.every_s"),
        (BULK, "file_hosts: ['https://x']", "source.file_hosts"),
        (BULK, "deleted_withdraws: 1", "source.deleted_withdraws"),
        (BULK, "max_ratio: 0", "source.max_ratio"),
        (FHIR, "bills_from: bundle", "fhir_r4.bills_from"),
        (FHIR, "group_by: account", "fhir_r4.group_by"),
        (FHIR, "bills_from: charge_item, group_by: patient", "fhir_r4.group_by"),
        (
            FHIR,
            "coverage_identities: [{payor: P, kind: K}]",
            "fhir_r4.coverage_identities[0].system",
        ),
        (FHIR, "surprise: 1", "fhir_r4.surprise"),
    ],
)
def test_each_key_is_checked(form: str, more: str, path: str) -> None:
    assert path in faults(form.format(more))


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ("format: ndjson", "source.folder"),
        ("folder: drop, format: ndjson", "source.folder"),
        ("folder: /drop", "source.format"),
        ("folder: /drop, format: xml", "source.format"),
        ("folder: /drop, format: csv, csv: {key: K, lines: [A]}", "source.format"),  # of fhir_r4
        ("folder: /drop, format: hl7", "source.format"),
        ("folder: /drop, format: ndjson, csv: {key: K, lines: [A]}", "source.csv"),
        ("folder: /drop, format: csv", "source.csv"),
        ("folder: /drop, format: csv, csv: {key: K, lines: []}", "source.csv.lines"),
        ("folder: /drop, format: csv, csv: {key: K, lines: [K]}", "source.csv.lines"),
        (
            "folder: /drop, format: csv, csv: {key: K, lines: [A], delimiter: '.'}",
            "source.csv.delimiter",
        ),
        ("folder: /drop, format: ndjson, charset: latin-1", "source.charset"),
        ("folder: /drop, format: ndjson, ready: soon", "source.ready"),
        ("folder: /drop, format: ndjson, record_id: 'a..b'", "source.record_id"),
        ("folder: /drop, format: ndjson, max_entries: 0", "source.max_entries"),
        ("folder: /drop, format: ndjson, keep_days: -1", "source.keep_days"),
        ("folder: /drop, format: ndjson, auth: {client_id: x}", "source.auth"),
    ],
)
def test_each_key_of_a_folder_is_checked(more: str, path: str) -> None:
    assert path in faults(FILES.format(more), without="base_url: http://127.0.0.1:8091/fhir\n")


def test_the_key_must_be_named_somewhere() -> None:
    assert faults("source: {auth: {client_id: lipei}}\n") == {"source.auth.key_file"}


def test_the_environment_names_the_folder() -> None:
    text = PROFILE.replace("base_url: http://127.0.0.1:8091/fhir\n", "")
    environ = {"LIPEI_HIS_BRIDGE_FOLDER_DEMO_HOSPITAL": "/mnt/drop"}
    found = parse_profile(f"{text}source: {{kind: files, format: ndjson}}\n", "x", environ)
    assert isinstance(found.source, FilesSettings)
    assert found.source.folder == Path("/mnt/drop")
