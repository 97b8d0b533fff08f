"""Each record that an answer shows is found once, with the highest level that it shows."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lipei.claims.v1 import claims_pb2
from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.pricing.v1 import pricing_pb2
from services.common.access.masking import mask
from services.common.access.records import Shown, nameless, shown
from tests.services.common.access.made import (
    ALL_FIELDS,
    Levels,
    contents,
    filled,
    labels,
    made,
    open_labels,
)

CLAIM = "policies/p1/claims/c1"


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.one_of(labels, open_labels), contents(), st.integers(0, 5))
def test_no_short_cut_misses_a_record(levels: Levels, content: Any, clearance: int) -> None:
    message = filled(made(levels), content)
    mask(message, clearance)
    records: dict[str, int] = {}
    left = slowly(message, levels, records, 0)
    assert shown(message, clearance) == Shown(records, left)


def slowly(message: Message, levels: Levels, records: dict[str, int], level: int) -> int:
    """The same by looking at everything; what is left for whoever holds the message."""
    for field, value in message.ListFields():
        of_field = levels[message.DESCRIPTOR.name, field.name]
        sensitive = of_field if of_field >= 3 else 0
        held = value.values() if hasattr(value, "items") else value
        parts = [held] if isinstance(held, Message) else held
        if not (field.message_type and not isinstance(next(iter(parts), 0), int)):
            level = max(level, sensitive)
            continue
        for part in parts:
            if part.DESCRIPTOR.name == "Leaf":
                level = max(level, slowly(part, levels, records, sensitive))
            else:
                level = slowly(part, levels, records, max(level, sensitive))
    name = getattr(message, "name", "")
    if level >= 3 and name:
        records[name] = max(level, records.get(name, 0))
        return 0
    return level


@pytest.mark.parametrize(("clearance", "level"), [(4, 4), (3, 3)])
def test_the_level_of_a_record_is_looked_for_to_the_end(clearance: int, level: int) -> None:
    levels = dict.fromkeys(ALL_FIELDS, 1) | {("Leaf", "value"): 3, ("Note", "remark"): 4}
    leaf = {"name": "a", "value": "b", "note": {"remark": "c"}}
    message = filled(made(levels), {"leaves": [leaf]})
    mask(message, clearance)
    assert shown(message, clearance) == Shown({"a": level}, 0)


def claim(name: str = CLAIM, **fields: Any) -> claims_pb2.Claim:
    return claims_pb2.Claim(name=name, **fields)


def test_a_claim_counts_once_with_all_its_lines() -> None:
    answer = claims_pb2.ListClaimsResponse()
    for number in (1, 2):
        one = answer.claims.add(name=f"policies/p1/claims/c{number}", bill_number="b")
        one.decision.lines.add(number=1)
    assert shown(answer, 3) == Shown({f"policies/p1/claims/c{n}": 3 for n in (1, 2)}, 0)


def test_a_claim_without_anything_about_a_person_leaves_nothing() -> None:
    answer = claims_pb2.GetClaimResponse(claim=claim(end_to_end_id="e", state=3))
    assert shown(answer, 4) == Shown({}, 0)


def test_a_record_inside_what_is_none_names_itself() -> None:
    answer = his_bridge_pb2.ListBillsResponse()
    answer.bills.add().bill.name = "hospitals/h/bills/b1"
    answer.bills.add().bill.bill_number = "7"
    answer.bills[1].bill.name = "hospitals/h/bills/b2"
    assert shown(answer, 4) == Shown({"hospitals/h/bills/b2": 3}, 0)


def test_a_list_of_names_names_each() -> None:
    answer = pricing_pb2.RecordReadingsResponse(recorded_count=3)
    assert shown(answer, 3) == Shown({}, 0)
    answer.coach_tasks.extend(["members/m/coachTasks/1", "members/m/coachTasks/2"])
    assert shown(answer, 3) == Shown(dict.fromkeys(answer.coach_tasks, 3), 0)


def test_what_belongs_to_no_record_is_told_apart() -> None:
    answer = claims_pb2.ExplainClaimResponse(claim=claim(bill_number="b"), text_en="because")
    assert shown(answer, 3) == Shown({CLAIM: 3}, 3)
    months = pricing_pb2.AssessMemberResponse()
    months.incentive.run_months = 3
    assert shown(months, 3) == Shown({}, 3)


def test_a_record_without_a_name_is_left_to_whoever_holds_it() -> None:
    answer = claims_pb2.GetClaimResponse(claim=claim("", bill_number="b"))
    assert shown(answer, 3) == Shown({}, 3)


def test_the_highest_level_of_a_record_counts() -> None:
    answer = his_bridge_pb2.ListQuarantineResponse()
    answer.records.add(name="hospitals/h/quarantine/r", source_record="Claim/b1")
    assert shown(answer, 4) == Shown({"hospitals/h/quarantine/r": 4}, 0)


def test_which_answers_need_the_request_to_name_the_record() -> None:
    assert nameless(pricing_pb2.AssessMemberResponse.DESCRIPTOR) == 0
    assert nameless(claims_pb2.ExplainClaimResponse.DESCRIPTOR) == 3
    assert nameless(claims_pb2.ListClaimsResponse.DESCRIPTOR) == 0
    assert nameless(his_bridge_pb2.ListBillsResponse.DESCRIPTOR) == 0
