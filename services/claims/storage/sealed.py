"""What of the claims database is sealed, and under whose key. Opens; decides nothing.

A person's bills, decisions and terms are sealed under the person's key, a policy's payee accounts
under the policy's, payment files and the bank's answers, which are vouchers of many people at once,
under the paying account's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import grpc
import msgspec

from services.claims.core import canonical
from services.claims.core.adjudicate import allowed_lines
from services.claims.core.decision import Decision
from services.claims.core.facts import MemberFacts
from services.claims.core.repeats import Allowed, allowed_from
from services.claims.storage.rows import AllowedRow, ClaimRow, CorrectionRow, DecidedRow, ReplayRow
from services.common.refusals import Refused
from services.common.sealing import CannotOpen, Erased, KeyRetired, KeyUnknown, Sealer

_SALT_BYTES = 32


class NotOfThisEngine(Refused):
    """A decision or plan that this version cannot read: a later one, or an earlier one, made it."""

    def __init__(self) -> None:
        super().__init__(
            grpc.StatusCode.FAILED_PRECONDITION,
            "NOT_OF_THIS_ENGINE",
            "this version cannot read what another one stored; run that one, or have it looked at",
        )


_encode = msgspec.json.Encoder(order="deterministic").encode
_member = msgspec.json.Decoder(MemberFacts)


def person_subject(person_id: str) -> str:
    """The subject of a person's bills, decisions and terms."""
    return f"person:{person_id}"


def policy_subject(policy_id: str) -> str:
    """The subject of a policy's payee accounts."""
    return f"policy:{policy_id}"


def provider_subject(insurer: str, provider_id: str) -> str:
    """The subject of the accounts that an insurer pays a provider to."""
    return f"provider:{insurer}/{provider_id}"


def paying_subject(paying_account: str) -> str:
    """The subject of the payment files and answers of one of the insurer's accounts."""
    return f"paying:{paying_account}"


def token_index(sealer: Sealer, token: str) -> str:
    """Blind index of a member token."""
    return sealer.index(token, table="person", column="token_index")


def seal_token(sealer: Sealer, person_id: str, token: str) -> bytes:
    """A person's member token."""
    return sealer.seal(token.encode(), **_person(person_id))


def open_token(sealer: Sealer, person_id: str, sealed: bytes) -> str:
    """The same again. Raises: Erased, CannotOpen."""
    return sealer.open(sealed, **_person(person_id)).decode()


def bill_index(sealer: Sealer, bill_number: str) -> str:
    """Blind index of a provider's bill number."""
    return sealer.index(bill_number, table="claim", column="bill_index")


def keyed(sealer: Sealer, digest: str, *, table: str, column: str) -> str:
    """A digest of content under this database's key: so few facts could be guessed back."""
    return sealer.fingerprint(digest.encode(), table=table, column=column)


def bill_hash(sealer: Sealer, digest: str) -> str:
    """What stands in clear for the content of a bill."""
    return keyed(sealer, digest, table="claim", column="bill_hash")


def sealed_bill(
    sealer: Sealer, claim_id: str, person_id: str, bill: bytes, bill_number: str
) -> dict[str, bytes]:
    """The sealed columns of a claim."""
    subject = person_subject(person_id)
    return {
        "bill": sealer.seal(bill, **_claim(claim_id, "bill"), subject=subject),
        "bill_number": sealer.seal(
            bill_number.encode(), **_claim(claim_id, "bill_number"), subject=subject
        ),
    }


def open_bill(sealer: Sealer, row: ClaimRow) -> bytes:
    """A claim's bill. Raises: Erased, CannotOpen."""
    return sealer.open(row.bill, **_claim(row.id, "bill"), subject=person_subject(row.person_id))


def open_bill_number(sealer: Sealer, row: ClaimRow) -> str:
    """A claim's bill number. Raises: Erased, CannotOpen."""
    subject = person_subject(row.person_id)
    return sealer.open(row.bill_number, **_claim(row.id, "bill_number"), subject=subject).decode()


def seal_correction(sealer: Sealer, row: ClaimRow, number: int, bill: bytes) -> bytes:
    """A corrected bill of a claim."""
    return sealer.seal(bill, **_correction(row.id, number), subject=person_subject(row.person_id))


def open_correction(sealer: Sealer, stored: CorrectionRow) -> bytes:
    """The same again. Raises: Erased, CannotOpen."""
    place = _correction(stored.claim_id, stored.number)
    return sealer.open(stored.bill, **place, subject=person_subject(stored.person_id))


def sealed_decision(
    sealer: Sealer,
    decision_id: str,
    claim: ClaimRow,
    inputs: canonical.Inputs,
    decided: Decision,
) -> dict[str, Any]:
    """The sealed columns of a decision, its commitment, and the years of what it allowed."""
    allowed = allowed_lines(inputs.bill, decided)
    days = [each.service.service_date for each in allowed] or [inputs.bill.end_date]
    subject = person_subject(claim.person_id)
    salt = os.urandom(_SALT_BYTES)
    plain = {
        "salt": salt,
        "inputs": canonical.inputs_bytes(inputs),
        "output": canonical.decision_bytes(decided),
        "services": _encode(allowed),
    }
    return {
        "person_id": claim.person_id,
        "commitment": committed(salt, decided),
        "first_year": min(days).year,
        "last_year": max(days).year,
        **{
            column: sealer.seal(content, **_decision(decision_id, column), subject=subject)
            for column, content in plain.items()
        },
    }


