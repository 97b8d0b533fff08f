"""Temporal elsewhere: its own standard settings for TLS and API keys are honoured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, GetSystemInfoResponse

from services.common.temporal.connection import connect
from services.common.transport.credentials import server_credentials
from tests.identities import files_of, identity_of

_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
_PATIENCE_S = 3.0


class Listener:
    """A server that demands a client certificate and answers what a client asks first."""

    def __init__(self) -> None:
        self.address = ""
        self.calls: list[dict[str, Any]] = []

    async def info(self, _request: Any, context: Any) -> GetSystemInfoResponse:
        metadata = dict(context.invocation_metadata())
        self.calls.append({"metadata": metadata, "peer": context.auth_context()})
        return GetSystemInfoResponse(server_version="test")


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    method = grpc.unary_unary_rpc_method_handler(
        listener.info,
        request_deserializer=GetSystemInfoRequest.FromString,
        response_serializer=GetSystemInfoResponse.SerializeToString,
    )
    server: Any = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"GetSystemInfo": method}),)
    )
    port = server.add_secure_port("127.0.0.1:0", server_credentials(identity_of("claims")))
    listener.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield listener
    finally:
        await server.stop(0)


@pytest.fixture
def tls_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    files = files_of("settlement")
    for name, value in {
        "TEMPORAL_TLS": "true",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": files.authority,
        "TEMPORAL_TLS_CLIENT_CERT_PATH": files.certificate,
        "TEMPORAL_TLS_CLIENT_KEY_PATH": files.key,
        "TEMPORAL_TLS_SERVER_NAME": "claims.service.lipei.local",
    }.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch


def test_a_connection_presents_certificate_and_api_key(
    tmp_path: Path, tls_settings: pytest.MonkeyPatch
) -> None:
    tls_settings.setenv("TEMPORAL_API_KEY", "an-api-key")

    async def call() -> list[dict[str, Any]]:
        async with listening() as listener:
            tls_settings.setenv("TEMPORAL_ADDRESS", listener.address)
            await connect(tmp_path)
            return listener.calls

    (first, *_) = asyncio.run(call())
    assert first["metadata"]["authorization"] == "Bearer an-api-key"
    assert first["peer"]["peer_spiffe_id"] == [b"spiffe://lipei.local/service/settlement"]


@pytest.mark.parametrize("missing", ["", "TEMPORAL_TLS_CLIENT", "TEMPORAL_TLS_SERVER_NAME"])
def test_without_them_there_is_no_connection(
    tmp_path: Path, tls_settings: pytest.MonkeyPatch, missing: str
) -> None:
    # The control; with "" it is the plain connection that the local server has.
    if missing == "TEMPORAL_TLS_SERVER_NAME":
        tls_settings.setenv(missing, "elsewhere.service.lipei.local")
    elif missing:
        tls_settings.delenv(f"{missing}_CERT_PATH")
        tls_settings.delenv(f"{missing}_KEY_PATH")
    else:
        tls_settings.setenv("TEMPORAL_TLS", "false")

    async def call() -> list[dict[str, Any]]:
        async with listening() as listener:
            tls_settings.setenv("TEMPORAL_ADDRESS", listener.address)
            with pytest.raises(TimeoutError):  # it goes on trying, in vain
                await asyncio.wait_for(connect(tmp_path), _PATIENCE_S)
            return listener.calls

    assert asyncio.run(call()) == []
