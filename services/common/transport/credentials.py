"""gRPC credentials for mutual TLS: of a server that reads renewed files, of a channel to one name.

gRPC's own floor is TLS 1.2; between two of ours TLS 1.3 is spoken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from services.common.log import logger
from services.common.transport.certificates import Identity, Material, TlsRefused, load_material
from services.common.transport.names import server_name


def server_credentials(identity: Identity) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate and follow the identity's files.

    They are looked at before each handshake. What has become unfit is logged once, and the last
    good certificate goes on until it is renewed or expires.
    """
    return grpc.dynamic_ssl_server_credentials(
        _configuration(identity.material),
        _Renewals(identity).changed,  # type: ignore[arg-type]  # None, as gRPC documents, keeps the last
        require_client_authentication=True,
    )


def channel_credentials(identity: Identity, service: str) -> grpc.ChannelCredentials:
    """Credentials of a caller; with its token or client assertion for that service, if it has one.

    gRPC sends those over TLS only.
    """
    material = identity.material
    tls = grpc.ssl_channel_credentials(material.authorities, material.key, material.chain)
    if identity.bearer is None and identity.assertion is None and not identity.purpose:
        return tls
    calls = grpc.metadata_call_credentials(_Said(identity, service))
    return grpc.composite_channel_credentials(tls, calls)


def channel_options(identity: Identity, service: str) -> list[tuple[str, Any]]:
    """Options that hold the server to the name of the service: another's certificate won't do."""
    return [("grpc.ssl_target_name_override", server_name(identity.trust_domain, service))]


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.chain)], root_certificates=material.authorities
    )


class CertificateRenewed(Exception):
    """The files of an identity hold another certificate now: whoever calls with it begins anew."""


async def until_renewed(identity: Identity, every_s: float = 30.0) -> None:
    """Wait until the files hold another certificate; for callers, whose channels read them once.

    Raises: CertificateRenewed then.
    """
    renewals = _Renewals(identity)
    while renewals.changed() is None:  # noqa: ASYNC110 - a file tells nobody that it has changed
        await asyncio.sleep(every_s)
    raise CertificateRenewed


class _Renewals:
    """Looks whether the files of an identity have changed."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._seen = self._look()

    def _look(self) -> tuple[object, ...]:
        files = self._identity.files
        try:
            found = [path.stat() for path in (files.certificate, files.key, files.authority)]
        except OSError:
            return ()
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration; None to go on with the last one."""
        seen = self._look()
        if seen == self._seen:
            return None
        self._seen = seen
        identity = self._identity
        try:
            material = load_material(
                identity.files,
                identity.process,
                identity.trust_domain,
                uri=identity.material.name.uri,
            )
        except (TlsRefused, OSError) as fault:
            logger().error("certificate_not_renewed", fault=type(fault).__name__)
            return None
        logger().info("certificate_renewed", until=material.not_after.isoformat())
        return _configuration(material)


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
