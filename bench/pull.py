"""Bills out of a hospital: the bridge's pull, beside plain HTTP paging of the same Claims."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from typing import Any

import httpx

from bench.live import HOSPITAL, Live
from bench.processes import Meter
from bench.rows import Report
from lipei.his_bridge.v1 import his_bridge_pb2, his_bridge_pb2_grpc
from services.common.transport.channels import channel

_PULL_S = 60.0
_MOST_RECORDS = 5_000
# The page and the look-up of the demo's source profile and of the bridge.
_PAGE, _AT_ONCE = 200, 100
_REFERENCE = re.compile(r'"reference"\s*:\s*"([A-Za-z]+)/([A-Za-z0-9.-]+)"')
_PAGING = "GET of every page of Claims, parsed by the standard library, nothing kept"
_LOOKING_UP = f"{_PAGING}, and every resource that they refer to, by {_AT_ONCE} ids a request"


async def pulled(report: Report, live: Live) -> None:
    """Bills per second of one sweep, fetched, kept, judged and released."""
    if live.his is None:
        raise RuntimeError("no hospital runs")
    base_url = live.his.base_url
    # The floors before and after, so that the server's warming up helps neither.
    before = await _floors(base_url, live.his_bills)
    spent = Meter({"his_bridge": live.processes["his_bridge"]})
    with spent:
        received, ours_s = await _pull(live)
    if received != live.his_bills:
        raise RuntimeError(f"the bridge received {received} of {live.his_bills} bills")
    after = await _floors(base_url, live.his_bills)
    for what, first, second in zip((_PAGING, _LOOKING_UP), before, after, strict=True):
        name = "with look-ups" if what is _LOOKING_UP else "alone"
        report.add(
            f"pull bills, beside paging {name}",
            "bills/s",
            received / ours_s,
            2 * received / (first + second),
            cpu_ms=spent.total_ms / received,
            what_floor_is=what,
            n=received,
        )


async def _pull(live: Live) -> tuple[int, float]:
    """Bills received until the hospital has no more, and the seconds it took."""
    received = 0
    machine = live.stack.identity("hospital_integration", HOSPITAL)
    async with channel(live.target("his_bridge"), machine, "his_bridge") as bridge:
        stub = his_bridge_pb2_grpc.HisBridgeServiceStub(bridge)
        request = his_bridge_pb2.PullBillsRequest(
            hospital=f"hospitals/{HOSPITAL}", max_records=_MOST_RECORDS, request_id="bench"
        )
        begun = time.perf_counter()
        while True:
            answer = await stub.PullBills(request, timeout=_PULL_S)
            received += answer.received
            if not answer.more:
                return received, time.perf_counter() - begun


async def _floors(base_url: str, expected: int) -> tuple[float, float]:
    """Seconds of paging alone, and of paging with look-ups."""
    async with httpx.AsyncClient(timeout=_PULL_S, trust_env=False) as client:
        took = []
        for look_up in (False, True):
            begun = time.perf_counter()
            found = await _paged(client, base_url, look_up=look_up)
            took.append(time.perf_counter() - begun)
            if found != expected:
                raise RuntimeError(f"plain paging found {found} of {expected} bills")
    return took[0], took[1]


async def _paged(client: httpx.AsyncClient, base_url: str, *, look_up: bool) -> int:
    found, known = 0, set[tuple[str, str]]()
    url: str | None = f"{base_url}/Claim?_count={_PAGE}&_sort=_lastUpdated"
    while url:
        text = (await client.get(url)).raise_for_status().text
        page: dict[str, Any] = json.loads(text)
        found += len(page.get("entry", []))
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
        if look_up:
            wanted = set(_REFERENCE.findall(text)) - known
            known |= wanted
            await asyncio.gather(*(_looked_up(client, one) for one in _requests(base_url, wanted)))
    return found


def _requests(base_url: str, wanted: Iterable[tuple[str, str]]) -> list[str]:
    by_kind: dict[str, list[str]] = {}
    for kind, record_id in sorted(wanted):
        by_kind.setdefault(kind, []).append(record_id)
    return [
        f"{base_url}/{kind}?_id={','.join(ids[at : at + _AT_ONCE])}&_count={_AT_ONCE}"
        for kind, ids in by_kind.items()
        for at in range(0, len(ids), _AT_ONCE)
    ]


async def _looked_up(client: httpx.AsyncClient, url: str) -> None:
    json.loads((await client.get(url)).raise_for_status().text)
