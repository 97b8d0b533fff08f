"""Opening a hospital's port; why it cannot be opened, by a stable reason, and what to mend."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from services.his_bridge.profiles.source_kinds.mllp import MllpSettings, TlsFiles
from services.his_bridge.receiving.handshakes import (
    BACKLOG,
    Failed,
    Handshake,
    MayShake,
    TlsServer,
)


class ListenReason(StrEnum):
    """Stable names, as the log and the status carry them."""

    CERTIFICATE_UNUSABLE = "CERTIFICATE_UNUSABLE"
    KEY_UNUSABLE = "KEY_UNUSABLE"
    KEY_OPEN_TO_OTHERS = "KEY_OPEN_TO_OTHERS"
    AUTHORITY_UNUSABLE = "AUTHORITY_UNUSABLE"
    ADDRESS_UNUSABLE = "ADDRESS_UNUSABLE"


ADVICE = {
    ListenReason.CERTIFICATE_UNUSABLE: "the bridge can read no certificate (PEM) there",
    ListenReason.KEY_UNUSABLE: (
        "the bridge can read no key (PEM, without a passphrase) of that certificate there"
    ),
    ListenReason.KEY_OPEN_TO_OTHERS: (
        "others than its owner may read or change the key; take their rights away (chmod 600)"
    ),
    ListenReason.AUTHORITY_UNUSABLE: "the bridge can read no authority's certificate (PEM) there",
    ListenReason.ADDRESS_UNUSABLE: (
        "nobody can listen there: another process does, or it is no address of this machine"
    ),
}


class CannotListen(Exception):
    """A hospital's port cannot be opened; `place` is the file, or the address and port."""

    def __init__(self, reason: ListenReason, place: str) -> None:
        super().__init__(f"{place}: {ADVICE[reason]} [{reason}]")
        self.reason = reason
        self.place = place


def _unheard(peer: str, reason: Handshake) -> None:
    """For whoever opens a port only to see whether it can be opened."""


def _anybody(*_: object) -> bool:
    """For the same."""
    return True


async def opened(
    settings: MllpSettings,
    made: Callable[[], asyncio.BaseProtocol],
    may_shake: MayShake = _anybody,
    failed: Failed = _unheard,
) -> asyncio.Server | TlsServer:
    """The port, listened on; `made` makes what serves a connection, after its handshake.

    With TLS `may_shake` is asked before each handshake, and `failed` hears of those that failed.

    Raises: CannotListen.
    """
    context = None if settings.tls is None else tls_context(settings.tls)
    try:
        if context is None:
            loop = asyncio.get_running_loop()
            return await loop.create_server(made, settings.host, settings.port)
        kind = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server(
            (settings.host, settings.port), family=kind, backlog=BACKLOG
        )
    except OSError:
        where = f"[{settings.host}]" if ":" in settings.host else settings.host
        raise CannotListen(ListenReason.ADDRESS_UNUSABLE, f"{where}:{settings.port}") from None
    return TlsServer(listening, context, made, may_shake, failed)


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """The hospital's own certificate; with an authority, senders must show one of it, too.

    Raises: CannotListen naming the first file that cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Alone it is only read, so that the fault below is the key's.
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _trust(alone, files.certificate, ListenReason.CERTIFICATE_UNUSABLE)
    try:
        # As every other private key of the project. Who it belongs to may be the bridge or root.
        if stat.S_IMODE(Path(files.key).stat().st_mode) & 0o077:
            raise CannotListen(ListenReason.KEY_OPEN_TO_OTHERS, files.key)
        # A key that wants a passphrase would ask for it on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError):
        raise CannotListen(ListenReason.KEY_UNUSABLE, files.key) from None
    if files.authority is not None:
        _trust(context, files.authority, ListenReason.AUTHORITY_UNUSABLE)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _trust(context: ssl.SSLContext, file: str, reason: ListenReason) -> None:
    """Load the certificates of a file. Raises: CannotListen."""
    try:
        context.load_verify_locations(file)
    except OSError:
        raise CannotListen(reason, file) from None
