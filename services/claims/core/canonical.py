"""Canonical bytes of plans, inputs and decisions, and their SHA-256: what "for ever" rests on.

Deterministic JSON: keys in order, decimals in one form, defaults left out. The bytes read back
into the typed facts that they came from, so that a stored decision can be decided again.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import msgspec

from services.claims.core.decision import Decision
from services.claims.core.facts import (
    BillFacts,
    Facts,
    PolicySnapshot,
    PriorPayments,
    Review,
    UsageSnapshot,
)
from services.claims.core.plan import Plan


class Inputs(Facts, frozen=True):
    """Everything that one decision was made from; the plan by its version name.

    `claim_id` is empty unless the plan samples claims.
    """

    plan_version: str
    policy: PolicySnapshot
    usage: UsageSnapshot
    bill: BillFacts
    prior: PriorPayments
    review: Review | None = None
    claim_id: str = ""


_encoder = msgspec.json.Encoder(order="deterministic")
_inputs = msgspec.json.Decoder(Inputs)
_decisions = msgspec.json.Decoder(Decision)
_plans = msgspec.json.Decoder(Plan)


def inputs_bytes(inputs: Inputs) -> bytes:
    """The inputs as they are stored and hashed."""
    return _encoder.encode(inputs)


def inputs_from(stored: bytes) -> Inputs:
    """The typed facts of stored bytes.

    Raises: msgspec.ValidationError when the bytes are not inputs that this engine knows.
    """
    return _inputs.decode(stored)


def input_hash(inputs: Inputs) -> str:
    """SHA-256 of the canonical inputs, in hex."""
    return sha256(inputs_bytes(inputs))


def decision_bytes(decision: Decision) -> bytes:
    """The whole decision as it is stored, hashes included."""
    return _encoder.encode(decision)


def decision_from(stored: bytes) -> Decision:
    """The typed decision of stored bytes.

    Raises: msgspec.ValidationError when the bytes are not a decision that this engine knows.
    """
    return _decisions.decode(stored)


def output_hash(decision: Decision) -> str:
    """SHA-256 of what the decision says, in hex, whatever its own `output_hash` claims.

    Disposition, lines, shares, usage and pends are in it; plan version, engine version and input
    hash are not, so that another engine which decides the same gives the same hash.
    """
    said = msgspec.structs.replace(
        decision, plan_version="", engine_version="", input_hash="", output_hash=""
    )
    return sha256(_encoder.encode(said))


def plan_bytes(plan: Plan) -> bytes:
    """The plan as it is stored and hashed; comments and order of keys in its file are not in it."""
    return _encoder.encode(plan)


def plan_from(stored: bytes) -> Plan:
    """The typed plan of stored bytes.

    Raises: msgspec.ValidationError when the bytes are not a plan that this engine knows.
    """
    return _plans.decode(stored)


@lru_cache(maxsize=256)
def plan_version(plan: Plan) -> str:
    """The immutable name of a plan's terms: "{id}@sha256:{hash}"."""
    return f"{plan.id}@sha256:{sha256(plan_bytes(plan))}"


def sha256(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()
