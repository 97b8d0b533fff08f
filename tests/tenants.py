"""Callers as tests need them: a person of an insurer, a hospital's worker, a member, a service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from lipei.type.v1 import access_pb2
from services.common.access.caller import Caller, calling_as

INSURER, HOSPITAL = "anxin", "general"


def _caller(who: str, *roles: access_pb2.Role.ValueType, **tenant: str) -> Caller:
    uri = f"spiffe://lipei.test/{who}"
    return Caller(uri=uri, roles=frozenset(roles), subject=uri, purpose="test", **tenant)


def of_insurer(insurer: str = INSURER) -> Caller:
    """A person of an insurer with every role that one may have there."""
    return _caller(
        f"insurer/{insurer}/desk/1",
        access_pb2.ROLE_INSURER_INTAKE,
        access_pb2.ROLE_SENIOR_ADJUSTER,
        access_pb2.ROLE_PAYMENTS,
        access_pb2.ROLE_CHIEF_ACTUARY,
        insurer=insurer,
    )


def of_hospital(hospital: str = HOSPITAL) -> Caller:
    """A hospital's worker and records office in one."""
    return _caller(
        f"hospital/{hospital}/desk/1",
        access_pb2.ROLE_HOSPITAL_INTEGRATION,
        access_pb2.ROLE_HOSPITAL_RECORDS,
        hospital=hospital,
    )


def of_partner(partner: str = "steps") -> Caller:
    """A coach of a health-management partner."""
    return _caller(f"partner/{partner}/desk/1", access_pb2.ROLE_PARTNER, partner=partner)


def of_member(token: str) -> Caller:
    """An insured person."""
    return _caller("member/desk/1", access_pb2.ROLE_MEMBER, member=token)


def a_service() -> Caller:
    """One of the installation's services."""
    return _caller("service/settlement", access_pb2.ROLE_SERVICE)


def an_auditor() -> Caller:
    """An auditor of the whole installation."""
    return _caller("witness/audit", access_pb2.ROLE_AUDITOR)


class CallingAs(grpc.aio.ServerInterceptor):
    """Runs every rpc as the caller whom `chosen` names for its method."""

    def __init__(self, chosen: Callable[[str], Caller]) -> None:
        self._chosen = chosen

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the unary method."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        inner, method = handler.unary_unary, handler_call_details.method

        async def answer(request: Any, context: Any) -> Any:
            with calling_as(self._chosen(method)):
                return await inner(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )


def usual_caller(method: str) -> Caller:
    """Who calls an rpc of claims or pricing where a test is not about tenants."""
    return a_service() if "/lipei.claims.v1.SettlementService/" in method else of_insurer()
