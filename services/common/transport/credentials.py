"""gRPC credentials of a server for mutual TLS, which reads renewed files.

gRPC's own floor is TLS 1.2; between two of ours TLS 1.3 is spoken.
"""

from __future__ import annotations

import asyncio

import grpc

from services.common.log import logger
from services.common.transport.certificates import Identity, Material, TlsRefused, load_material


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
