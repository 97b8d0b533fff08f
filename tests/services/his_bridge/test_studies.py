"""Bills of nobody: to whom a consent names, of what may still be settled, and by whole groups."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.common.access.caller import Caller, calling_as
from services.common.grpc_edge import Refused
from services.common.page_tokens import page_token
from services.his_bridge.core.bill import CareType
from services.his_bridge.core.consent import Purpose, Terms
from services.his_bridge.servicer import HisBridgeServicer
from services.his_bridge.storage import showing
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import FOR, INSURER, record, take_back, terms
from tests.services.his_bridge.storage.test_holding import LI, NOW, WANG, Hospital, stated
from tests.tenants import of_hospital, of_installation, of_insurer, of_partner

STUDY = Purpose.DEIDENTIFIED_STUDY
OUTPATIENT, INPATIENT = bill_pb2.CARE_TYPE_OUTPATIENT, bill_pb2.CARE_TYPE_INPATIENT
NOBODY: Any = None


@pytest.fixture
def hospital(database_url: str) -> Iterator[Hospital]:
    database = with_tables(database_url, "services.his_bridge")
    subject_keys(database)
    yield Hospital(database)
    database.close()


def consented(hospital: Hospital, member: str, student: str = INSURER) -> dict[Purpose, Terms]:
    """A person's consents to every purpose; to studies of this recipient."""
    given = {purpose: terms(member, purpose) for purpose in FOR}
    given[STUDY] = terms(member, STUDY, recipient=student)
    record(hospital.database, hospital.name, given.values())
    return given


def release(
    hospital: Hospital, count: int, member: str = LI, care: CareType = CareType.OUTPATIENT
) -> None:
    keys = [f"{member[3]}{number}" for number in range(count)]
    hospital.settle(*((hospital.arrive(key), stated(key, member, care)) for key in keys))


def page(
    hospital: Hospital, caller: Caller | None = None, size: int = 0, token: str = ""
) -> pb.ListClinicalFeaturesResponse:
    hospitals: Any = {hospital.name: None}
    keys = subject_keys(hospital.database)
    service = HisBridgeServicer(hospital.database, keys, hospitals, INSURER, lambda: NOW)
    request = pb.ListClinicalFeaturesRequest(
        parent=f"hospitals/{hospital.name}", page_size=size, page_token=token
    )
    with calling_as(caller or of_insurer()):
        return asyncio.run(service.ListClinicalFeatures(request, NOBODY))


def counts(hospital: Hospital, size: int) -> list[int]:
    """How many bills each page of the whole list has."""
    found: list[int] = []
    token = ""
    while True:
        one = page(hospital, size=size, token=token)
        found.append(len(one.features))
        token = one.next_page_token
        if not token:
            return found


def test_a_study_goes_to_the_insurer_that_the_consent_names_and_to_nobody_else(
    hospital: Hospital,
) -> None:
    consented(hospital, LI)
    consented(hospital, WANG, "insurers/another")
    release(hospital, 20)
    release(hospital, 40, WANG, CareType.INPATIENT)

    def told(caller: Caller) -> list[int]:
        return [one.care_type for one in page(hospital, caller).features]

    assert told(of_insurer()) == [OUTPATIENT] * 20
    assert told(of_insurer("another")) == [INPATIENT] * 40
    for caller in (
        of_insurer("third"),
        of_partner(),
        of_partner("insurer"),
        of_hospital(hospital.name),
        of_installation(),
    ):
        assert told(caller) == []


@pytest.mark.parametrize(
    ("purpose", "left"),
    [
        (Purpose.CLAIM_SETTLEMENT, 0),
        (STUDY, 0),
        (Purpose.HEALTH_PROGRAMME, 20),  # the control: another purpose's end ends no study
    ],
)
def test_a_study_ends_with_either_consent(hospital: Hospital, purpose: Purpose, left: int) -> None:
    given = consented(hospital, LI)
    release(hospital, 20)
    assert len(page(hospital).features) == 20
    take_back(hospital.database, hospital.name, given[purpose], NOW)
    assert len(page(hospital).features) == left


@pytest.mark.parametrize(
    ("bills", "size", "pages"),
    [
        (19, 0, [0]),
        (20, 20, [20]),
        (21, 20, [20, 0]),
        (59, 20, [20, 20, 0]),
        (59, 39, [20, 20, 0]),
        (59, 50, [40, 0]),
        (60, 50, [40, 20]),
        (60, 500, [60]),
    ],
)
def test_pages_are_of_whole_groups(
    hospital: Hospital, bills: int, size: int, pages: list[int]
) -> None:
    consented(hospital, LI)
    release(hospital, bills)
    assert counts(hospital, size) == pages


def test_without_groups_a_page_of_one_bill_would_be_served(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same list, with groups of one."""
    consented(hospital, LI)
    release(hospital, 21)
    monkeypatch.setattr(showing, "STUDY_GROUP", 1)
    assert counts(hospital, 20) == [20, 1]


def test_a_page_begins_where_a_group_ends_and_nowhere_else(hospital: Hospital) -> None:
    consented(hospital, WANG, "insurers/another")
    consented(hospital, LI)
    release(hospital, 3, WANG)  # another's: they count in no group of this list
    release(hospital, 45)
    kind = f"features insurer/insurer hospitals/{hospital.name}"
    begins: list[int] = []
    reasons: set[str] = set()
    for position in range(60):
        try:
            page(hospital, token=page_token(kind, str(position)))
        except Refused as refused:
            reasons.update(one.reason for one in refused.violations)
        else:
            begins.append(position)
    assert begins == [0, 23, 43]
    assert reasons == {"FOREIGN_PAGE_TOKEN"}


def test_a_token_from_before_a_withdrawal_is_refused_when_its_group_ends_there_no_more(
    hospital: Hospital,
) -> None:
    given = consented(hospital, WANG)
    consented(hospital, LI)
    release(hospital, 1, WANG)
    release(hospital, 59)
    token = page(hospital, size=20).next_page_token
    assert len(page(hospital, size=20, token=token).features) == 20
    take_back(hospital.database, hospital.name, given[STUDY], NOW)
    with pytest.raises(Refused) as refused:
        page(hospital, size=20, token=token)
    assert [one.reason for one in refused.value.violations] == ["FOREIGN_PAGE_TOKEN"]
    assert counts(hospital, 20) == [20, 20, 0]
