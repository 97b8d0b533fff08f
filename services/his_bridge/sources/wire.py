"""Requests to hospitals' servers: paced, bounded, patient. Knows no path, no token and no FHIR.

Proxies from the environment are not used: a patient's record goes where the profile says. Nothing
of a request's path or of an answer is logged.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.util import find_spec
from random import SystemRandom
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from services.his_bridge.profiles.loader import PullLimits
from services.his_bridge.sources.port import SourceFault

T = TypeVar("T")
_TOO_MANY, _UNAVAILABLE = 429, 503
TRANSIENT = frozenset({_TOO_MANY, 500, 502, _UNAVAILABLE, 504})
CONNECTIONS = 4
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# When the source is away for longer than one call can wait.
COME_BACK_S = 30.0
_CHANCE = SystemRandom()
LONGEST_RETRY_AFTER_S = 3600.0
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# httpcore imports it several times for each request; to look for it in every folder in vain takes
# a fifth of a request's CPU.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment] # the language's word for: not there

Sleep = Callable[[float], Awaitable[None]]
Parameters = Sequence[tuple[str, str]]
# What is wrong with a certificate, by OpenSSL's numbers; all else is one that nobody here knows.
_CERTIFICATE_FAULTS = {
    9: "is not valid yet",
    10: "ran out",
    62: "is for another name than the profile's",
    64: "is for another address than the profile's",
}
# OpenSSL's names of answers that are no TLS, and of a TLS that this machine does not speak.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"})
_TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "DH_KEY_TOO_SMALL"})


class TooLarge(Exception):
    """The answer is above the limit; what came of it was thrown away."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that waiting does not change, whole."""

    status: int
    headers: httpx.Headers
    body: bytes


