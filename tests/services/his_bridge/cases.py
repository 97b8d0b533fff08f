"""Every way in which a record can be bad, what spoils it, and the faults that it must show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.his_bridge.core.faults import Reason, Stage
from services.his_bridge.core.terms import SourceTerms
from tests.services.his_bridge.records import (
    CN_ID,
    FUND_PAID,
    NAME,
    NUMBER,
    PHONE,
    YIBAO,
    Resource,
    concept,
    money,
)

Resources = dict[str, Resource]


@dataclass(frozen=True)
class Case:
    """`spoil` changes the good records; `faults` are all that the bridge must name."""

    name: str
    spoil: Callable[[Resources], Any]
    faults: tuple[tuple[Reason, str], ...]
    stage: Stage = Stage.PARSE
    terms: Callable[[SourceTerms], SourceTerms] = lambda terms: terms


def case(
    name: str,
    spoil: Callable[[Resources], Any],
    *faults: tuple[Reason, str],
    stage: Stage = Stage.PARSE,
) -> Case:
    return Case(name, spoil, faults, stage)


def _item(resources: Resources, index: int = 0) -> Resource:
    item: Resource = resources["Claim"]["item"][index]
    return item


def _two_things(r: Resources) -> None:
    r["Claim"]["total"]["currency"] = "USD"
    _item(r)["quantity"]["value"] = 0
    _item(r, 1)["productOrService"] = concept("urn:nobody", "1")
    r["Patient"]["identifier"] = []


def _two_contained(r: Resources) -> None:
    r["Claim"]["patient"]["reference"] = "#p"
    r["Claim"]["contained"] = [{**r["Patient"], "id": "p"}, {**r["Patient"], "id": "p"}]


def _more_than_fund(r: Resources) -> None:
    _item(r, 1)["extension"] = [{"url": FUND_PAID, "valueMoney": money(1)}]


def _negative(r: Resources) -> None:
    _item(r)["net"] = money(-50)
    _item(r)["unitPrice"] = money(-50)


def _odd_price(r: Resources) -> None:
    # A third of a fen per million pieces: no price of six places gives this net.
    _item(r)["quantity"] = {"value": 100000000}
    del _item(r)["unitPrice"]
    _item(r)["net"] = money(33333333.33)
    r["Claim"]["total"] = money(33333343.34)


P, S = Reason, Stage
BILLS = [
    # Structure.
    case("items are text", lambda r: r["Claim"].update(item="x"), (P.WRONG_TYPE, "item")),
    case(
        "an item and its neighbour's price are of a wrong type",
        lambda r: r["Claim"].update(item=[7, {**_item(r, 1), "net": "10.01"}]),
        (P.WRONG_TYPE, "item[0]"),
        (P.WRONG_TYPE, "item[1].net"),
    ),
    case(
        "a number is text",
        lambda r: _item(r)["net"].update(value="50"),
        (P.NUMBER_MALFORMED, "item[0].net.value"),
    ),
    case(
        "NaN",
        lambda r: _item(r)["net"].update(value=float("nan")),
        (P.NOT_A_NUMBER, "item[0].net.value"),
    ),
    case(
        "1e400, as a careless server sends it",
        lambda r: r["Claim"]["total"].update(value=float("inf")),
        (P.NOT_A_NUMBER, "total.value"),
    ),
    case(
        "an exponent",
        lambda r: r["Claim"]["total"].update(value=6.001e22),
        (P.NUMBER_MALFORMED, "total.value"),
    ),
    case(
        "no word on what it is",
        lambda r: r["Claim"].pop("resourceType"),
        (P.WRONG_TYPE, "resourceType"),
    ),
    case(
        "line numbers that repeat",
        lambda r: _item(r, 1).update(sequence=1),
        (P.NUMBER_REPEATED, "item[1].sequence"),
    ),
    case(
        "a line without number",
        lambda r: _item(r).pop("sequence"),
        (P.NUMBER_REPEATED, "item[0].sequence"),
    ),
    case(
        "a bill number with a line break",
        lambda r: r["Claim"]["identifier"][0].update(value="NO\n1"),
        (P.TEXT_MALFORMED, "identifier[0].value"),
    ),
    case(
        "a status that FHIR does not know",
        lambda r: r["Claim"].update(status="done"),
        (P.STATUS_UNKNOWN, "status"),
    ),
    case("no use", lambda r: r["Claim"].pop("use"), (P.STATUS_UNKNOWN, "use")),
    # Pointers.
    case("no patient", lambda r: r["Claim"].pop("patient"), (P.REFERENCE_MISSING, "patient")),
    case(
        "a patient by identifier only",
        lambda r: r["Claim"].update(patient={"identifier": {"value": "1"}}),
        (P.REFERENCE_MISSING, "patient"),
    ),
    case(
        "a patient who is a device",
        lambda r: r["Claim"]["patient"].update(reference="Device/p1"),
        (P.REFERENCE_MALFORMED, "patient"),
    ),
    case(
        "a patient by search",
        lambda r: r["Claim"]["patient"].update(reference="Patient?name=x"),
        (P.REFERENCE_MALFORMED, "patient"),
    ),
    case(
        "a patient at another server",
        lambda r: r["Claim"]["patient"].update(reference="http://169.254.169.254/Patient/p1"),
        (P.REFERENCE_ELSEWHERE, "patient"),
    ),
    case(
        "a patient whom the server does not have",
        lambda r: r["Claim"]["patient"].update(reference="Patient/nobody"),
        (P.REFERENCE_NOT_FOUND, "patient"),
    ),
    case(
        "a visit of another patient",
        lambda r: r["Encounter"]["subject"].update(reference="Patient/p2"),
        (P.ANOTHER_PATIENT, "item[0].encounter[0]->subject"),
        (P.ANOTHER_PATIENT, "item[1].encounter[0]->subject"),
        stage=Stage.IDENTITY,
    ),
    case(
        "a disease of another patient",
        lambda r: r["Condition"]["subject"].update(reference="Patient/p2"),
        (P.ANOTHER_PATIENT, "diagnosis[0].diagnosisReference->subject"),
        stage=Stage.IDENTITY,
    ),
    case(
        "a visit that was entered in error",
        lambda r: r["Encounter"].update(status="entered-in-error"),
        (P.REFERENCE_TAKEN_BACK, "item[0].encounter[0]"),
        (P.REFERENCE_TAKEN_BACK, "item[1].encounter[0]"),
    ),
    case(
        "a disease that was ruled out",
        lambda r: r["Condition"].update(verificationStatus=concept("x", "refuted")),
        (P.REFERENCE_TAKEN_BACK, "diagnosis[0].diagnosisReference"),
    ),
    case(
        "a modifier of the bill",
        lambda r: r["Claim"].update(modifierExtension=[{"url": "urn:x", "valueBoolean": True}]),
        (P.MODIFIER_UNKNOWN, "modifierExtension"),
    ),
    case(
        "a modifier of a line",
        lambda r: _item(r, 1).update(modifierExtension=[{"url": "urn:not-done"}]),
        (P.MODIFIER_UNKNOWN, "item[1].modifierExtension"),
    ),
    case(
        "a modifier of the patient",
        lambda r: r["Patient"].update(modifierExtension=[{"url": "urn:somebody-else"}]),
        (P.MODIFIER_UNKNOWN, "patient->modifierExtension"),
    ),
    case(
        "a modifier of a visit's part",
        lambda r: r["Encounter"].update(hospitalization={"modifierExtension": [{"url": "urn:x"}]}),
        (P.MODIFIER_UNKNOWN, "item[0].encounter[0]->hospitalization.modifierExtension"),
        (P.MODIFIER_UNKNOWN, "item[1].encounter[0]->hospitalization.modifierExtension"),
    ),
    case(
        "rules of its own",
        lambda r: r["Claim"].update(implicitRules="urn:rules"),
        (P.MODIFIER_UNKNOWN, "implicitRules"),
    ),
    case(
        "a quantity that is a bound",
        lambda r: _item(r)["quantity"].update(comparator="<"),
        (P.VALUE_NOT_EXACT, "item[0].quantity.comparator"),
    ),
    case(
        "two contained patients of one id",
        _two_contained,
        (P.DUPLICATE_KEY, "patient->id"),
    ),
    case(
        "a contained condition that is not contained",
        lambda r: r["Claim"]["diagnosis"][0].update(diagnosisReference={"reference": "#c"}),
        (P.REFERENCE_NOT_FOUND, "diagnosis[0].diagnosisReference"),
    ),
    case(
        "a patient's record of a wrong type",
        lambda r: r["Patient"].update(name="x"),
        (P.WRONG_TYPE, "patient->name"),
    ),
    # Times.
    case(
        "no times at all",
        lambda r: (r["Claim"].pop("billablePeriod"), r["Encounter"].pop("period")),
        (P.TIME_MISSING, "billablePeriod.start"),
        (P.TIME_MISSING, "billablePeriod.end"),
    ),
    case(
        "30 February",
        lambda r: r["Claim"]["billablePeriod"].update(start="2026-02-30T09:00:00+08:00"),
        (P.TIME_IMPOSSIBLE, "billablePeriod.start"),
    ),
    case(
        "the year 0026",
        lambda r: r["Encounter"]["period"].update(start="0026-03-01T09:00:00+08:00"),
        (P.TIME_IMPOSSIBLE, "item[0].encounter[0]->period.start"),
    ),
    case(
        "a time without zone",
        lambda r: r["Claim"]["billablePeriod"].update(end="2026-03-01T10:30:00"),
        (P.TIME_WITHOUT_ZONE, "billablePeriod.end"),
    ),
    case(
        "discharged before admitted",
        lambda r: r["Claim"]["billablePeriod"].update(end="2026-02-28"),
        (P.END_BEFORE_START, "billablePeriod"),
    ),
    case(
        "a service that ends before it begins",
        lambda r: (
            _item(r).pop("servicedDate"),
            _item(r).update(servicedPeriod={"start": "2026-03-02", "end": "2026-03-01"}),
        ),
        (P.END_BEFORE_START, "item[0].servicedPeriod"),
    ),
    # Who and how.
    case(
        "a class of encounter that nobody knows",
        lambda r: r["Encounter"].update({"class": {"code": "XYZ"}}),
        (P.CARE_TYPE_UNKNOWN, "item[0].encounter[0]->class"),
    ),
    case(
        "no encounter",
        lambda r: [item.pop("encounter") for item in r["Claim"]["item"]],
        (P.CARE_TYPE_UNKNOWN, "item[0].encounter"),
    ),
    case(
        "a provider without the registered number",
        lambda r: r["Organization"].update(identifier=[{"system": "x", "value": "1"}]),
        (P.PROVIDER_UNKNOWN, "provider"),
    ),
    case(
        "a hospital of tier four",
        lambda r: r["Organization"].update(
            extension=[{"url": "urn:lipei:fhir:hospital-tier", "valueCode": "four"}]
        ),
        (P.TIER_UNKNOWN, "provider->extension"),
    ),
    # Lines.
    case("no lines", lambda r: r["Claim"].update(item=[]), (P.NO_LINES, "item")),
    case(
        "a factor",
        lambda r: _item(r).update(factor=0.8),
        (P.FACTOR_UNSUPPORTED, "item[0].factor"),
    ),
    case(
        "quantity 0",
        lambda r: _item(r)["quantity"].update(value=0),
        (P.QUANTITY_NOT_POSITIVE, "item[0].quantity.value"),
    ),
    case(
        "a negative quantity",
        lambda r: _item(r)["quantity"].update(value=-1),
        (P.QUANTITY_NOT_POSITIVE, "item[0].quantity.value"),
    ),
    case(
        "a negative amount",
        _negative,
        (P.NEGATIVE_AMOUNT, "item[0].net.value"),
        (P.NEGATIVE_AMOUNT, "item[0].unitPrice.value"),
    ),
    case(
        "dollars in a yuan hospital",
        lambda r: r["Claim"]["total"].update(currency="USD"),
        (P.WRONG_CURRENCY, "total.currency"),
    ),
    case(
        "an amount without currency",
        lambda r: _item(r)["net"].pop("currency"),
        (P.WRONG_CURRENCY, "item[0].net.currency"),
    ),
    case(
        "a diagnosis that the bill does not have",
        lambda r: _item(r).update(diagnosisSequence=[2]),
        (P.DIAGNOSIS_NUMBER_UNKNOWN, "item[0].diagnosisSequence[0]"),
    ),
    # Identity.
    case(
        "no identity document",
        lambda r: r["Patient"].update(identifier=[]),
        (P.IDENTITY_MISSING, "patient->identifier"),
        stage=S.IDENTITY,
    ),
    case(
        "an identity document of blanks",
        lambda r: r["Patient"].update(identifier=[{"system": CN_ID, "value": " - "}]),
        (P.IDENTITY_MISSING, "patient->identifier"),
        stage=S.IDENTITY,
    ),
    case(
        "two citizen numbers",
        lambda r: r["Patient"]["identifier"].append(
            {"system": CN_ID, "value": "11010119900307003X"}
        ),
        (P.IDENTITY_AMBIGUOUS, "patient->identifier"),
        stage=S.IDENTITY,
    ),
    case(
        "the citizen number as the bill's number",
        lambda r: r["Claim"]["identifier"][0].update(value=f"A{NUMBER.lower()}"),
        (P.PERSONAL_DATA, "identifier"),
        stage=S.IDENTITY,
    ),
    case(
        "the patient's name and telephone number as codes",
        lambda r: (
            _item(r).update(productOrService=concept(YIBAO, f"X{NAME}")),
            _item(r, 1).update(productOrService=concept(YIBAO, PHONE)),
        ),
        (P.PERSONAL_DATA, "item[0].productOrService"),
        (P.PERSONAL_DATA, "item[1].productOrService"),
        stage=S.IDENTITY,
    ),
    # Codes.
    case(
        "a line in words only",
        lambda r: _item(r).update(productOrService={"text": "x"}),
        (P.CODE_MISSING, "item[0].productOrService"),
        stage=S.MAP,
    ),
    case(
        "a diagnosis without anything",
        lambda r: r["Claim"]["diagnosis"][0].pop("diagnosisReference"),
        (P.CODE_MISSING, "diagnosis[0]"),
        stage=S.MAP,
    ),
    case(
        "a code system that the profile does not know",
        lambda r: _item(r).update(productOrService=concept("urn:nobody", "1")),
        (P.CODE_SYSTEM_UNKNOWN, "item[0].productOrService"),
        stage=S.MAP,
    ),
    case(
        "a local code that the map does not know",
        lambda r: _item(r).update(productOrService=concept("urn:test:local", "NEU")),
        (P.CODE_NOT_MAPPED, "item[0].productOrService"),
        stage=S.MAP,
    ),
    # Amounts.
    case(
        "a fraction of a fen",
        lambda r: (_item(r).update(net=money(50.001)), _item(r).pop("unitPrice")),
        (P.AMOUNT_TOO_FINE, "item[0].net"),
        stage=S.BALANCE,
    ),
    case(
        "more money than there is",
        lambda r: r["Claim"].update(total=money(99999999999999)),
        (P.AMOUNT_OUT_OF_RANGE, "total"),
        stage=S.BALANCE,
    ),
    case(
        "no total",
        lambda r: r["Claim"].pop("total"),
        (P.TOTAL_MISSING, "total"),
        stage=S.BALANCE,
    ),
    case(
        "a line without any amount",
        lambda r: (_item(r).pop("net"), _item(r).pop("unitPrice")),
        (P.LINE_WITHOUT_AMOUNT, "item[0]"),
        stage=S.BALANCE,
    ),
    case(
        "a net that no unit price gives",
        _odd_price,
        (P.PRICE_NOT_EXACT, "item[0]"),
        stage=S.BALANCE,
    ),
    case(
        "quantity times price is not the net",
        lambda r: (_item(r).update(net=money(50.10)), r["Claim"].update(total=money(60.11))),
        (P.LINE_DOES_NOT_MULTIPLY, "item[0]"),
        stage=S.BALANCE,
    ),
    case(
        "one fen too much",
        lambda r: r["Claim"].update(total=money(60.02)),
        (P.LINES_DO_NOT_ADD_UP, "total"),
        stage=S.BALANCE,
    ),
    case(
        "funds that paid more than the bill says",
        _more_than_fund,
        (P.FUND_PAID_DOES_NOT_ADD_UP, "extension.fundPaid"),
        stage=S.BALANCE,
    ),
    case(
        "funds that paid more than the line",
        lambda r: _item(r)["extension"][0].update(valueMoney=money(50.01)),
        (P.FUND_PAID_DOES_NOT_ADD_UP, "item[0].extension"),
        (P.FUND_PAID_DOES_NOT_ADD_UP, "extension.fundPaid"),
        stage=S.BALANCE,
    ),
    case(
        "unused social insurance that paid",
        lambda r: r["Claim"]["extension"][0]["extension"][0].update(valueBoolean=False),
        (P.SOCIAL_INSURANCE_CONTRADICTS, "extension"),
        stage=S.BALANCE,
    ),
    # All at once.
    case(
        "faults of every stage at once",
        _two_things,
        (P.WRONG_CURRENCY, "total.currency"),
        (P.QUANTITY_NOT_POSITIVE, "item[0].quantity.value"),
        (P.CODE_SYSTEM_UNKNOWN, "item[1].productOrService"),
        (P.IDENTITY_MISSING, "patient->identifier"),
    ),
]
# What JSON's own library cannot write: the good claim's text, and what to put in place of what.
RAW_BILLS: list[tuple[str, bytes, bytes, tuple[tuple[Reason, str], ...]]] = [
    ("not JSON", b'"use": "claim"', b'"use": claim', ((P.NOT_JSON, ""),)),
    ("not UTF-8", "欧阳建国".encode(), "欧阳建国".encode("gb18030"), ((P.NOT_JSON, ""),)),
    ("cut off", b"}]}]}", b"", ((P.NOT_JSON, ""),)),
    (
        "a modifier under a name that is written with escapes",
        b'"use": "claim"',
        b'"use": "claim", "modifier\\u0045xtension": [{"url": "urn:x"}]',
        ((P.MODIFIER_UNKNOWN, "modifierExtension"),),
    ),
    ("no modifier after all", b'"use": "claim"', b'"use": "claim", "modifierExtension": []', ()),
    (
        "too large",
        b'"use": "claim"',
        b'"use": "claim", "x": "' + b"x" * (5 << 20) + b'"',
        ((P.RECORD_TOO_LARGE, ""),),
    ),
    (
        "of too many values",
        b'"use": "claim"',
        b'"use": "claim", "x": [0' + b",0" * 250_000 + b"]",
        ((P.RECORD_TOO_LARGE, ""),),
    ),
    (
        "1e400",
        b'"total": {"value": 60.01',
        b'"total": {"value": 1e400',
        ((P.NUMBER_MALFORMED, "total.value"),),
    ),
    (
        "a key twice, and the second time more money",
        b'"total": {"value": 60.01',
        b'"total": {"value": 60.01, "value": 600000.01',
        ((P.DUPLICATE_KEY, "total.value"),),
    ),
    (
        "a key twice that nobody reads, in words of the patient's",
        b'"use": "claim"',
        '"use": "claim", "欧阳建国": 1, "欧阳建国": 2'.encode(),
        ((P.DUPLICATE_KEY, "?"),),
    ),
    (
        "an escaped key twice",
        b'"use": "claim"',
        rb'"use": "claim", "\u0075se": "claim"',
        ((P.DUPLICATE_KEY, "use"),),
    ),
    (
        "a hundred brackets deep",
        b'"use": "claim"',
        b'"use": "claim", "text": ' + b"[" * 100 + b"]" * 100,
        (),
    ),
    (
        "a hundred thousand brackets deep",
        b'"use": "claim"',
        b'"use": "claim", "text": ' + b"[" * 100_000 + b"]" * 100_000,
        ((P.TOO_DEEP, ""),),
    ),
    (
        "a number of ten thousand digits",
        b'"total": {"value": 60.01',
        b'"total": {"value": ' + b"9" * 10_000,
        ((P.NUMBER_MALFORMED, "total.value"),),
    ),
    (
        "full-width digits",
        b'"total": {"value": 60.01',
        '"total": {"value": "６０.０１"'.encode(),
        ((P.NUMBER_MALFORMED, "total.value"),),
    ),
]


READINGS = [
    case(
        "a modifier of the reading",
        lambda r: r["Observation"].update(modifierExtension=[{"url": "urn:not-measured"}]),
        (P.MODIFIER_UNKNOWN, "modifierExtension"),
    ),
    case(
        "no value",
        lambda r: r["Observation"].pop("valueQuantity"),
        (P.VALUE_MISSING, "valueQuantity"),
    ),
    case(
        "a bound instead of a value",
        lambda r: r["Observation"]["valueQuantity"].update(comparator="<"),
        (P.VALUE_NOT_EXACT, "valueQuantity.comparator"),
    ),
    case(
        "mmol/mol where the profile says %",
        lambda r: r["Observation"]["valueQuantity"].update(code="mmol/mol"),
        (P.UNIT_UNKNOWN, "valueQuantity.code"),
    ),
    case(
        "nobody vouches",
        lambda r: r["Observation"].pop("category"),
        (P.PROVENANCE_UNKNOWN, "category"),
    ),
    case(
        "no time",
        lambda r: r["Observation"].pop("effectiveDateTime"),
        (P.TIME_MISSING, "effectiveDateTime"),
    ),
    case(
        "a negative HbA1c without a person",
        lambda r: (
            r["Observation"]["valueQuantity"].update(value=-7.2),
            r["Patient"].update(identifier=[]),
        ),
        (P.NEGATIVE_AMOUNT, "valueQuantity.value"),
        (P.IDENTITY_MISSING, "subject->identifier"),
    ),
    case(
        "a status that FHIR does not know",
        lambda r: r["Observation"].update(status="ok"),
        (P.STATUS_UNKNOWN, "status"),
    ),
]
