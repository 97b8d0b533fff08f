"""Erasing a person: what is gone, what stays, and when it must not be done; on both databases."""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.message import Message
from sqlalchemy import text

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import reason_pb2, settlement_pb2
from services.claims.core.life_cycle import ClaimState, Event
from services.claims.storage import claims as store
from services.claims.storage import erasure
from services.claims.storage.about import records_about
from services.claims.storage.tables import metadata
from services.common.access.tenant import INSTALLATION, Kind, Tenant
from services.common.grpc_edge import RpcFault, error_of
from services.common.identity import member_token
from services.common.refusals import Refused
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
from tests.services.claims.serving import TOKEN_KEY, Served, served, token
from tests.services.common.sealing.keys import now_us, subject_keys
from tests.tenants import INSURER

CT = "002103000010000"
SMALL = "800.00"  # below the deductible: decided, nothing owed, closed


@pytest.fixture
def both(stocked_url: str) -> Iterator[Served]:
    with served(stocked_url) as running:
        yield running


def decided(service: Served, number: str, *, person: int = 100, price: str = SMALL) -> pb.Claim:
    given = bill(number, line(1, DRUG, price), person=person)
    (claim,) = service.claims.SubmitClaim(submission(given)).claims
    return claim


def about(service: Served, person: int = 100) -> list[str]:
    keys = subject_keys(service.database)
    with service.database.reading() as connection:
        sealer = keys.sealer(connection)
        return records_about(connection, sealer, token("CN-ID", id_number(person)))


@pytest.mark.on_postgresql
def test_records_about_a_member_are_their_claims_until_they_are_erased(both: Served) -> None:
    mine, spouses = decided(both, "B1"), decided(both, "B2", person=101)
    assert about(both) == [mine.name]
    assert about(both, 101) == [spouses.name]
    assert about(both, 999) == []
    both.claims.EraseMember(ordered())
    assert (about(both), about(both, 101)) == ([], [spouses.name])


def of(person: int = 100) -> str:
    return f"members/{token('CN-ID', id_number(person))}"


def ordered(person: int = 100, request_id: str = "") -> pb.EraseMemberRequest:
    return pb.EraseMemberRequest(
        request_id=request_id or uuid.uuid4().hex,
        member=of(person),
        ground=pb.ERASURE_GROUND_ORDERED,
        order_reference="court/2026-17",
    )


def refused(call: Callable[[Any], Message], request: Message) -> RpcFault:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return error_of(caught.value)


def shown(service: Served, name: str) -> pb.Claim:
    return service.claims.GetClaim(pb.GetClaimRequest(name=name)).claim


def is_sound(service: Served) -> bool:
    books = service.claims.CheckBooks(pb.CheckBooksRequest())
    return not (
        books.ledger_sum_minor_units or books.conservation_violations or books.payout_mismatches
    )


def test_bill_and_decision_are_gone_and_names_states_and_amounts_stay(both: Served) -> None:
    before = shown(both, decided(both, "B1").name)
    other = shown(both, decided(both, "B2", person=101).name)
    done = both.claims.EraseMember(ordered())
    assert (done.destroyed_key_count, done.claim_count) == (1, 1)
    assert done.member == before.member
    assert list(done.policies) == []  # it insures another person still
    after = shown(both, before.name)
    assert after.erased
    assert (after.bill_number, list(after.decision.lines)) == ("", [])
    for field in ("name", "member", "provider_id", "state", "create_time", "paid", "decide_time"):
        assert getattr(after, field) == getattr(before, field)
    assert list(after.moves) == list(before.moves)
    for field in ("plan_version", "commitment", "billed", "allowed", "benefit"):
        assert getattr(after.decision, field) == getattr(before.decision, field)
    assert (after.decision.input_hash, after.decision.output_hash) == ("", "")
    for call, request in (
        (both.claims.ReplayClaim, pb.ReplayClaimRequest(name=before.name)),
        (both.claims.ExplainClaim, pb.ExplainClaimRequest(name=before.name)),
    ):
        fault = refused(call, request)
        assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ERASED")
    assert shown(both, other.name) == other
    assert both.claims.ReplayClaim(pb.ReplayClaimRequest(name=other.name)).output_hash
    assert is_sound(both)


