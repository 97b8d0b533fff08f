"""A mask takes out what is above the clearance, wherever it stands, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lipei.claims.v1 import claims_pb2, policy_pb2
from lipei.his_bridge.v1 import his_bridge_pb2
from services.common.access.masking import hides, mask, withheld_from
from tests.services.common.access.made import (
    ALL_FIELDS,
    Levels,
    contents,
    everything,
    filled,
    hidden,
    labels,
    made,
    open_labels,
    seen,
)

CLEARANCES = st.integers(0, 5)
# Half of the examples build descriptors that are mostly open; both kinds are cheap but not tiny.
slow = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
some_labels = st.one_of(labels, open_labels)


@slow
@given(some_labels, contents(), CLEARANCES)
def test_what_is_left_is_what_may_be_seen(levels: Levels, content: Any, clearance: int) -> None:
    message = filled(made(levels), content)
    may_see = seen(message, levels, clearance)
    to_go = set(hidden(message, levels, clearance))
    removed = mask(message, clearance)
    assert everything(message) == may_see
    assert set(removed) == to_go
    assert len(removed) == len(to_go)


@slow
@given(some_labels, contents(), CLEARANCES)
def test_a_second_mask_changes_nothing(levels: Levels, content: Any, clearance: int) -> None:
    message = filled(made(levels), content)
    mask(message, clearance)
    once = message.SerializeToString(deterministic=True)
    assert mask(message, clearance) == ()
    assert message.SerializeToString(deterministic=True) == once


@slow
@given(some_labels, contents(), CLEARANCES, CLEARANCES)
def test_a_lower_clearance_never_shows_more(
    levels: Levels, content: Any, one: int, other: int
) -> None:
    low, high = sorted((one, other))
    direct = filled(made(levels), content)
    by_way_of_high = filled(type(direct), content)
    mask(by_way_of_high, high)
    mask(by_way_of_high, low)
    mask(direct, low)
    assert everything(by_way_of_high) == everything(direct)


@slow
@given(some_labels, contents(), CLEARANCES)
def test_what_is_announced_covers_what_goes(levels: Levels, content: Any, clearance: int) -> None:
    message = filled(made(levels), content)
    kind: Any = message.DESCRIPTOR
    last = {path.rpartition(".")[2] for path in withheld_from(kind, clearance)}
    announced = hides(kind, clearance)
    removed = mask(message, clearance)
    assert {path.rpartition(".")[2] for path in removed} <= last
    assert announced or not removed


def test_the_oracle_catches_a_mask_that_looks_at_the_top_only() -> None:
    # The control for the properties above.
    levels = dict.fromkeys(ALL_FIELDS, 1) | {("Leaf", "value"): 4}
    message = filled(made(levels), {"leaves": [{"name": "a", "value": "b"}], "text": "c"})
    may_see = seen(message, levels, 3)

    def careless(one: Message) -> None:
        for field in one.DESCRIPTOR.fields:
            if levels["Whole", field.name] > 3:
                one.ClearField(field.name)

    careless(message)
    assert everything(message) != may_see
    mask(message, 3)
    assert everything(message) == may_see == {"leaves": [{"name": "a"}], "text": "c"}


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("texts", {"texts": ["a", "b"]}),
        ("words", {"words": [0, 1]}),
        ("maybe", {"maybe": ""}),
        ("word", {"word": 2}),
        ("real", {"real": -0.0}),
        ("counts", {"counts": {"a": 0}}),
        ("leaf", {"leaf": {}}),
        ("leaf_by_key", {"leaf_by_key": {"": {}}}),
        ("chosen_text", {"chosen_text": ""}),
        ("chosen_leaf", {"chosen_leaf": {"name": "a"}}),
        ("again", {"again": {"text": "a"}}),
    ],
)
def test_every_kind_of_field_vanishes_whole(field: str, content: Any) -> None:
    levels = dict.fromkeys(ALL_FIELDS, 2) | {("Whole", field): 3}
    message = filled(made(levels), content)
    assert message.ByteSize() > 0
    assert mask(message, 2) == (field,)
    assert message.SerializeToString() == b""
    assert message.WhichOneof("chosen") is None


@pytest.mark.parametrize("level", [0, -1, 6, 1_000])
def test_a_field_without_a_usable_label_is_nobodys(level: int) -> None:
    levels = dict.fromkeys(ALL_FIELDS, 1) | {("Whole", "text"): level}
    message = filled(made(levels), {"text": "a", "flag": True})
    assert mask(message, 5) == ("text",)
    assert everything(message) == {"flag": True}


def test_what_this_program_does_not_know_goes_too() -> None:
    newer = claims_pb2.Claim(name="policies/p/claims/c").SerializeToString()
    unknown = b"\xc2\x3e\x03abc"  # field 1000, a text
    answer = claims_pb2.GetClaimResponse.FromString(
        b"\x0a" + bytes([len(newer + unknown)]) + newer + unknown
    )
    assert b"abc" in answer.SerializeToString()
    mask(answer, 5)
    assert b"abc" not in answer.SerializeToString()
    assert answer.claim.name == "policies/p/claims/c"


def test_nobody_reads_an_account_number_or_a_document() -> None:
    policy = policy_pb2.Policy(policy_id="p1")
    member = policy.members.add(member_id="m1", birth_date="1980-01-01")
    member.document.number = "11010119800101001X"
    policy.payee_accounts.add(account_number="6222020200112233445")
    assert mask(policy, 4) == ("payee_accounts", "members.document")
    assert policy == policy_pb2.Policy(
        policy_id="p1",
        members=[policy_pb2.InsuredMember(member_id="m1", birth_date="1980-01-01")],
    )


def test_a_time_goes_or_stays_as_a_whole() -> None:
    record = his_bridge_pb2.QuarantinedRecord(name="hospitals/h/quarantine/r", stage="map")
    record.quarantine_time.seconds = 1
    mask(record, 1)
    assert record.quarantine_time.seconds == 1
    bill = his_bridge_pb2.ReleasedBill()
    bill.bill.start_time.seconds = 1
    assert mask(bill, 2) == ("bill.start_time",)
    assert not bill.bill.HasField("start_time")
