"""GET requests to one hospital server: paced, bounded, patient, and never led to another host.

Proxies from the environment are not used: a patient's record goes where the profile says. Nothing
of a request's path or of an answer is logged.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from random import SystemRandom

import httpx

from services.his_bridge.profiles.loader import PullLimits
from services.his_bridge.sources.port import SourceFault

_OK, _BAD_REQUEST, _UNPROCESSABLE = 200, 400, 422
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE = 401, 403, 404, 410
_TOO_MANY, _UNAVAILABLE = 429, 503
_TRANSIENT = {500, 502, 504}
CONNECTIONS = 4
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# When the source is away for longer than one call can wait.
COME_BACK_S = 30.0
_CHANCE = SystemRandom()
LONGEST_RETRY_AFTER_S = 3600.0

Sleep = Callable[[float], Awaitable[None]]
Parameters = Sequence[tuple[str, str]]


class Missing(Exception):
    """404 or 410: what was asked for is not there, or not any more."""


class Refused(Exception):
    """400 or 422: the server does not understand this request."""


class TooLarge(Exception):
    """The answer is above the profile's limit; what came of it was thrown away."""


class HospitalHttp:
    """A connection to one base URL, within a profile's limits."""

    def __init__(self, base_url: str, limits: PullLimits, *, sleep: Sleep = asyncio.sleep) -> None:
        self._base_url = base_url.rstrip("/")
        self._limits = limits
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

    async def get(self, path: str, parameters: Parameters = ()) -> bytes:
        """The body of a 200 answer.

        Raises: Missing, Refused, TooLarge; SourceFault when waiting did not help, or cannot.
        """
        return await self._send("GET", path, parameters)

    async def search_by_post(self, path: str, parameters: Parameters) -> bytes:
        """A search whose parameters are too long for a URL. Raises as `get`."""
        return await self._send("POST", f"{path}/_search", parameters)

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def _send(self, method: str, path: str, parameters: Parameters) -> bytes:
        for attempt in range(1, self._limits.attempts + 1):
            last = attempt == self._limits.attempts
            await self._pace()
            try:
                # A server that sends a byte now and then would hold every other time-out off.
                async with asyncio.timeout(2 * self._limits.timeout_s):
                    status, headers, body = await self._once(method, path, parameters)
            except (httpx.TransportError, TimeoutError):
                if last:
                    text = "the source does not answer"
                    raise SourceFault("SOURCE_AWAY", text, retry_after_s=COME_BACK_S) from None
                await self._sleep(_pause(attempt))
                continue
            if status == _OK:
                return body
            _raise_for(status)
            wait = _retry_after_s(headers)
            if wait is None:
                wait = _pause(attempt)
            if last or wait > self._limits.max_wait_s:
                reason = "SOURCE_BUSY" if status in (_TOO_MANY, _UNAVAILABLE) else "SOURCE_AWAY"
                text = f"the source answered {status}"
                raise SourceFault(reason, text, retry_after_s=max(wait, 1.0))
            await self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _pace(self) -> None:
        """Keep requests apart: whoever comes first takes the next free moment."""
        clock = asyncio.get_running_loop().time
        start = max(clock(), self._next_start)
        self._next_start = start + 1 / self._limits.requests_per_s
        if start > clock():
            await self._sleep(start - clock())

    async def _once(
        self, method: str, path: str, parameters: Parameters
    ) -> tuple[int, httpx.Headers, bytes]:
        most = self._limits.max_body_mib << 20
        url = f"{self._base_url}/{path}"
        content = httpx.QueryParams(tuple(parameters))
        if method == "POST":
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            request = self._client.build_request(
                method, url, content=str(content).encode(), headers=form
            )
        else:
            request = self._client.build_request(method, url, params=content)
        answer = await self._client.send(request, stream=True)
        try:
            if answer.headers.get("content-encoding", "identity") != "identity":
                # Unasked for; unpacking it is how a few kilobytes become gigabytes.
                raise SourceFault("SOURCE_COMPRESSES", "the answer is compressed, unasked for")
            parts, size = [], 0
            async for part in answer.aiter_raw():
                size += len(part)
                if size > most:
                    raise TooLarge
                parts.append(part)
            return answer.status_code, answer.headers, b"".join(parts)
        finally:
            await answer.aclose()


@cache
def _trust() -> ssl.SSLContext:
    """The machine's own store: hospitals put their authority there. Loading it takes long."""
    return ssl.create_default_context()


def _raise_for(status: int) -> None:
    """The answers that waiting does not change."""
    if status in (_NOT_FOUND, _GONE):
        raise Missing
    if status in (_BAD_REQUEST, _UNPROCESSABLE):
        raise Refused
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        raise SourceFault("SOURCE_REFUSES", f"the source answered {status}; check our access")
    if status not in {_TOO_MANY, _UNAVAILABLE, *_TRANSIENT}:
        # Redirects among them: the profile names the host, nobody else does.
        raise SourceFault("SOURCE_UNEXPECTED", f"the source answered {status}")


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks for; a date is taken against the server's own clock."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
        seconds = (until - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _pause(attempt: int) -> float:
    """Full jitter: many bridges that were cut off together do not come back together."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    return _CHANCE.uniform(FIRST_PAUSE_S / 2, longest)
