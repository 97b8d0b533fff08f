"""Whoever gives a what-if up, or dies, leaves no deciding process, though it would not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from lipei.claims.v1 import recompute_pb2 as pb
from services.claims import what_if_processes
from services.claims.what_if_processes import cores
from services.common.grpc_edge import error_of
from tests.services.claims.given import PLAN, PLANS, bill, imported, policy, publish, submission
from tests.services.claims.serving import Served, served

YAML = (PLANS / f"{PLAN}.yaml").read_bytes()
WITHIN_S = 60.0
SERVER = f"""
from services.claims.plans.loader import load_plan
from services.claims.what_if_processes import processes
with processes(load_plan({YAML!r}, "plan"), 2, lambda: None):
    print("ready", flush=True)
    input()
"""


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Served]:
    """Claims whose what-ifs are decided in processes, however few they are."""
    with served(f"sqlite:///{tmp_path}/claims.db", few=0) as running:
        publish(running)
        imported(running, policy(1))
        running.claims.SubmitClaim(submission(bill("B1")))
        yield running


def workers(of: int) -> set[int]:
    """Deciding processes that a process has started."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or not decides(int(entry.name)):
                continue
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has just ended
            continue
        if int(parent) == of:
            found.add(int(entry.name))
    return found


def decides(process: int) -> bool:
    try:
        return b"what_if_worker" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


@contextmanager
def that_never_answer() -> Iterator[None]:
    """Deciding processes that are started meanwhile stand still from their first moment on."""
    started = what_if_processes._started

    def stopped() -> subprocess.Popen[bytes]:
        process = started()
        process.send_signal(signal.SIGSTOP)
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what_if_processes, "_started", stopped)
        yield


def soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_one_that_is_given_up_ends_its_processes_though_they_do_not_answer(many: Served) -> None:
    request = pb.DecideWhatIfRequest(yaml=YAML, first_date="2026-01-01", last_date="2199-12-31")
    with that_never_answer():
        under_way = many.recompute.DecideWhatIf(request)
        assert soon(lambda: len(workers(os.getpid())) == cores())
    stuck = workers(os.getpid())
    try:
        # The control: while somebody waits, they stay.
        with pytest.raises(grpc.RpcError) as caught:
            list(many.recompute.DecideWhatIf(request))
        assert error_of(caught.value).reason == "WHAT_IF_UNDER_WAY"
        assert workers(os.getpid()) == stuck
        under_way.cancel()
        assert soon(lambda: not any(map(decides, stuck)))
    finally:
        for process in filter(decides, stuck):
            os.kill(process, signal.SIGKILL)

    def works_again() -> bool:
        try:
            *_, last = many.recompute.DecideWhatIf(request)
        except grpc.RpcError:
            return False
        return bool(last.summary.claims == 1)

    assert soon(works_again)
    assert soon(lambda: not workers(os.getpid()))


def test_a_server_that_is_killed_leaves_no_process() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        # The control: there is something to leave behind, though one may just be starting.
        assert soon(lambda: len(workers(server.pid)) == 2)
        started = workers(server.pid)
    finally:
        server.kill()
        server.communicate()
    assert soon(lambda: not any(map(decides, started)))
