"""A profile of HL7 v2 over MLLP is read strictly, and opens no port to strangers by default."""

from __future__ import annotations

import pytest

from services.common.strict_yaml import StrictYamlError
from services.his_bridge.core.bill import CareType
from services.his_bridge.core.hl7v2_terms import BillBy, ChargeKind, Hl7v2Terms
from services.his_bridge.main import EXAMPLE_PROFILES
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from tests.services.his_bridge.messages_hl7 import PROFILE, profile


def faults(text: str) -> dict[str, str]:
    with pytest.raises(StrictYamlError) as caught:
        parse_profile(text, "bad.yaml")
    return {fault.path: fault.reason for fault in caught.value.faults}


def source(text: str) -> str:
    return PROFILE.replace("source: {kind: mllp}", f"source: {{kind: mllp, {text}}}")


def test_the_example_loads() -> None:
    path = EXAMPLE_PROFILES / "examples" / "mllp-hospital.yaml"
    found = parse_profile(path.read_bytes(), path.name)
    assert isinstance(found.source, MllpSettings)
    assert found.source.tls is not None
    assert (found.source.host, found.source.port) == ("10.20.0.5", 2575)
    assert isinstance(found.dialect_terms, Hl7v2Terms)
    assert found.dialect_terms.bill is BillBy.ACCOUNT


def test_without_a_word_it_listens_to_this_machine_alone_and_reads_gb18030() -> None:
    found = profile()
    assert isinstance(found.source, MllpSettings)
    assert (found.source.host, found.source.port) == ("127.0.0.1", 0)
    assert found.source.allow_from == ("127.0.0.0/8", "::1/128")
    assert isinstance(found.dialect_terms, Hl7v2Terms)
    assert found.dialect_terms.charset == "gb18030"


def test_a_port_for_others_needs_their_addresses_and_tls_or_a_word() -> None:
    assert faults(source('listen: "10.0.0.1:2575"')) == {
        "source.allow_from": "MISSING",
        "source.listen": "PLAIN_MLLP",
    }
    allowed = 'listen: "10.0.0.1:2575", allow_from: [10.0.0.2/32]'
    assert faults(source(allowed)) == {"source.listen": "PLAIN_MLLP"}
    found = parse_profile(source(f"{allowed}, allow_plain_mllp: true"), "good.yaml").source
    assert isinstance(found, MllpSettings)
    assert found.allow_from == ("10.0.0.2/32",)


def test_every_fault_is_named_at_once() -> None:
    text = source(
        'listen: "hospital:2575", allow_from: [everywhere], max_message_mib: 0, in_flight_mib: 4, '
        "tls: {certificate: cert.pem}, surprise: 1"
    )
    text = text.replace("kept_out: [ADT^A01, SIU]", "kept_out: [everything]").replace(
        "hl7v2:\n",
        "hl7v2:\n  charset: utf-16\n  bill: message\n  closes: [ADT^A03]\n"
        "  transaction_types: {AJ: refund}\n  patient_classes: {R: chronical}\n  also: 1\n",
    )
    assert faults(text) == {
        "source.listen": "ADDRESS",
        "source.allow_from": "NETWORK",
        "source.max_message_mib": "NUMBER",
        "source.in_flight_mib": "NUMBER",
        "source.tls.certificate": "TEXT",
        "source.tls.key": "MISSING",
        "source.surprise": "UNKNOWN_KEY",
        "hl7v2.charset": "TEXT",
        "hl7v2.closes": "BILL",
        "hl7v2.kept_out": "MESSAGE",
        "hl7v2.transaction_types": "CHOICE",
        "hl7v2.patient_classes": "CHOICE",
        "hl7v2.also": "UNKNOWN_KEY",
    }


def test_what_a_profile_says_of_codes_joins_what_hl7_says() -> None:
    found = profile(
        lambda text: text.replace(
            "hl7v2:\n",
            "hl7v2:\n  transaction_types: {AJ: credit}\n  patient_classes: {R: chronic}\n",
        )
    ).dialect_terms
    assert isinstance(found, Hl7v2Terms)
    assert found.transaction_types["AJ"] is ChargeKind.CREDIT
    assert found.transaction_types["CG"] is ChargeKind.CHARGE
    assert found.patient_classes["R"] is CareType.CHRONIC
    assert found.patient_classes["I"] is CareType.INPATIENT
