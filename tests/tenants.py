"""Callers of each kind of tenant, with every role, so that only the tenant tells them apart."""

from __future__ import annotations

from dataclasses import replace

from lipei.type.v1 import access_pb2
from services.common.access.caller import Caller
from tests.callers import caller

INSURER, HOSPITAL = "insurer", "general"


def of_insurer(insurer: str = INSURER) -> Caller:
    """Somebody of an insurer."""
    return replace(caller(insurer=insurer), uri=f"spiffe://lipei.local/insurer/{insurer}/desk/1")


def of_hospital(hospital: str = HOSPITAL) -> Caller:
    """Somebody of a hospital."""
    return replace(caller(hospital=hospital), uri=f"spiffe://lipei.local/hospital/{hospital}")


def of_member(token: str) -> Caller:
    """An insured person."""
    return replace(caller(member=token), uri=f"spiffe://lipei.local/member/{token[:6]}")


def of_partner(partner: str = "steps") -> Caller:
    """A coach of a health-management partner."""
    return replace(caller(), partner=partner, uri=f"spiffe://lipei.local/partner/{partner}/desk/1")


def of_installation() -> Caller:
    """Who works for all tenants: a service, an auditor and an operator in one."""
    roles = (access_pb2.ROLE_SERVICE, access_pb2.ROLE_AUDITOR, access_pb2.ROLE_OPERATOR)
    return replace(caller(*roles), uri="spiffe://lipei.local/service/settlement")
