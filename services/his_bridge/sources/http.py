"""Requests to one hospital's FHIR server: what its statuses mean, and who we say we are.

Never led to another host: redirects are refused, and a token goes nowhere but to its own server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx

from services.his_bridge.profiles.loader import PullLimits
from services.his_bridge.profiles.source_kinds.smart import SmartClient
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.smart import SmartAccess
from services.his_bridge.sources.wire import (
    TRANSIENT,
    Answer,
    Parameters,
    Sleep,
    TooLarge,
    Wire,
    is_address,
)

__all__ = ["Gone", "HospitalHttp", "Missing", "Parameters", "Refused", "TooLarge"]

_OK, _BAD_REQUEST, _UNPROCESSABLE = 200, 400, 422
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE = 401, 403, 404, 410


class Missing(Exception):
    """404: what was asked for is not there."""


class Gone(Missing):
    """410: what was asked for was there, and is not any more."""


class Refused(Exception):
    """400 or 422: the server does not understand this request."""


class HospitalHttp:
    """A connection to one base URL, within a profile's limits.

    With a SMART client every request to the server carries its token; a refused one is renewed
    once and never tried a third time.
    """

    def __init__(
        self,
        base_url: str,
        limits: PullLimits,
        client: SmartClient | None = None,
        *,
        sleep: Sleep = asyncio.sleep,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.wire = Wire(limits, sleep=sleep)
        self._access = (
            None if client is None else SmartAccess(self.base_url, client, self.wire, now_s=now_s)
        )

    async def get(self, path: str, parameters: Parameters = ()) -> bytes:
        """The body of a 200 answer.

        Raises: Missing, Gone, Refused, TooLarge; SourceFault when waiting did not help, or cannot.
        """
        return good(await self.ask("GET", f"{self.base_url}/{path}", parameters=parameters))

    async def search_by_post(self, path: str, parameters: Parameters) -> bytes:
        """A search whose parameters are too long for a URL. Raises as `get`."""
        url = f"{self.base_url}/{path}/_search"
        return good(await self.ask("POST", url, form=parameters))

    async def ask(
        self,
        method: str,
        url: str,
        *,
        parameters: Parameters = (),
        form: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        transient: frozenset[int] = TRANSIENT,
    ) -> Answer:
        """The answer of whatever status, with our token if the URL is the server's own.

        Raises: TooLarge; SourceFault when waiting did not help.
        """

        async def send(more: Mapping[str, str]) -> Answer:
            return await self.wire.exchange(
                method,
                url,
                parameters=parameters,
                form=form,
                headers={**(headers or {}), **more},
                transient=transient,
            )

        if self._access is None or not self.is_ours(url):
            return await send({})
        header = await self._access.header()
        answer = await send({"Authorization": header})
        if answer.status != _UNAUTHORIZED:
            return answer
        self._access.forget(header)
        return await send({"Authorization": await self._access.header()})

    async def open(
        self, url: str, headers: Mapping[str, str], *, with_token: bool
    ) -> httpx.Response:
        """An answer that the caller reads piece by piece, and closes. Raises: SourceFault."""
        if not with_token or self._access is None:
            return await self.wire.open(url, headers)
        header = await self._access.header()
        answer = await self.wire.open(url, {**headers, "Authorization": header})
        if answer.status_code != _UNAUTHORIZED:
            return answer
        await answer.aclose()
        self._access.forget(header)
        return await self.wire.open(url, {**headers, "Authorization": await self._access.header()})

    def is_ours(self, url: str) -> bool:
        """Whether a URL is of the very server that the profile names; what is no address is not."""
        return is_address(url) and origin(url) == origin(self.base_url)

    async def close(self) -> None:
        """Drop the connections."""
        await self.wire.close()


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; what tells servers apart."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def good(answer: Answer) -> bytes:
    """The body of an answer that says OK. Raises as `HospitalHttp.get`."""
    if answer.status != _OK:
        raise refusal(answer.status)
    return answer.body


def refusal(status: int) -> Exception:
    """What an answer means that waiting does not change."""
    if status == _GONE:
        return Gone()
    if status == _NOT_FOUND:
        return Missing()
    if status in (_BAD_REQUEST, _UNPROCESSABLE):
        return Refused()
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return SourceFault("SOURCE_REFUSES", f"the source answered {status}; check our access")
    # Redirects among them: the profile names the host, nobody else does.
    return SourceFault("SOURCE_UNEXPECTED", f"the source answered {status}")