def test_no_row_tells_which_services_were_billed(both: Served) -> None:
    """Not by a hash that could be guessed back, nor by a reason, a clause or an outcome."""
    before = decided(both, "B1")
    decision, (line_,) = before.decision, before.decision.lines
    hashes = both.claims.ReplayClaim(pb.ReplayClaimRequest(name=before.name))
    both.claims.EraseMember(ordered())
    kept = ""
    with both.database.reading() as connection:
        for table in ("claim", "decision", "decision_line", "decision_share", "claim_move"):
            kept += str(connection.execute(text(f"SELECT * FROM {table}")).all())
    for share in line_.shares:
        assert share.clause
        # Between quotes, as text or JSON has it: sealed bytes hold three characters by chance.
        assert not re.search(rf"""['"]{re.escape(share.clause)}['"]""", kept)
        assert reason_pb2.Reason.Name(share.reason).removeprefix("REASON_").lower() not in kept
    assert len(hashes.output_hash) == len(hashes.input_hash) == 64
    both_hashes = hashes.input_hash + hashes.output_hash
    for guessed in (hashes.output_hash, hashes.input_hash, both_hashes):
        assert guessed not in kept
        assert hashlib.sha256(guessed.encode()).hexdigest() not in kept
    # The control: the search finds what does stand in clear.
    assert decision.commitment in kept
    assert all(str(share.amount.minor_units) in kept for share in line_.shares)


def test_lists_lose_nothing(both: Served) -> None:
    names = [decided(both, f"B{n}", person=100 + n % 2).name for n in range(6)]
    both.claims.EraseMember(ordered())
    seen: list[pb.Claim] = []
    request = pb.ListClaimsRequest(parent="policies/-", page_size=4)
    while True:
        page = both.claims.ListClaims(request)
        seen += page.claims
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert [claim.name for claim in seen] == names
    assert [claim.erased for claim in seen] == [True, False] * 3
    assert [claim.bill_number for claim in seen] == ["", "B1", "", "B3", "", "B5"]


def test_the_last_persons_erasure_takes_the_policys_accounts_along(both: Served) -> None:
    assert list(both.claims.EraseMember(ordered(100)).policies) == []
    done = both.claims.EraseMember(ordered(101))
    assert (list(done.policies), done.destroyed_key_count) == (["policies/p1"], 2)
    with both.database.reading() as connection:
        accounts = connection.execute(
            text("SELECT wrapped FROM subject_key WHERE subject = 'policy:p1'")
        )
        assert accounts.scalar_one() is None


@pytest.mark.parametrize(
    ("price", "state"),
    [
        ("30000.00", pb.CLAIM_STATE_PAYABLE),
        ("500000.00", pb.CLAIM_STATE_PENDED_REVIEW),  # above the auto-pay ceiling
    ],
)
def test_an_open_claim_keeps_its_person_until_it_is_closed(
    both: Served, price: str, state: int
) -> None:
    claim = decided(both, "B1", price=price)
    assert claim.state == state
    request = ordered()
    fault = refused(both.claims.EraseMember, request)
    assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CLAIMS_OPEN")
    assert fault.metadata == {"open": "1", "claims": claim.name}
    assert not shown(both, claim.name).erased
    with both.database.writing() as connection:
        store.move_claim(connection, claim.name.split("/")[3], Event.WITHDRAW, "adjuster:1", 1)
    both.claims.EraseMember(request)  # the same request, now that nothing keeps it
    assert shown(both, claim.name).erased


