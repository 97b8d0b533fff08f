"""Killing every process of a running stack, in turn, loses no claim and pays none twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from demo.bridge import Bridge
from demo.his import running_his
from demo.insurer import MOVING, Insurer
from demo.scenario import PLANS, Scenario, generated
from demo.stack import Stack, fresh_state, started_stack
from lipei.claims.v1 import claims_pb2

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]
PEOPLE, BILLS, SEED = 50, 200, 11
END_S = 240.0
HOSPITAL_WORKER = "worker:hospital-demo-hospital"
KILLED = ("worker:claims", "claims", "his_bridge", "bank", "temporal", HOSPITAL_WORKER)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Stack, Scenario]]:
    """A small hospital with its bills, and a stack with its policies; nothing is pulled yet."""
    scenario = generated(SEED, people=PEOPLE, bills=BILLS)
    state = fresh_state(tmp_path / "state")
    with (
        running_his(state / "his") as his,
        started_stack(state, scenario.hospital, his.base_url) as stack,
    ):
        his.fill(scenario.resources, lambda _count: None)
        stack.wait()
        with Insurer(stack.addresses["claims"]) as insurer:
            for plan in scenario.plans:
                insurer.publish(PLANS / f"{plan}.yaml")
            for policies in scenario.policies:
                insurer.import_policies(policies, dry_run=False)
        yield stack, scenario


def test_every_process_is_killed_and_the_books_are_right(
    running: tuple[Stack, Scenario],
) -> None:
    stack, scenario = running
    stack.start_pull(scenario.hospital)
    addresses = stack.addresses
    for name in KILLED:
        time.sleep(1.5)  # let claims be in flight
        os.kill(_ready_pid(stack.state, name), signal.SIGKILL)
    with (
        Insurer(addresses["claims"]) as insurer,
        Bridge(addresses["his_bridge"], scenario.hospital) as bridge,
    ):

        def at_rest() -> bool:
            claims = insurer.claims(anew=True)
            done = len(claims) >= scenario.expected.claims and not bridge.pulled().pending
            return done and not any(claim.state in MOVING for claim in claims)

        until(at_rest, END_S)
        claims = insurer.claims(anew=True)
        books = insurer.books()
    assert len(claims) == scenario.expected.claims
    assert len({(claim.provider_id, claim.bill_number) for claim in claims}) == len(claims)
    assert books.ledger_sum_minor_units == 0
    assert books.conservation_violations == 0
    assert books.payout_mismatches == 0
    owed = {
        claim.name: claim.decision.benefit.minor_units
        for claim in claims
        if claim.state == claims_pb2.CLAIM_STATE_PAID
    }
    executed = httpx.get(f"{stack.addresses['bank']}/book").json()["payments"]
    assert len(executed) == len(owed) > 0
    assert len({entry["end_to_end_id"] for entry in executed}) == len(executed)
    assert sum(int(entry["amount"]) for entry in executed) == sum(owed.values())
    restarts = json.loads((stack.state / "processes.json").read_text())
    assert all(restarts[name]["restarts"] >= 1 for name in KILLED), "the control: all were killed"


def _ready_pid(state: Path, name: str) -> int:
    found: list[int] = []

    def ready() -> bool:
        entry = json.loads((state / "processes.json").read_text())[name]
        found.append(int(entry["pid"]))
        return entry["state"] == "ready" and found[-1] > 0

    until(ready, 60)
    return found[-1]


def until(holds: Callable[[], bool], within_s: float) -> None:
    """Wait for a state; a call refused meanwhile, because a server is down, is not there yet."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if holds():
                return
        except Exception:  # noqa: BLE001 - servers are being killed
            time.sleep(0.5)
        time.sleep(0.5)
    raise TimeoutError("it did not come to rest")
