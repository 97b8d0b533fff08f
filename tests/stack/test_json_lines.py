"""Lines of JSON: which field of which line is at fault, and never what it holds."""

from __future__ import annotations

import json

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.type.v1.reading_pb2 import Reading
from stack.commands.json_lines import read_lines

TIME = "must be a time with its zone, of a day that exists, such as 2025-08-03T07:10:00+08:00"


def faults(*lines: str | bytes) -> list[str]:
    content = b"\n".join(one if isinstance(one, bytes) else one.encode() for one in lines)
    return read_lines(content, "f", Reading)[1]


def test_every_fault_of_every_line_is_named_by_its_field() -> None:
    kinds = ("LABORATORY", "DEVICE", "TYPED", "CLINIC")
    provenances = ", ".join(f"READING_PROVENANCE_{one}" for one in kinds)
    found = faults(
        '{"effective_time": "2025-02-30T07:00:00+08:00", "value": 6.4}',
        '{"value": "6.4"}',
        "",
        '{"code": {"system": 7, "code": "14771-0"}, "provenance": "SECRET", "withdrawn": "SECRET"}',
        '{"receiveTime": "SECRET", "code": "SECRET", "release": 1.5}',
    )
    assert found == [
        f"f:1: effective_time {TIME}",
        "f:1: value must be text in double quotes",
        "f:4: code.system must be text in double quotes",
        f"f:4: provenance must be one of {provenances}",
        "f:4: withdrawn must be true or false",
        f"f:5: receive_time {TIME}",
        "f:5: code must be an object, in {}",
        "f:5: release must be a whole number",
    ]


def test_what_is_no_field_is_named_by_its_place_and_what_is_no_json_by_its_column() -> None:
    unknown, broken, array, twice, latin, deep = faults(
        '{"value": "6.4", "SECRET": 1}',
        '{"value": SECRET}',
        '["SECRET"]',
        '{"value": "SECRET", "value": "SECRET"}',
        '{"value": "é"}'.encode("latin-1"),
        "[" * 100_000,
    )
    assert unknown.startswith("f:1: field 2 has no name of lipei.type.v1.Reading; it has name, ")
    no_json = "is no lipei.type.v1.Reading in JSON"
    assert broken == f"f:2: {no_json}, whole on its line: expecting value at column 11"
    assert array == f"f:3: {no_json}: it must be an object, in {{}}"
    assert twice == f"f:4: {no_json}: it says a field twice"
    assert latin == f"f:5: {no_json}: it is no UTF-8"
    assert deep == f"f:6: {no_json}: it holds something too large"
    assert "SECRET" not in f"{unknown}{broken}{array}{twice}"


def test_lines_without_a_fault_come_with_their_numbers() -> None:
    event = {"kind": "MEDICATION_EVENT_KIND_STAY", "firstDay": "2025-06-01", "days": 3}
    content = f"\n{json.dumps(event)}\n\n{json.dumps({'drug': None})}".encode()
    stay = pb.MedicationEvent(kind=pb.MEDICATION_EVENT_KIND_STAY, first_day="2025-06-01", days=3)
    found, wrong = read_lines(content, "f", pb.MedicationEvent)
    assert not wrong
    assert found == [(2, stay), (4, pb.MedicationEvent())]
