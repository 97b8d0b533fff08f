"""Calls to the services: a deadline each, patience while a service starts, plain sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from services.common.refusals import error_of

Answer = TypeVar("Answer")

_PAUSE_S = 0.5


class CallRefused(RuntimeError):
    """A service refused a call; the text names the call, the reason and every fault."""


def pages(method: Callable[..., Answer], request: Any, *, what: str) -> Iterator[Answer]:
    """Every page of a list from the one that the request names on; counts the request's place up.

    Raises: CallRefused.
    """
    while True:
        page: Any = call(method, request, what=what)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def call(
    method: Callable[..., Answer], request: Any, *, what: str, within_s: float = 60.0
) -> Answer:
    """The answer of a call that is safe to repeat, repeated while the service is unavailable.

    Raises: CallRefused when the service refuses, or stays away until the deadline.
    """
    deadline = time.monotonic() + within_s
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            return method(request, timeout=left, wait_for_ready=True)
        except grpc.RpcError as error:
            fault = error_of(error)
            if fault.code is grpc.StatusCode.UNAVAILABLE and time.monotonic() < deadline:
                time.sleep(fault.retry_after_s or _PAUSE_S)
                continue
            faults = [f"  {one.field}: {one.reason}: {one.text}" for one in fault.violations[:20]]
            said = f"{what} was refused with {fault.code.name} ({fault.reason}): {fault.text}"
            raise CallRefused("\n".join([said, *faults])) from error