def test_every_state_is_open_or_closed_by_what_can_still_happen_to_it() -> None:
    # What is not closed is owed, awaited or contested.
    open_states = set(ClaimState) - set(erasure.CLOSED)
    assert {
        ClaimState.PAYABLE,
        ClaimState.PAYMENT_SENT,
        ClaimState.PAYMENT_FAILED,
        ClaimState.RETURNED,
        ClaimState.RECOVERY_OPEN,
        ClaimState.APPEALED,
        *store.UNDECIDED,
        *store.PENDED,
    } <= open_states


def test_the_law_keeps_records_until_a_day(both: Served) -> None:
    decided(both, "B1")
    request = pb.EraseMemberRequest(
        request_id="e1", member=of(), ground=pb.ERASURE_GROUND_RETENTION_OVER
    )
    fault = refused(both.claims.EraseMember, request)
    assert (fault.code, fault.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "RETENTION_NOT_OVER",
    )
    assert fault.metadata == {"until": "2032-01-01"}

    def erase(today: date) -> erasure.Erasure:
        with both.database.writing() as connection:
            return erasure.erase(
                connection,
                both.keys.sealer(connection),
                Tenant(Kind.INSURER, INSURER),
                "e2",
                of().removeprefix("members/"),
                ground=erasure.Ground("retention over", ordered=False),
                today=today,
                now_us=now_us(),
            )

    with pytest.raises(erasure.RetentionNotOver):
        erase(date(2031, 12, 31))
    assert erase(date(2032, 1, 1)).claims == 1


@pytest.mark.parametrize(
    ("start", "end", "until"),
    [
        (date(2026, 1, 1), date(2027, 1, 1), date(2032, 1, 1)),
        (date(2026, 1, 1), date(2026, 7, 1), date(2031, 7, 1)),
        (date(2026, 1, 1), date(2027, 1, 2), date(2037, 1, 2)),
        (date(2024, 2, 29), date(2025, 3, 1), date(2030, 3, 1)),
        (date(2023, 3, 1), date(2024, 2, 29), date(2029, 3, 1)),
    ],
)
def test_five_years_after_a_policy_of_up_to_a_year_and_ten_after_a_longer_one(
    start: date, end: date, until: date
) -> None:
    assert erasure.kept_until(start, end) == until


def test_the_same_person_afterwards_is_a_new_one_without_history(both: Served) -> None:
    before = decided(both, "B1", price=SMALL)
    both.claims.EraseMember(ordered())
    unknown = refused(both.claims.SubmitClaim, submission(bill("B2", line(1, DRUG, SMALL))))
    assert unknown.reason == "UNKNOWN_MEMBER"
    # The bill that was taken in is still known: nothing is paid twice.
    conflict = submission(bill("B1", line(1, DRUG, SMALL)))
    assert refused(both.claims.SubmitClaim, conflict).reason == "UNKNOWN_MEMBER"
    again = policy(7)
    again.members[0].document.number = id_number(100)
    imported(both, again)
    (known,) = both.claims.SubmitClaim(conflict).claims
    assert (known.name, known.erased) == (before.name, True)
    later = decided(both, "B2")
    assert later.member != before.member
    assert later.name.startswith("policies/p7/")
    # The erased service is no earlier one any more: the same charge is no duplicate.
    assert later.decision.lines[0].outcome == before.decision.lines[0].outcome
    assert is_sound(both)


def test_an_erased_persons_member_id_cannot_be_given_again(both: Served) -> None:
    both.claims.EraseMember(ordered())
    revised = policy(1, people=2, revision=2, effective_date="2026-06-01")
    fault = refused(
        both.claims.ImportPolicies,
        pb.ImportPoliciesRequest(request_id="again", policies=[revised]),
    )
    (said,) = fault.violations
    assert (said.reason, said.field) == ("MEMBER_ERASED", "policies[0].members[0].member_id")
    assert re.search(r"was erased on [0-9]{4}-[0-9]{2}-[0-9]{2} ", said.text)
    # Without them the policy goes on for the others.
    del revised.members[0]
    request = pb.ImportPoliciesRequest(request_id="without", policies=[revised], dry_run=True)
    assert not [one for one in both.claims.ImportPolicies(request).faults if "ERASED" in one.reason]


