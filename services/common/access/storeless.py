"""The guard of a process without a database, which shows nothing sensitive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.common.access.guard import Guard
from services.common.access.identification import identification_for
from services.common.access.pseudonym import pseudonym
from services.common.evidence.access_read import AccessRead
from services.common.settings import evidence_pseudonym_key_file
from services.common.state import load_or_make_key
from services.common.transport.certificates import Identity


class NoEvidenceLog(RuntimeError):
    """Something sensitive was about to leave a process that cannot put it on record."""


def storeless_guard(identity: Identity, state: Path, *, now_us: Callable[[], int]) -> Guard:
    """The guard of a witness.

    It takes no client assertion, since it could not tell whether one was used before.

    Raises: as `guarding.service_guard`.
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
