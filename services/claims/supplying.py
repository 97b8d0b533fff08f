"""Papers that were asked for: what they state joins the bill, and the engine decides anew."""

from __future__ import annotations

import re

from lipei.claims.v1 import review_pb2 as pb
from services.claims.at_hand import bill_of
from services.claims.bill_intake import bill_faults, code_faults, core_faults
from services.claims.core.life_cycle import Event
from services.claims.deciding import decide, take_effect
from services.claims.findings import Doing
from services.claims.papers import fact_faults, with_facts
from services.claims.storage.acts import ActKind, Told
from services.common.refusals import Violation, invalid

MOST_PAPERS = 50
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def faults_of(request: pb.SupplyFactsRequest) -> list[Violation]:
    """Everything wrong with a request, as far as no bill is needed to see."""
    faults = []
    if len(request.paper_digests) > MOST_PAPERS:
        faults.append(Violation("paper_digests", "BAD_COUNT", f"at most {MOST_PAPERS}"))
    for index, digest in enumerate(request.paper_digests[:MOST_PAPERS]):
        if not _SHA256.fullmatch(digest):
            text = "must be a SHA-256 in hex"
            faults.append(Violation(f"paper_digests[{index}]", "NOT_A_DIGEST", text))
    return faults


def supply(doing: Doing, request: pb.SupplyFactsRequest) -> None:
    """Keep what the papers state, and decide the claim by all that is known now.

    Raises: Refused with every fact that the bill states already or that does not fit it.
    """
    known = bill_of(doing.desk, doing.row)
    faults = list(fact_faults(known, request.facts))
    bill = with_facts(known, request.facts)
    if not faults:
        faults = _in_facts(bill_faults(bill) or core_faults(bill))
    if faults:
        raise invalid(faults)
    inputs, decided = decide(doing.desk, doing.row, bill=bill)
    # As at intake: a code of a system that the plan does not know would be a code to no exclusion.
    plan = doing.desk.plans.plan_for_reading(doing.desk.connection, inputs.plan_version)
    if unknown := _in_facts(code_faults(plan, bill)):
        raise invalid(unknown)
    told = Told(
        note=request.note,
        facts=request.facts.SerializeToString(deterministic=True),
        papers=tuple(request.paper_digests),
    )
    doing.write(ActKind.SUPPLY, told)
    take_effect(doing.desk, doing.row, inputs, decided, (Event.RECEIVE_PAPERS,), doing.actor)


def _in_facts(found: list[Violation]) -> list[Violation]:
    """Faults of the bill that facts make, as faults of the facts."""
    return [Violation(f"facts{f.field.removeprefix('bill')}", f.reason, f.text) for f in found]
