"""A good bill of a Chinese hospital in FHIR R4, and how to judge a record as the bridge does."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.common.identity import member_token
from services.his_bridge.core.outcomes import Outcome
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import ClaimReader, ObservationReader
from services.his_bridge.profiles.loader import SourceProfile, parse_profile

Resource = dict[str, Any]

KEY = bytes(range(32))
BASE_URL = "http://127.0.0.1:8091/fhir"
CN_ID = "urn:oid:2.16.156.10011.1.3"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
YIBAO = "urn:lipei:demo:yibao-code"
LOINC = "http://loinc.org"
CLAIM_TYPE = "http://terminology.hl7.org/CodeSystem/claim-type"
FUND_PAID = "urn:lipei:fhir:fund-paid"
SOCIAL = "urn:lipei:fhir:social-insurance"

PROFILE = f"""
hospital: demo-hospital
dialect: fhir_r4
base_url: {BASE_URL}
zone: Asia/Shanghai
currency: CNY
identities:
  - {{system: "{CN_ID}", kind: CN-ID}}
  - {{system: "urn:test:passport", kind: PASSPORT}}
provider: {{identifier_system: "urn:test:provider", tier: secondary}}
codes:
  lines:
    accepted:
      - {{system: "{YIBAO}", public_displays: true}}
      - {{system: "urn:test:private-texts"}}
    maps:
      - {{from: "urn:test:local", to: "{YIBAO}", codes: {{XUEJIAN: "250101001"}}}}
  diagnoses:
    accepted:
      - {{system: "{ICD_10}", public_displays: true}}
social_insurance: from_extension
readings:
  categories: {{laboratory: laboratory, vital-signs: clinic}}
  codes:
    - {{loinc: 4548-4, units: ["%"]}}
    - {{loinc: 8480-6, units: ["mm[Hg]"]}}
    - {{loinc: 8462-4, units: ["mm[Hg]"]}}
