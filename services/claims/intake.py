"""Taking a bill in: who is insured, which policies answer for it, and one claim under each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from lipei.claims.v1 import claims_pb2
from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import (
    bare_faults,
    bill_faults,
    core_faults,
    future_faults,
    is_bare,
)
from services.claims.core.life_cycle import ClaimState
from services.claims.covering import (
    Answering,
    answering_of,
    check_codes,
    in_currency,
    newly_answering,
)
from services.claims.desk import Desk
from services.claims.known_providers import known_to_nobody, knows, unknown_text
from services.claims.messages import claim_name
from services.claims.serving import answered, remember
from services.claims.storage import claims as store
from services.claims.storage import coordination, corrections, policies, withdrawals
from services.claims.storage.request_log import RequestKey
from services.claims.storage.rows import ClaimRow
from services.claims.taking_back import take_back
from services.common.access.tenant import Tenant
from services.common.grpc_edge import Refused, Violation, invalid, not_found
from services.common.request_id import request_id_faults

METHOD = "SubmitClaim"
_KINDS = (
    bill_pb2.BILL_KIND_FINAL,
    bill_pb2.BILL_KIND_CORRECTION,
    bill_pb2.BILL_KIND_REVERSAL,
)
_BILL_NAME = re.compile(
    r"hospitals/([a-z][a-z0-9-]{0,62})/bills/[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Claims that a bill has opened, by (policy, claim), and those opened just now."""

    claims: tuple[tuple[str, str], ...]
    fresh: tuple[tuple[str, str], ...] = ()


def check(request: claims_pb2.SubmitClaimRequest, tenant: Tenant, at_us: int) -> str:
    """Content hash of a request without faults, that comes at this time.

    Who sends the bill, how, and under which consent is not in it. A day to come alone refuses
    nothing here: `take_in` sees whether the bill is known.

    Raises: Refused with every fault, or when the bill is not final or another hospital's.
    """
    faults: list[Violation] = request_id_faults(request.request_id)
    if not request.HasField("bill"):
        raise invalid([*faults, Violation("bill", "MISSING", "hand a bill in")])
    bare = is_bare(request.bill)
    faults += bare_faults(request.bill) if bare else bill_faults(request.bill)
    if tenant.hospital is not None and hospital_of(request.bill) is None:
        text = 'a hospital names its bill, as "hospitals/{hospital}/bills/{bill}"'
        faults.append(Violation("bill.name", "NOT_A_NAME", text))
    if request.wait.seconds < 0 or request.wait.nanos < 0:
        faults.append(Violation("wait", "NEGATIVE", "must not be negative"))
    if not bare and not faults and (faults := core_faults(request.bill)):
        faults += future_faults(request.bill, at_us)
    if faults:
        raise invalid(faults)
    if tenant.hospital not in (None, hospital_of(request.bill)):
        raise not_found("bill", request.bill.name)
    if request.bill.kind not in _KINDS:
        text = (
            "only a final bill opens a claim, only a corrected one changes it, and only the "
            "reversal of a whole bill takes it back; send it again when it is final"
        )
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "BILL_NOT_FINAL", text)
    content = bill_pb2.Bill()
    content.CopyFrom(request.bill)
    content.ClearField("name")
    content.ClearField("consent")
    if content.kind == bill_pb2.BILL_KIND_CORRECTION:  # the same content, whatever it replaces
        content.kind = bill_pb2.BILL_KIND_FINAL
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()


def hospital_of(bill: bill_pb2.Bill) -> str | None:
    """The hospital that the bill's name names; None when it came without one."""
    named = _BILL_NAME.fullmatch(bill.name)
    return named[1] if named else None


def take_in(
    desk: Desk, tenant: Tenant, request: claims_pb2.SubmitClaimRequest, bill_hash: str
) -> Taken:
    """Open one claim per policy in force, in coordination order; or find those that exist.

    A known member without cover on the day gets a claim too, to be denied. An insurer opens claims
    under its own policies only, and is told of no other; whoever sends the bill later opens those
    of the other insurers.

    A hospital is refused alike whether nobody insures the member or their plan does not fit: else a
    made-up bill, which leaves no trace, would tell whom an insurer insures.

    What is known is answered whatever its day is on today's clock, which may have been set back;
    it opens no further claims then.

    Raises: Refused for other content under a known id, a withdrawn consent, a day to come, an
    unknown member or provider, or another currency.
    """
    key = RequestKey(METHOD, request.request_id, bill_hash)
    known = answered(desk, key, "another bill")
    if known is not None:
        return Taken(tuple(map(_named, known.decode().split("\n"))))
    handed = _HandedIn(
        desk=desk,
        tenant=tenant,
        request_id=request.request_id,
        bill=request.bill,
        bill_hash=bill_hash,
    )
    taken = _taken(handed)
    remember(desk, key, "\n".join(claim_name(*claim) for claim in taken.claims).encode())
    return taken


