"""Every kind of bad record is set aside with all of its faults, and nothing else is."""

from __future__ import annotations

import pytest

from services.his_bridge.core.faults import ADVICE, Fault, Reason, Stage, in_order, stage_of
from services.his_bridge.core.outcomes import BillStated, ReadingsStated, SetAside
from tests.services.his_bridge.cases import BILLS, RAW_BILLS, READINGS, Case
from tests.services.his_bridge.dialects.sql_rows.test_bills import CASES as ROWS
from tests.services.his_bridge.dialects.yibao.test_messages import CASES as MESSAGES
from tests.services.his_bridge.records import (
    as_bytes,
    everything,
    judge_claim,
    judge_observation,
    observation,
)

OF_HL7V2 = {
    Reason.NOT_HL7,
    Reason.NOT_IN_CHARSET,
    Reason.CHARSET_CONTRADICTED,
    Reason.TRANSACTION_TYPE_UNKNOWN,
    Reason.CREDIT_WITHOUT_CHARGE,
    Reason.SEVERAL_DAYS,
}


def named(faults: tuple[Fault, ...]) -> set[tuple[Reason, str]]:
    return {(fault.reason, fault.path) for fault in faults}


def test_the_good_bill_passes() -> None:
    assert isinstance(judge_claim(everything()), BillStated)


@pytest.mark.parametrize("case", BILLS, ids=lambda case: case.name)
def test_a_bad_bill_shows_every_fault(case: Case) -> None:
    resources = everything()
    case.spoil(resources)
    outcome = judge_claim(resources)
    assert isinstance(outcome, SetAside)
    assert named(outcome.faults) == set(case.faults)
    assert stage_of(outcome.faults) is case.stage


@pytest.mark.parametrize(("name", "old", "new", "faults"), RAW_BILLS, ids=[r[0] for r in RAW_BILLS])
def test_bad_bytes_show_their_faults(
    name: str, old: bytes, new: bytes, faults: tuple[tuple[Reason, str], ...]
) -> None:
    good = as_bytes(everything()["Claim"])
    assert old in good
    outcome = judge_claim(everything(), raw=good.replace(old, new))
    if not faults:
        assert isinstance(outcome, BillStated)
        return
    assert isinstance(outcome, SetAside)
    assert named(outcome.faults) == set(faults)


@pytest.mark.parametrize("case", READINGS, ids=lambda case: case.name)
def test_a_bad_reading_shows_every_fault(case: Case) -> None:
    resources = {**everything(), "Observation": observation()}
    assert isinstance(judge_observation(resources), ReadingsStated)
    case.spoil(resources)
    outcome = judge_observation(resources)
    assert isinstance(outcome, SetAside)
    assert named(outcome.faults) == set(case.faults)


def test_every_reason_has_a_case() -> None:
    shown = {reason for case in (*BILLS, *READINGS) for reason, _ in case.faults}
    shown |= {reason for _, _, _, faults in RAW_BILLS for reason, _ in faults}
    shown.add(Reason.SAME_VERSION_OTHER_CONTENT)  # tests/services/his_bridge/storage
    shown.add(Reason.MEMBER_ERASED)  # tests/services/his_bridge/storage
    # What the records of one bill make together: tests/cases/bills and tests/.../storage.
    shown |= {reason for reason, (stage, _) in ADVICE.items() if stage is Stage.FOLD}
    shown |= OF_HL7V2  # tests/services/his_bridge/dialects/hl7v2
    shown.add(Reason.PERSON_NOT_FOUND)  # tests/services/his_bridge/dialects/yibao
    shown.add(Reason.BRIDGE_FAILED)  # tests/services/his_bridge/test_pulling.py
    shown |= {reason for _, _, faults in ROWS for reason, _ in faults}
    shown |= {reason for _, _, _, faults in MESSAGES for reason, _ in faults}
    assert shown == set(Reason)


def test_reasons_are_ranked_by_stage_and_each_has_advice() -> None:
    assert list(ADVICE) == [reason for reason in ADVICE if reason in set(Reason)]
    assert set(ADVICE) == set(Reason)
    stages = [stage for stage, _ in ADVICE.values()]
    assert stages == sorted(stages, key=list(Stage).index)
    assert all(text for _, text in ADVICE.values())


def test_faults_come_once_and_in_order_of_precedence() -> None:
    late = Fault(reason=Reason.LINES_DO_NOT_ADD_UP, path="total")
    early = Fault(reason=Reason.NOT_JSON, path="")
    assert in_order([late, early, late]) == (early, late)
