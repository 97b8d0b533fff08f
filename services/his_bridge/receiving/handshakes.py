"""A TLS port that tells which connection became none, and why: asyncio's own server says nothing.

An interface engine that speaks no TLS, or does not trust the hospital's certificate, never gets to
send anything, and whoever looks for its messages has only the log.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from enum import StrEnum

BACKLOG = 100
# A descriptor is short, or the connection was gone before it was ours: go on after so long.
_PAUSE_S = 0.5


class Handshake(StrEnum):
    """Why a connection came to nothing before it could send; as a reason in the log."""

    PLAIN_AT_TLS_PORT = "PLAIN_AT_TLS_PORT"
    SENDER_WITHOUT_CERTIFICATE = "SENDER_WITHOUT_CERTIFICATE"
    SENDER_CERTIFICATE_REFUSED = "SENDER_CERTIFICATE_REFUSED"
    OUR_CERTIFICATE_REFUSED = "OUR_CERTIFICATE_REFUSED"
    TLS_NOT_AGREED = "TLS_NOT_AGREED"
    TLS_BROKEN_OFF = "TLS_BROKEN_OFF"


# By OpenSSL's names. An alert is the other end's word.
_REASONS = {
    "WRONG_VERSION_NUMBER": Handshake.PLAIN_AT_TLS_PORT,
    "HTTP_REQUEST": Handshake.PLAIN_AT_TLS_PORT,
    "HTTPS_PROXY_REQUEST": Handshake.PLAIN_AT_TLS_PORT,
    "RECORD_LAYER_FAILURE": Handshake.PLAIN_AT_TLS_PORT,
    "UNKNOWN_PROTOCOL": Handshake.PLAIN_AT_TLS_PORT,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Handshake.SENDER_WITHOUT_CERTIFICATE,
    "CERTIFICATE_VERIFY_FAILED": Handshake.SENDER_CERTIFICATE_REFUSED,
}
_ALERTS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED")

Failed = Callable[[str, Handshake], None]
# Whether to shake hands with an address, while so many others do.
MayShake = Callable[[str, int], bool]


class TlsServer:
    """A port of which each connection is one only after its handshake; `failed` hears of others.

    A handshake costs a signature and holds a connection for a minute: nobody gets one whom
    `may_shake` refuses.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        made: Callable[[], asyncio.BaseProtocol],
        may_shake: MayShake,
        failed: Failed,
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._context = context
        self._made = made
        self._may_shake = may_shake
        self._failed = failed
        self._shaking: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What is listened on."""
        return (self._listening,)

    def close(self) -> None:
        """Take no connection any more; those that shake hands yet are cut off."""
        self._accepting.cancel()
        for task in self._shaking:
            task.cancel()

    async def wait_closed(self) -> None:
        """Until the port is free."""
        await asyncio.gather(self._accepting, *self._shaking, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with self._listening:
            while True:
                try:
                    connection, address = await loop.sock_accept(self._listening)
                except OSError:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                peer = str(address[0])
                if not self._may_shake(peer, len(self._shaking)):
                    connection.close()
                    continue
                task = loop.create_task(self._shake_hands(connection, peer))
                self._shaking.add(task)
                task.add_done_callback(self._shaking.discard)

    async def _shake_hands(self, connection: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._made, connection, ssl=self._context)
        except OSError as fault:  # those of TLS among them
            self._failed(peer, reason_of(fault))


def reason_of(fault: OSError) -> Handshake:
    """Why a handshake failed; what is no fault of TLS was broken off, or took too long."""
    if not isinstance(fault, ssl.SSLError):
        return Handshake.TLS_BROKEN_OFF
    said = fault.reason or ""
    if said in _REASONS:
        return _REASONS[said]
    if "ALERT" in said and said.endswith(_ALERTS):
        return Handshake.OUR_CERTIFICATE_REFUSED
    return Handshake.TLS_NOT_AGREED
