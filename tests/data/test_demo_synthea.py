"""The demo over 1,457 synthetic bills of 2019 and 2020: the numbers that were promised."""

import io
import json
import os
from pathlib import Path

import pytest

from demo.progress import Reporter
from demo.results import Results
from demo.run import Folders, failures, play
from demo.scenario import from_folder
from lipei.claims.v1 import claims_pb2

BILLS = 1457
PROMISED = {
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

# A run takes two to three minutes on two cores; a hang is what the limit is for.
pytestmark = [pytest.mark.data, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthea")


@pytest.fixture(scope="module")
def results(out: Path) -> Results:
    scenario = from_folder(Path(os.environ["DATA"]) / "fhir_synthea_r4")
    folders = Folders(state=out / "state", out=out)
    return play(scenario, folders, Reporter(io.StringIO()), keep=False)


def test_every_check_holds(results: Results) -> None:
    assert failures(results) == []


def test_every_bill_of_the_period_and_no_other_becomes_a_claim(results: Results) -> None:
    assert results.scenario.outside > 100
    assert results.pulled.bills == len(results.claims) == BILLS
    assert len({claim.bill_number for claim in results.claims}) == BILLS
    assert (len(results.quarantine), results.pulled.refused) == (0, 0)


def test_nine_in_ten_are_decided_on_their_merits_for_at_least_five_reasons(
    results: Results,
) -> None:
    assert results.untouched >= 0.9 * BILLS
    assert len(results.reasons().keys() - {"BENEFIT"}) >= 5


def test_every_approved_claim_with_a_payout_is_paid_and_no_other(results: Results) -> None:
    owed = {claim.name: claim.decision.benefit.minor_units for claim in results.owed}
    assert {claim.name: claim.paid.minor_units for claim in results.paid} == owed
    assert results.books.paid_count == len(owed) > BILLS / 2
    ended = {
        claims_pb2.CLAIM_STATE_PAID,
        claims_pb2.CLAIM_STATE_CLOSED_ZERO,
        claims_pb2.CLAIM_STATE_DENIED,
    }
    assert sum(claim.state in ended for claim in results.claims) == BILLS - results.pended


def test_the_summary_holds_every_promised_number(results: Results, out: Path) -> None:
    found = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert {name for name in PROMISED if isinstance(found.get(name), int | float)} == PROMISED
    assert (found["conservation_violations"], found["ledger_sum"]) == (0, 0)
