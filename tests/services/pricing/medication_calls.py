"""Requests about medication and flags as callers write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.type.v1 import coding_pb2
from tests.services.pricing.reading_requests import part, stamp

ATC = "http://www.whocc.no/atc"


def fill(token: str, name: str, day: str, days: int = 30, **more: Any) -> pb.MedicationEvent:
    """A fill of metformin, received at noon of its day unless `receive_time` says otherwise."""
    told = {
        "kind": pb.MEDICATION_EVENT_KIND_FILL,
        "drug": coding_pb2.Coding(system=ATC, code="A10BA02"),
        "receive_time": stamp(f"{day} 12:00"),
        **more,
    }
    return pb.MedicationEvent(
        name=f"members/{token}/medications/{name}", first_day=day, days=days, **told
    )


def handing_out(
    request_id: str, events: Sequence[pb.MedicationEvent]
) -> pb.RecordMedicationRequest:
    return pb.RecordMedicationRequest(request_id=request_id, events=events)


def clearing(token: str, flag: str, request_id: str = "c", **more: Any) -> pb.ClearFlagRequest:
    told = {
        "participation": part(token),
        "renewal_date": "2026-01-01",
        "reason": "the meter's memory shows the same values",
        "evidence": "file 2026-17",
        **more,
    }
    return pb.ClearFlagRequest(request_id=request_id, flag=flag, **told)
