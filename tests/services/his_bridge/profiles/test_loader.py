"""A source profile is read strictly: every fault of it at once, each with its line."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from services.common.strict_yaml import StrictYamlError
from services.his_bridge.core.bill import CareType, Licence, Tier
from services.his_bridge.core.terms import LineAmount, SocialInsuranceSource
from services.his_bridge.main import EXAMPLE_PROFILES
from services.his_bridge.profiles.loader import ProfileError, load_profiles, parse_profile
from tests.services.his_bridge.messages_hl7 import PROFILE as MLLP_PROFILE
from tests.services.his_bridge.records import PROFILE, write_profile
from tests.services.his_bridge.test_dropped_corrections import CSV_PROFILE

QUIRK = "quirks.line_without_net"


def test_the_examples_load() -> None:
    profiles = load_profiles(EXAMPLE_PROFILES, {})
    assert set(profiles) == {"synthea", "demo-hospital"}
    synthea = profiles["synthea"].terms
    assert synthea.line_without_net.first is LineAmount.REMAINDER
    assert synthea.line_without_net.first_among == (Decimal(75), Decimal(125), Decimal(255))
    assert (synthea.first_day, synthea.last_day) == (date(2019, 1, 1), date(2020, 12, 31))
    assert synthea.social_insurance is SocialInsuranceSource.NOT_USED
    demo = profiles["demo-hospital"].terms
    assert demo.tier is Tier.TERTIARY
    assert set(demo.encounter_types.values()) == {CareType.CHRONIC}


def test_licences_are_those_of_the_profile_each_once() -> None:
    text = PROFILE.replace("tier: secondary", "licences: [internet_hospital, hospital, hospital]")
    terms = parse_profile(text, "good.yaml").terms
    assert terms.licences == (Licence.INTERNET_HOSPITAL, Licence.HOSPITAL)
    assert parse_profile(PROFILE, "good.yaml").terms.licences == ()


def faults(text: str) -> dict[str, tuple[str, int]]:
    with pytest.raises(StrictYamlError) as caught:
        parse_profile(text, "bad.yaml")
    return {fault.path: (fault.reason, fault.line) for fault in caught.value.faults}


@pytest.mark.parametrize("zone", ["localtime", "Factory", "posixrules", "asia/shanghai"])
def test_a_zone_is_one_of_the_database_and_not_the_servers_own(zone: str) -> None:
    told = faults(PROFILE.replace("zone: Asia/Shanghai", f"zone: {zone}"))
    assert {path: reason for path, (reason, _) in told.items()} == {"zone": "ZONE"}


def test_every_fault_is_named_at_once_with_its_line() -> None:
    text = PROFILE.replace("Asia/Shanghai", "Asia/Beijing").replace("CNY", "XXX")
    text = text.replace("tier: secondary", "tier: fourth").replace("page_size: 50", "page_size: 0")
    text += "surprise: 1\nperiod: {first_day: 2026-02-30, last_day: 2020-01-01}\n"
    line = {name: number for number, name in enumerate(text.splitlines(), start=1)}
    assert faults(text) == {
        "zone": ("ZONE", line["zone: Asia/Beijing"]),
        "currency": ("CURRENCY", line["currency: XXX"]),
        "provider.tier": ("CHOICE", 10),
        "pull.page_size": ("NUMBER", 28),
        "surprise": ("UNKNOWN_KEY", line["surprise: 1"]),
        "period.first_day": ("DATE", line["surprise: 1"] + 1),
    }


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("overlap_s: 5", "overlap_s: 5.5", "pull.overlap_s"),
        ("hospital: demo", "hospital: Demo", "hospital"),
        ("tier: secondary", "licences: [hospital, zoo]", "provider.licences"),
        ("tier: secondary", "licences: hospital", "provider.licences"),
        ("fhir_r4", "hl7v3", "dialect"),
        ("http://127.0.0.1:8091", "http://10.0.0.5", "base_url"),
        ("127.0.0.1", "user:secret@127.0.0.1", "base_url"),
        ("identifier_system", "id: H1, identifier_system", "provider.id"),
        ("kind: CN-ID", "kind: ''", "identities[0].kind"),
        ('to: "urn:lipei:demo:yibao-code"', 'to: "urn:other"', "codes.lines.maps[0].to"),
        ("clinic", "friend", "readings.categories"),
        ('units: ["%"]', "units: []", "readings.codes[0].units"),
        ("from_extension", "certainly", "social_insurance"),
        ("pull:", "charset: gb18030\npull:", "charset"),
        ("pull:", "quirks: {line_without_net: {others: remainder}}\npull:", f"{QUIRK}.others"),
        (
            "pull:",
            "quirks: {line_without_net: {first_among: ['1.00']}}\npull:",
            f"{QUIRK}.first_among",
        ),
        (
            "pull:",
            "quirks: {line_without_net: {first: remainder, first_among: [NaN]}}\npull:",
            f"{QUIRK}.first_among",
        ),
    ],
)
def test_each_key_is_checked(old: str, new: str, path: str) -> None:
    assert old in PROFILE
    assert path in faults(PROFILE.replace(old, new, 1))


def test_another_charset_is_told_where_it_stands() -> None:
    with pytest.raises(StrictYamlError) as caught:
        parse_profile(PROFILE.replace("pull:", "charset: gb18030\npull:", 1), "x.yaml")
    (fault,) = caught.value.faults
    assert (fault.path, fault.reason) == ("charset", "TEXT")
    assert "source.charset (of dropped files)" in fault.text


def test_plain_http_inside_the_hospital_must_be_meant() -> None:
    text = PROFILE.replace("http://127.0.0.1:8091", "http://10.0.0.5") + "allow_plain_http: true\n"
    assert parse_profile(text, "x.yaml").terms.base_url == "http://10.0.0.5/fhir"


def test_the_environment_replaces_the_base_url(tmp_path: Path) -> None:
    write_profile(tmp_path, "http://127.0.0.1:1/fhir")
    environ = {"LIPEI_HIS_BRIDGE_BASE_URL_DEMO_HOSPITAL": "http://127.0.0.1:2/fhir/"}
    found = load_profiles(tmp_path, environ)["demo-hospital"]
    assert found.terms.base_url == "http://127.0.0.1:2/fhir"


def test_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    write_profile(tmp_path, "http://127.0.0.1:1/fhir")
    (tmp_path / "demo-hospital.yaml").rename(tmp_path / "other.yaml")
    (tmp_path / "bad.yaml").write_text("hospital: [", "utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profiles(tmp_path, {})
    assert "bad.yaml" in str(caught.value)
    assert "must be named demo-hospital.yaml" in str(caught.value)


def test_no_profile_at_all_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ProfileError):
        load_profiles(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "was", "mistyped", "place"),
    [
        (
            PROFILE + "source: {kind: files, format: ndjson, folder: /x}\n",
            "kind: files",
            "kind: file",
            "source.kind",
        ),
        (PROFILE + "source: {kind: mllp, port: 2575}\n", "kind: mllp", "kind: MLLP", "source.kind"),
        (MLLP_PROFILE, "hl7v2\n", "hl7\n", "dialect"),
        (CSV_PROFILE.replace("FOLDER", "/x"), "sql_rows\n", "sql\n", "dialect"),
    ],
    ids=["files", "mllp", "hl7v2", "sql_rows"],
)
def test_one_mistyped_word_is_one_fault(text: str, was: str, mistyped: str, place: str) -> None:
    text = text.replace("base_url: http://127.0.0.1:8091/fhir\n", "", 1)
    assert text.count(was) >= 1
    with pytest.raises(StrictYamlError) as caught:
        parse_profile(text.replace(was, mistyped, 1), "p.yaml")
    assert [fault.path for fault in caught.value.faults] == [place]


def test_a_mistyped_kind_hides_no_other_fault() -> None:
    text = PROFILE.replace("CNY", "yuan") + "source: {kind: file, format: ndjson}\n"
    with pytest.raises(StrictYamlError) as caught:
        parse_profile(text, "p.yaml")
    assert {fault.path for fault in caught.value.faults} == {"source.kind", "currency"}
