"""Killed anywhere in a pull, the bridge loses nothing and doubles nothing."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path

import grpc
import pytest

from tests.services.his_bridge.consenting import everybody
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import write_profile
from tests.services.his_bridge.running import Bridge, running_bridge
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server

BILLS = 400


def fill(server: OddServer, count: int) -> set[str]:
    around, claims, _ = good(count)
    for one in around:
        server.put(one)
    for one in claims:
        server.now += timedelta(seconds=1)
        server.write(one["id"], **{key: one[key] for key in one if key != "id"})
    return {f"NO-{one['id']}" for one in claims}


def kill_at(server: OddServer, bridge: Bridge, request: int) -> None:
    """Kill the bridge in the midst of its so many-th request from now on."""
    first = len(server.requests)

    def strike(hit: OddServer) -> None:
        if len(hit.requests) - first == request:
            bridge.process.kill()

    server.before = strike


def pull_through_kills(
    tmp_path: Path, database_url: str, requests: list[int], count: int = BILLS
) -> None:
    with odd_server() as server:
        wanted = fill(server, count)
        write_profile(tmp_path / "profiles", server.base_url)
        start = partial(running_bridge, tmp_path / "state", tmp_path / "profiles", database_url)
        with start() as bridge:
            bridge.consented(everybody())
        for request in requests:
            with start() as bridge:
                kill_at(server, bridge, request)
                with pytest.raises(grpc.RpcError):
                    bridge.pull_all()
                assert bridge.end() == -signal.SIGKILL
        server.before = lambda _: None
        with start() as bridge:
            bridge.pull_all()
            numbers = Counter(one.bill.bill_number for one in bridge.bills())
            quarantine = bridge.quarantine()
    assert numbers == dict.fromkeys(wanted, 1)
    assert quarantine == []


# A page is one search and four look-ups at once: these strike before anything is stored, after a
# page is stored but not read, and in the midst of later pages.
def test_a_bridge_that_is_killed_again_and_again_delivers_each_bill_once(
    tmp_path: Path, database_url: str
) -> None:
    pull_through_kills(tmp_path, database_url, [1, 4, 12])
