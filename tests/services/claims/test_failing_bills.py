"""Bills at which claims itself fails: whose team sees which, since when, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from lipei.claims.v1 import claims_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims import intake, servicer
from services.common.refusals import Refused, RpcFault
from tests.services.claims.given import bill, submission
from tests.services.claims.stock import Stock
from tests.services.claims.test_servicer import refused
from tests.services.claims.test_tenants import Desk, desk, from_hospital, two_insurers
from tests.tenants import of_hospital, of_installation, of_insurer

_TWO_INSURERS = Stock("two_insurers", two_insurers)
SPOUSE = 101  # whom the first insurer alone insures
NOBODY = 4711


@pytest.fixture
def stock() -> Stock:
    return _TWO_INSURERS


@pytest.fixture
def both(stocked_url: str) -> Iterator[Desk]:
    with desk(stocked_url) as made:
        yield made


class Broken:
    """Intake as a mistake of ours would leave it, while `fault` is one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: Exception | None = ZeroDivisionError("of a patient")
        works = intake.take_in

        def take_in(*given: Any) -> intake.Taken:
            if self.fault is not None:
                raise self.fault
            return works(*given)

        monkeypatch.setattr(intake, "take_in", take_in)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    return Broken(monkeypatch)


def failed(made: Desk, sent: bill_pb2.Bill, hospital: str = "general") -> RpcFault:
    with made.of(of_hospital(hospital)) as service:
        return refused(service.claims.SubmitClaim, submission(sent, wait_s=0))


def failing(made: Desk, insurer: str | None = "anxin") -> list[tuple[str, str, int]]:
    """(bill, fault, tries) of what fails, as an insurer's team or an auditor sees it."""
    caller = of_installation() if insurer is None else of_insurer(insurer)
    with made.of(caller) as service:
        request, found = pb.ListFailingBillsRequest(page_size=1), []
        while True:
            page = service.claims.ListFailingBills(request)
            found += [(one.bill, one.fault, one.try_count) for one in page.failing_bills]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found


@pytest.mark.on_postgresql
def test_a_bill_at_which_claims_fails_is_listed_until_it_is_taken_in(
    both: Desk, broken: Broken
) -> None:
    sent, other = from_hospital(bill("B1")), from_hospital(bill("B2", person=SPOUSE))
    assert failing(both) == []
    for one in (sent, sent, other):
        assert failed(both, one).code is grpc.StatusCode.INTERNAL
    assert failing(both) == [
        (sent.name, "ZeroDivisionError", 2),
        (other.name, "ZeroDivisionError", 1),
    ]
    with both.of(of_insurer("anxin")) as service:
        (first, _) = service.claims.ListFailingBills(pb.ListFailingBillsRequest()).failing_bills
    assert 0 < first.first_time.ToNanoseconds() < first.last_time.ToNanoseconds()
    broken.fault = None
    with both.of(of_hospital()) as service:
        service.claims.SubmitClaim(submission(sent, wait_s=0))
    assert failing(both) == [(other.name, "ZeroDivisionError", 1)]


def test_a_bill_that_is_stored_and_then_fails_is_counted_on_until_it_is_answered(
    both: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = from_hospital(bill("B1"))

    def fails(*_given: Any, **_more: Any) -> list[pb.Claim]:
        raise ZeroDivisionError

    with monkeypatch.context() as mistaken:
        mistaken.setattr(servicer, "messages_of", fails)
        for _ in range(3):
            failed(both, sent)
    assert failing(both) == [(sent.name, "ZeroDivisionError", 3)]
    with both.of(of_hospital()) as service:
        service.claims.SubmitClaim(submission(sent, wait_s=0))
    assert failing(both) == []


def test_each_insurer_sees_the_bills_of_those_whom_it_insures(both: Desk, broken: Broken) -> None:
    shared, spouses = from_hospital(bill("B1")), from_hospital(bill("B2", person=SPOUSE))
    nobodys = from_hospital(bill("B3", person=NOBODY))
    for one in (shared, spouses, nobodys):
        failed(both, one)
    assert [name for name, *_ in failing(both, "anxin")] == [shared.name, spouses.name]
    assert [name for name, *_ in failing(both, "taihe")] == [shared.name]
    assert [name for name, *_ in failing(both, None)].count(nobodys.name) == 1
    # What one insurer is answered says nothing to the other.
    broken.fault = None
    with both.of(of_insurer("taihe")) as service:
        service.claims.SubmitClaim(submission(shared, wait_s=0))
    assert failing(both, "taihe") == []
    assert [name for name, *_ in failing(both, "anxin")] == [shared.name, spouses.name]


def test_what_is_refused_or_comes_again_is_no_failure(both: Desk, broken: Broken) -> None:
    sent = from_hospital(bill("B1"))
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED):
        broken.fault = Refused(code, "LATER", "come again")
        failed(both, sent)
    assert failing(both) == []  # the control: nothing was noted of them
    broken.fault = KeyError("p")
    failed(both, sent)
    broken.fault = Refused(grpc.StatusCode.UNAVAILABLE, "LATER", "come again")
    failed(both, sent)
    assert failing(both) == [(sent.name, "KeyError", 1)]
    assert failed(both, sent, "rural").code is grpc.StatusCode.NOT_FOUND  # another hospital's word
    assert failing(both) == [(sent.name, "KeyError", 1)]
    broken.fault = Refused(grpc.StatusCode.FAILED_PRECONDITION, "STOP", "stop")
    failed(both, sent)
    assert failing(both) == []


def test_a_bill_without_a_hospitals_name_is_its_senders_to_see(both: Desk, broken: Broken) -> None:
    fault = refused(both.service.claims.SubmitClaim, submission(bill("B1"), wait_s=0))
    assert fault.code is grpc.StatusCode.INTERNAL
    assert failing(both, None) == []


def test_a_page_that_there_is_not_is_refused(both: Desk) -> None:
    for request in (
        pb.ListFailingBillsRequest(page_size=-1),
        pb.ListFailingBillsRequest(page_token="x"),
    ):
        fault = refused(both.service.claims.ListFailingBills, request)
        assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
