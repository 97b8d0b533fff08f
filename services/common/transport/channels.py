"""Channels to our services by mutual TLS, which must prove to be the one that is asked for.

Knows nothing of serving, whose libraries take longer to import than most commands to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from services.common.refusals import AMPLE_BYTES
from services.common.transport.certificates import Identity
from services.common.transport.names import server_name

USER_AGENT = "lipei"
# An idle channel must notice a killed peer within seconds, not after the kernel's minutes.
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_metadata_size", 2 * AMPLE_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * AMPLE_BYTES),
    ("grpc.primary_user_agent", USER_AGENT),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Most of our peers are back within seconds; while it backs off, a channel refuses calls that
    # would succeed. One attempt to connect costs next to nothing.
    ("grpc.max_reconnect_backoff_ms", 500),
]


def channel(
    target: str,
    identity: Identity,
    service: str,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """An asyncio channel to one of our services, which must prove to be that one."""
    return grpc.aio.secure_channel(
        target,
        _credentials(identity, service),
        options=[*_OPTIONS, *_held_to(identity, service)],
        interceptors=list(interceptors),
    )


def sync_channel(target: str, identity: Identity, service: str) -> grpc.Channel:
    """A blocking channel to one of our services, which must prove to be that one."""
    return grpc.secure_channel(
        target,
        _credentials(identity, service),
        options=[*_OPTIONS, *_held_to(identity, service)],
    )


def _credentials(identity: Identity, service: str) -> grpc.ChannelCredentials:
    """Credentials of a caller; with its token or client assertion for that service, if it has one.

    gRPC sends those over TLS only.
    """
    material = identity.material
    tls = grpc.ssl_channel_credentials(material.authorities, material.key, material.chain)
    if identity.bearer is None and identity.assertion is None and not identity.purpose:
        return tls
    calls = grpc.metadata_call_credentials(_Said(identity, service))
    return grpc.composite_channel_credentials(tls, calls)


def _held_to(identity: Identity, service: str) -> list[tuple[str, Any]]:
    """Options that hold the server to the name of the service: another's certificate won't do."""
    return [("grpc.ssl_target_name_override", server_name(identity.trust_domain, service))]


class _Said(grpc.AuthMetadataPlugin):
    """What a caller says of itself with each call."""

    def __init__(self, identity: Identity, service: str) -> None:
        self._identity = identity
        self._service = service

    def __call__(
        self,
        context: grpc.AuthMetadataContext,
        callback: Callable[..., None],
    ) -> None:
        """Hand the metadata over; a fault in getting a token fails the call."""
        identity, said = self._identity, []
        try:
            if identity.bearer is not None:
                said.append(("authorization", f"Bearer {identity.bearer(self._service)}"))
            if identity.assertion is not None:
                said.append(("lipei-client-assertion", identity.assertion(self._service)))
            if identity.purpose:
                said.append(("lipei-purpose", identity.purpose))
        except Exception:  # noqa: BLE001 - gRPC must hear that, and not the text, which may hold the token
            callback((), RuntimeError("no token"))
            return
        callback(tuple(said), None)
