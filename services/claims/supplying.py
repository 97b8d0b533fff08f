"""Papers that were asked for: what they state joins the bill, and the engine decides anew."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lipei.claims.v1 import review_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import bill_faults, core_faults
from services.claims.core.life_cycle import Event
from services.claims.deciding import bill_of, decide, take_effect
from services.claims.findings import Doing
from services.claims.storage.acts import ActKind, Told
from services.common.refusals import Violation, invalid

MOST_PAPERS = 50
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def faults_of(request: pb.SupplyFactsRequest) -> list[Violation]:
    """Everything wrong with a request, as far as no bill is needed to see."""
    faults = []
    if len(request.papers) > MOST_PAPERS:
        faults.append(Violation("papers", "BAD_COUNT", f"at most {MOST_PAPERS}"))
    for index, digest in enumerate(request.papers[:MOST_PAPERS]):
        if not _SHA256.fullmatch(digest):
            text = "must be a SHA-256 in hex"
            faults.append(Violation(f"papers[{index}]", "NOT_A_DIGEST", text))
    return faults


def supply(doing: Doing, request: pb.SupplyFactsRequest) -> None:
    """Keep what the papers state, and decide the claim by all that is known now.

    Raises: Refused with every fact that the bill states already or that does not fit it.
    """
    facts = bill_pb2.Bill(hospital_tier=request.hospital_tier, diagnoses=request.diagnoses)
    if request.HasField("social_insurance"):
        facts.social_insurance.CopyFrom(request.social_insurance)
    bill = bill_of(doing.desk, doing.row)
    faults = list(_stated_already(bill, facts))
    if not faults:
        bill.MergeFrom(facts)
        found = bill_faults(bill) or core_faults(bill)
        faults = [Violation(f.field.removeprefix("bill."), f.reason, f.text) for f in found]
    if faults:
        raise invalid(faults)
    inputs, decided = decide(doing.desk, doing.row, bill=bill)
    told = Told(
        note=request.note,
        facts=facts.SerializeToString(deterministic=True),
        papers=tuple(request.papers),
    )
    doing.write(ActKind.SUPPLY, told)
    take_effect(doing.desk, doing.row, inputs, decided, (Event.RECEIVE_PAPERS,), doing.actor)


def _stated_already(bill: bill_pb2.Bill, facts: bill_pb2.Bill) -> Iterator[Violation]:
    """Facts of papers that the bill states already, whatever it says."""
    known, new = bill.social_insurance, facts.social_insurance
    stated = {
        "hospital_tier": bill.hospital_tier and facts.hospital_tier,
        "diagnoses": bill.diagnoses and facts.diagnoses,
    }
    for field in ("used", "fund_paid", "account_paid"):
        stated[f"social_insurance.{field}"] = known.HasField(field) and new.HasField(field)
    for field, both in stated.items():
        if both:
            text = "the bill states it already; only the hospital corrects its bill"
            yield Violation(field, "STATED_ALREADY", text)
