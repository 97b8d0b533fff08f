"""A claims service whose database goes away and comes back: UNAVAILABLE meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from sqlalchemy import make_url, text

from bench.postgres import administration
from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import provider_pb2, settlement_pb2
from services.claims.servicer import ClaimsServicer
from services.common.grpc_edge import RpcFault, error_of
from tests.services.claims.given import bill, imported, policy, publish, submission
from tests.services.claims.serving import Served, Stuck, served
from tests.services.claims.test_tenants import BY_NAME, rpc


def fault_of(call: Callable[[Any], Message], request: Message) -> RpcFault | None:
    try:
        call(request)
    except grpc.RpcError as error:
        return error_of(error)
    return None


def calls(service: Served, claim: str) -> dict[str, tuple[Callable[[Any], Message], Message]]:
    """Each kind of call that asks the database."""
    about_one = {name: (rpc(service, name), ask(claim)) for name, ask in BY_NAME.items()}
    steps, file = service.settlement, "paymentFiles/none"
    return about_one | {
        "ListClaims": (service.claims.ListClaims, pb.ListClaimsRequest(parent="policies/-")),
        "SubmitClaim": (service.claims.SubmitClaim, submission(bill("B2"), wait_s=0)),
        "CheckBooks": (service.claims.CheckBooks, pb.CheckBooksRequest()),
        "GatherPayouts": (
            steps.GatherPayouts,
            settlement_pb2.GatherPayoutsRequest(paying_account="main"),
        ),
        "SendPaymentFile": (
            steps.SendPaymentFile,
            settlement_pb2.SendPaymentFileRequest(payment_file=file),
        ),
        "ListProviders": (service.providers.ListProviders, provider_pb2.ListProvidersRequest()),
    }


def test_every_call_answers_unavailable_while_the_database_is_away(
    postgres_url: str, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make_url(postgres_database).database
    with (
        served(postgres_database, workflows=Stuck()) as service,
        administration(postgres_url) as server,
    ):
        publish(service)
        imported(service, policy(1))
        (claim,) = service.claims.SubmitClaim(submission(bill("B1"), wait_s=0)).claims
        before = {one: fault_of(*how) for one, how in calls(service, claim.name).items()}
        server.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        ends = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :d")
        server.execute(ends, {"d": name})
        for one, how in calls(service, claim.name).items():
            fault = fault_of(*how)
            assert fault is not None, one
            told = (one, fault.code, fault.reason)
            assert told == (one, grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            assert fault.retry_after_s
        server.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        for one, how in calls(service, claim.name).items():
            fault, was = fault_of(*how), before[one]
            if was is None:
                assert fault is None, one
            elif fault is not None:
                assert fault.code is not grpc.StatusCode.UNAVAILABLE, one

        def mistaken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(ClaimsServicer, "_get", mistaken)
        broken = fault_of(service.claims.GetClaim, pb.GetClaimRequest(name=claim.name))
        assert broken is not None
        assert broken.code is grpc.StatusCode.INTERNAL