def committed(salt: bytes, decided: Decision) -> str:
    """What stands in clear for a decision's two hashes: SHA-256 over its salt and both, in hex.

    Whoever lacks the salt learns nothing from it, and the salt goes with the person's key.
    """
    return canonical.sha256(salt + decided.input_hash.encode() + decided.output_hash.encode())


def open_inputs(sealer: Sealer, stored: ReplayRow) -> canonical.Inputs:
    """What a decision was made from. Raises: Erased, CannotOpen."""
    return canonical.inputs_from(open_inputs_bytes(sealer, stored))


def open_inputs_bytes(sealer: Sealer, stored: ReplayRow) -> bytes:
    """The same, not read yet. Raises: Erased, CannotOpen."""
    return _open_decision(sealer, stored, "inputs", stored.inputs)


def open_output(sealer: Sealer, stored: DecidedRow) -> Decision:
    """A stored decision. Raises: Erased, CannotOpen."""
    return canonical.decision_from(open_output_bytes(sealer, stored))


def open_output_bytes(sealer: Sealer, stored: DecidedRow) -> bytes:
    """The same, not read yet. Raises: Erased, CannotOpen."""
    return _open_decision(sealer, stored, "output", stored.output)


def open_salt(sealer: Sealer, stored: ReplayRow) -> bytes:
    """The salt of a decision's commitment. Raises: Erased, CannotOpen."""
    return _open_decision(sealer, stored, "salt", stored.salt)


def open_services(sealer: Sealer, stored: AllowedRow) -> list[Allowed]:
    """What a decision allowed. Raises: Erased, CannotOpen."""
    return allowed_from(open_services_bytes(sealer, stored))


def open_services_bytes(sealer: Sealer, stored: AllowedRow) -> bytes:
    """The same, not read yet. Raises: Erased, CannotOpen."""
    return _open_decision(sealer, stored, "services", stored.services)


def _open_decision(
    sealer: Sealer, stored: AllowedRow | DecidedRow, column: str, content: bytes
) -> bytes:
    subject = person_subject(stored.person_id)
    return sealer.open(content, **_decision(stored.id, column), subject=subject)


def seal_member(
    sealer: Sealer, policy_id: str, revision: int, person_id: str, member: MemberFacts
) -> bytes:
    """What a revision says of one insured person."""
    place = _insured_terms(policy_id, revision, member.member_id)
    return sealer.seal(_encode(member), **place, subject=person_subject(person_id))


def open_member(
    sealer: Sealer, policy_id: str, revision: int, member_id: str, row: Any
) -> MemberFacts:
    """The same again. Raises: Erased, CannotOpen."""
    place = _insured_terms(policy_id, revision, member_id)
    return _member.decode(sealer.open(row.sealed, **place, subject=person_subject(row.person_id)))


@dataclass(frozen=True, slots=True)
class OpenedClaim:
    """A claim's row with what is sealed of it; both are empty once the person was erased."""

    row: ClaimRow
    stored: DecidedRow | None  # its decision in force
    bill_number: str
    decided: Decision | None
    erased: bool = False
    unreadable: str = ""  # the reason, where a list goes on without what is sealed


def opened(sealer: Sealer, row: ClaimRow, stored: DecidedRow | None) -> OpenedClaim:
    """A claim and its decision in force, or what an erasure left of them.

    Raises: CannotOpen, KeyUnknown, KeyRetired, NotOfThisEngine.
    """
    try:
        number = open_bill_number(sealer, row)
        decided = None if stored is None else open_output(sealer, stored)
    except Erased:
        return OpenedClaim(row, stored, "", None, erased=True)
    except msgspec.DecodeError:
        raise NotOfThisEngine from None
    return OpenedClaim(row, stored, number, decided)


def opened_or_why(sealer: Sealer, row: ClaimRow, stored: DecidedRow | None) -> OpenedClaim:
    """The same, and of what cannot be read the reason: one such claim hides no others in a list."""
    try:
        return opened(sealer, row, stored)
    except (CannotOpen, KeyUnknown, KeyRetired, NotOfThisEngine) as fault:
        return OpenedClaim(row, stored, "", None, unreadable=fault.reason)


def _person(person_id: str) -> dict[str, str]:
    subject = person_subject(person_id)
    return {"table": "person", "column": "token", "row": person_id, "subject": subject}


def _claim(claim_id: str, column: str) -> dict[str, str]:
    return {"table": "claim", "column": column, "row": claim_id}


def _correction(claim_id: str, number: int) -> dict[str, str]:
    return {"table": "bill_correction", "column": "bill", "row": f"{claim_id}/{number}"}


def _decision(decision_id: str, column: str) -> dict[str, str]:
    return {"table": "decision", "column": column, "row": decision_id}


def _insured_terms(policy_id: str, revision: int, member_id: str) -> dict[str, str]:
    row = f"{policy_id}/{revision}/{member_id}"
    return {"table": "insured_terms", "column": "sealed", "row": row}
