"""The guard of one service, put together from its identity, database, keys and evidence log."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import MetaData

from services.common.access.assertions import UsedAssertions
from services.common.access.guard import Append, Guard
from services.common.access.identification import identification_for
from services.common.database import Database
from services.common.evidence.access_read import AccessRead
from services.common.settings import evidence_pseudonym_key_file
from services.common.state import load_or_make_key
from services.common.transport.certificates import Identity

_PSEUDONYM_BYTES = 16


class NoEvidenceLog(RuntimeError):
    """Something sensitive was about to leave a process that cannot put it on record."""


def service_guard(
    identity: Identity,
    state: Path,
    database: Database,
    metadata: MetaData,
    *,
    append: Append,
    now_us: Callable[[], int],
) -> Guard:
    """The guard of the service whose identity this is.

    Raises: UnknownSetting when a key that it needs cannot be read; TlsRefused without a current
    list of revoked certificates.
    """
    used = UsedAssertions(database, metadata)
    key = load_or_make_key(evidence_pseudonym_key_file(state))
    return Guard(
        identification=identification_for(identity.process, identity, state, used),
        append=append,
        pseudonym=lambda token: pseudonym(token, key),
        now_us=now_us,
    )


def storeless_guard(identity: Identity, state: Path, *, now_us: Callable[[], int]) -> Guard:
    """The guard of a process that has no database and shows nothing sensitive: a witness.

    It takes no client assertion, since it could not tell whether one was used before.

    Raises: as `service_guard`.
    """

    async def append(_reads: Sequence[AccessRead]) -> None:
        raise NoEvidenceLog("this process has no evidence log; nothing sensitive may leave it")

    key = load_or_make_key(evidence_pseudonym_key_file(state))
    return Guard(
        identification=identification_for(identity.process, identity, state, None),
        append=append,
        pseudonym=lambda token: pseudonym(token, key),
        now_us=now_us,
    )


def pseudonym(member_token: str, key: bytes) -> str:
    """What stands for a member token in evidence: HMAC-SHA256, 128 bits in hex.

    Whoever has the key and the token finds the person's leaves; a leaf alone leads to nobody.
    """
    message = b"lipei evidence pseudonym 1\x00" + member_token.encode()
    return hmac.digest(key, message, hashlib.sha256)[:_PSEUDONYM_BYTES].hex()