def test_an_unchanged_policy_tells_who_of_it_was_erased(both: Served) -> None:
    same = pb.ImportPoliciesRequest(request_id="1", policies=[policy(1, people=2)])
    assert not both.claims.ImportPolicies(same).erased_members
    both.claims.EraseMember(ordered())
    same.request_id = "2"
    answer = both.claims.ImportPolicies(same)
    (erased,) = answer.erased_members
    assert (answer.unchanged, erased.index, erased.policy_id) == (1, 0, "p1")
    assert erased.member_id == same.policies[0].members[0].member_id
    assert erased.erase_time.seconds


def test_a_claim_that_is_opened_again_after_the_erasure_goes_to_a_person(both: Served) -> None:
    claim = decided(both, "B1")
    both.claims.EraseMember(ordered())
    later = decided(both, "B2", person=101)
    claim_id = claim.name.split("/")[3]
    with both.database.writing() as connection:
        for event in (Event.APPEAL, Event.OVERTURN, Event.DECIDE_ANEW):
            store.move_claim(connection, claim_id, event, "adjuster:1", 1)
    batch = settlement_pb2.SettleClaimsRequest(names=[claim.name, later.name])
    first, second = both.settlement.SettleClaims(batch).claims
    assert first.state == pb.CLAIM_STATE_PENDED_REVIEW
    assert second.state == pb.CLAIM_STATE_CLOSED_ZERO
    assert is_sound(both)


def test_an_erasure_is_done_once_and_answers_the_same(both: Served) -> None:
    decided(both, "B1")
    done = both.claims.EraseMember(ordered(request_id="e1"))
    assert both.claims.EraseMember(ordered(request_id="e1")) == done
    elsewhere = ordered(request_id="e1")
    elsewhere.order_reference = "court/2026-18"
    again = policy(7)
    again.members[0].document.number = id_number(999)
    imported(both, again)
    for others in (ordered(101, request_id="e1"), elsewhere, ordered(999, request_id="e1")):
        other = refused(both.claims.EraseMember, others)
        assert (other.code, other.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert both.claims.EraseMember(ordered(request_id="e1")) == done
    unknown = refused(both.claims.EraseMember, ordered(request_id="e2"))
    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert of() not in str(unknown)
    with both.database.reading() as connection:
        (kept,) = connection.execute(text("SELECT ground, member FROM erasure")).all()
    assert tuple(kept) == ("ordered court/2026-17", done.member.removeprefix("members/"))


@pytest.mark.on_postgresql
def test_a_dry_run_says_what_would_go_or_what_forbids_it_and_does_nothing(both: Served) -> None:
    claim = decided(both, "B1")
    asked = ordered(request_id="dry")
    asked.dry_run = True
    would = both.claims.EraseMember(asked)
    assert (would.claim_count, would.destroyed_key_count > 0) == (1, True)
    assert not shown(both, claim.name).erased
    with both.database.reading() as connection:
        assert not connection.execute(text("SELECT * FROM erasure")).all()
    kept = pb.EraseMemberRequest(request_id="dry", member=asked.member, dry_run=True)
    kept.ground = pb.ERASURE_GROUND_RETENTION_OVER
    assert refused(both.claims.EraseMember, kept).reason == "RETENTION_NOT_OVER"
    done = both.claims.EraseMember(ordered(request_id="dry"))  # the question is not kept
    assert done == would
    assert shown(both, claim.name).erased


@pytest.mark.both_databases
def test_another_replica_finds_it_erased_at_once(both: Served) -> None:
    claim = decided(both, "B1")
    replica = subject_keys(both.database)

    def opened_there() -> bool:
        with both.database.reading() as connection:
            sealer = replica.sealer(connection)
            place = claim.name.split("/")[1::2]
            row = store.find_claim(connection, sealer, INSTALLATION, *place)
            assert row is not None
            at = {"table": "claim", "column": "bill_number", "row": row.id}
            subject = f"person:{row.person_id}"
            return sealer.open(row.bill_number, **at, subject=subject) == b"B1"

    assert opened_there()
    both.claims.EraseMember(ordered())
    with pytest.raises(Refused) as erased:
        opened_there()
    assert erased.value.reason == "ERASED"


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"request_id": ""}, {"request_id"}),
        ({"member": "members/m0"}, {"member"}),
        ({"member": "members/" + member_token("A", "123", key=TOKEN_KEY, key_version="k1")}, None),
        ({"ground": 0}, {"ground", "order_reference"}),
        ({"ground": 9}, {"ground", "order_reference"}),
        ({"order_reference": ""}, {"order_reference"}),
        ({"order_reference": "王小明"}, {"order_reference"}),
        ({"order_reference": "〔2026〕12号\n"}, {"order_reference"}),
        ({"order_reference": "12\u202e34"}, {"order_reference"}),
        ({"order_reference": "12  34"}, {"order_reference"}),
        ({"order_reference": "1" * 65}, {"order_reference"}),
        ({"ground": 1}, {"order_reference"}),
    ],
)
def test_a_request_that_says_too_little_or_too_much_erases_nothing(
    both: Served, changes: dict[str, Any], fields: set[str] | None
) -> None:
    claim = decided(both, "B1")
    request = ordered(request_id="e1")
    for name, value in changes.items():
        setattr(request, name, value)
    fault = refused(both.claims.EraseMember, request)
    if fields is None:
        assert fault.code is grpc.StatusCode.NOT_FOUND
    else:
        assert {violation.field for violation in fault.violations} == fields
    assert "王小明" not in str(fault)
    assert not shown(both, claim.name).erased


