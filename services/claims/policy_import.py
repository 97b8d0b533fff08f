"""Importing policies: all or none, in one transaction, the dry run by the same path."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection

from lipei.claims.v1 import claims_pb2, policy_pb2
from services.claims.desk import Desk
from services.claims.messages import timestamp
from services.claims.payouts.iso20022 import Party
from services.claims.plan_shelf import PlanShelf
from services.claims.policy_intake import Known, PayeeTerms, PublishedPlan, TakenPolicy, taken
from services.claims.storage import policies
from services.claims.storage.erasure import erased_members
from services.claims.storage.sealed import policy_subject
from services.claims.storage.sweeping import retry_payouts
from services.common.database import take_turns
from services.common.sealing import Sealer


class DryRun(Exception):
    """Rolls the transaction back; carries the answer."""

    def __init__(self, answer: claims_pb2.ImportPoliciesResponse) -> None:
        super().__init__("nothing is stored")
        self.answer = answer


def import_policies(
    desk: Desk,
    request: claims_pb2.ImportPoliciesRequest,
    *,
    insurer: str,
    token: Callable[[str, str], str],
) -> claims_pb2.ImportPoliciesResponse:
    """Store every policy of the insurer's that is new or newly revised.

    Policy ids are one namespace for the whole installation, because names are "policies/{id}". One
    that another insurer has is refused as taken, without a word on whose it is or what it says.

    Raises: DryRun, carrying the answer, for a dry run or when any policy has a fault; the caller's
    transaction is to be rolled back then.
    """
    connection, sealer = desk.connection, desk.sealer
    take_turns(connection, "policies and plans")
    answer = claims_pb2.ImportPoliciesResponse()
    known = Known(
        plan=lambda plan: _published(connection, desk.plans, plan, insurer),
        policy_exists=lambda policy_id: (
            policies.newest_revision(connection, policy_id, insurer=insurer) is not None
        ),
        earlier_cover=lambda policy_id, of: policies.cover_of(
            connection, sealer, policy_id, of, insurer=insurer
        ),
        token=token,
    )
    for index, policy in enumerate(request.policies):
        found = taken(policy, index, known)
        if isinstance(found, list):
            answer.faults.extend(found)
            continue
        for field, reason, text in _store(connection, sealer, insurer, found, desk.at_us, answer):
            answer.faults.append(
                policy_pb2.PolicyFault(
                    index=index, field=f"policies[{index}].{field}", reason=reason, text=text
                )
            )
        answer.erased_members.extend(
            claims_pb2.ErasedMember(
                index=index,
                policy_id=found.terms.policy_id,
                member_id=member_id,
                erase_time=timestamp(erased_us),
            )
            for member_id, erased_us in _erased(connection, found).items()
        )
    if request.dry_run or answer.faults:
        raise DryRun(answer)
    return answer


def _published(
    connection: Connection, plans: PlanShelf, plan: str, insurer: str
) -> PublishedPlan | None:
    version = policies.newest_plan(connection, plan, insurer=insurer)
    if version is None:
        return None
    published = plans.plan(connection, version)
    return PublishedPlan(version, published.first_day, published.currency)


def _store(
    connection: Connection,
    sealer: Sealer,
    insurer: str,
    found: TakenPolicy,
    at_us: int,
    answer: claims_pb2.ImportPoliciesResponse,
) -> list[tuple[str, str, str]]:
    terms = found.terms
    if policies.taken_by_another(connection, terms.policy_id, insurer=insurer):
        return [("policy_id", "POLICY_ID_TAKEN", "cannot be used here; give the policy another id")]
    payees = [(payee.valid_from, payee.party) for payee in found.payees]
    digest = policies.content_hash(sealer, terms, dict(found.tokens), payees)
    stored = policies.known_revision(connection, terms.policy_id, terms.revision, insurer=insurer)
    if stored == digest:
        answer.unchanged += 1
        return []
    erased = _erased(connection, found)
    if erased:
        return [
            (f"members[{place}].member_id", "MEMBER_ERASED", _said_of_erased(erased[member_id]))
            for place, member_id in enumerate(found.tokens)
            if member_id in erased
        ]
    if stored is not None:
        return [("revision", "REVISION_CONFLICT", "was imported with other content; raise it")]
    newest = policies.newest_revision(connection, terms.policy_id, insurer=insurer)
    if terms.revision != (newest or 0) + 1:
        return [("revision", "BAD_REVISION", f"must be {(newest or 0) + 1}, the next one")]
    text = "a member_id stands for one person for ever; take a new one"
    changed = [
        (f"members[{place}].member_id", "MEMBER_CHANGED", text)
        for place, (member_id, of) in enumerate(found.tokens.items())
        if (earlier := policies.person_of(connection, terms.policy_id, member_id)) is not None
        and earlier != policies.find_person(connection, sealer, of)
    ]
    if changed:
        return changed
    policies.store_revision(
        connection, sealer, terms, dict(found.tokens), digest, at_us, insurer=insurer
    )
    for payee in found.payees:
        _store_payee(connection, terms.policy_id, terms.revision, payee, sealer)
    if newest is None:
        answer.created += 1
    else:
        retry_payouts(connection, terms.policy_id, at_us)
        answer.revised += 1
    return []


def _erased(connection: Connection, found: TakenPolicy) -> dict[str, int]:
    """Member ids of the policy whose person was erased → when."""
    return erased_members(connection, found.terms.policy_id, found.tokens)


def _said_of_erased(erased_us: int) -> str:
    day = f"{datetime.fromtimestamp(erased_us // 1_000_000, UTC):%Y-%m-%d}"
    return (
        f"this person was erased on {day} (UTC), and their member_id stands for nobody else; leave "
        "them out, or give another member_id, under which they are insured without history"
    )


def _store_payee(
    connection: Connection, policy_id: str, revision: int, payee: PayeeTerms, sealer: Sealer
) -> None:
    account_id = uuid.uuid4().hex
    plain = msgspec.json.encode(payee.party)
    policies.store_payee(
        connection,
        account_id=account_id,
        policy_id=policy_id,
        revision=revision,
        valid_from=payee.valid_from,
        sealed=sealer.seal(plain, **_place(account_id, policy_id)),
    )


def open_payee(sealer: Sealer, account_id: str, policy_id: str, sealed: bytes) -> Party:
    """Holder's name, account number and bank code of a stored account.

    Raises: CannotOpen when the row was swapped or altered.
    """
    plain = sealer.open(sealed, **_place(account_id, policy_id))
    return msgspec.json.decode(plain, type=Party)


def _place(account_id: str, policy_id: str) -> dict[str, str]:
    subject = policy_subject(policy_id)
    return {"table": "payee_account", "column": "sealed", "row": account_id, "subject": subject}
