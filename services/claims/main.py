"""The claims process: wires storage, Temporal, bank and the sweeper to the edge by hand."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from lipei.claims.v1 import (
    claims_pb2_grpc,
    provider_pb2_grpc,
    recompute_pb2_grpc,
    review_pb2_grpc,
    settlement_pb2_grpc,
    study_pb2_grpc,
)
from services.claims.in_flight import InFlight
from services.claims.paying import Payments
from services.claims.payout_steps import PayingAccount
from services.claims.payouts.bank import Bank
from services.claims.payouts.iso20022 import Party
from services.claims.plan_shelf import PlanShelf
from services.claims.providers import ProviderServicer
from services.claims.recomputing import RecomputeServicer
from services.claims.reviewing import ReviewServicer
from services.claims.servicer import ClaimsServicer
from services.claims.serving import ClaimsParts
from services.claims.settlement import SettlementServicer
from services.claims.storage.about import records_about
from services.claims.storage.counted import SEALED
from services.claims.storage.tables import evidence, metadata, person
from services.claims.study_servicer import FULL_NAME as STUDIES
from services.claims.study_servicer import StudyServicer
from services.claims.sweeper import Sweeper
from services.common.access.guarding import service_guard
from services.common.access.read_tally import counting
from services.common.database import DATABASE_FAULTS, Database, UnknownSchema, migrate
from services.common.evidence.service_evidence import service_evidence
from services.common.grpc_edge import Serving, serve
from services.common.identity import member_token
from services.common.process import now_us, start
from services.common.process_settings import LipeiSettings
from services.common.sealing import SubjectKeys
from services.common.sealing.known_keys import token_key
from services.common.sealing.own_keys import master_keys_of
from services.common.sealing.servicer import readiness, serving
from services.common.settings import (
    key_file,
    member_token_key_file,
    member_token_key_version,
    study_pseudonym_key_file,
    trust_domain,
)
from services.common.state import load_or_make_key, read_addresses, state_dir
from services.common.temporal.connection import connect
from services.common.temporal.settling import ClaimWorkflows
from services.common.transport.certificates import load_identity
from services.common.transport.names import service_uri


class ClaimsSettings(LipeiSettings):
    """What claims reads besides the common settings."""

    claims_address: str = "127.0.0.1:0"
    claims_database_url: str = ""
    # Beyond about ten decisions at once the local Temporal server only adds latency.
    claims_max_in_flight: int = 8
    claims_paying_account: str = "main"
    claims_debtor_name: str = "lipei example insurer"
    claims_debtor_account: str = "6222000000000001"
    claims_debtor_bank: str = "104100000004"
    bank_url: str = ""


async def run(settings: ClaimsSettings, *, payments: type[Payments] = Payments) -> None:
    """Serve until SIGTERM. `payments` is what pays; the fault tests' control has another."""
    state = state_dir(settings.state)
    database = Database(
        settings.claims_database_url or f"sqlite:///{state / 'claims.db'}",
        driver=counting(state, "claims", SEALED, wanted=settings.count_reads),
    )
    try:
        await _serve(settings, state, database, payments)
    finally:
        database.close()


async def _serve(
    settings: ClaimsSettings, state: Path, database: Database, paying: type[Payments]
) -> None:
    migrate(database, "services.claims")
    identity = load_identity(state, "claims", uri=service_uri(trust_domain(), "claims"))
    keys = SubjectKeys(master_keys_of(state, database), now_us=now_us)
    keys.prepare(database)
    version = member_token_key_version()
    members = select(person.c.id)
    key = token_key(database, keys, member_token_key_file(state), version, members=members)
    workflows = ClaimWorkflows(await connect(state))
    parts = ClaimsParts(
        database=database,
        plans=PlanShelf(),
        workflows=workflows,
        keys=keys,
        token=lambda kind, number: member_token(kind, number, key=key, key_version=version),
        now_us=now_us,
    )
    payments = _payments(settings, state, parts, paying)
    settlement = SettlementServicer(parts, payments)
    sweeper = Sweeper(
        database,
        workflows,
        payments,
        settings.claims_paying_account,
        settle_freed=settlement.settle_freed,
        now_us=now_us,
    )
    proof = service_evidence(
        "claims",
        database,
        keys,
        evidence,
        state=state,
        key_file=key_file(state, "CLAIMS_EVIDENCE_KEY_FILE", "claims_evidence.key"),
        records_of=lambda connection, token: records_about(
            connection, keys.sealer(connection), token
        ),
        now_us=now_us,
    )
    await serve(
        [
            *_services(settings, state, parts, settlement),
            proof.serving,
            serving(database, keys),
        ],
        name="claims",
        address=settings.claims_address,
        state=state,
        identity=identity,
        guard=service_guard(
            identity, state, database, metadata, append=proof.log.append, now_us=now_us
        ),
        background=[sweeper.sweep_claims, sweeper.start_payouts, proof.keep_signing],
        ready=readiness(database, keys),
    )


def _services(
    settings: ClaimsSettings, state: Path, parts: ClaimsParts, settlement: SettlementServicer
) -> list[Serving]:
    return [
        Serving(
            claims_pb2_grpc.add_ClaimsServiceServicer_to_server,
            ClaimsServicer(parts, InFlight(settings.claims_max_in_flight)),
            "lipei.claims.v1.ClaimsService",
        ),
        Serving(
            review_pb2_grpc.add_ReviewServiceServicer_to_server,
            ReviewServicer(
                parts,
                paying_account=settings.claims_paying_account,
                settle_freed=settlement.settle_freed,
            ),
            "lipei.claims.v1.ReviewService",
        ),
        Serving(
            provider_pb2_grpc.add_ProviderServiceServicer_to_server,
            ProviderServicer(parts),
            "lipei.claims.v1.ProviderService",
        ),
        Serving(
            recompute_pb2_grpc.add_RecomputeServiceServicer_to_server,
            RecomputeServicer(parts),
            "lipei.claims.v1.RecomputeService",
        ),
        Serving(
            settlement_pb2_grpc.add_SettlementServiceServicer_to_server,
            settlement,
            "lipei.claims.v1.SettlementService",
        ),
        Serving(
            study_pb2_grpc.add_StudyServiceServicer_to_server,
            StudyServicer(parts, load_or_make_key(study_pseudonym_key_file(state))),
            STUDIES,
        ),
    ]


def _payments(
    settings: ClaimsSettings, state: Path, parts: ClaimsParts, kind: type[Payments]
) -> Payments:
    bank_url = settings.bank_url or read_addresses(state).get("bank", "")
    debtor = Party(
        holder_name=settings.claims_debtor_name,
        account_number=settings.claims_debtor_account,
        bank_code=settings.claims_debtor_bank,
    )
    paying = PayingAccount(name=settings.claims_paying_account, debtor=debtor)
    return kind(parts.database, Bank(bank_url), parts.keys, paying, now_us=parts.now_us)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    start("claims", ClaimsSettings, run, refusals=(UnknownSchema,), database_faults=DATABASE_FAULTS)


if __name__ == "__main__":
    main()
