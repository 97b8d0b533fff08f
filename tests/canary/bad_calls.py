"""Calls that every service must refuse, with a planted value in each of their fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import grpc

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.pricing.v1 import pricing_pb2
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1 import bill_pb2, coding_pb2
from services.common.transport.certificates import Identity
from services.common.transport.channels import sync_channel
from tests.services.pricing.reading_requests import reading

CALL_S = 30.0


def requests(value: str) -> Iterator[tuple[str, str, Callable[[grpc.Channel], Any], Any]]:
    """Service, role, the rpc on a channel, and a request that it must refuse."""
    coding = coding_pb2.Coding(system=value, code=value, display=value)
    bill = bill_pb2.Bill(
        name=value,
        bill_number=value * 20,
        provider_id=value,
        member_token=value,
        time_zone=value,
        diagnoses=[bill_pb2.Diagnosis(number=-1, code=coding)],
        lines=[bill_pb2.BillLine(number=-1, code=coding, quantity=value, unit_price=value)],
    )
    yield (
        *("claims", "hospital_integration", lambda to: ClaimsServiceStub(to).SubmitClaim),
        claims_pb2.SubmitClaimRequest(request_id=f"{value}!", bill=bill),
    )
    yield (
        *("claims", "adjuster", lambda to: ClaimsServiceStub(to).GetClaim),
        claims_pb2.GetClaimRequest(name=f"policies/{value}!/claims/1"),
    )
    yield (
        *("his_bridge", "hospital_records", lambda to: HisBridgeServiceStub(to).GetBill),
        his_bridge_pb2.GetBillRequest(name=value),
    )
    yield (
        *("his_bridge", "hospital_records", lambda to: HisBridgeServiceStub(to).ListBills),
        his_bridge_pb2.ListBillsRequest(parent=f"hospitals/{value}!", page_token=value),
    )
    yield (
        *("pricing", "partner", lambda to: PricingServiceStub(to).RecordReadings),
        pricing_pb2.RecordReadingsRequest(
            request_id=f"{value}!",
            readings=[reading(f"{value}!", value, "systolic", f"{value}!", "2026-06-01 07:00")],
        ),
    )
    yield (
        *("pricing", "chief_actuary", lambda to: PricingServiceStub(to).QuotePremium),
        pricing_pb2.QuotePremiumRequest(request_id=f"{value}!", tariff=value),
    )


def bad_calls(
    addresses: Mapping[str, str], identity_of: Callable[[str], Identity], value: str, *, token: str
) -> list[tuple[str, str]]:
    """Service and what it said: code, text and details. The token is sent, broken, as well."""
    heard = []
    for service, role, method, request in requests(value):
        good = identity_of(role)
        broken = replace(good, bearer=lambda _service: f"{token}.{value.encode().hex()}")
        for identity in (good, broken):
            with sync_channel(addresses[service], identity, service) as channel:
                heard.append((service, _refusal(method(channel), request, value)))
    return heard


def _refusal(call: Callable[..., Any], request: Any, value: str) -> str:
    try:
        call(request, timeout=CALL_S, metadata=[("x-canary-bin", value.encode())])
    except grpc.RpcError as error:
        told: Any = error
        return repr((told.code(), told.details(), told.trailing_metadata()))
    raise AssertionError("a bad request was answered")
