"""What it costs to know who calls: calls over mutual TLS, with and without the identification."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from sqlalchemy import MetaData

from bench.identities import identities
from bench.rows import Report, Sizes, percentile
from demo.stack import sandbox_identity
from services.common.access import assertions
from services.common.access.assertions import UsedAssertions
from services.common.access.desks import Acting
from services.common.access.identification import Identification, identification_for
from services.common.database import Database
from services.common.transport.certificates import load_identity
from services.common.transport.channels import channel
from services.common.transport.credentials import server_credentials

_SERVICE = "bench.Who"
_MESSAGE = bytes(900)
_WITHOUT = "the same call on the same connection without it"


async def measure(report: Report, sizes: Sizes, folder: Path) -> None:
    """A machine's and a person's calls, taking turns with those that nobody identifies."""
    state = identities(folder)
    identity = load_identity(state, "claims")
    database = Database(f"sqlite:///{folder / 'who.db'}")
    metadata = MetaData()
    assertions.tables(metadata)
    used = UsedAssertions(database, metadata)
    callers = {
        "a machine, by certificate": load_identity(state, "settlement"),
        "a person, by certificate and token": sandbox_identity(state, Acting(role="adjuster")),
    }
    try:
        identification = identification_for("claims", identity, state, used)
        async with _served(server_credentials(identity), identification) as target:
            for who, caller in callers.items():
                async with channel(target, caller, "claims") as open_channel:
                    await _compare(report, who, open_channel, sizes.calls)
    finally:
        database.close()


async def _compare(report: Report, who: str, open_channel: grpc.aio.Channel, count: int) -> None:
    known: Any = open_channel.unary_unary(f"/{_SERVICE}/Known")
    unknown: Any = open_channel.unary_unary(f"/{_SERVICE}/Unknown")
    for call in (known, unknown):
        await call(_MESSAGE)
    ours, floor, cpu = [], [], 0.0
    for _ in range(count):
        cpu_before, begun = time.process_time(), time.perf_counter()
        await known(_MESSAGE)
        ours.append(time.perf_counter() - begun)
        cpu += time.process_time() - cpu_before
        begun = time.perf_counter()
        await unknown(_MESSAGE)
        floor.append(time.perf_counter() - begun)
    report.add(
        f"identify {who}, p50",
        "µs",
        percentile(ours, 50) * 1e6,
        percentile(floor, 50) * 1e6,
        cpu_ms=cpu / count * 1e3,
        what_floor_is=_WITHOUT,
        n=count,
    )


@asynccontextmanager
async def _served(
    credentials: grpc.ServerCredentials, identification: Identification
) -> AsyncIterator[str]:
    async def known(request: bytes, context: Any) -> bytes:
        await identification.of(context)
        return request

    async def unknown(request: bytes, _context: Any) -> bytes:
        return request

    methods = {"Known": known, "Unknown": unknown}
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()
    }
    server: Any = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
