"""Which hospitals exist for whoever calls, and whether they hand over what they see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from lipei.type.v1 import access_pb2
from services.common.access.caller import current_caller
from services.common.access.tenant import Kind, current_tenant
from services.common.grpc_edge import Violation, invalid, not_found
from services.his_bridge.requests import HOSPITAL, not_a_name

H = TypeVar("H")


def mine(hospitals: Mapping[str, H]) -> Mapping[str, H]:
    """The hospitals that exist for the caller: its own, or all of the installation's."""
    tenant = current_tenant()
    if tenant.kind is Kind.INSTALLATION:
        return hospitals
    return {name: one for name, one in hospitals.items() if name == tenant.hospital}


def hands_over() -> bool:
    """Whether what the caller is shown goes on to the insurer: the hospital's worker asks."""
    return access_pb2.ROLE_HOSPITAL_INTEGRATION in current_caller().roles


def hospital_named(
    name: str, faults: list[Violation], field: str, among: Mapping[str, H]
) -> tuple[str, H]:
    """The id in `hospitals/{hospital}`, and what stands for it among those that exist.

    Raises: Refused for the faults found so far and its own; for a hospital that does not exist.
    """
    named = HOSPITAL.fullmatch(name)
    if named is None:
        faults.append(not_a_name(field, "hospitals/{hospital}"))
    if faults or named is None:
        raise invalid(faults)
    if named[1] not in among:
        raise not_found("hospital", name)
    return named[1], among[named[1]]
