"""Erasing a patient from the bridge's database by destroying their key.

The hospital's own records are not touched. What of the bills is left serves reconciliation only.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from services.common.database import Database
from services.common.sealing import Sealer, SubjectKeys, erasures, members
from services.common.sealing.tables import MEMBER, SUBJECT_KEY
from services.his_bridge.core.outcomes import MergeLevel
from services.his_bridge.storage import holding, taking_back
from services.his_bridge.storage.consents import untold
from services.his_bridge.storage.known_bills import Merges
from services.his_bridge.storage.releases import DELIVERY_PENDING
from services.his_bridge.storage.sealed import patient
from services.his_bridge.storage.tables import reading, released_bill

ERASED = "ERASED"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """How much was erased; `refused` bills were withheld from the insurer."""

    keys: int = 0
    bills: int = 0
    readings: int = 0
    refused: int = 0


class NothingKept(LookupError):
    """Nothing is kept about this member."""


class WithdrawalNotTold(ValueError):
    """A withdrawal of the patient's has not reached the insurer yet; nothing was erased."""


class ReversalNotTold(ValueError):
    """What takes back a bill that the insurer has waits to be handed over; nothing was erased.

    Also while it is to be offered again, because an appeal about the bill was open.
    """


_encode = msgspec.json.Encoder(order="deterministic").encode
_ERASURE = msgspec.json.Decoder(Erasure)


def erase(  # noqa: PLR0913 - who, where, whom to tell before, by whom and when: a fact each
    database: Database,
    keys: SubjectKeys,
    request_id: str,
    token: str,
    hospitals: Sequence[str],
    now_us: int,
    by: erasures.By = erasures.NOBODY_SAID,
    *,
    recipient: str,
    dry_run: bool = False,
) -> Erasure:
    """Erase a patient at these hospitals; what that was, or would be in a dry run. Blocks.

    The insurer `recipient` can be told nothing of theirs afterwards.

    Raises: NothingKept, WithdrawalNotTold, ReversalNotTold; OtherErasure when the request_id was
    used before and something is kept about this patient.
    """
    with database.writing(dry_run=dry_run) as connection:
        sealer = keys.sealer(connection)
        known = erasures.answered(connection, request_id)
        for hospital in sorted(hospitals):
            holding.one_at_a_time(connection, hospital)
        patients = [patient(hospital, token) for hospital in sorted(hospitals)]
        found = members.find_all(connection, sealer, patients)
        if known is not None:
            if found:
                raise erasures.OtherErasure
            return _ERASURE.decode(known)
        if not found:
            raise NothingKept
        people = {
            one
            for hospital in hospitals
            for member in [found.get(patient(hospital, token))]
            if member is not None
            for one in _as_one(connection, sealer, hospital, member)
        }
        if taking_back.waits(connection, people, recipient):
            raise ReversalNotTold
        parts = [_erase(connection, sealer, member, now_us) for member in sorted(people)]
        done = Erasure(
            keys=sum(part.keys for part in parts),
            bills=sum(part.bills for part in parts),
            readings=sum(part.readings for part in parts),
            refused=sum(part.refused for part in parts),
        )
        erasures.remember(
            connection,
            request_id,
            member=next(iter(found.values())),
            answer=_encode(done),
            now_us=now_us,
            by=by,
        )
    for table in () if dry_run else (SUBJECT_KEY, MEMBER, reading.name):
        database.scrub(table)
    return done


def _as_one(connection: Connection, sealer: Sealer, hospital: str, member: str) -> set[str]:
    """Everybody whom the hospital has merged with a patient: they are one person."""
    merges = Merges(MergeLevel.PATIENT)
    names = merges.load(connection, sealer, hospital, {member})
    survivor = merges.aliases.survivor
    return {name for name in names if survivor(name) == survivor(member)}


def _erase(connection: Connection, sealer: Sealer, member: str, now_us: int) -> Erasure:
    if untold(connection, member):
        raise WithdrawalNotTold
    # Whoever seals under the key has committed once it is destroyed, and is then forgotten as well.
    destroyed = sealer.destroy(members.subject_of(member))
    holding.forget(connection, member)
    members.forget_member(connection, member, now_us)
    mine = released_bill.c.member == member
    bills = connection.execute(select(func.count()).where(mine)).scalar_one()
    withheld = connection.execute(
        update(released_bill)
        .where(mine, released_bill.c.delivery == DELIVERY_PENDING)
        .values(delivery="REFUSED", refusal_reasons=_encode([ERASED]))
    )
    gone = connection.execute(delete(reading).where(reading.c.member == member))
    return Erasure(
        keys=destroyed, bills=int(bills), readings=gone.rowcount, refused=withheld.rowcount
    )
