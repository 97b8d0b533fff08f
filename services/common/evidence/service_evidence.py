"""The evidence of one service: its log, what serves it, what signs it. Wires; decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from lipei.evidence.v1 import evidence_pb2_grpc
from services.common.access.pseudonym import pseudonym
from services.common.database import Database
from services.common.evidence.evidence_log import EvidenceLog
from services.common.evidence.member_reads import RecordsOf
from services.common.evidence.servicer import FULL_NAME, EvidenceServicer
from services.common.evidence.signers import log_signer
from services.common.evidence.tables import EvidenceTables
from services.common.grpc_edge import Serving
from services.common.sealing import SubjectKeys
from services.common.sealing.known_keys import known, must_exist
from services.common.settings import evidence_pseudonym_key_file


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceEvidence:
    """What a service's `main` hands on: `log.append` to its guard, the rest to `serve`."""

    log: EvidenceLog
    serving: Serving
    keep_signing: Callable[[], Awaitable[None]]


def service_evidence(
    name: str,
    database: Database,
    keys: SubjectKeys,
    tables: EvidenceTables,
    *,
    state: Path,
    key_file: Path,
    records_of: RecordsOf,
    now_us: Callable[[], int],
) -> ServiceEvidence:
    """The evidence of the service of this name, signed by the key in the file.

    The public key is put beside it, for whoever verifies. `records_of` gives the names of the
    service's records that are about the member of a token.

    A key that is lost is not made anew: what it signed, or whom it stands for, would be another's.
    Another signing key may be put into its file, the other key may not change.

    Raises: KeyReplaced; UnknownSetting when a file holds no key.
    """
    signed = select(tables.checkpoint.c.size)
    must_exist(database, key_file, whose="evidence is signed by", filled=signed)
    # Of both before anything is made: a start that is refused writes nothing.
    secret = known(
        database,
        keys,
        evidence_pseudonym_key_file(state),
        name="evidence_pseudonym",
        whose="evidence names members under",
        filled=select(tables.leaf.c.leaf_index).where(tables.leaf.c.member > ""),
    )
    signer = log_signer(name, key_file)
    log = EvidenceLog(database, tables, signer, now_us)
    servicer = EvidenceServicer(
        database, tables, records_of, lambda token: pseudonym(token, secret)
    )
    return ServiceEvidence(
        log=log,
        serving=Serving(
            evidence_pb2_grpc.add_EvidenceServiceServicer_to_server, servicer, FULL_NAME
        ),
        keep_signing=log.keep_signing,
    )
