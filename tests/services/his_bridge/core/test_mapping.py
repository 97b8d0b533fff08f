"""Local codes become standard ones by maps; what no map knows is named with the money on it."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from services.his_bridge.core.bill import Coding
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.intake import Held, whole_bill
from services.his_bridge.core.mapping import (
    Side,
    StoredMap,
    Unmapped,
    to_standard,
    unmapped,
    with_maps,
)
from services.his_bridge.core.parsed import Concept, LocalCoding, ParsedBill, ParsedLine
from services.his_bridge.core.terms import CodeMap, CodeRules, SourceTerms
from tests.services.his_bridge.records import profile

STANDARD = "urn:standard"
LOCAL = "urn:local"


def concept(*codes: tuple[str, str]) -> Concept:
    codings = tuple(LocalCoding(system=s, code=c, display="") for s, c in codes)
    return Concept(codings=codings, path="item[0].productOrService")


def terms(**profile_map: str) -> SourceTerms:
    rules = CodeRules(
        accepted={STANDARD: False},
        maps={
            LOCAL: CodeMap(
                codes={k: Coding(system=STANDARD, code=v) for k, v in profile_map.items()}
            )
        }
        if profile_map
        else {},
    )
    return msgspec.structs.replace(profile().terms, line_codes=rules, diagnosis_codes=rules)


def loaded(side: Side = Side.SERVICES, to_system: str = STANDARD, **codes: str) -> StoredMap:
    return StoredMap(side=side, from_system=LOCAL, to_system=to_system, codes=codes)


def test_a_loaded_map_stands_beside_the_profiles_and_goes_before_it() -> None:
    found = with_maps(terms(a="old", b="kept"), [loaded(a="new", c="added")]).line_codes
    codes = [to_standard(concept((LOCAL, code)), found) for code in "abc"]
    assert [code[0].code for code in codes if not isinstance(code, Fault)] == [
        "new",
        "kept",
        "added",
    ]
    assert with_maps(terms(a="old"), [loaded(a="new")]).diagnosis_codes.maps[LOCAL].codes[
        "a"
    ] == Coding(system=STANDARD, code="old")


def test_a_map_to_a_system_that_plans_do_not_speak_is_not_used() -> None:
    found = with_maps(terms(), [loaded(to_system="urn:other", a="x")]).line_codes
    fault = to_standard(concept((LOCAL, "a")), found)
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.CODE_SYSTEM_UNKNOWN


def test_a_map_of_measurements_is_kept_apart() -> None:
    found = with_maps(terms(), [loaded(Side.READINGS, "http://loinc.org", GLU="14771-0")])
    assert found.reading_maps[LOCAL].codes["GLU"].code == "14771-0"
    assert found.line_codes.maps == {}


def test_of_several_codes_the_one_of_a_system_with_a_map_is_asked_for() -> None:
    rules = terms(a="x").line_codes
    both = concept(("urn:third", "7"), (LOCAL, "zz"))
    wanted = unmapped(both, rules, Side.SERVICES, 5)
    assert wanted == Unmapped(side=Side.SERVICES, system=LOCAL, code="zz", amount=5)
    first = unmapped(concept(("urn:third", "7")), rules, Side.SERVICES, 5)
    assert first is not None
    assert first.system == "urn:third"
    assert unmapped(concept(), rules, Side.SERVICES, 5) is None


def line(number: int, code: str, **amounts: Decimal) -> ParsedLine:
    return ParsedLine(
        path=f"item[{number}]",
        number=number,
        concept=concept((LOCAL, code)),
        quantity=amounts.get("quantity", Decimal(1)),
        unit_price=amounts.get("unit_price"),
        net=amounts.get("net"),
        states_amount=True,
    )


def test_a_held_bill_names_each_unmapped_code_with_the_money_of_its_line() -> None:
    parsed = ParsedBill(
        bill_number="b",
        provider_id="p",
        tier=None,
        care_type=None,
        start=None,
        end=None,
        diagnoses=(),
        lines=(
            line(1, "a", net=Decimal("12.50")),
            line(2, "b", quantity=Decimal(3), unit_price=Decimal("2.10")),
            line(3, "known", net=Decimal(1)),
        ),
        total=Decimal("19.80"),
        total_path="total",
        states_total=True,
        person=None,
        social_insurance=None,
        faults=(),
    )
    with pytest.raises(Held) as caught:
        whole_bill(parsed, None, terms(known="k"))
    assert [(one.code, one.amount) for one in caught.value.unmapped] == [("a", 1250), ("b", 630)]
