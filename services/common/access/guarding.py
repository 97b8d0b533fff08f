"""The guard of one service, put together from its identity, database, keys and evidence log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import MetaData

from services.common.access.assertions import UsedAssertions
from services.common.access.guard import Append, Guard
from services.common.access.identification import identification_for
from services.common.access.pseudonym import pseudonym
from services.common.database import Database
from services.common.settings import evidence_pseudonym_key_file
from services.common.state import load_or_make_key
from services.common.transport.certificates import Identity


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
