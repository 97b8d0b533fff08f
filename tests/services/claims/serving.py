"""The claims service on a real socket and database, with workflows that need no Temporal."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from lipei.claims.v1 import (
    claims_pb2_grpc,
    provider_pb2_grpc,
    recompute_pb2_grpc,
    review_pb2_grpc,
    settlement_pb2,
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
from services.claims.recomputing import FEW, RecomputeServicer
from services.claims.reviewing import ReviewServicer
from services.claims.servicer import ClaimsServicer
from services.claims.serving import ClaimsParts
from services.claims.settlement import SettlementServicer
from services.claims.study_servicer import BATCH, StudyServicer
from services.common.access.caller import Caller, calling_as
from services.common.access.guard import Append
from services.common.database import Database
from services.common.grpc_edge import Context, ErrorInterceptor, Refused
from services.common.identity import member_token
from services.common.process import now_us
from services.common.sealing import SubjectKeys
from services.common.transport.channels import sync_channel
from services.common.transport.credentials import server_credentials
from tests.callers import guard_for
from tests.identities import acting
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.tenants import of_hospital, of_installation, of_insurer

HOSPITAL_DESK = ("desk-hospital", "hospital_records")
TOKEN_KEY = bytes(range(32))
STUDY_KEY = bytes(range(32, 64))
# Between two looks whether an earlier claim of the member is decided.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.16
INSURER = Party(
    holder_name="Test Insurer", account_number="6222000000000001", bank_code="104100000004"
)


def token(kind: str, number: str) -> str:
    """The member token under the tests' key."""
    return member_token(kind, number, key=TOKEN_KEY, key_version="k1")


class StepByStep:
    """Workflows as the service sees them: takes each claim through the real steps, in order."""

    settlement: SettlementServicer

    def __init__(self, *, pause_s: float = 0.0) -> None:
        self.started: list[str] = []
        self.fetched: list[str] = []
        self.pause_s = pause_s

    async def decided(self, claim_name: str, claim_id: str, update_id: str) -> None:
        self.started.append(claim_name)
        await asyncio.sleep(self.pause_s)
        with calling_as(of_installation()):
            await self._settled(claim_name)

    async def fetch(self, hospital: str) -> None:
        self.fetched.append(hospital)

    async def _settled(self, claim_name: str) -> None:
        steps = self.settlement
        nobody: Any = None
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await steps.AdjudicateClaim(
                    settlement_pb2.AdjudicateClaimRequest(name=claim_name), nobody
                )
                break
            except Refused as refused:
                if refused.code is not grpc.StatusCode.ABORTED:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class Stuck(StepByStep):
    """Workflows whose worker is down."""

    async def decided(self, claim_name: str, claim_id: str, update_id: str) -> None:
        self.started.append(claim_name)
        await asyncio.sleep(3600)


@dataclass
class Served:
    """A running claims service and its stubs."""

    address: str
    database: Database
    keys: SubjectKeys
    workflows: StepByStep
    claims: claims_pb2_grpc.ClaimsServiceStub
    hospital: claims_pb2_grpc.ClaimsServiceStub  # the same, called by the hospital "general"
    hospital_channel: grpc.Channel
    settlement: settlement_pb2_grpc.SettlementServiceStub
    review: review_pb2_grpc.ReviewServiceStub
    providers: provider_pb2_grpc.ProviderServiceStub
    recompute: recompute_pb2_grpc.RecomputeServiceStub
    studies: study_pb2_grpc.StudyServiceStub
    request_ids: Iterator[str] = field(
        default_factory=lambda: (f"request-{n}" for n in itertools.count(1))
    )


@contextmanager
def served(
    database_url: str,
    *,
    workflows: StepByStep | None = None,
    most_in_flight: int = 8,
    bank_url: str = "http://127.0.0.1:9",
    caller: Callable[[], Caller] = of_insurer,
    append: Append | None = None,
    driver: type[sqlite3.Connection] | None = None,
    clock: Callable[[], int] = now_us,
    few: int = FEW,
    batch: int = BATCH,
) -> Iterator[Served]:
    """Serve on a free port until the block ends; `caller` says who calls.

    `append` takes the place of the evidence log, `driver` that of SQLite's connections. A what-if
    over more than `few` claims decides them in processes of its own; a study is told of `batch`
    people at once.
    """
    database = with_tables(database_url, "services.claims", driver=driver)
    keys = subject_keys(database)
    flows = workflows or StepByStep()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="claims")
    thread.start()

    async def start() -> tuple[grpc.aio.Server, int]:
        parts = ClaimsParts(
            database=database,
            plans=PlanShelf(),
            workflows=flows,
            keys=keys,
            token=token,
            now_us=clock,
        )
        paying = PayingAccount(name="main", debtor=INSURER)
        payments = Payments(database, Bank(bank_url, timeout_s=60), keys, paying, now_us=now_us)
        flows.settlement = SettlementServicer(parts, payments)
        server: Any = grpc.aio.server(
            interceptors=[
                ErrorInterceptor(
                    guard_for(
                        lambda of: of_hospital() if _is_hospital_desk(of) else caller(), append
                    )
                )
            ]
        )
        claims_pb2_grpc.add_ClaimsServiceServicer_to_server(
            ClaimsServicer(parts, InFlight(most_in_flight)), server
        )
        settlement_pb2_grpc.add_SettlementServiceServicer_to_server(flows.settlement, server)
        review_pb2_grpc.add_ReviewServiceServicer_to_server(
            ReviewServicer(
                parts, paying_account=paying.name, settle_freed=flows.settlement.settle_freed
            ),
            server,
        )
        provider_pb2_grpc.add_ProviderServiceServicer_to_server(ProviderServicer(parts), server)
        recompute_pb2_grpc.add_RecomputeServiceServicer_to_server(
            RecomputeServicer(parts, few=few), server
        )
        study_pb2_grpc.add_StudyServiceServicer_to_server(
            StudyServicer(parts, STUDY_KEY, batch=batch), server
        )
        credentials = server_credentials(acting("claims", ""))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    address = f"127.0.0.1:{port}"
    # The guard asks `caller` who calls, so that one connection does for all that it may be.
    channel = sync_channel(address, acting("settlement", ""), "claims")
    of_a_hospital = sync_channel(address, acting(*HOSPITAL_DESK), "claims")
    try:
        yield Served(
            address=address,
            database=database,
            keys=keys,
            workflows=flows,
            claims=claims_pb2_grpc.ClaimsServiceStub(channel),
            hospital=claims_pb2_grpc.ClaimsServiceStub(of_a_hospital),
            hospital_channel=of_a_hospital,
            settlement=settlement_pb2_grpc.SettlementServiceStub(channel),
            review=review_pb2_grpc.ReviewServiceStub(channel),
            providers=provider_pb2_grpc.ProviderServiceStub(channel),
            recompute=recompute_pb2_grpc.RecomputeServiceStub(channel),
            studies=study_pb2_grpc.StudyServiceStub(channel),
        )
    finally:
        channel.close()
        of_a_hospital.close()
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(60)
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
        database.close()


def _is_hospital_desk(context: Context) -> bool:
    presented: Any = context.auth_context()
    names = presented["x509_subject_alternative_name"]
    return any(b"/hospital/" in name and b"/desk/" in name for name in names)


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