class Wire:
    """Connections within a profile's limits. Follows no redirect."""

    def __init__(self, limits: PullLimits, *, sleep: Sleep = asyncio.sleep) -> None:
        self.limits = limits
        self._sleep = sleep
        self._next_start = 0.0
        self._client = httpx.AsyncClient(
            timeout=limits.timeout_s,
            follow_redirects=False,
            trust_env=False,
            verify=_trust(),
            limits=httpx.Limits(max_connections=CONNECTIONS),
            headers={"Accept": "application/fhir+json", "Accept-Encoding": "identity"},
        )

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        parameters: Parameters = (),
        form: Parameters | Callable[[], Parameters] | None = None,
        headers: Mapping[str, str] | None = None,
        most: int | None = None,
        transient: frozenset[int] = TRANSIENT,
    ) -> Answer:
        """The answer to one request, tried anew while the server stumbles or asks to wait.

        `most` bounds the body in bytes; by default the profile does. A `form` that is a function
        is made for each try: what may be said once only is said anew.

        Raises: TooLarge; SourceFault when waiting did not help.
        """

        def asked() -> httpx.Request:
            fields = form() if callable(form) else form
            return self._client.build_request(
                method,
                url,
                params=httpx.QueryParams(tuple(parameters)) if parameters else None,
                content=None if fields is None else str(httpx.QueryParams(tuple(fields))).encode(),
                headers={**(_FORM if fields is not None else {}), **(headers or {})},
            )

        bound = self.limits.max_body_mib << 20 if most is None else most

        async def once() -> tuple[int, httpx.Headers, Answer]:
            # A server that sends a byte now and then would hold every other time-out off.
            async with asyncio.timeout(2 * self.limits.timeout_s):
                answer = await self._client.send(asked(), stream=True)
                try:
                    body = await _whole(answer, bound)
                finally:
                    await answer.aclose()
            found = Answer(status=answer.status_code, headers=answer.headers, body=body)
            return answer.status_code, answer.headers, found

        return await self._patiently(once, transient)

    async def open(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """An answer whose body the caller reads piece by piece, and closes.

        Raises: SourceFault when waiting did not help.
        """
        request = self._client.build_request("GET", url, headers=dict(headers))

        async def once() -> tuple[int, httpx.Headers, httpx.Response]:
            async with asyncio.timeout(2 * self.limits.timeout_s):
                answer = await self._client.send(request, stream=True)
            if answer.status_code in TRANSIENT:
                await answer.aclose()
            return answer.status_code, answer.headers, answer

        return await self._patiently(once, TRANSIENT)

    async def pause(self, seconds: float) -> None:
        """Wait, as the server asked."""
        await self._sleep(seconds)

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def _patiently(
        self,
        once: Callable[[], Awaitable[tuple[int, httpx.Headers, T]]],
        transient: frozenset[int],
    ) -> T:
        for attempt in range(1, self.limits.attempts + 1):
            last = attempt == self.limits.attempts
            await self._pace()
            try:
                status, headers, found = await once()
            except (httpx.TransportError, TimeoutError) as fault:
                if (wrong := certificate_fault(fault) or tls_fault(fault)) is not None:
                    raise wrong from None
                if last:
                    raise away("the source does not answer") from None
                await self._sleep(_pause(attempt))
                continue
            if status not in transient:
                return found
            wait = retry_after_s(headers)
            if wait is None:
                wait = _pause(attempt)
            if last or wait > self.limits.max_wait_s:
                reason = "SOURCE_BUSY" if status in (_TOO_MANY, _UNAVAILABLE) else "SOURCE_AWAY"
                text = f"the source answered {status}"
                raise SourceFault(reason, text, retry_after_s=max(wait, 1.0))
            await self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _pace(self) -> None:
        """Keep requests apart: whoever comes first takes the next free moment."""
        clock = asyncio.get_running_loop().time
        start = max(clock(), self._next_start)
        self._next_start = start + 1 / self.limits.requests_per_s
        if start > clock():
            await self._sleep(start - clock())


def away(text: str) -> SourceFault:
    """The source cannot be reached now; waiting helps."""
    return SourceFault("SOURCE_AWAY", text, retry_after_s=COME_BACK_S)


def certificate_fault(fault: BaseException) -> SourceFault | None:
    """What a person has to put right when the server's certificate is not believed; else None."""
    cause = _cause(fault, ssl.SSLCertVerificationError)
    if cause is None:
        return None
    wrong = _CERTIFICATE_FAULTS.get(
        cause.verify_code, "is of no authority that this machine trusts"
    )
    text = f"the source's certificate {wrong}; nothing was sent to it"
    return SourceFault("SOURCE_CERTIFICATE_REFUSED", text)


def tls_fault(fault: BaseException) -> SourceFault | None:
    """What a person has to put right when both sides speak no common TLS; else None.

    A line that broke is none: that passes.
    """
    cause = _cause(fault, ssl.SSLError)
    if cause is None or isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None
    if cause.reason in _NOT_TLS:
        text = "the source speaks no TLS at this port, and the profile says https"
    elif "ALERT" in (cause.reason or "") or cause.reason in _TOO_OLD:
        text = "the source and this machine agree on no version or cipher of TLS"
    else:
        return None
    return SourceFault("SOURCE_TLS_REFUSED", f"{text}; nothing was sent to it")


F = TypeVar("F", bound=BaseException)


def _cause(fault: BaseException, kind: type[F]) -> F | None:
    """The fault of that kind that stands behind this one."""
    cause: BaseException | None = fault
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause


def is_address(url: str) -> bool:
    """Whether this is a whole address of a server, whichever: what a server names may be anything.

    >>> is_address("https://his.example/fhir"), is_address("http://[his"), is_address("/fhir")
    (True, False, False)
    """
    try:
        parts = urlsplit(url)
        port = parts.port  # raises where it is none
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


def retry_after_s(headers: httpx.Headers, now_s: Callable[[], float] = time.time) -> float | None:
    """Seconds that the server asks for; a date is taken against the server's own clock.

    Against ours where it does not tell its time.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
        told = headers.get("date")
        now = datetime.fromtimestamp(now_s(), UTC) if told is None else parsedate_to_datetime(told)
        seconds = (until - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


async def _whole(answer: httpx.Response, most: int) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        # Unasked for; unpacking it is how a few kilobytes become gigabytes.
        raise SourceFault("SOURCE_COMPRESSES", "the answer is compressed, unasked for")
    parts, size = [], 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > most:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)


@cache
def _trust() -> ssl.SSLContext:
    """The machine's own store: hospitals put their authority there. Loading it takes long."""
    return ssl.create_default_context()


def _pause(attempt: int) -> float:
    """Full jitter: many bridges that were cut off together do not come back together."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    return _CHANCE.uniform(FIRST_PAUSE_S / 2, longest)