FORGED = {
    "of another claim of the same person": "(SELECT {column} FROM {table} WHERE {of} = :other)",
    "cut short": "substr({column}, 1, 30)",
    "empty": "substr({column}, 1, 0)",
}


@pytest.mark.parametrize("forgery", FORGED)
@pytest.mark.parametrize(("table", "column"), [("claim", "bill_number"), ("decision", "output")])
@pytest.mark.parametrize("other", [100, 101])
def test_what_was_swapped_or_cut_short_is_data_loss_on_the_wire(
    both: Served, table: str, column: str, forgery: str, other: int
) -> None:
    mine, yours = decided(both, "B1"), decided(both, "B2", person=other)
    of = "id" if table == "claim" else "claim_id"
    value = FORGED[forgery].format(table=table, column=column, of=of)
    values = {"mine": mine.name.split("/")[3], "other": yours.name.split("/")[3]}
    with both.database.writing() as connection:
        if table == "decision":
            drop = "DROP TRIGGER decision_no_update"
            if not both.database.is_sqlite:
                drop = "DROP TRIGGER decision_append_only ON decision"
            connection.execute(text(drop))
        if ":other" not in value:
            del values["other"]
        connection.execute(
            text(f"UPDATE {table} SET {column} = {value} WHERE {of} = :mine"), values
        )
    fault = refused(both.claims.GetClaim, pb.GetClaimRequest(name=mine.name))
    assert (fault.code, fault.reason) == (grpc.StatusCode.DATA_LOSS, "SEALED_VALUE_ALTERED")
    assert not shown(both, yours.name).erased


