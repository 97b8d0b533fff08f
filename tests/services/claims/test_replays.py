"""Everything stored is decided again: what was tampered with is found, each kind by its name."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator

import grpc
import msgspec
import pytest
from sqlalchemy import select, text, update

from lipei.claims.v1 import claims_pb2, review_pb2
from lipei.claims.v1 import recompute_pb2 as pb
from services.claims.core.canonical import (
    decision_bytes,
    decision_from,
    input_hash,
    inputs_from,
    output_hash,
)
from services.claims.core.decision import ENGINE_VERSION
from services.claims.storage import sealed
from services.claims.storage.tables import decision
from services.common.refusals import error_of
from tests.services.claims.given import (
    DRUG,
    bill,
    id_number,
    imported,
    line,
    policy,
    publish,
    submission,
)
from tests.services.claims.serving import Served, served, token
from tests.tenants import of_installation, of_insurer

Content = Callable[[bytes], bytes]
OWN_ENGINE = f'"engine_version":"{ENGINE_VERSION}"'.encode()


@pytest.fixture
def both(stocked_url: str) -> Iterator[Served]:
    with served(stocked_url) as running:
        yield running


def decided(service: Served, number: str, price: str = "30000.00", person: int = 100) -> str:
    given = bill(number, line(1, DRUG, price), person=person)
    (claim,) = service.claims.SubmitClaim(submission(given)).claims
    return str(claim.name)


def replayed(service: Served, page_size: int = 2) -> pb.ReplayClaimsResponse:
    """All pages in one."""
    found, request = pb.ReplayClaimsResponse(), pb.ReplayClaimsRequest(page_size=page_size)
    while True:
        page = service.recompute.ReplayClaims(request)
        for name in ("same_count", "same_by_earlier_engine_count", "erased_count"):
            setattr(found, name, getattr(found, name) + getattr(page, name))
        found.differences.extend(page.differences)
        found.done, found.total, found.recomputed_by = page.done, page.total, page.recomputed_by
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def unlocked(service: Served) -> None:
    """What an intruder with the database's own rights does first."""
    drop = "DROP TRIGGER decision_no_update"
    if not service.database.is_sqlite:
        drop = "DROP TRIGGER decision_append_only ON decision"
    with service.database.writing() as connection:
        connection.execute(text(drop))


def rewritten(service: Served, name: str, column: str, change: Content) -> None:
    """A sealed column of a claim's decision with other content, sealed by the service's keys."""
    with service.database.writing() as connection:
        claim_id = name.rpartition("/")[2]
        stored = connection.execute(select(decision).where(decision.c.claim_id == claim_id)).one()
        place = {"table": "decision", "column": column, "row": stored.id}
        subject = sealed.person_subject(stored.person_id)
        sealer = service.keys.sealer(connection)
        before = sealer.open(getattr(stored, column), **place, subject=subject)
        after = change(before)
        assert after != before
        forged = {column: sealer.seal(after, **place, subject=subject)}
        connection.execute(update(decision).where(decision.c.id == stored.id).values(**forged))


def in_clear(service: Served, name: str, **columns: object) -> None:
    claim_id = name.rpartition("/")[2]
    with service.database.writing() as connection:
        mine = decision.c.claim_id == claim_id
        connection.execute(update(decision).where(mine).values(**columns))


def committed(service: Served, name: str) -> None:
    """The claim's decision as engine 1 would have committed to it."""
    with service.database.writing() as connection:
        mine = decision.c.claim_id == name.rpartition("/")[2]
        stored = connection.execute(select(decision).where(mine)).one()
        sealer = service.keys.sealer(connection)
        salt, output = sealed.open_salt(sealer, stored), sealed.open_output(sealer, stored)
    said = salt + output.input_hash.encode() + output.output_hash.encode()
    in_clear(service, name, engine_version="1", commitment=hashlib.sha256(said).hexdigest())


def replace(old: bytes, new: bytes) -> Content:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    return change


def test_everything_stored_is_the_same_page_by_page(both: Served) -> None:
    for number in range(5):
        decided(both, f"B{number}", f"3000{number}.00")
    found = replayed(both)
    assert (found.same_count, found.erased_count, list(found.differences)) == (5, 0, [])
    assert (found.done, found.total) == (5, 5)


