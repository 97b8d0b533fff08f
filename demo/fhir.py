"""The demo hospital in FHIR R4, as a Chinese hospital's system could hold it. Draws nothing.

Identifier systems and extensions are those of the demo's source profile: docs/his-bridge.md. The
fault that a bill is planted with is written in here; the bill itself is always right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from demo.hospital.bills import Bill, Planted
from demo.hospital.codes import DISEASES, ICD_10, YIBAO
from demo.hospital.hospital import Hospital
from demo.hospital.people import Person
from demo.hospital.readings import Kind, Reading
from demo.hospital.split import CLINIC, HOSPITAL

Resource = dict[str, Any]

CN_ID = "urn:oid:2.16.156.10011.1.3"
RECORD_NUMBER = "urn:lipei:demo:mrn"
PROVIDER = "urn:lipei:demo:provider"
BILL_NUMBER = "urn:lipei:demo:bill-number"
VISIT_TYPE = "urn:lipei:demo:visit-type"
HOSPITAL_TIER = "urn:lipei:fhir:hospital-tier"
SOCIAL_INSURANCE = "urn:lipei:fhir:social-insurance"
FUND_PAID = "urn:lipei:fhir:fund-paid"
LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
LOINC_CODES = {
    Kind.HBA1C: ("4548-4", "糖化血红蛋白"),
    Kind.FASTING: ("14771-0", "空腹血糖"),
    Kind.GLUCOSE: ("15074-8", "血糖"),
    Kind.SYSTOLIC: ("8480-6", "收缩压"),
    Kind.DIASTOLIC: ("8462-4", "舒张压"),
}
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_ACT_CODE = f"{_TERMINOLOGY}/v3-ActCode"
_UNKNOWN_SYSTEM = "urn:example:unknown"

_ORGANISATIONS = {HOSPITAL: "org-hospital", CLINIC: "org-clinic"}
# An on-line follow-up (互联网复诊) is a virtual encounter.
_ENCOUNTER_CLASS = {"AMB": "AMB", "REFILL": "AMB", "EMER": "EMER", "IMP": "IMP", "ONLINE": "VR"}


def resources(hospital: Hospital) -> list[Resource]:
    """Everything that the server is filled with; what is referred to comes before who refers."""
    found: list[Resource] = [
        _organisation(HOSPITAL, "示例市第一人民医院", "tertiary", "三级甲等"),
        _organisation(CLINIC, "示例市东城社区卫生服务中心", "primary", "一级"),
    ]
    found += map(_patient, (*hospital.roster.people, *hospital.visitors))
    found += _observations(hospital.record.hospital)
    for bill in hospital.bills:
        found += _conditions(bill)
        found.append(_encounter(bill))
    found += map(_claim, hospital.bills)
    return found


def _organisation(number: str, name: str, tier: str, grade: str) -> Resource:
    return {
        "resourceType": "Organization",
        "id": _ORGANISATIONS[number],
        "extension": [{"url": HOSPITAL_TIER, "valueCode": tier}],
        "identifier": [{"system": PROVIDER, "value": number}],
        "active": True,
        "type": [{"text": grade}],
        "name": name,
    }


def _patient(person: Person) -> Resource:
    identifiers = [{"system": RECORD_NUMBER, "value": f"M{person.key[1:]}"}]
    if person.id_number is not None:
        identifiers.insert(0, {"system": CN_ID, "value": person.id_number})
    return {
        "resourceType": "Patient",
        "id": person.key,
        "identifier": identifiers,
        "name": [{"use": "official", "text": person.name}],
        "gender": "female" if person.female else "male",
        "birthDate": person.born.isoformat(),
    }


def _observations(readings: Iterable[Reading]) -> Iterator[Resource]:
    """One Observation for each value of the laboratory, and one for each pair of pressures."""
    together = itertools.groupby(readings, key=lambda one: (one.at, one.person.key))
    index = 0
    for _, found in together:
        by_kind = {one.kind: one for one in found}
        for kind in (Kind.HBA1C, Kind.FASTING):
            if kind in by_kind:
                index += 1
                yield _observation(f"o{index:05d}", by_kind[kind])
        if Kind.SYSTOLIC in by_kind:
            index += 1
            yield _pressure(f"o{index:05d}", by_kind[Kind.SYSTOLIC], by_kind[Kind.DIASTOLIC])


def _observation(key: str, reading: Reading) -> Resource:
    code, text = LOINC_CODES[reading.kind]
    return {
        **_observed(key, reading, "laboratory"),
        "code": _concept(LOINC, code, text),
        "valueQuantity": _quantity(reading.value, reading.unit),
    }


def _pressure(key: str, top: Reading, bottom: Reading) -> Resource:
    return {
        **_observed(key, top, "vital-signs"),
        "code": _concept(LOINC, "55284-4", "血压"),
        "component": [
            {
                "code": _concept(LOINC, LOINC_CODES[one.kind][0]),
                "valueQuantity": _quantity(one.value, one.unit),
            }
            for one in (top, bottom)
        ],
    }


def _observed(key: str, reading: Reading, category: str) -> Resource:
    return {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "subject": {"reference": f"Patient/{reading.person.key}"},
        "effectiveDateTime": reading.at.isoformat(),
        # When the hospital released it: a late one misses its month.
        "issued": reading.received.isoformat(),
        "category": [_concept(f"{_TERMINOLOGY}/observation-category", category)],
    }


def _conditions(bill: Bill) -> Iterator[Resource]:
    for index, code in enumerate(bill.diseases, start=1):
        yield {
            "resourceType": "Condition",
            "id": f"c{_serial(bill)}-{index}",
            "code": _concept(ICD_10, code, DISEASES[code].text),
            "subject": {"reference": f"Patient/{bill.person.key}"},
            "encounter": {"reference": f"Encounter/e{_serial(bill)}"},
            "recordedDate": bill.start.isoformat(),
        }


def _encounter(bill: Bill) -> Resource:
    encounter: Resource = {
        "resourceType": "Encounter",
        "id": f"e{_serial(bill)}",
        "status": "finished",
        "class": {"system": _ACT_CODE, "code": _ENCOUNTER_CLASS[bill.care]},
        "subject": {"reference": f"Patient/{bill.person.key}"},
        "period": {"start": bill.start.isoformat(), "end": bill.end.isoformat()},
        "serviceProvider": {"reference": f"Organization/{_ORGANISATIONS[bill.provider]}"},
    }
    if bill.care == "REFILL":
        encounter["type"] = [_concept(VISIT_TYPE, "chronic-refill", "门诊慢特病")]
    return encounter


def _claim(bill: Bill) -> Resource:
    claim: Resource = {
        "resourceType": "Claim",
        "id": claim_id(bill.number),
        "extension": [_social_insurance(bill)],
        "identifier": [{"system": BILL_NUMBER, "value": bill.number}],
        "status": "active",
        "type": _concept(f"{_TERMINOLOGY}/claim-type", "institutional"),
        "use": "claim",
        "patient": {"reference": f"Patient/{bill.person.key}"},
        "billablePeriod": {"start": bill.start.isoformat(), "end": bill.end.isoformat()},
        "created": bill.end.isoformat(),
        "provider": {"reference": f"Organization/{_ORGANISATIONS[bill.provider]}"},
        "priority": _concept(f"{_TERMINOLOGY}/processpriority", "normal"),
        "diagnosis": [
            {
                "sequence": index,
                "diagnosisReference": {"reference": f"Condition/c{_serial(bill)}-{index}"},
                "type": [_concept(f"{_TERMINOLOGY}/ex-diagnosistype", kind)],
            }
            for index, kind in _ranks(bill)
        ],
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "商业健康保险"}}],
        "item": [_item(bill, index) for index in range(len(bill.lines))],
        "total": _money(bill.total),
    }
    return _with_fault(claim, bill)


def _ranks(bill: Bill) -> Iterator[tuple[int, str]]:
    for index in range(1, len(bill.diseases) + 1):
        yield index, "principal" if index == 1 else "clinical"


def _item(bill: Bill, index: int) -> Resource:
    line = bill.lines[index]
    item: Resource = {
        "sequence": index + 1,
        "productOrService": _concept(YIBAO, line.service.code, line.service.text),
        "servicedDate": line.day.isoformat(),
        "quantity": {"value": _number(line.quantity), "unit": line.service.unit},
        "unitPrice": _money(line.service.price),
        "net": _money(line.net),
        "encounter": [{"reference": f"Encounter/e{_serial(bill)}"}],
    }
    if line.fund_paid is not None:
        item["extension"] = [{"url": FUND_PAID, "valueMoney": _money(line.fund_paid)}]
    return item


def _social_insurance(bill: Bill) -> Resource:
    parts: list[Resource] = [{"url": "used", "valueBoolean": bill.social}]
    if bill.social:
        parts.append({"url": "fundPaid", "valueMoney": _money(bill.fund_paid)})
        parts.append({"url": "accountPaid", "valueMoney": _money(bill.account_paid)})
    return {"url": SOCIAL_INSURANCE, "extension": parts}


def _with_fault(claim: Resource, bill: Bill) -> Resource:
    """The claim with the one fault that its bill is planted with; most have none."""
    first = claim["item"][0]
    match bill.planted:
        case Planted.UNBALANCED:
            claim["total"] = _money(bill.total + Decimal("1.00"))
        case Planted.WRONG_LINE:
            first["net"] = _money(bill.lines[0].net + Decimal("0.10"))
            claim["total"] = _money(bill.total + Decimal("0.10"))
        case Planted.UNKNOWN_CODE:
            first["productOrService"] = _concept(_UNKNOWN_SYSTEM, "A-17", "自定义项目")
        case Planted.IMPOSSIBLE_DATE:
            claim["billablePeriod"]["start"] = "2025-02-30T09:00:00+08:00"
        case Planted.END_BEFORE_START:
            claim["billablePeriod"] = {
                "start": bill.end.isoformat(),
                "end": bill.start.isoformat(),
            }
        case Planted.NEGATIVE:
            first["net"] = _money(-bill.lines[0].net)
            first["unitPrice"] = _money(-bill.lines[0].service.price)
            claim["total"] = _money(bill.total - 2 * bill.lines[0].net)
        case Planted.FACT_MISSING | Planted.WITHDRAWN:
            del claim["extension"]
            for item in claim["item"]:
                item.pop("extension", None)
        case _:
            pass
    return claim


def claim_id(bill_number: str) -> str:
    """The id of a bill's Claim at the FHIR server.

    >>> claim_id("99000125-0000000017")
    'b000017'
    """
    return f"b{bill_number[-6:]}"


def _serial(bill: Bill) -> str:
    return bill.number[-6:]


def _concept(system: str, code: str, text: str = "") -> Resource:
    coding = {"system": system, "code": code}
    if text:
        coding["display"] = text
    return {"coding": [coding]}


def _quantity(value: Decimal, unit: str) -> Resource:
    return {"value": _number(value), "unit": unit, "system": _UCUM, "code": unit}


def _money(amount: Decimal) -> Resource:
    return {"value": _number(amount), "currency": "CNY"}


def _number(value: Decimal) -> int | float:
    """As a JSON number. Exact: no amount here has more than 15 digits."""
    return int(value) if value == value.to_integral_value() else float(value)
