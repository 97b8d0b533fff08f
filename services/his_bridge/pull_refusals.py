"""What callers are told when a hospital cannot be read now."""

from __future__ import annotations

import grpc

from services.common.grpc_edge import Refused
from services.his_bridge.leasing import LeaseHeld
from services.his_bridge.sources.port import SourceFault


def under_way(held: LeaseHeld) -> Refused:
    """The refusal while another reads this channel."""
    return Refused(
        grpc.StatusCode.ABORTED,
        "PULL_UNDER_WAY",
        "another pull of this hospital is under way; wait",
        retry_after_s=held.retry_after_s,
    )


def refused_by(fault: SourceFault) -> Refused:
    """The refusal for a source that cannot be read now."""
    waiting_helps = fault.retry_after_s is not None
    return Refused(
        grpc.StatusCode.UNAVAILABLE if waiting_helps else grpc.StatusCode.FAILED_PRECONDITION,
        fault.reason,
        f"{fault.text}; what was fetched is kept",
        retry_after_s=fault.retry_after_s,
    )
