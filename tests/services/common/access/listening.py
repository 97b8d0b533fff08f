"""A server over real mutual TLS that answers who calls it: identification, nothing behind it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from sqlalchemy import MetaData

from lipei.type.v1 import access_pb2
from services.common.access import assertions
from services.common.access.assertions import UsedAssertions
from services.common.access.identification import Identification
from services.common.access.tokens import AssertionReader, Keys, TokenReader, audience_of
from services.common.database import Database
from services.common.grpc_edge import ErrorInterceptor, error_of
from services.common.refusals import RpcFault
from services.common.transport.certificates import FOLDER, Identity, TlsFiles
from services.common.transport.channels import sync_channel
from services.common.transport.credentials import server_credentials
from services.common.transport.revocation import RevocationList
from stack.authority import Authority
from stack.sandbox_issuer import SandboxIssuer
from tests.identities import DOMAIN, PROCESSES, identity_of

ISSUER = "https://lipei.local/sandbox-issuer"
SERVICE = "claims"
METHOD = "/tests.Mirror/Who"
LONGEST_S = 60.0


class World:
    """A state directory with an authority and an issuer of its own, for tests that change them."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.authority = Authority(state, DOMAIN)
        self.authority.ensure(PROCESSES)
        self.issuer = SandboxIssuer(state)
        self.client_keys = state / "clients.json"

    def identity(self, process: str) -> Identity:
        """A process's, without a token."""
        return identity_of(process, self.state)

    def desk(
        self, role: str = "adjuster", process: str = "desk-insurer", **changes: Any
    ) -> Identity:
        """A desk's, with a fresh token."""
        identity = self.identity(process)
        told: dict[str, Any] = {
            "subject": "tester",
            "roles": [role],
            "tenant": "insurer",
            "tenant_name": "insurer",
            "certificate_sha256": identity.material.sha256,
        }
        return with_token(identity, self.issuer.token(**told | changes))

    def identification(
        self, used: UsedAssertions | None = None, now_s: Callable[[], float] | None = None
    ) -> Identification:
        """As claims has it."""
        files = self.files
        audience = audience_of(SERVICE)
        clock = now_s or time.time
        return Identification(
            trust_domain=DOMAIN,
            revocation=RevocationList(files.revocation, files.authority, clock),
            tokens=TokenReader(
                Keys(self.state / FOLDER / "issuer.jwks.json"), issuer=ISSUER, audience=audience
            ),
            assertions=AssertionReader(Keys(self.client_keys), audience=audience),
            used=used,
            now_s=clock,
        )

    @property
    def files(self) -> TlsFiles:
        """Claims' files."""
        return self.identity(SERVICE).files


def with_token(identity: Identity, token: str) -> Identity:
    """The identity with that token on every call."""
    return replace(identity, bearer=lambda _service: token)


def with_assertion(identity: Identity, assertion: str) -> Identity:
    """The identity with that client assertion on every call."""
    return replace(identity, assertion=lambda _service: assertion)


class _Guard(grpc.aio.ServerInterceptor):
    def __init__(self, identification: Identification) -> None:
        self._identification = identification

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        del continuation, handler_call_details

        async def who(_request: bytes, context: Any) -> bytes:
            caller = await self._identification.of(context)
            found = {
                "uri": caller.uri,
                "roles": sorted(access_pb2.Role.Name(role) for role in caller.roles),  # type: ignore[arg-type]  # its stub wants the enum's own type
                "subject": caller.subject,
                "purpose": caller.purpose,
                "insurer": caller.insurer,
                "hospital": caller.hospital,
                "member": caller.member,
                "partner": caller.partner,
            }
            return json.dumps(found).encode()

        return grpc.unary_unary_rpc_method_handler(who)


@dataclass(frozen=True)
class Mirror:
    """A running mirror."""

    address: str

    def who(self, identity: Identity, service: str = SERVICE) -> dict[str, Any]:
        """What it says of a caller on a fresh connection."""
        with sync_channel(self.address, identity, service) as channel:
            return ask(channel)

    def fault(self, identity: Identity, service: str = SERVICE) -> RpcFault:
        """Why it refuses a caller on a fresh connection."""
        with sync_channel(self.address, identity, service) as channel:
            return refusal(channel)


def ask(channel: grpc.Channel, metadata: Any = None) -> dict[str, Any]:
    """What the mirror says over an open channel."""
    method: Any = channel.unary_unary(METHOD)
    found: dict[str, Any] = json.loads(method(b"", timeout=LONGEST_S, metadata=metadata))
    return found


def refusal(channel: grpc.Channel, metadata: Any = None) -> RpcFault:
    """The fault of a call over an open channel."""
    try:
        answered = ask(channel, metadata)
    except grpc.RpcError as error:
        return error_of(error)
    raise AssertionError(f"it was let in: {answered['uri']}")


@contextmanager
def mirror(identity: Identity, identification: Identification) -> Iterator[Mirror]:
    """Serve until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="mirror", daemon=True)
    thread.start()

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=[ErrorInterceptor(None), _Guard(identification)])
        port = server.add_secure_port("127.0.0.1:0", server_credentials(identity))
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(LONGEST_S)
    try:
        yield Mirror(f"127.0.0.1:{port}")
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(LONGEST_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LONGEST_S)
        loop.close()


def used_in(url: str) -> tuple[Database, UsedAssertions]:
    """A database that remembers used assertions."""
    metadata = MetaData()
    assertions.tables(metadata)
    database = Database(url)
    with database.writing() as connection:
        metadata.create_all(connection)
    return database, UsedAssertions(database, metadata)
