"""Whether something answers: gRPC health, HTTP, a bare TCP port. Each asks once and briefly."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.transport.certificates import TlsRefused, load_identity
from services.common.transport.channels import sync_channel

_ASK_S = 1.0
_NOT_FOR_CONNECTIONS = (15_000, 32_000)  # ip_local_port_range begins at 32,768
_DRAWN = random.SystemRandom()
# Health is open to every authenticated caller, and this certificate needs no token beside it.
_ASKING = "settlement"


def service_serves(state: Path, service: str, address: str) -> bool:
    """Whether a service of the installation proves to be that one, and its health says SERVING."""
    try:
        identity = load_identity(state, _ASKING)
    except TlsRefused:
        return False
    return _is_serving(sync_channel(address, identity, service), "")


def plain_grpc_serves(address: str, service: str) -> bool:
    """Whether a server without TLS says SERVING: the Temporal dev server, which has none."""
    return _is_serving(grpc.insecure_channel(address), service)


def _is_serving(open_channel: grpc.Channel, service: str) -> bool:
    with contextlib.closing(open_channel) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            question = health_pb2.HealthCheckRequest(service=service)
            answer = stub.Check(question, timeout=_ASK_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def http_answers(url: str) -> bool:
    """Whether something speaks HTTP there and is not in trouble; a 404 is an answer."""
    try:
        # Not httpx, which takes longer to import than most commands to answer.
        with build_opener(ProxyHandler({})).open(url, timeout=_ASK_S):
            return True
    except HTTPError as answer:
        return answer.code < 500
    except (HTTPException, OSError, ValueError):
        return False


def tcp_accepts(address: str, timeout_s: float = _ASK_S) -> bool:
    """Whether a connection to host:port is accepted."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout_s).close()
    except (OSError, ValueError):
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago, all different.

    Drawn from those that Linux gives to no connection unless it is told so: one that opens in
    between takes none of them before its server does.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            port = _DRAWN.randrange(*_NOT_FOR_CONNECTIONS)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as fault:
                if fault.errno != errno.EADDRINUSE:
                    raise
            else:
                found.append(port)
        return found
