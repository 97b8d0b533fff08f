"""Pricing as it runs, behind its guard: real certificates and tokens decide what each may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from services.common.access.withheld import withheld_in
from services.common.grpc_edge import RpcFault, error_of
from services.common.transport.certificates import Identity
from services.common.transport.channels import sync_channel
from tests.identities import acting, identity_of
from tests.services.pricing.process import Pricing, serving

ASKED = pb.QuotePremiumRequest(
    request_id="guarded-1",
    parent="policies/p1",
    tariff="diabetes-hypertension-demo",
    start_date="2026-01-01",
    features={"age": "52", "sex": "F", "condition": "type2_diabetes"},
)


@pytest.fixture(scope="module")
def pricing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pricing]:
    with serving(tmp_path_factory.mktemp("state")) as found:
        yield found


def quoted(pricing: Pricing, who: Identity) -> tuple[pb.Quote, frozenset[str]]:
    with sync_channel(pricing.address, who, "pricing") as channel:
        method: Any = PricingServiceStub(channel).QuotePremium
        answer, call = method.with_call(ASKED, timeout=60)
        return answer.quote, withheld_in(call.trailing_metadata())


def refused(pricing: Pricing, who: Identity) -> RpcFault:
    with pytest.raises(grpc.RpcError) as failed:
        quoted(pricing, who)
    return error_of(failed.value)


def test_an_actuary_sees_the_premium_and_not_what_it_rests_on(pricing: Pricing) -> None:
    chief, nothing = quoted(pricing, acting("desk-insurer", "chief_actuary"))
    assert nothing == frozenset()
    assert len(chief.steps) > 1
    plain, withheld = quoted(pricing, acting("desk-insurer", "actuary"))
    assert withheld == {"quote.steps", "quote.premium_without_credit"}
    assert list(plain.steps) == []
    assert (plain.name, plain.premium) == (chief.name, chief.premium)


@pytest.mark.parametrize(
    ("process", "role"),
    [("desk-insurer", "adjuster"), ("desk-partner", "partner"), ("settlement", "")],
)
def test_who_may_not_price_is_refused(pricing: Pricing, process: str, role: str) -> None:
    fault = refused(pricing, acting(process, role))
    assert (fault.code, fault.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")


def test_a_desk_without_a_token_may_ask_for_health_and_no_more(pricing: Pricing) -> None:
    desk = identity_of("desk-insurer")
    fault = refused(pricing, desk)
    assert (fault.code, fault.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    with sync_channel(pricing.address, desk, "pricing") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
