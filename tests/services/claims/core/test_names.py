"""The core's words are the wire's words, so that messages can be made by name."""

from __future__ import annotations

import enum

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from lipei.claims.v1 import claims_pb2, decision_pb2, policy_pb2
from lipei.type.v1 import bill_pb2
from services.claims.core.decision import Bearer, Disposition, LineOutcome
from services.claims.core.facts import (
    CareType,
    HospitalTier,
    Liability,
    Licence,
    PreExistingTerms,
    Relationship,
    Sex,
)
from services.claims.core.life_cycle import ClaimState

PAIRS = [
    (Bearer, decision_pb2.Bearer, "BEARER_"),
    (LineOutcome, decision_pb2.LineOutcome, "LINE_OUTCOME_"),
    (CareType, bill_pb2.CareType, "CARE_TYPE_"),
    (HospitalTier, bill_pb2.HospitalTier, "HOSPITAL_TIER_"),
    (Licence, bill_pb2.Licence, "LICENCE_"),
    (Liability, bill_pb2.Liability, "LIABILITY_"),
    (Sex, policy_pb2.Sex, "SEX_"),
    (Relationship, policy_pb2.Relationship, "RELATIONSHIP_"),
    (PreExistingTerms, policy_pb2.PreExistingTerms, "PRE_EXISTING_TERMS_"),
    (ClaimState, claims_pb2.ClaimState, "CLAIM_STATE_"),
]


@pytest.mark.parametrize(("ours", "wire", "prefix"), PAIRS, ids=lambda p: getattr(p, "__name__", p))
def test_names_are_the_wires(ours: type[enum.StrEnum], wire: EnumTypeWrapper, prefix: str) -> None:
    names = {name.removeprefix(prefix) for name, _ in wire.items()} - {"UNSPECIFIED"}
    assert {one.name for one in ours} == names
    assert all(one.value == one.name.lower() for one in ours)


def test_a_disposition_is_a_state() -> None:
    assert {one.name for one in Disposition} <= {one.name for one in ClaimState}
