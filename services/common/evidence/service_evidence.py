"""The evidence of one service: its log, what serves it, what signs it. Wires; decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from lipei.evidence.v1 import evidence_pb2_grpc
from services.common.access.pseudonym import pseudonym
from services.common.database import Database
from services.common.evidence.evidence_log import EvidenceLog
from services.common.evidence.member_reads import RecordsOf
from services.common.evidence.note import Kind, SignerKey
from services.common.evidence.servicer import FULL_NAME, EvidenceServicer
from services.common.evidence.tables import EvidenceTables
from services.common.grpc_edge import Serving
from services.common.settings import evidence_pseudonym_key_file, trust_domain
from services.common.state import load_or_make_key, write_private


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceEvidence:
    """What a service's `main` hands on: `log.append` to its guard, the rest to `serve`."""

    log: EvidenceLog
    serving: Serving
    keep_signing: Callable[[], Awaitable[None]]


def service_evidence(
    name: str,
    database: Database,
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

    Raises: UnknownSetting when the file holds no key.
    """
    signer = log_signer(name, key_file)
    log = EvidenceLog(database, tables, signer, now_us)
    secret = load_or_make_key(evidence_pseudonym_key_file(state))
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


def origin_of(name: str) -> str:
    """The origin of a service's log, which is its key's name as well."""
    return f"{trust_domain()}/evidence/{name}"


def log_signer(name: str, key_file: Path) -> SignerKey:
    """The key of a service's log, made if there is none; its public half stands beside it."""
    return _published(SignerKey(origin_of(name), Kind.LOG, load_or_make_key(key_file)), key_file)


def witness_signer(name: str, key_file: Path) -> SignerKey:
    """The key of a witness, made if there is none; its public half stands beside it."""
    called = f"{trust_domain()}/witness/{name}"
    return _published(SignerKey(called, Kind.WITNESS, load_or_make_key(key_file)), key_file)


def _published(signer: SignerKey, key_file: Path) -> SignerKey:
    """Put the public key beside the private one; the one before it stays for whoever looks back."""
    public, mine = key_file.with_suffix(".vkey"), signer.verifier.vkey()
    before = public.read_text("utf-8").splitlines() if public.exists() else []
    lines = [mine, *(line for line in before if line != mine)][:2]
    # Replicas share the file, and keys may lie where nothing can be written.
    if lines != before:
        write_private(public, "".join(f"{line}\n" for line in lines).encode())
    return signer
