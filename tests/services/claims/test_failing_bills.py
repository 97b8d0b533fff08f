"""Bills at which claims itself fails: whose team sees which, since when, and until when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from lipei.claims.v1 import claims_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims import failing as failing_bills
from services.claims import intake, servicer
from services.claims.storage.failing_bills import KEPT_US
from services.common.refusals import Refused, RpcFault, error_of
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


@pytest.mark.both_databases
def test_a_bill_at_which_claims_hangs_is_listed_too(
    both: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, goes_on, works = from_hospital(bill("B1")), threading.Event(), intake.take_in

    def take_in(*given: Any) -> intake.Taken:
        goes_on.wait(60)
        return works(*given)

    def given_up() -> grpc.StatusCode:
        with both.of(of_hospital()) as service, pytest.raises(grpc.RpcError) as caught:
            service.claims.SubmitClaim(submission(sent, wait_s=0), timeout=0.3)
        return error_of(caught.value).code

    with monkeypatch.context() as mistaken:
        mistaken.setattr(intake, "take_in", take_in)
        assert given_up() is grpc.StatusCode.DEADLINE_EXCEEDED  # by who had no patience
        mistaken.setattr(failing_bills, "HANGS_AFTER_S", 0.0)
        assert given_up() is grpc.StatusCode.DEADLINE_EXCEEDED
        goes_on.set()  # SQLite's one writer was in its hands
        while not (listed := failing(both)):  # if it never comes, the run's time limit tells
            pass
    assert listed == [(sent.name, "DEADLINE_EXCEEDED", 1)]
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
    with both.service.database.writing() as connection:  # nothing else fails meanwhile
        connection.execute(text("UPDATE failing_bill SET last_us = last_us - :us"), {"us": KEPT_US})
    assert failing(both) == []
    failed(both, sent)
    broken.fault = KeyError("p")
    failed(both, sent)
    assert len(failing(both)) == 1
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
