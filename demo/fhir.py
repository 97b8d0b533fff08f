"""The demo hospital in FHIR R4, as a Chinese hospital's system could hold it. Draws nothing.

Identifier systems and extensions are those of the demo's source profile: docs/his-bridge.md. The
fault that a bill is planted with is written in here; the bill itself is always right.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from demo.bills import CLINIC, HOSPITAL, Bill, Planted
from demo.codes import DISEASES, ICD_10, YIBAO
from demo.hospital import Hospital, Measurement
from demo.people import Person

Resource = dict[str, Any]

CN_ID = "urn:oid:2.16.156.10011.1.3"
RECORD_NUMBER = "urn:lipei:demo:mrn"
PROVIDER = "urn:lipei:demo:provider"
BILL_NUMBER = "urn:lipei:demo:bill-number"
VISIT_TYPE = "urn:lipei:demo:visit-type"
HOSPITAL_TIER = "urn:lipei:fhir:hospital-tier"
SOCIAL_INSURANCE = "urn:lipei:fhir:social-insurance"
FUND_PAID = "urn:lipei:fhir:fund-paid"
_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_ACT_CODE = f"{_TERMINOLOGY}/v3-ActCode"
_UNKNOWN_SYSTEM = "urn:example:unknown"

_ORGANISATIONS = {HOSPITAL: "org-hospital", CLINIC: "org-clinic"}
_ENCOUNTER_CLASS = {"AMB": "AMB", "REFILL": "AMB", "EMER": "EMER", "IMP": "IMP"}


def resources(hospital: Hospital) -> list[Resource]:
    """Everything that the server is filled with; what is referred to comes before who refers."""
    found: list[Resource] = [
        _organisation(HOSPITAL, "示例市第一人民医院", "tertiary", "三级甲等"),
        _organisation(CLINIC, "示例市东城社区卫生服务中心", "primary", "一级"),
    ]
    found += map(_patient, (*hospital.roster.people, *hospital.visitors))
    for index, measurement in enumerate(hospital.measurements, start=1):
        found.append(_observation(f"o{index:05d}", measurement))
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


def _observation(key: str, measurement: Measurement) -> Resource:
    observation: Resource = {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "subject": {"reference": f"Patient/{measurement.person.key}"},
        "effectiveDateTime": measurement.at.isoformat(),
    }
    if len(measurement.values) == 1:
        observation["category"] = [_concept(f"{_TERMINOLOGY}/observation-category", "laboratory")]
        observation["code"] = _concept(_LOINC, "4548-4", "糖化血红蛋白")
        observation["valueQuantity"] = _quantity(measurement.values[0], "%")
        return observation
    observation["category"] = [_concept(f"{_TERMINOLOGY}/observation-category", "vital-signs")]
    observation["code"] = _concept(_LOINC, "55284-4", "血压")
    observation["component"] = [
        {"code": _concept(_LOINC, code), "valueQuantity": _quantity(value, "mm[Hg]")}
        for code, value in zip(("8480-6", "8462-4"), measurement.values, strict=True)
    ]
    return observation


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
        "id": f"b{_serial(bill)}",
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
        case Planted.FACT_MISSING:
            del claim["extension"]
            for item in claim["item"]:
                item.pop("extension", None)
        case _:
            pass
    return claim


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
