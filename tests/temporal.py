"""A Temporal server on 127.0.0.1 for tests, gone at the end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.state import record_address
from stack.probes import free_ports, plain_grpc_serves
from stack.temporal_server import binary

LONGEST_S = 60.0  # only so that a broken server fails instead of hanging
_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"


@contextmanager
def temporal(state: Path) -> Iterator[str]:
    """The address of a server that serves; it stands in the state's run.json."""
    with temporal_server() as address:
        record_address(state, "temporal", address)
        yield address


@contextmanager
def temporal_server(*namespaces: str) -> Iterator[str]:
    """The address of a server that serves these namespaces, besides its default one."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [str(binary()), "server", "start-dev", "--headless", "--log-level", "error"]
    command += [word for namespace in namespaces for word in ("--namespace", namespace)]
    process = subprocess.Popen([*command, "--ip", "127.0.0.1", "--port", str(port)])
    try:
        give_up = time.monotonic() + LONGEST_S
        while not plain_grpc_serves(address, _SERVICE):
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(LONGEST_S)