def test_superseded_decisions_are_replayed_too(both: Served) -> None:
    name = decided(both, "B1", "200000.00")
    claim = both.claims.GetClaim(claims_pb2.GetClaimRequest(name=name)).claim
    both.review.ReviewClaim(
        review_pb2.ReviewClaimRequest(
            name=name, request_id=uuid.uuid4().hex, revision=claim.revision, note="x"
        )
    )
    assert replayed(both).same_count == 2
    unlocked(both)
    with both.database.writing() as connection:
        first = update(decision).where(decision.c.position == 0)
        connection.execute(first.values(engine_version="9"))
    (difference,) = replayed(both).differences
    assert (difference.position, difference.in_force) == (0, False)


@pytest.mark.parametrize(
    ("column", "change", "differs"),
    [
        ("inputs", replace(b'"30000"', b'"31000"'), ["inputs"]),
        ("inputs", replace(b'"birth_date":"1980', b'"birth_date":"1981'), ["inputs"]),
        ("inputs", lambda _: b"{}", ["inputs"]),
        ("output", replace(b'"benefit":2000000', b'"benefit":2100000'), ["output", "amounts"]),
        ("salt", lambda _: bytes(32), ["commitment"]),
    ],
)
def test_what_was_tampered_with_is_found(
    both: Served, column: str, change: Content, differs: list[str]
) -> None:
    name, other = decided(both, "B1"), decided(both, "B2", "30001.00")
    unlocked(both)
    assert not replayed(both).differences  # the control: nothing is found where nothing was done
    rewritten(both, name, column, change)
    found = replayed(both)
    assert found.same_count == 1
    (difference,) = found.differences
    assert difference.name == name != other
    assert list(difference.differs) == differs
    request = claims_pb2.ReplayClaimRequest(name=name)
    with pytest.raises(grpc.RpcError) as caught:
        both.claims.ReplayClaim(request)
    assert error_of(caught.value).metadata == {"differs": ", ".join(differs)}


def test_bytes_that_do_not_open_are_a_difference_and_no_crash(both: Served) -> None:
    name = decided(both, "B1")
    unlocked(both)
    in_clear(both, name, inputs=b"\x02" + bytes(60))
    (difference,) = replayed(both).differences
    assert list(difference.differs) == ["inputs"]


def test_a_whole_forgery_that_fits_itself_is_not_what_its_inputs_give(both: Served) -> None:
    name = decided(both, "B1")
    unlocked(both)

    def forged(content: bytes) -> bytes:
        made = decision_from(content)
        (paid,) = made.lines
        shares = (msgspec.structs.replace(paid.shares[0], amount=3_000_000),)
        lines = (msgspec.structs.replace(paid, benefit=3_000_000, shares=shares),)
        made = msgspec.structs.replace(made, benefit=3_000_000, lines=lines)
        return decision_bytes(msgspec.structs.replace(made, output_hash=output_hash(made)))

    rewritten(both, name, "output", forged)
    in_clear(both, name, benefit=3_000_000)
    (difference,) = replayed(both).differences
    assert list(difference.differs) == ["output", "commitment"]


@pytest.mark.parametrize("engine", ["9", "", "1a", "１"])
def test_an_engine_that_is_none_of_ours_is_found(both: Served, engine: str) -> None:
    name = decided(both, "B1")
    unlocked(both)
    in_clear(both, name, engine_version=engine)
    rewritten(both, name, "output", replace(OWN_ENGINE, f'"engine_version":"{engine}"'.encode()))
    (difference,) = replayed(both).differences
    assert (list(difference.differs), difference.decided_by) == (["engine version"], engine)


def test_an_earlier_engine_that_decided_the_same_is_said_and_no_alarm(both: Served) -> None:
    name = decided(both, "B1")
    unlocked(both)
    in_clear(both, name, engine_version="1")
    (difference,) = replayed(both).differences  # the row says another engine than the decision
    assert list(difference.differs) == ["engine version"]
    rewritten(both, name, "output", replace(OWN_ENGINE, b'"engine_version":"1"'))
    found = replayed(both)
    assert (found.same_count, found.same_by_earlier_engine_count) == (1, 1)
    assert not found.differences


