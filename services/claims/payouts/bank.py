"""The bank's file interface over HTTP. Knows no database and does not look into files.

What cannot be known is said: a file that left without an answer is UNKNOWN, never "failed". The
only proof that a file did not arrive is that nothing was ever connected, or that the bank itself
says so about this very message id; a stray 404 of a proxy proves nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from enum import Enum, auto
from functools import cache, cached_property
from typing import Any

import httpx
import msgspec

MAX_ANSWER_BYTES = 32 * 1024 * 1024
# From the first byte to the bank's word. `payout_steps.RESEND_AFTER_S` must stay well above it.
TIMEOUT_S = 10.0


class SendOutcome(Enum):
    """What one attempt to hand a file over is known to have done."""

    ACCEPTED = auto()
    NOT_SENT = auto()
    UNKNOWN = auto()


class BankKnowledge(Enum):
    """What the bank says about a message id."""

    KNOWN = auto()
    NEVER_RECEIVED = auto()


class BankUnreachable(RuntimeError):
    """The bank gave no usable answer to a question. Nothing was changed; ask again."""


class Answer(msgspec.Struct, frozen=True):
    """One file from the bank. `id` is the cursor that asks for what comes after it."""

    id: str
    data: bytes


class _Answer(msgspec.Struct):
    id: int
    data: str


class _Answers(msgspec.Struct):
    answers: list[_Answer]


class _Receipt(msgspec.Struct):
    message_id: str
    state: str


class Bank:
    """One bank. Every request opens its own connection: a stale one would blur NOT_SENT.

    Proxies of the environment are not used: what stands between must be told in `base_url`.
    """

    def __init__(self, base_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._base_url,
            verify=_trust(),
            timeout=httpx.Timeout(self._timeout_s, connect=min(self._timeout_s, 3.0)),
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
        )

    async def send(self, file: bytes, message_id: str) -> SendOutcome:
        """Hand a payment file over, once. Retries nothing.

        ACCEPTED only on the bank's receipt for this message id; NOT_SENT only when no connection
        came about; everything else, refusals too, is UNKNOWN: ask.
        """
        headers = {"content-type": "application/xml"}
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._request(
                    "POST", "/payments", content=file, headers=headers
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol):
            return SendOutcome.NOT_SENT
        except (httpx.HTTPError, TimeoutError, BankUnreachable):
            return SendOutcome.UNKNOWN
        receipt = _receipt(body)
        if status == httpx.codes.ACCEPTED and receipt and receipt.message_id == message_id:
            return SendOutcome.ACCEPTED
        return SendOutcome.UNKNOWN

    async def ask(self, message_id: str) -> BankKnowledge:
        """Whether the bank has ever taken this message id in. Changes nothing at the bank.

        Raises: BankUnreachable when the bank's answer is none about this very message id.
        """
        status, body = await self._question(f"/payments/{message_id}")
        receipt = _receipt(body)
        if receipt is not None and receipt.message_id == message_id:
            if status == httpx.codes.OK and receipt.state == "known":
                return BankKnowledge.KNOWN
            if status == httpx.codes.NOT_FOUND and receipt.state == "never_received":
                return BankKnowledge.NEVER_RECEIVED
        raise BankUnreachable(f"the bank answered {status} without word of the message")

    async def report(self, message_id: str) -> bytes:
        """A fresh status report (pain.002) on every payment of a message that the bank knows.

        Raises: BankUnreachable, also when the bank does not know the message.
        """
        status, body = await self._question(f"/payments/{message_id}/report")
        if status != httpx.codes.OK:
            raise BankUnreachable(f"the bank answered {status} instead of a report")
        return body

    async def answers(self, after: str) -> list[Answer]:
        """Files that the bank has put out after a cursor, oldest first, not all at once.

        An empty cursor asks from the beginning; an empty answer is the end for now.

        Raises: BankUnreachable.
        """
        status, body = await self._question(f"/answers?after={after or '0'}")
        if status != httpx.codes.OK:
            raise BankUnreachable(f"the bank answered {status} instead of its files")
        try:
            found = msgspec.json.decode(body, type=_Answers).answers
            return [Answer(str(a.id), base64.b64decode(a.data, validate=True)) for a in found]
        except (msgspec.DecodeError, binascii.Error):
            raise BankUnreachable("the bank's list of files cannot be read") from None

    async def close(self) -> None:
        """Drop connections."""
        await self._client.aclose()

    async def _question(self, path: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._request("GET", path)
        except (httpx.HTTPError, TimeoutError) as error:
            # Not the error's own text: it may hold the request.
            raise BankUnreachable(f"no answer from the bank: {type(error).__name__}") from None

    async def _request(self, method: str, path: str, **content: Any) -> tuple[int, bytes]:
        async with self._client.stream(method, path, **content) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise BankUnreachable(f"the bank's answer is over {MAX_ANSWER_BYTES} bytes")
            return response.status_code, bytes(body)


def _receipt(body: bytes) -> _Receipt | None:
    try:
        return msgspec.json.decode(body, type=_Receipt)
    except msgspec.DecodeError:
        return None


@cache
def _trust() -> ssl.SSLContext:
    """The authorities that httpx trusts by itself. Loading them takes longer than a payment."""
    return httpx.create_ssl_context(trust_env=False)