def test_nothing_planted_stands_in_the_database(tmp_path: Path) -> None:
    """Names, numbers and medical facts are in no file; what may stand in clear is found."""
    with served(f"sqlite:///{tmp_path}/claims.db") as service:
        publish(service)
        given = policy(1)
        given.payee_accounts[0].holder_name = "Planted Holder"
        given.members[0].disclosed_conditions.add(code_prefix="Q87.65", terms=2)
        imported(service, given)
        hospital_bill = bill("PLANTED-BILL-77", line(1, CT, "7654.32"))
        hospital_bill.diagnoses[0].code.code = "K51.907"
        (claim,) = service.claims.SubmitClaim(submission(hospital_bill)).claims
        assert claim.decision.lines
        service.claims.ReplayClaim(pb.ReplayClaimRequest(name=claim.name))
        planted = (
            *(id_number(100), of().removeprefix("members/"), "Planted Holder"),
            *(given.payee_accounts[0].account_number, "1980-03-07", "Q87.65"),
            *("PLANTED-BILL-77", "K51.907", CT, "7654.32", "2026-05-04", "2026-05-08"),
        )
        files = b"".join(path.read_bytes() for path in tmp_path.glob("claims.db*"))
        assert [word for word in planted if word.encode() in files] == []
        # The control: what stands in clear is found, and so is what is not sealed.
        assert claim.name.split("/")[3].encode() in files
        with service.database.writing() as connection:
            clear = hospital_bill.SerializeToString()
            connection.execute(text("UPDATE claim SET bill = :bill"), {"bill": clear})
        files = b"".join(path.read_bytes() for path in tmp_path.glob("claims.db*"))
        for word in ("PLANTED-BILL-77", "K51.907", CT, "7654.32"):
            assert word.encode() in files


def test_an_order_is_known_by_its_number_however_it_was_typed(both: Served) -> None:
    decided(both, "B1")
    first, again = ordered(request_id="e1"), ordered(request_id="e1")
    first.order_reference = "京法\u00e9〔2026〕12号 之二"
    again.order_reference = "京法e\u0301〔2026〕12号 之二"
    assert both.claims.EraseMember(first) == both.claims.EraseMember(again)
    with both.database.reading() as connection:
        ground = connection.execute(text("SELECT ground FROM erasure")).scalar_one()
    assert ground == f"ordered {first.order_reference}"


def test_an_erasure_leaves_no_way_from_the_token_to_what_stays(tmp_path: Path) -> None:
    with served(f"sqlite:///{tmp_path}/claims.db") as service:
        publish(service)
        imported(service, policy(1))
        decided(service, "B1")
        token = of().removeprefix("members/")
        with service.database.reading() as connection:
            index = connection.execute(text("SELECT token_index FROM person")).scalar_one()
        request = ordered()
        service.claims.EraseMember(request)
        # Neither whoever has the master key as well finds the guessed token's request again.
        keys = subject_keys(service.database)
        guessed = [
            keys.fingerprint(content, table="erasure", column="fingerprint")
            for content in (
                msgspec.json.encode((token, f"ordered {request.order_reference}")),
                request.SerializeToString(deterministic=True),
                token.encode(),
            )
        ]
        files = b"".join(path.read_bytes() for path in tmp_path.glob("claims.db*"))
        assert index.encode() not in files
        with service.database.reading() as connection:
            for table in metadata.tables:
                rows = str(connection.execute(text(f"SELECT * FROM {table}")).all())
                assert index not in rows
                assert not [guess for guess in guessed if guess in rows]
            columns = [column.name for column in metadata.tables["erasure"].columns]
        told = {"request_id", "member", "ground", "answer", "at_us", "tenant", "role"}
        assert set(columns) == told  # whoever adds one says here why it tells no token


@pytest.mark.both_databases
def test_an_erasure_and_a_submission_that_race_leave_one_truth(both: Served) -> None:
    """Either the claim was there first and keeps its person, or the person is unknown to it."""
    outcomes: list[str] = []

    def submit(number: int) -> None:
        try:
            decided(both, f"R{number}")
            outcomes.append("taken")
        except grpc.RpcError as error:
            outcomes.append(error_of(error).reason)

    workers = [threading.Thread(target=submit, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    try:
        both.claims.EraseMember(ordered())
        outcomes.append("erased")
    except grpc.RpcError as error:
        outcomes.append(error_of(error).reason)
    for worker in workers:
        worker.join()
    assert set(outcomes) <= {"taken", "erased", "CLAIMS_OPEN", "UNKNOWN_MEMBER", "ERASED"}
    listed = both.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-")).claims
    assert len(listed) == outcomes.count("taken")
    assert all(claim.erased for claim in listed) == ("erased" in outcomes) or not listed
    assert is_sound(both)
