"""A claim that cannot be read is listed with the reason; the others of its page are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from lipei.claims.v1 import claims_pb2 as pb
from services.claims.storage.sealed import person_subject
from tests.services.claims.given import DRUG, bill, imported, line, policy, submission, yuan
from tests.services.claims.serving import Served, served
from tests.services.claims.stock import Stock, insured
from tests.services.claims.test_reviews import refused

ALL = "policies/-"


@pytest.fixture
def stock() -> Stock:
    return insured(1)


@pytest.fixture
def service(stocked_url: str) -> Iterator[Served]:
    with served(stocked_url) as running:
        imported(running, policy(2), policy(3))
        yield running


def listed(service: Served, page_size: int = 0) -> list[pb.Claim]:
    """All claims, page by page."""
    found: list[pb.Claim] = []
    request = pb.ListClaimsRequest(parent=ALL, page_size=page_size)
    while True:
        page = service.claims.ListClaims(request)
        found += page.claims
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def ids_of(claim: pb.Claim) -> dict[str, str]:
    person = claim.member.removeprefix("members/")
    return {"id": claim.name.rpartition("/")[2], "subject": person_subject(person)}


def swap_the_bill_number(service: Served, claim: pb.Claim) -> None:
    """Another claim's sealed number stands in its row."""
    other = "(SELECT bill_number FROM claim WHERE id <> :id ORDER BY seq LIMIT 1)"
    with service.database.writing() as connection:
        told = {"id": ids_of(claim)["id"]}
        connection.execute(text(f"UPDATE claim SET bill_number = {other} WHERE id = :id"), told)


def lose_the_key(service: Served, claim: pb.Claim) -> None:
    """The person's key is gone, and no erasure says so."""
    told = {"subject": ids_of(claim)["subject"]}
    with service.database.writing() as connection:
        gone = connection.execute(text("DELETE FROM subject_key WHERE subject = :subject"), told)
        assert gone.rowcount == 1


def decide_by_another_engine(service: Served, claim: pb.Claim) -> None:
    """Its decision is sealed as it should be, and says what this version does not know."""
    told = ids_of(claim)
    with service.database.writing() as connection:
        drop = "DROP TRIGGER decision_no_update"
        if connection.dialect.name == "postgresql":
            drop = "DROP TRIGGER decision_append_only ON decision"
        connection.exec_driver_sql(drop)
        found = "SELECT id FROM decision WHERE claim_id = :id"
        decision_id = connection.execute(text(found), {"id": told["id"]}).scalar_one()
        sealed = service.keys.sealer(connection).seal(
            b'{"of a later version": true}',
            table="decision",
            column="output",
            row=decision_id,
            subject=told["subject"],
        )
        update = "UPDATE decision SET output = :sealed WHERE id = :id"
        connection.execute(text(update), {"sealed": sealed, "id": decision_id})


BREAKS: dict[str, Callable[[Served, pb.Claim], None]] = {
    "SEALED_VALUE_ALTERED": swap_the_bill_number,
    "KEY_UNKNOWN": lose_the_key,
    "NOT_OF_THIS_ENGINE": decide_by_another_engine,
}


@pytest.mark.parametrize("why", BREAKS)
def test_one_broken_claim_is_named_and_hides_no_others(
    service: Served, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for person in (1, 2, 3):
        given = bill(f"B{person}", line(1, DRUG, "30000.00"), person=person * 100)
        service.claims.SubmitClaim(submission(given))
    before = listed(service)
    assert [claim.bill_number for claim in before] == ["B1", "B2", "B3"]
    BREAKS[why](service, before[1])
    for page_size in (0, 1, 2):
        first, broken, last = listed(service, page_size)
        assert (first, last) == (before[0], before[2])
        assert broken.unreadable == why
        assert (broken.name, broken.state) == (before[1].name, before[1].state)
        assert (broken.bill_number, list(broken.decision.lines)) == ("", [])
        assert broken.decision.benefit == yuan("20000")
        assert not broken.erased
    assert "claims_unreadable" in capfd.readouterr().err
    one = pb.GetClaimRequest(name=before[1].name)
    assert refused(service.claims.GetClaim, one).reason == why


def test_an_erased_persons_claim_is_listed_without_what_was_sealed(service: Served) -> None:
    for person in (1, 2):
        given = bill(f"B{person}", line(1, DRUG, "30000.00"), person=person * 100)
        service.claims.SubmitClaim(submission(given))
    before = listed(service)
    with service.database.writing() as connection:
        service.keys.sealer(connection).destroy(ids_of(before[0])["subject"])
    erased, other = listed(service)
    assert other == before[1]
    assert (erased.name, erased.erased, erased.unreadable) == (before[0].name, True, "")
    assert (erased.bill_number, list(erased.decision.lines)) == ("", [])


def test_a_plan_of_another_version_hides_no_claim(stocked_url: str) -> None:
    with served(stocked_url) as before:
        before.claims.SubmitClaim(submission(bill("B1", line(1, DRUG, "30000.00"))))
        (claim,) = listed(before)
        with before.database.writing() as connection:
            drop = "DROP TRIGGER plan_version_no_update"
            if connection.dialect.name == "postgresql":
                drop = "DROP TRIGGER plan_version_append_only ON plan_version"
            connection.exec_driver_sql(drop)
            connection.execute(text("UPDATE plan_version SET canonical = :it"), {"it": b"{}"})
    with served(stocked_url) as after:  # which has read no plan yet
        (broken,) = listed(after)
        assert broken.unreadable == "NOT_OF_THIS_ENGINE"
        assert (broken.bill_number, broken.decision) == ("B1", claim.decision)
        for call, ask in (
            (after.claims.GetClaim, pb.GetClaimRequest),
            (after.claims.ExplainClaim, pb.ExplainClaimRequest),
            (after.claims.ReplayClaim, pb.ReplayClaimRequest),
        ):
            assert refused(call, ask(name=claim.name)).reason == "NOT_OF_THIS_ENGINE"
        with after.database.writing() as connection:  # ended: no clock of it asks the plan
            connection.execute(text("UPDATE claim SET state = 'withdrawn'"))
        fault = refused(after.claims.GetClaim, pb.GetClaimRequest(name=claim.name))
        assert fault.reason == "NOT_OF_THIS_ENGINE"
