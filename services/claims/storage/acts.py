"""What persons did with a claim: kept for ever, sealed under the insured person's key.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise

import msgspec
from sqlalchemy import ColumnElement, Connection, insert, select, update

from services.claims.core.facts import Review
from services.claims.storage.rows import ActRow, ClaimRow
from services.claims.storage.sealed import person_subject
from services.claims.storage.tables import claim, claim_act
from services.common.sealing import Sealer


class ActKind(StrEnum):
    """What was done."""

    REVIEW = "review"
    CONFIRM = "confirm"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    CLEAR = "clear"
    SUPPLY = "supply"
    ADJUST = "adjust"
    REVERSE = "reverse"
    RECOVER = "recover"
    WRITE_OFF = "write_off"
    APPEAL = "appeal"
    UPHOLD = "uphold"
    OVERTURN = "overturn"


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a bank's statement: our account, the bank's reference, the value date."""

    account: str
    reference: str
    value_date: str


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person wrote: in words, line by line, as facts (of a bill on the wire), as papers.

    Of a proposal also what it came to in minor units, and of a review what each line paid to whom:
    that is what a second person agrees on. What was proposed by earlier versions has neither. Of
    money that came back, which transfer it is.
    """

    note: str = ""
    review: Review | None = None
    facts: bytes = b""
    papers: tuple[str, ...] = ()
    amount: int | None = None
    lines: tuple[tuple[int, int, str], ...] = ()
    incoming: Incoming | None = None


_encode = msgspec.json.Encoder(order="deterministic").encode
_told = msgspec.json.Decoder(Told)


def write_act(
    connection: Connection,
    sealer: Sealer,
    row: ClaimRow,
    kind: ActKind,
    told: Told,
    actor: str,
    at_us: int,
) -> str:
    """Keep what somebody did with the claim as it stood; its id.

    The database refuses a second act on one revision of a claim.
    """
    act_id = uuid.uuid4().hex
    subject = person_subject(row.person_id)
    content = {
        "id": act_id,
        "claim_id": row.id,
        "person_id": row.person_id,
        "kind": kind.value,
        "actor": actor,
        "revision": row.revision,
        "sealed": sealer.seal(_encode(told), **_place(act_id), subject=subject),
        "at_us": at_us,
    }
    connection.execute(insert(claim_act), content)
    return act_id


def propose(connection: Connection, row: ClaimRow, act_id: str | None) -> None:
    """An act waits for a second person, or none does. It changes the claim's revision."""
    proposed = {"proposal": act_id, "revision": claim.c.revision + 1}
    connection.execute(update(claim).where(claim.c.id == row.id).values(**proposed))


def proposed() -> ColumnElement[bool]:
    """Whether something that a person proposed waits for a second one, in SQL."""
    return claim.c.proposal.is_not(None)


def proposal_of(connection: Connection, row: ClaimRow) -> ActRow:
    """What stands proposed of a claim; what was written is sealed."""
    return connection.execute(select(claim_act).where(claim_act.c.id == row.proposal)).one()


def last_refusal(connection: Connection, claim_id: str) -> tuple[ActRow, str] | None:
    """The word by which a proposal was rejected or withdrawn, and the kind of what was proposed.

    None where it is not the last thing that a person did with the claim.
    """
    found = select(claim_act).where(claim_act.c.claim_id == claim_id)
    acts: Sequence[ActRow] = connection.execute(
        found.order_by(claim_act.c.seq.desc()).limit(2)
    ).all()
    # A proposal and its refusal stand together: whatever else is done voids what was proposed.
    if len(acts) < 2 or acts[0].kind not in {ActKind.REJECT.value, ActKind.WITHDRAW.value}:
        return None
    return acts[0], acts[1].kind


def proposers(connection: Connection, claim_id: str) -> dict[int, str]:
    """By the moment at which a proposal was confirmed, who had proposed it."""
    found = select(claim_act.c.kind, claim_act.c.actor, claim_act.c.at_us)
    acts = connection.execute(
        found.where(claim_act.c.claim_id == claim_id).order_by(claim_act.c.seq)
    ).all()
    # Whatever else is done voids what was proposed, so that it is the act before its confirmation.
    return {
        word.at_us: proposal.actor
        for proposal, word in pairwise(acts)
        if word.kind == ActKind.CONFIRM.value
    }


def kinds_of(connection: Connection, act_ids: Sequence[str]) -> dict[str, str]:
    """What each of these acts is; nothing that was written."""
    if not act_ids:
        return {}
    found = select(claim_act.c.id, claim_act.c.kind).where(claim_act.c.id.in_(act_ids))
    return {row.id: row.kind for row in connection.execute(found)}


def actors_of(connection: Connection, claim_id: str, kinds: tuple[ActKind, ...]) -> set[str]:
    """Who has done such a thing with the claim."""
    found = select(claim_act.c.actor).where(
        claim_act.c.claim_id == claim_id, claim_act.c.kind.in_([kind.value for kind in kinds])
    )
    return set(connection.execute(found).scalars())


def told_in(sealer: Sealer, act: ActRow) -> Told:
    """What a person wrote. Raises: Erased, CannotOpen."""
    subject = person_subject(act.person_id)
    return _told.decode(sealer.open(act.sealed, **_place(act.id), subject=subject))


def supplied(connection: Connection, sealer: Sealer, claim_id: str) -> list[bytes]:
    """The facts that papers have brought, in the order in which they came.

    Raises: Erased, CannotOpen.
    """
    found = select(claim_act).where(
        claim_act.c.claim_id == claim_id, claim_act.c.kind == ActKind.SUPPLY.value
    )
    acts = connection.execute(found.order_by(claim_act.c.seq)).all()
    return [facts for act in acts if (facts := told_in(sealer, act).facts)]


def _place(act_id: str) -> dict[str, str]:
    return {"table": "claim_act", "column": "sealed", "row": act_id}