@dataclass(frozen=True, kw_only=True, slots=True)
class _HandedIn:
    """A bill that nobody has handed in by this request before: in which transaction, by whom."""

    desk: Desk
    tenant: Tenant
    request_id: str
    bill: bill_pb2.Bill
    bill_hash: str


def _taken(handed: _HandedIn) -> Taken:
    desk, tenant, bill = handed.desk, handed.tenant, handed.bill
    if bill.kind == bill_pb2.BILL_KIND_REVERSAL:
        return Taken(tuple(take_back(desk, tenant, bill)))
    if bill.consent and withdrawals.is_withdrawn(desk.connection, bill.consent):
        text = "the consent under which this bill left the hospital is withdrawn; stop"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "CONSENT_WITHDRAWN", text)
    early = future_faults(bill, desk.now_us())  # claims are locked below
    if early or tenant.hospital is not None:  # first what does not depend on whom anybody insures
        rows, _ = _same_bill(handed)
        _refuse_early(handed, rows, early)
        if tenant.hospital is not None and bill.kind == bill_pb2.BILL_KIND_CORRECTION:
            person = policies.find_person(desk.connection, desk.sealer, bill.member_token)
            _refuse_anothers(rows, person, bill)
    person_id, insured = _insured(handed)
    answering = _answering(handed, insured)
    rows, taken_over = _same_bill(handed)
    _refuse_early(handed, rows, early)
    if early:
        answering = []
    if taken_over:
        coordination.give_way(desk.connection, [row.id for row in taken_over])
    if tenant.hospital is not None:
        coordination.adopt(desk.connection, [row.id for row in rows], tenant.hospital)
    if bill.kind == bill_pb2.BILL_KIND_CORRECTION and rows:
        _correct(handed, rows, person_id)
        answering = newly_answering(answering, bill, rows)
    else:
        have_claims = {row.insurer for row in rows}
        answering = [entry for entry in answering if entry.insurer not in have_claims]
    answering = _of_known_provider(handed, answering, (*rows, *taken_over))
    fresh = tuple((one.policy_id, _open(handed, one, person_id)) for one in answering)
    return Taken((*((row.policy_id, row.id) for row in rows), *fresh), fresh)


def _insured(handed: _HandedIn) -> tuple[str, list[policies.Insured]]:
    """The person, and the policies under which the tenant may open claims; nobody else moves them.

    They are locked before anything of the person is opened: an erasure locks them before it
    destroys the key that opens it, and the other way round each would wait for the other.

    Raises: Refused for a member whom no policy of the tenant's insures.
    """
    connection, sealer, tenant = handed.desk.connection, handed.desk.sealer, handed.tenant
    person_id = policies.find_person(connection, sealer, handed.bill.member_token)
    insured = policies.policies_of(connection, sealer, person_id, tenant) if person_id else []
    if person_id and store.lock(connection, (one.policy_id for one in insured), [person_id]):
        person_id = policies.find_person(connection, sealer, handed.bill.member_token)
    if person_id is None or not insured:
        raise _nobody_answers(handed)
    return person_id, insured


