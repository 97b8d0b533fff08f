"""The demo's checks hold on a good run and each of them fails on the fault that it is there for."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from demo.bank import BookEntry
from demo.bridge import Pulled
from demo.checks import checks, unbalanced
from demo.results import Results, percentile
from demo.scenario import Expected, Scenario
from demo.summary import summary
from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.type.v1.money_pb2 import Money
from services.common.evidence.compared import Compared

NAMES = {
    "bills_pulled",
    "claims_total",
    "decided_untouched",
    "pended",
    "denied",
    "quarantined",
    "paid_claims",
    "paid_minor_units",
    "conservation_violations",
    "ledger_sum",
    "decision_ms_p50",
    "decision_ms_p99",
    "payout_ms_p50",
    "payout_ms_p99",
}


def yuan(fen: int) -> Money:
    return Money(currency_code="CNY", minor_units=fen)


def share(bearer: decision_pb2.Bearer.ValueType, reason: str, fen: int) -> decision_pb2.BearerShare:
    return decision_pb2.BearerShare(
        bearer=bearer,
        reason=reason_pb2.Reason.Value(f"REASON_{reason}"),
        clause="4.2",
        amount=yuan(fen),
    )


def paid_claim(number: int) -> claims_pb2.Claim:
    """Billed 100.00: 30.00 deductible, 70.00 paid, decided after 50 ms, paid after 2 s more."""
    shares = [
        share(decision_pb2.BEARER_PATIENT, "DEDUCTIBLE", 3000),
        share(decision_pb2.BEARER_INSURER, "BENEFIT", 7000),
    ]
    line = decision_pb2.DecisionLine(
        number=1, billed=yuan(10000), allowed=yuan(10000), benefit=yuan(7000), shares=shares
    )
    return claims_pb2.Claim(
        name=f"policies/p/claims/{number}",
        state=claims_pb2.CLAIM_STATE_PAID,
        decision=decision_pb2.Decision(billed=yuan(10000), benefit=yuan(7000), lines=[line]),
        create_time=Timestamp(seconds=100),
        decide_time=Timestamp(seconds=100, nanos=50_000_000),
        pay_time=Timestamp(seconds=102, nanos=50_000_000),
        paid=yuan(7000),
        end_to_end_id=f"E{number}",
    )


def good() -> Results:
    return Results(
        scenario=Scenario(
            title="t",
            hospital="demo-hospital",
            currency="CNY",
            seed=1,
            plans=(),
            resources=(),
            policies=(),
            expected=Expected(bills=3, claims=2, quarantined=1, refused=0),
            consenting=(),
        ),
        pulled=Pulled(released=2, refused=0, quarantined=1, pending=False),
        claims=[paid_claim(1), paid_claim(2)],
        books=claims_pb2.CheckBooksResponse(),
        quarantine=[
            his_bridge_pb2.QuarantinedRecord(
                name="q", faults=[his_bridge_pb2.RecordFault(reason="NO_LINES")]
            )
        ],
        refusals=[],
        bank_book={"E1": BookEntry(7000, "CNY"), "E2": BookEntry(7000, "CNY")},
        elapsed_s=1.0,
    )


def with_claim(change: Callable[[claims_pb2.Claim], None]) -> Results:
    run = good()
    change(run.claims[0])
    return run


def with_reads(fetched: int, leaves: int, differing: int) -> Results:
    """The same run, with sensitive reads counted both ways."""
    reads = Compared(fetched=fetched, leaves=leaves, differing=differing, rows=())
    return replace(good(), reads=reads)


READS = "sensitive reads counted at the databases = leaves in the evidence logs"


def test_as_many_reads_at_the_databases_as_leaves_hold() -> None:
    run = with_reads(7, 7, 0)
    assert failed(run) == set()
    assert summary(run)["checks"][READS] is True
    assert summary(run)["reads_at_databases"] == summary(run)["reads_in_logs"] == 7


def failed(run: Results) -> set[str]:
    return {check.name for check in checks(run) if not check.holds}


def test_a_good_run_holds() -> None:
    assert failed(good()) == set()


def test_the_summary_has_every_number_that_was_promised() -> None:
    found = summary(good())
    assert found.keys() >= NAMES
    assert (found["decision_ms_p50"], found["payout_ms_p99"]) == (50.0, 2000.0)
    assert (found["paid_claims"], found["paid_minor_units"]) == (2, 14000)
    assert found["decided_untouched"] == 2
    assert found["reasons"]["DEDUCTIBLE"] == {"lines": 2, "minor_units": 6000}


def test_two_runs_with_the_same_decisions_have_one_hash_whatever_their_claims_are_called() -> None:
    def hash_of(run: Results) -> object:
        return summary(run)["decisions_sha256"]

    again = good()
    again.claims[0].name, again.claims[1].name = "policies/p/claims/8", "policies/p/claims/9"
    assert hash_of(replace(again, claims=again.claims[::-1])) == hash_of(good())
    again.claims[0].decision.output_hash = "another"
    assert hash_of(again) != hash_of(good())


def lose_a_fen(claim: claims_pb2.Claim) -> None:
    claim.decision.lines[0].shares[0].amount.minor_units -= 1


def pay_more_than_the_shares(claim: claims_pb2.Claim) -> None:
    claim.decision.lines[0].benefit.minor_units += 1


def bill_less(claim: claims_pb2.Claim) -> None:
    claim.decision.billed.minor_units -= 1


@pytest.mark.parametrize("fault", [lose_a_fen, pay_more_than_the_shares, bill_less])
def test_a_decision_that_does_not_add_up_is_found(
    fault: Callable[[claims_pb2.Claim], None],
) -> None:
    run = with_claim(fault)
    assert unbalanced(run.claims) == ["policies/p/claims/1"]
    assert "decisions that do not add up" in failed(run)
    assert summary(run)["conservation_violations"] == 1


def forget_the_clause(claim: claims_pb2.Claim) -> None:
    claim.decision.lines[0].shares[0].clause = ""


def stay_payable(claim: claims_pb2.Claim) -> None:
    claim.state = claims_pb2.CLAIM_STATE_PAYABLE


def nine_at_once() -> Results:
    """Nine claims taken in before the first of them is decided."""
    return replace(good(), claims=[paid_claim(number) for number in range(9)])


def pend(claim: claims_pb2.Claim) -> None:
    claim.state = claims_pb2.CLAIM_STATE_PENDED_REVIEW


def withdraw(claim: claims_pb2.Claim) -> None:
    claim.state = claims_pb2.CLAIM_STATE_WITHDRAWN


def test_a_withdrawn_claim_is_nobodys_money() -> None:
    run = with_claim(withdraw)
    assert (run.withdrawn, run.untouched, len(run.owed), run.pended) == (1, 1, 1, 0)
    assert run.waiting_minor_units == 0


@pytest.mark.parametrize(
    ("run", "check"),
    [
        (with_reads(7, 6, 1), READS),
        (with_reads(7, 7, 2), READS),
        (with_reads(0, 0, 0), READS),
        (with_claim(forget_the_clause), "cuts without a clause"),
        (with_claim(stay_payable), "claims still on their way"),
        (with_claim(stay_payable), "approved claims paid"),
        (with_claim(pend), "decided without a person"),
        (replace(good(), claims=good().claims[:1]), "claims opened"),
        (nine_at_once(), "decisions in flight at once"),
        (replace(good(), quarantine=[]), "records set aside"),
        (
            replace(good(), held=[his_bridge_pb2.HeldRecord()]),
            "bills held for want of a consent",
        ),
        (with_claim(withdraw), "claims that ended with a withdrawn consent"),
        (with_claim(withdraw), "the bank's book is ours"),
        (
            replace(good(), pulled=Pulled(released=1, refused=0, quarantined=1, pending=False)),
            "bills pulled",
        ),
        (
            replace(good(), pulled=Pulled(released=2, refused=1, quarantined=1, pending=False)),
            "bills of strangers refused",
        ),
        (
            replace(good(), books=claims_pb2.CheckBooksResponse(conservation_violations=1)),
            "conservation violations in the books",
        ),
        (
            replace(good(), books=claims_pb2.CheckBooksResponse(ledger_sum_minor_units=-1)),
            "sum of the ledger",
        ),
        (
            replace(good(), books=claims_pb2.CheckBooksResponse(payout_mismatches=1)),
            "payouts that differ from the benefit",
        ),
        (
            replace(good(), bank_book={"E1": BookEntry(7000, "CNY")}),
            "the bank's book is ours",
        ),
        (
            replace(good(), bank_book={**good().bank_book, "E2": BookEntry(7001, "CNY")}),
            "the bank's book is ours",
        ),
        (
            replace(good(), bank_book={**good().bank_book, "E3": BookEntry(1, "CNY")}),
            "the bank's book is ours",
        ),
    ],
)
def test_each_check_fails_on_its_fault(run: Results, check: str) -> None:
    assert check in failed(run)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([5.0], 0.99, 5.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([float(n) for n in range(1, 201)], 0.99, 198.0),
    ],
)
def test_percentiles_are_nearest_rank(
    values: list[float], share: float, expected: float | None
) -> None:
    assert percentile(values, share) == expected