pull: {{page_size: 50, overlap_s: 5, lease_s: 1, requests_per_s: 1000, max_wait_s: 1}}
"""
NAME, NUMBER, PHONE = "欧阳建国", "11010119900307002X", "13912345678"


def profile(change: Callable[[str], str] = lambda text: text) -> SourceProfile:
    return parse_profile(change(PROFILE), "test.yaml")


TERMS: SourceTerms = profile().terms


def tokens(kind: str, number: str) -> str:
    return member_token(kind, number, key=KEY, key_version="k1")


TOKEN = tokens("CN-ID", NUMBER)


def money(value: float, currency: str = "CNY") -> Resource:
    return {"value": value, "currency": currency}


def concept(system: str, code: str, display: str = "") -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": NAME}


def patient(key: str = "p1", number: str = NUMBER, name: str = NAME) -> Resource:
    return {
        "resourceType": "Patient",
        "id": key,
        "identifier": [{"system": "urn:test:mrn", "value": f"MRN-{key}-77"}]
        + ([{"system": CN_ID, "value": number}] if number else []),
        "name": [{"text": name}],
        "telecom": [{"value": PHONE}],
        "birthDate": "1990-03-07",
    }


def organization() -> Resource:
    return {
        "resourceType": "Organization",
        "id": "org1",
        "identifier": [{"system": "urn:test:provider", "value": "H110101"}],
        "name": "示例医院",
    }


def condition(key: str = "c1") -> Resource:
    return {
        "resourceType": "Condition",
        "id": key,
        "code": concept(ICD_10, "E11.9", "2型糖尿病"),
        "subject": {"reference": "Patient/p1"},
    }


def encounter(key: str = "e1", kind: str = "AMB") -> Resource:
    return {
        "resourceType": "Encounter",
        "id": key,
        "class": {"code": kind},
        "subject": {"reference": "Patient/p1", "display": NAME},
        "period": {"start": "2026-03-01T09:00:00+08:00", "end": "2026-03-01T10:30:00+08:00"},
    }


def claim(key: str = "b1", person: str = "p1") -> Resource:
    return {
        "resourceType": "Claim",
        "id": key,
        "identifier": [{"system": "urn:test:bill", "value": f"NO-{key}"}],
        "status": "active",
        "use": "claim",
        "type": concept(CLAIM_TYPE, "institutional"),
        "patient": {"reference": f"Patient/{person}", "display": NAME},
        "provider": {"reference": "Organization/org1"},
        "billablePeriod": {
            "start": "2026-03-01T09:00:00+08:00",
            "end": "2026-03-01T10:30:00+08:00",
        },
        "diagnosis": [
            {
                "sequence": 1,
                "diagnosisReference": {"reference": "Condition/c1"},
                "type": [concept("x", "principal")],
            }
        ],
        "item": [
            {
                "sequence": 1,
                "productOrService": concept(YIBAO, "110200001", "普通门诊诊察费"),
                "quantity": {"value": 1},
                "unitPrice": money(50),
                "net": money(50),
                "servicedDate": "2026-03-01",
                "diagnosisSequence": [1],
                "encounter": [{"reference": "Encounter/e1"}],
                "extension": [{"url": FUND_PAID, "valueMoney": money(40)}],
            },
            {
                "sequence": 2,
                "productOrService": {
                    "coding": [
                        {"system": "urn:test:local", "code": "XUEJIAN", "display": f"{NAME}血检"}
                    ]
                },
                "quantity": {"value": 3},
                "unitPrice": money(3.335),
                "net": money(10.01),
                "encounter": [{"reference": "Encounter/e1"}],
                "extension": [{"url": FUND_PAID, "valueMoney": money(0)}],
            },
        ],
        "total": money(60.01),
        "extension": [
            {
                "url": SOCIAL,
                "extension": [
                    {"url": "used", "valueBoolean": True},
                    {"url": "fundPaid", "valueMoney": money(40)},
                    {"url": "accountPaid", "valueMoney": money(20.01)},
                ],
            }
        ],
    }


def observation(key: str = "o1") -> Resource:
    return {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "category": [concept("x", "laboratory")],
        "code": concept(LOINC, "4548-4", "HbA1c"),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-03-01T09:30:00+08:00",
        "valueQuantity": {"value": 7.2, "unit": "%", "code": "%"},
    }


def around() -> list[Resource]:
    """What the good bill points at."""
    return [patient(), organization(), condition(), encounter()]


def everything() -> dict[str, Resource]:
    """The good bill and what it points at, by type, free to be spoilt."""
    found = {resource["resourceType"]: resource for resource in [*around(), claim()]}
    return copy.deepcopy(found)


def judge_claim(
    resources: Mapping[str, Resource], terms: SourceTerms = TERMS, raw: bytes | None = None
) -> Outcome:
    """What the bridge makes of a claim; `raw` are its bytes when JSON cannot say them."""
    reader = ClaimReader(terms, tokens)
    raw = raw or as_bytes(resources["Claim"])
    glance = reader.glance(raw)
    by_key = {(kind, one["id"]): one for kind, one in resources.items() if kind != "Claim"}
    support = {
        key: reader.read_supporting(key[0], as_bytes(by_key[key]))
        for key in glance.needs
        if key in by_key
    }
    return reader.judge("b1", glance, support)


def judge_observation(
    resources: Mapping[str, Resource], terms: SourceTerms = TERMS, raw: bytes | None = None
) -> Outcome:
    """What the bridge makes of an observation."""
    reader = ObservationReader(terms, tokens)
    glance = reader.glance(raw or as_bytes(resources["Observation"]))
    support = {
        key: reader.read_supporting(key[0], as_bytes(resources["Patient"]))
        for key in glance.needs
        if "Patient" in resources
    }
    return reader.judge("o1", glance, support)


def as_bytes(resource: Resource) -> bytes:
    return json.dumps(resource, ensure_ascii=False).encode()


def write_profile(folder: Path, base_url: str, change: Callable[[str], str] = lambda t: t) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = change(PROFILE).replace(BASE_URL, base_url)
    (folder / "demo-hospital.yaml").write_text(text, "utf-8")
