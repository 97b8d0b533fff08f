"""From a person to the member token that may leave. Stores nothing."""

from __future__ import annotations

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Person
from services.his_bridge.dialects.port import Tokens


def pseudonym(person: Person | None, path: str, tokens: Tokens) -> tuple[Person | None, str | None]:
    """The person's token; a number that is nothing but blanks and hyphens is no identity.

    `path` says where the identity stands, for the fault.
    """
    if person is None or person.identity is None:
        return person, None
    try:
        return person, tokens(person.identity.kind, person.identity.number)
    except ValueError:
        fault = Fault(reason=Reason.IDENTITY_MISSING, path=path)
        return msgspec.structs.replace(person, faults=(*person.faults, fault)), None


def device_pseudonym(said: str, member_token: str, hospital: str, tokens: Tokens) -> str:
    """A device of one hospital as it is called for one member, in 32 hex digits.

    By the key of the tokens: a serial number cannot be guessed back, and no two people are seen to
    have used one device.
    """
    # As hex, in which nothing is left out as noise: m-11 and m1-1 are two devices.
    token = tokens(f"device of {hospital} {member_token}", said.encode().hex())
    return token.rpartition(".")[2][:32]