def _nobody_answers(handed: _HandedIn) -> Refused:
    """A hospital is told of its provider alone whatever the member is to anybody."""
    text = "no policy insures this member; import the policy first, then send the bill again"
    if handed.tenant.hospital is not None:
        if known_to_nobody(handed.desk, handed.bill):
            return _unknown_provider(handed.bill)
        text = (
            "no policy answers for this bill: none insures this member, or none in its currency "
            "and with its codes, or the insurer does not know its provider; ask the insurer"
        )
    return Refused(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MEMBER", text)


def _answering(handed: _HandedIn, insured: Sequence[policies.Insured]) -> Sequence[Answering]:
    """The policies that answer for the bill, in coordination order.

    Raises: Refused when a plan does not fit the bill's currency or codes.
    """
    desk, tenant, bill = handed.desk, handed.tenant, handed.bill
    found = answering_of(desk.connection, desk.sealer, desk.plans, bill, insured)
    try:
        answering = in_currency(desk.connection, desk.plans, bill, found)
        check_codes(desk.connection, desk.plans, bill, answering)
    except Refused:
        if tenant.hospital is None:
            raise
        raise _nobody_answers(handed) from None
    return answering


def _of_known_provider(
    handed: _HandedIn, answering: Sequence[Answering], known: Sequence[ClaimRow]
) -> Sequence[Answering]:
    """The policies whose insurer knows the bill's provider, or has a claim of the bill already.

    Raises: Refused when none does, and no claim is known.
    """
    have_claims = {row.insurer for row in known}
    found = [
        one
        for one in answering
        if one.insurer in have_claims or knows(handed.desk, one, handed.bill)
    ]
    if found or known or not answering:
        return found
    raise _nobody_answers(handed) if handed.tenant.hospital else _unknown_provider(handed.bill)


def _unknown_provider(bill: bill_pb2.Bill) -> Refused:
    return Refused(grpc.StatusCode.NOT_FOUND, "UNKNOWN_PROVIDER", unknown_text(bill))


def _open(handed: _HandedIn, entry: Answering, person_id: str) -> str:
    """Open the claim of one policy; its id."""
    desk, bill = handed.desk, handed.bill
    return store.open_claim(
        desk.connection,
        desk.sealer,
        store.NewClaim(
            insurer=entry.insurer,
            hospital=hospital_of(bill),
            policy_id=entry.policy_id,
            person_id=person_id,
            member_id=entry.member.member_id,
            request_id=handed.request_id,
            provider_id=bill.provider_id,
            bill_number=bill.bill_number,
            bill_hash=handed.bill_hash,
            bill=bill.SerializeToString(deterministic=True),
            currency=bill.total.currency_code,
            consent=bill.consent or None,
            time_zone=bill.time_zone,
        ),
        desk.at_us,
    )


def _named(name: str) -> tuple[str, str]:
    """Policy and claim of a claim's name."""
    _, policy_id, _, claim_id = name.split("/")
    return policy_id, claim_id


def _same_bill(handed: _HandedIn) -> tuple[Sequence[ClaimRow], Sequence[ClaimRow]]:
    """The claims that rest on the bill; and those of an earlier statement, which it takes over.

    Raises: Refused when it is another hospital's, or another bill than the one that stands.
    """
    connection, sealer = handed.desk.connection, handed.desk.sealer
    tenant, bill = handed.tenant, handed.bill
    rows = coordination.claims_of_bill(
        connection, sealer, bill.provider_id, bill.bill_number, tenant.insurer
    )
    # A hospital that knows another's bill word for word still gets none of its claims; nor those of
    # a bill that somebody else handed in, unless the provider on it is known to be this hospital.
    anothers = tenant.hospital is not None and any(
        row.hospital not in (None, tenant.hospital) for row in rows
    )
    if tenant.hospital is not None and any(row.hospital is None for row in rows):
        known = coordination.hospitals_of(connection, bill.provider_id)
        anothers = anothers or known != {tenant.hospital}
    corrects = bill.kind == bill_pb2.BILL_KIND_CORRECTION
    same = {
        row.id: corrections.is_content(connection, sealer, row, handed.bill_hash) for row in rows
    }
    stand = {row.insurer for row in rows if row.reversed_us is None}
    # A bill that was taken back may be stated anew: by its hospital with any content. Somebody else
    # who brings what it said before has an old copy, unless they call it a correction.
    anew = tenant.hospital is not None or corrects
    ended = [row for row in rows if row.insurer not in stand and (anew or not any(same.values()))]
    rows = [row for row in rows if row.insurer in stand or not ended]
    if anothers or not (corrects or all(same[row.id] for row in rows)):
        text = "this provider's bill number was taken in with other content; ask the hospital"
        raise Refused(grpc.StatusCode.ALREADY_EXISTS, "BILL_CONFLICT", text)
    return rows, ended


def _refuse_early(handed: _HandedIn, rows: Sequence[ClaimRow], early: Sequence[Violation]) -> None:
    """A day that has not begun refuses what would open a claim or change one, and no known bill.

    Raises: Refused with these faults of the bill's days, unless the claims rest on it as it is.
    """
    if not early:
        return
    corrects = handed.bill.kind == bill_pb2.BILL_KIND_CORRECTION
    if not rows or (corrects and _with_news(handed, rows)):
        raise invalid(early)


def _with_news(handed: _HandedIn, rows: Sequence[ClaimRow]) -> list[ClaimRow]:
    """The claims whose newest bill says something else than what is handed in."""
    connection, sealer = handed.desk.connection, handed.desk.sealer
    return [
        row
        for row in rows
        if not corrections.says_nothing_new(connection, sealer, row, handed.bill_hash)
    ]


def _refuse_anothers(rows: Sequence[ClaimRow], person_id: str | None, bill: bill_pb2.Bill) -> None:
    """A correction keeps person and currency of the bill that stands.

    Raises: Refused when it does not.
    """
    if any(row.person_id != person_id or row.currency != bill.total.currency_code for row in rows):
        text = "a correction keeps person and currency; take the bill back and send a new one"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "BILL_OF_ANOTHER", text)


def _correct(handed: _HandedIn, rows: Sequence[ClaimRow], person_id: str) -> None:
    """Keep a corrected bill for every claim of it; each is decided anew as soon as it can be.

    Raises: Refused when the bill is another person's or in another currency now, or when a claim
    is closed for good: what it says then is for people to settle.
    """
    _refuse_anothers(rows, person_id, handed.bill)
    news = _with_news(handed, rows)
    if any(ClaimState(row.state) in corrections.TOO_LATE for row in news):
        text = "a claim of this bill is closed for good, or its money is being recovered; ask"
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "CORRECTION_TOO_LATE", text)
    desk, content = handed.desk, handed.bill.SerializeToString(deterministic=True)
    for row in news:
        corrections.take(desk.connection, desk.sealer, row, content, handed.bill_hash, desk.at_us)
