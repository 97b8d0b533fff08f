"""Requests about readings as callers write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.type.v1 import coding_pb2
from lipei.type.v1 import reading_pb2 as rb

SHANGHAI = ZoneInfo("Asia/Shanghai")
LOINC = "http://loinc.org"
CODES = {
    "hba1c": ("4548-4", "%"),
    "fasting": ("14771-0", "mmol/L"),
    "glucose": ("15074-8", "mmol/L"),
    "systolic": ("8480-6", "mm[Hg]"),
    "diastolic": ("8462-4", "mm[Hg]"),
}


def stamp(text: str) -> Timestamp:
    """A time of Shanghai, "2025-03-02 07:00"."""
    found = Timestamp()
    found.FromDatetime(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI))
    return found


def reading(
    token: str, name: str, kind: str, value: str, at: str, *, by: str = "DEVICE", **more: Any
) -> rb.Reading:
    """A reading received at once, unless `receive_time` says otherwise."""
    code, unit = CODES[kind]
    told = {"receive_time": stamp(at), **more}
    return rb.Reading(
        name=f"members/{token}/readings/{name}",
        member_token=token,
        code=coding_pb2.Coding(system=LOINC, code=code),
        value=value,
        unit=unit,
        effective_time=stamp(at),
        provenance=rb.ReadingProvenance.Value(f"READING_PROVENANCE_{by}"),
        **told,
    )


def weeks(token: str, month: str, value: str) -> list[rb.Reading]:
    """Three fasting readings of a device, which fill three slots of a month."""
    return [
        reading(token, f"{month}-{day}", "fasting", value, f"{month}-{day} 07:00")
        for day in ("03", "10", "17")
    ]


def typed(readings: Sequence[rb.Reading]) -> list[rb.Reading]:
    """The same as somebody types them in, received when they are recorded."""
    found = [rb.Reading.FromString(one.SerializeToString()) for one in readings]
    for one in found:
        one.provenance = rb.READING_PROVENANCE_TYPED
        one.ClearField("receive_time")
    return found


def recording(request_id: str, readings: Sequence[rb.Reading]) -> pb.RecordReadingsRequest:
    return pb.RecordReadingsRequest(request_id=request_id, readings=readings)


def part(token: str, programme: str = "diabetes-glucose", **more: str) -> pb.Participation:
    told = {"time_zone": "Asia/Shanghai", **more}
    return pb.Participation(member=f"members/{token}", programme=programme, **told)


def names(readings: Sequence[rb.Reading]) -> list[str]:
    return [entry.name for entry in readings]
