"""Terms that claims are decided by and that this version's payments cannot carry out yet.

A plan with one is refused when it is published: nothing that a plan says is silently ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.claims.core.plan import Others, Plan


@dataclass(frozen=True, slots=True)
class UnpayableTerm:
    """One such term: a stable reason, and what to do."""

    reason: str
    text: str


def unpayable_terms(plan: Plan) -> Iterator[UnpayableTerm]:
    """Every term of the plan that no payment could follow."""
    if plan.undisputed_first is not None:
        yield UnpayableTerm(
            "PART_NOT_PAYABLE",
            "undisputed_first: a claim is paid once, when all of it is decided; leave it out",
        )
    if plan.redecision is not None and any(
        others is Others.AGAIN for _, others in plan.redecision.others.values
    ):
        yield UnpayableTerm(
            "OTHERS_NOT_DECIDED_AGAIN",
            "redecision: a re-decision leaves other claims as they are; say stand, or leave it out",
        )
