"""A good invoice, a good charge, what they point at, and how the bridge judges them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from services.his_bridge.core.fhir_terms import BillsFrom, CoverageRule, FhirTerms, GroupBy
from services.his_bridge.core.outcomes import Outcome
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4 import (
    ChargeItemReader,
    ClaimReader,
    InvoiceReader,
    points_at,
)
from tests.services.his_bridge.records import (
    BASE_URL,
    FUND_PAID,
    ICD_10,
    TERMS,
    YIBAO,
    Resource,
    as_bytes,
    concept,
    condition,
    encounter,
    money,
    organization,
    patient,
    tokens,
)

Resources = dict[str, Resource]

INVOICES = FhirTerms(bills_from=BillsFrom.INVOICE)
BY_ACCOUNT = FhirTerms(bills_from=BillsFrom.CHARGE_ITEM)
BY_ENCOUNTER = FhirTerms(bills_from=BillsFrom.CHARGE_ITEM, group_by=GroupBy.ENCOUNTER)
PAYORS, PAYOR = "urn:test:payors", "LIPEI"
COVERED = (CoverageRule(system=PAYORS, payor=PAYOR, kind="MEMBER-NO"),)


def visit() -> Resource:
    return {
        **encounter(),
        "status": "finished",
        "diagnosis": [{"condition": {"reference": "Condition/c1"}, "rank": 1}],
    }


def account() -> Resource:
    return {
        "resourceType": "Account",
        "id": "a1",
        "identifier": [{"value": "ACC-1"}],
        "status": "active",
        "subject": [{"reference": "Patient/p1"}],
        "coverage": [{"coverage": {"reference": "Coverage/v1"}}],
    }


def coverage() -> Resource:
    return {
        "resourceType": "Coverage",
        "id": "v1",
        "status": "active",
        "subscriberId": "M-0007-77",
        "beneficiary": {"reference": "Patient/p1"},
        "relationship": concept("http://terminology.hl7.org/x", "self"),
        "payor": [{"identifier": {"system": PAYORS, "value": PAYOR}}],
    }


def charge(key: str = "i1") -> Resource:
    return {
        "resourceType": "ChargeItem",
        "id": key,
        "status": "billable",
        "code": concept(YIBAO, "250101001", "血常规"),
        "subject": {"reference": "Patient/p1"},
        "context": {"reference": "Encounter/e1"},
        "account": [{"reference": "Account/a1"}],
        "occurrenceDateTime": "2026-03-01T09:40:00+08:00",
        "performingOrganization": {"reference": "Organization/org1"},
        "quantity": {"value": 3},
        "priceOverride": money(30),
        "reason": [concept(ICD_10, "I10", "高血压")],
    }


def component(kind: str, value: float) -> Resource:
    return {"type": kind, "amount": money(value)}


def invoice() -> Resource:
    return {
        "resourceType": "Invoice",
        "id": "n1",
        "identifier": [{"value": "INV-1"}],
        "status": "issued",
        "subject": {"reference": "Patient/p1"},
        "issuer": {"reference": "Organization/org1"},
        "account": {"reference": "Account/a1"},
        "date": "2026-03-02",
        "lineItem": [
            {
                "sequence": 1,
                "chargeItemReference": {"reference": "ChargeItem/i1"},
                "priceComponent": [component("base", 33), component("discount", 3)],
                "extension": [{"url": FUND_PAID, "valueMoney": money(20)}],
            },
            {
                "sequence": 2,
                "chargeItemCodeableConcept": concept(YIBAO, "110200001", "诊察费"),
                "priceComponent": [
                    component("base", 50),
                    component("surcharge", 5),
                    component("deduction", -5),
                    component("tax", 3),
                    component("informational", 99),
                ],
                "extension": [{"url": FUND_PAID, "valueMoney": money(0)}],
            },
        ],
        "totalNet": money(80),
        "totalGross": money(83),
        "extension": [
            {
                "url": "urn:lipei:fhir:social-insurance",
                "extension": [{"url": "used", "valueBoolean": True}],
            }
        ],
    }


def everything() -> Resources:
    found = [
        *(patient(), organization(), condition(), visit()),
        *(account(), coverage(), charge(), invoice()),
    ]
    return copy.deepcopy({one["resourceType"]: one for one in found})


def judge(
    resources: Mapping[str, Resource],
    kind: str,
    own: FhirTerms,
    terms: SourceTerms = TERMS,
    raw: bytes | None = None,
) -> Outcome:
    """What the bridge makes of one record, with what it points at, near and far."""
    made: Any = {"Invoice": InvoiceReader, "Claim": ClaimReader}.get(kind, ChargeItemReader)
    reader = made(terms, tokens, own)
    record = resources[kind]
    glance = reader.glance(raw or as_bytes(record))
    by_key = {(one["resourceType"], one["id"]): as_bytes(one) for one in resources.values()}
    wanted, found = set(glance.needs), {}
    while wanted:
        key = wanted.pop()
        if key in by_key and key not in found:
            found[key] = by_key[key]
            wanted |= points_at(key[0], by_key[key], BASE_URL)
    support = {key: reader.read_supporting(key[0], raw) for key, raw in found.items()}
    outcome: Outcome = reader.judge(record["id"], glance, support)
    return outcome
