"""The bridge's process: profiles, sources and storage wired to the edge."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from sqlalchemy import select

from lipei.his_bridge.v1 import consent_pb2_grpc, his_bridge_pb2_grpc, operations_pb2_grpc
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
from services.common.sealing.members import member
from services.common.sealing.own_keys import master_keys_of
from services.common.sealing.servicer import readiness, serving
from services.common.settings import (
    UnknownSetting,
    insurer,
    key_file,
    member_token_key_file,
    member_token_key_version,
    trust_domain,
)
from services.common.state import state_dir
from services.common.transport.certificates import load_identity
from services.common.transport.names import service_uri
from services.his_bridge.consent_register import ConsentServicer
from services.his_bridge.consent_requests import RECIPIENT
from services.his_bridge.metrics import BridgeMetrics, exposed
from services.his_bridge.operations import OperationsServicer
from services.his_bridge.profiles.loader import ProfileError, load_profiles
from services.his_bridge.receiving.memory import give_back_large_blocks, leave_out_what_stays
from services.his_bridge.reconciling import Reconciler
from services.his_bridge.servicer import HisBridgeServicer
from services.his_bridge.storage.about import records_about
from services.his_bridge.storage.counted import SEALED
from services.his_bridge.storage.tables import evidence, metadata
from services.his_bridge.wiring import hospital_of

ADDRESS = re.compile(r"[0-9A-Za-z.:_-]{1,253}:[0-9]{1,5}", re.ASCII)
EXAMPLE_PROFILES = Path(__file__).parent / "profiles"


class BridgeSettings(LipeiSettings):
    """What the bridge reads besides the common settings."""

    his_bridge_address: str = "127.0.0.1:0"
    his_bridge_database_url: str = ""
    his_bridge_profiles: str = ""
    his_bridge_metrics_address: str = ""


async def run(settings: BridgeSettings) -> None:
    """Serve until SIGTERM."""
    give_back_large_blocks()
    state = state_dir(settings.state)
    recipient = f"insurers/{insurer()}"
    if not RECIPIENT.fullmatch(recipient):
        raise UnknownSetting("LIPEI_INSURER must be small letters, digits and hyphens")
    if settings.his_bridge_metrics_address and not ADDRESS.fullmatch(
        settings.his_bridge_metrics_address
    ):
        raise UnknownSetting("LIPEI_HIS_BRIDGE_METRICS_ADDRESS must read host:port")
    folder = Path(settings.his_bridge_profiles) if settings.his_bridge_profiles else None
    profiles = load_profiles(folder or EXAMPLE_PROFILES, os.environ)
    identity = load_identity(state, "his_bridge", uri=service_uri(trust_domain(), "his_bridge"))
    database = Database(
        settings.his_bridge_database_url or f"sqlite:///{state / 'his_bridge.db'}",
        driver=counting(state, "his_bridge", SEALED, wanted=settings.count_reads),
    )
    migrate(database, "services.his_bridge")
    keys = SubjectKeys(master_keys_of(state, database), now_us=now_us)
    keys.prepare(database)
    version = member_token_key_version()
    members = select(member.c.id)
    key = token_key(database, keys, member_token_key_file(state), version, members=members)

    def tokens(kind: str, number: str) -> str:
        return member_token(kind, number, key=key, key_version=version)

    hospitals = {
        name: hospital_of(profile, database, keys, tokens, now_us, recipient, state)
        for name, profile in profiles.items()
    }
    reconciler = Reconciler(database, keys, now_us)
    proof = service_evidence(
        "his_bridge",
        database,
        keys,
        evidence,
        state=state,
        key_file=key_file(state, "HIS_BRIDGE_EVIDENCE_KEY_FILE", "his_bridge_evidence.key"),
        records_of=lambda connection, token: records_about(
            connection, keys.sealer(connection), hospitals, token
        ),
        now_us=now_us,
    )
    no_readings = [name for name, one in hospitals.items() if one.readings is None]
    metrics = BridgeMetrics(database, hospitals, recipient, now_us, no_readings)
    leave_out_what_stays()
    try:
        with exposed(metrics, settings.his_bridge_metrics_address):
            await serve(
                [
                    Serving(
                        his_bridge_pb2_grpc.add_HisBridgeServiceServicer_to_server,
                        HisBridgeServicer(database, keys, hospitals, recipient, now_us),
                        "lipei.his_bridge.v1.HisBridgeService",
                    ),
                    Serving(
                        consent_pb2_grpc.add_ConsentServiceServicer_to_server,
                        ConsentServicer(database, keys, hospitals, now_us),
                        "lipei.his_bridge.v1.ConsentService",
                    ),
                    Serving(
                        operations_pb2_grpc.add_OperationsServiceServicer_to_server,
                        OperationsServicer(database, keys, hospitals, reconciler, now_us),
                        "lipei.his_bridge.v1.OperationsService",
                    ),
                    serving(database, keys),
                    proof.serving,
                ],
                name="his_bridge",
                address=settings.his_bridge_address,
                state=state,
                ready=readiness(database, keys),
                identity=identity,
                guard=service_guard(
                    identity, state, database, metadata, append=proof.log.append, now_us=now_us
                ),
                background=[
                    proof.keep_signing,
                    functools.partial(reconciler.keep_reconciling, hospitals.values()),
                    *(one.listener.run for one in hospitals.values() if one.listener is not None),
                ],
            )
    finally:
        for hospital in hospitals.values():
            if hospital.source is not None:
                await hospital.source.close()
        database.close()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    start(
        "his_bridge",
        BridgeSettings,
        run,
        refusals=(UnknownSchema, ProfileError),
        database_faults=DATABASE_FAULTS,
    )


if __name__ == "__main__":
    main()
