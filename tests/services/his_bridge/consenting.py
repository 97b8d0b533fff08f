"""Consents for tests: into the register directly, or over the wire as the records office does."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import msgspec

from services.common.database import Database
from services.common.sealing import Sealer, SubjectKeys
from services.his_bridge.core.consent import (
    Channel,
    Content,
    Evidence,
    Giver,
    Purpose,
    Scope,
    Terms,
    Withdrawn,
)
from services.his_bridge.storage import consents, holding
from services.his_bridge.storage.sealed import known_members
from tests.services.common.sealing.keys import prepared
from tests.services.his_bridge.population import person
from tests.services.his_bridge.records import CN_ID, Resource, tokens

INSURER = "insurers/insurer"
EVIDENCE = Evidence(document_sha256="0" * 64, channel=Channel.PAPER)
FOR = {
    Purpose.CLAIM_SETTLEMENT: Content.BILLS,
    Purpose.HEALTH_PROGRAMME: Content.READINGS,
    Purpose.DEIDENTIFIED_STUDY: Content.BILLS,
}


def terms(member: str, purpose: Purpose = Purpose.CLAIM_SETTLEMENT, **changes: Any) -> Terms:
    """A consent of a person, from the beginning of time and until it is withdrawn."""
    given = Terms(
        consent_id=uuid.uuid4().hex,
        member_token=member,
        recipient=INSURER,
        purpose=purpose,
        scope=Scope(contents=(FOR[purpose],)),
        given_by=Giver.MEMBER,
        giver="p1",
        from_us=0,
        evidence=EVIDENCE,
    )
    return msgspec.structs.replace(given, **changes)


def all_of(member: str) -> list[Terms]:
    """A person's consents to every purpose."""
    return [terms(member, purpose) for purpose in FOR]


def record(
    database: Database,
    hospital: str,
    given: Iterable[Terms],
    now_us: int = 1,
    keys: SubjectKeys | None = None,
) -> None:
    """Grant, with its effect, in one transaction."""
    given = list(given)
    keys = prepared(database) if keys is None else keys
    with database.writing() as connection:
        sealer = keys.sealer(connection)
        holding.one_at_a_time(connection, hospital)
        consents.grant(connection, sealer, hospital, given, now_us=now_us)
        _apply(connection, sealer, hospital, given, now_us)


def take_back(database: Database, hospital: str, given: Terms, now_us: int = 1) -> None:
    """Withdraw, with its effect, in one transaction."""
    event = Withdrawn(consent_id=given.consent_id, withdrawn_us=now_us)
    keys = prepared(database)
    with database.writing() as connection:
        sealer = keys.sealer(connection)
        holding.one_at_a_time(connection, hospital)
        consents.withdraw(connection, sealer, hospital, event, now_us=now_us)
        _apply(connection, sealer, hospital, [given], now_us)


def _apply(connection: Any, sealer: Sealer, hospital: str, given: list[Terms], now_us: int) -> None:
    for channel, purpose in holding.PURPOSES.items():
        mine = {one.member_token for one in given if one.purpose is purpose}
        people = known_members(connection, sealer, hospital, mine)
        holding.apply(
            connection, sealer, hospital, INSURER, channel, set(people.values()), now_us=now_us
        )


def everybody(people: int = 12) -> list[str]:
    """Tokens of the people in tests.services.his_bridge.population."""
    return [token_of(person(index).resource) for index in range(people)]


def token_of(patient: Resource) -> str:
    """The token of a patient."""
    (number,) = (one["value"] for one in patient["identifier"] if one["system"] == CN_ID)
    return tokens("CN-ID", number)
