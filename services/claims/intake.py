"""Taking a bill in: who is insured, which policies answer for it, and one claim under each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from sqlalchemy import Connection

from lipei.claims.v1 import claims_pb2
from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import bill_faults, code_faults, core_faults, end_day, start_day
from services.claims.messages import claim_name
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import claims as store
from services.claims.storage import policies
from services.claims.terms import PolicyTerms
from services.common.grpc_edge import Refused, Violation, invalid
from services.common.request_id import request_id_faults
from services.common.sealing import Sealer

METHOD = "SubmitClaim"


@dataclass(frozen=True, slots=True)
class Taken:
    """Claims that a bill has opened, by (policy, claim), and those opened just now."""

    claims: tuple[tuple[str, str], ...]
    fresh: tuple[tuple[str, str], ...] = ()


def check(request: claims_pb2.SubmitClaimRequest) -> str:
    """Content hash of a request without faults; who sends the bill, and how, is not in it.

    Raises: Refused with every fault, or when the bill is not final.
    """
    faults: list[Violation] = request_id_faults(request.request_id)
    if not request.HasField("bill"):
        raise invalid([*faults, Violation("bill", "MISSING", "hand a bill in")])
    faults += bill_faults(request.bill)
    if request.wait.seconds < 0 or request.wait.nanos < 0:
        faults.append(Violation("wait", "NEGATIVE", "must not be negative"))
    faults = faults or core_faults(request.bill)
    if faults:
        raise invalid(faults)
    if request.bill.kind != bill_pb2.BILL_KIND_FINAL:
        text = "only a final bill opens a claim; send it again when it is final"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "BILL_NOT_FINAL", text)
    content = bill_pb2.Bill()
    content.CopyFrom(request.bill)
    content.ClearField("name")
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()


def take_in(
    connection: Connection,
    sealer: Sealer,
    plans: PlanShelf,
    request: claims_pb2.SubmitClaimRequest,
    bill_hash: str,
    at_us: int,
) -> Taken:
    """Open one claim per policy in force, in coordination order; or find those that exist.

    A known member without cover on the day gets a claim too, to be denied.

    Raises: Refused for other content under a known id, an unknown member or another currency.
    """
    known = _known(connection, sealer, request, bill_hash)
    if known is not None:
        return known
    bill = request.bill
    person_id = policies.find_person(connection, sealer, bill.member_token)
    if person_id is None:
        text = "no policy insures this member; import the policy first, then send the bill again"
        raise Refused(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MEMBER", text)
    insured = _answering(connection, sealer, bill, person_id)
    answering = _in_currency(connection, plans, bill, insured)
    _check_codes(connection, plans, bill, answering)
    store.lock(connection, (entry[0] for entry in answering), [person_id])
    existing = _same_bill(connection, sealer, bill, bill_hash)  # now that we are alone
    opened = existing or tuple(
        (
            policy_id,
            store.open_claim(
                connection,
                sealer,
                store.NewClaim(
                    policy_id=policy_id,
                    person_id=person_id,
                    member_id=member_id,
                    request_id=request.request_id,
                    provider_id=bill.provider_id,
                    bill_number=bill.bill_number,
                    bill_hash=bill_hash,
                    bill=bill.SerializeToString(deterministic=True),
                    currency=bill.total.currency_code,
                ),
                at_us,
            ),
        )
        for policy_id, member_id, _terms in answering
    )
    names = "\n".join(claim_name(*claim) for claim in opened)
    key = (METHOD, request.request_id, bill_hash)
    store.remember_answer(connection, sealer, *key, names.encode(), at_us)
    return Taken(opened, () if existing else opened)


def _known(
    connection: Connection,
    sealer: Sealer,
    request: claims_pb2.SubmitClaimRequest,
    bill_hash: str,
) -> Taken | None:
    try:
        answer = store.answered(connection, sealer, METHOD, request.request_id, bill_hash)
    except store.OtherContent:
        text = "this request_id was used with another bill; make a new one"
        raise Refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", text) from None
    if answer is None:
        return None
    claims = []
    for name in answer.decode().split("\n"):
        _, policy_id, _, claim_id = name.split("/")
        claims.append((policy_id, claim_id))
    return Taken(tuple(claims))


def _same_bill(
    connection: Connection, sealer: Sealer, bill: bill_pb2.Bill, bill_hash: str
) -> tuple[tuple[str, str], ...]:
    rows = store.claims_of_bill(connection, sealer, bill.provider_id, bill.bill_number)
    if not all(store.is_content(sealer, row, bill_hash) for row in rows):
        text = "this provider's bill number was taken in with other content; ask the hospital"
        raise Refused(grpc.StatusCode.ALREADY_EXISTS, "BILL_CONFLICT", text)
    return tuple((row.policy_id, row.id) for row in rows)


def _answering(
    connection: Connection, sealer: Sealer, bill: bill_pb2.Bill, person_id: str
) -> Sequence[tuple[str, str, PolicyTerms]]:
    """The policies in force, in coordination order; without any, the person's last one.

    Cover looks at the start of the stay, and a stay over the turn of a renewal without a gap
    belongs to the policy in force at discharge, not to the one that it renews as well.
    """
    admission, discharge = start_day(bill), end_day(bill)
    insured = [
        (*entry, policies.terms_on(connection, sealer, *entry, discharge))
        for entry in policies.policies_of(connection, person_id)
    ]
    in_force = [entry for entry in insured if entry[2].answers(entry[1], admission, discharge)]
    renewed = {
        terms.previous_policy_id
        for _, member_id, terms in in_force
        if not terms.covers(member_id, admission)
    }
    return [entry for entry in in_force if entry[0] not in renewed] or insured[-1:]


def _check_codes(
    connection: Connection,
    plans: PlanShelf,
    bill: bill_pb2.Bill,
    answering: Sequence[tuple[str, str, PolicyTerms]],
) -> None:
    found = {
        fault.field: fault
        for _policy_id, _member_id, terms in answering
        for fault in code_faults(plans.plan(connection, terms.plan_version), bill)
    }
    if found:
        raise invalid(list(found.values()))


def _in_currency(
    connection: Connection,
    plans: PlanShelf,
    bill: bill_pb2.Bill,
    answering: Sequence[tuple[str, str, PolicyTerms]],
) -> Sequence[tuple[str, str, PolicyTerms]]:
    currency = bill.total.currency_code
    paying = {
        entry[0]: plans.plan(connection, entry[2].plan_version).currency for entry in answering
    }
    same = [entry for entry in answering if paying[entry[0]] == currency]
    if not same:
        plain = ", ".join(sorted(set(paying.values())))
        text = f"the plan pays in {plain}, the bill is in {currency}"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "OTHER_CURRENCY", text)
    return same