def test_what_an_earlier_engine_decided_otherwise_is_said_as_such(both: Served) -> None:
    name = decided(both, "B1")
    unlocked(both)

    def of_engine_1(content: bytes) -> bytes:
        made = decision_from(content)
        made = msgspec.structs.replace(made, engine_version="1", category="once")
        return decision_bytes(msgspec.structs.replace(made, output_hash=output_hash(made)))

    rewritten(both, name, "output", of_engine_1)
    committed(both, name)
    (difference,) = replayed(both).differences
    assert list(difference.differs) == ["output by today's engine"]
    assert difference.decided_by == "1"
    alone = claims_pb2.ReplayClaimRequest(name=name)
    with pytest.raises(grpc.RpcError) as whole:
        both.claims.ReplayClaim(alone)
    fault = error_of(whole.value)
    # No alarm: what was decided is whole.
    assert (fault.code, fault.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "DECIDED_OTHERWISE_TODAY",
    )
    # The control: a decision that is not whole is one, whatever engine it says that it is of.
    in_clear(both, name, benefit=3_000_000)
    with pytest.raises(grpc.RpcError) as altered:
        both.claims.ReplayClaim(alone)
    fault = error_of(altered.value)
    assert (fault.code, fault.reason) == (grpc.StatusCode.DATA_LOSS, "DECISION_ALTERED")


@pytest.mark.parametrize("whole", [True, False])
def test_a_bill_that_only_todays_engine_refuses_is_no_alarm(both: Served, *, whole: bool) -> None:
    name = decided(both, "B1")
    unlocked(both)
    told: dict[str, str] = {}

    def taken(content: bytes) -> bytes:
        """The price is not what was billed, which no engine minded once."""
        made = content.replace(b'"unit_price":"30000', b'"unit_price":"30001')
        told["input_hash"] = input_hash(inputs_from(made))
        return made

    def of_engine_1(content: bytes) -> bytes:
        made = msgspec.structs.replace(decision_from(content), engine_version="1")
        return decision_bytes(msgspec.structs.replace(made, **(told if whole else {})))

    rewritten(both, name, "inputs", taken)
    rewritten(both, name, "output", of_engine_1)
    committed(both, name)
    (difference,) = replayed(both).differences
    assert list(difference.differs) == ["output by today's engine" if whole else "inputs"]
    with pytest.raises(grpc.RpcError) as caught:
        both.claims.ReplayClaim(claims_pb2.ReplayClaimRequest(name=name))
    reason = "DECIDED_OTHERWISE_TODAY" if whole else "DECISION_ALTERED"
    assert error_of(caught.value).reason == reason


def test_what_was_erased_is_counted_and_no_alarm(both: Served) -> None:
    decided(both, "B1", "800.00", person=101)
    decided(both, "B2")
    both.claims.EraseMember(
        claims_pb2.EraseMemberRequest(
            request_id=uuid.uuid4().hex,
            member=f"members/{token('CN-ID', id_number(101))}",
            ground=claims_pb2.ERASURE_GROUND_ORDERED,
            order_reference="court/2026-17",
        )
    )
    found = replayed(both)
    assert (found.same_count, found.erased_count, list(found.differences)) == (1, 1, [])


@pytest.mark.on_postgresql
def test_a_tenant_replays_its_own_and_the_installation_all(database_url: str) -> None:
    with served(database_url) as first:
        publish(first)
        imported(first, policy(1))
        decided(first, "B1")
    with served(database_url, caller=lambda: of_insurer("another")) as second:
        assert replayed(second).total == 0
    with served(database_url, caller=of_installation) as whole:
        assert replayed(whole).same_count == 1
        page = pb.ReplayClaimsRequest(page_token="bm90LW91cnM=")
        with pytest.raises(grpc.RpcError) as caught:
            whole.recompute.ReplayClaims(page)
        assert error_of(caught.value).violations[0].reason == "FOREIGN_PAGE_TOKEN"
