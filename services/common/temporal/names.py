"""Names on the Temporal side: workflows, updates, queues, ids. Workflows are started by these."""

from __future__ import annotations

from typing import Literal

# What a hospital's worker takes out of its bridge, by the bridge's own names.
Channel = Literal["bills", "readings", "withdrawals"]

SETTLE_CLAIM = "SettleClaim"
RUN_PAYOUTS = "RunPayouts"
AWAIT_PAPERS = "AwaitPapers"
ADJUST_CLAIM = "AdjustClaim"
PULL_BILLS = "PullBills"
PULL_READINGS = "PullReadings"
RELAY_WITHDRAWALS = "RelayWithdrawals"
RENEW_BOOK = "RenewBook"

RENEW_STEP = "RenewStep"
RENEWAL_PROGRESS = "Progress"
PAUSE_RENEWAL = "Pause"
RESUME_RENEWAL = "Resume"

DECISION_UPDATE = "decision"
CLAIMS_QUEUE = "claims"
RENEWALS_QUEUE = "renewals"


def hospital_queue(hospital: str) -> str:
    """Task queue that only the worker inside this hospital polls."""
    return f"hospital-{hospital}"


def settle_claim_id(claim_id: str) -> str:
    """Workflow id of one claim; the claim id is opaque, because Temporal never encrypts ids."""
    return f"claims/{claim_id}"


def await_papers_id(claim_id: str, number: int) -> str:
    """Workflow id of the wait for papers of one claim, which were asked for the nth time."""
    return f"claims/{claim_id}/papers/{number}"


def adjust_claim_id(claim_id: str, number: int) -> str:
    """Workflow id of the nth correction of one claim's bill."""
    return f"claims/{claim_id}/adjustments/{number}"


def run_payouts_id(paying_account: str) -> str:
    """Workflow id of the payout run of one paying account: never two at once."""
    return f"payouts/{paying_account}"


def fetch_bills_id(hospital: str) -> str:
    """Workflow id of a pull of bills that a member has asked for: never two at once."""
    return f"fetch-bills/{hospital}"


def pull_schedule_id(hospital: str, channel: Channel = "bills") -> str:
    """Schedule that pulls one hospital's bills, readings, or withdrawals of consents."""
    return f"pull-{channel}/{hospital}"


def renew_book_id(key: str) -> str:
    """Workflow id of one renewal, by the digest of all that its result depends on."""
    return f"renewals/{key}"
