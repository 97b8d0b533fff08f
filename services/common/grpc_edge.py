"""The gRPC edge that all services share: typed refusals, health, reflection, graceful stop.

Nothing but codes, field names and our own sentences leaves here; an unexpected exception answers
INTERNAL with a correlation id and writes its type, not its text, to the log.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import signal
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.log import logger
from services.common.state import record_address

DOMAIN = "lipei"
MAX_MESSAGE_BYTES = 4 << 20
STOP_GRACE_S = 5.0
_DETAILS_KEY = "grpc-status-details-bin"
_INTERNAL_TEXT = "unexpected fault inside the service; report the correlation id to its operator"


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a request: the field's path, a stable reason, what to do."""

    field: str
    reason: str
    text: str


class Refused(Exception):
    """A request that is answered with a typed error instead of a result."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        text: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.text = text
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.violations = tuple(violations)


def invalid(violations: Sequence[Violation]) -> Refused:
    """INVALID_ARGUMENT that names every fault of the request at once."""
    text = "; ".join(f"{v.field}: {v.text}" for v in violations[:20])
    return Refused(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", text[:2000], violations=violations
    )


def not_found(what: str, name: str) -> Refused:
    """NOT_FOUND for a resource name, which is opaque and so may be repeated."""
    return Refused(
        grpc.StatusCode.NOT_FOUND,
        "NOT_FOUND",
        f"no such {what}",
        metadata={"name": name[:200]},
    )


def status_of(refused: Refused) -> status_pb2.Status:
    """The google.rpc.Status with ErrorInfo, BadRequest and RetryInfo as they apply."""
    status = status_pb2.Status(code=code_pb2.Code.Value(refused.code.name), message=refused.text)
    info = error_details_pb2.ErrorInfo(reason=refused.reason, domain=DOMAIN)
    info.metadata.update(refused.metadata)
    _add(status, info)
    if refused.violations:
        bad = error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field=v.field, reason=v.reason, description=v.text
                )
                for v in refused.violations
            ]
        )
        _add(status, bad)
    if refused.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(refused.retry_after_s * 1e9))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _add(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Turns Refused into a rich status and anything unexpected into a bare INTERNAL."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the unary method so that nothing leaves it untyped."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        inner, method = handler.unary_unary, handler_call_details.method

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await inner(request, context)
            except Refused as refused:
                await _abort(context, refused)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as fault:  # noqa: BLE001 - the last door: whatever it is, it must not leave
                correlation = uuid.uuid4().hex
                logger().error(
                    "unexpected_fault",
                    method=method,
                    correlation=correlation,
                    fault=type(fault).__name__,
                    at=_place_of(fault),
                )
                await _abort(
                    context,
                    Refused(
                        grpc.StatusCode.INTERNAL,
                        "UNEXPECTED_FAULT",
                        _INTERNAL_TEXT,
                        metadata={"correlation": correlation},
                    ),
                )

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )


def _place_of(fault: BaseException) -> str:
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


async def _abort(context: grpc.aio.ServicerContext[Any, Any], refused: Refused) -> NoReturn:
    details = status_of(refused).SerializeToString()
    await context.abort(refused.code, refused.text, ((_DETAILS_KEY, details),))
    raise AssertionError("abort always raises")


def remaining_s(context: grpc.aio.ServicerContext[Any, Any], default: float) -> float:
    """Seconds until the caller's deadline; `default` when the caller set none."""
    left = context.time_remaining()
    return default if left is None else max(0.0, float(left))


def page_token(kind: str, position: str) -> str:
    """An opaque page token for one kind of list."""
    return base64.urlsafe_b64encode(f"{kind}\x00{position}".encode()).decode()


def parse_page_token(token: str, kind: str) -> str | None:
    """The position in a token of this kind; None for the empty token.

    Raises: Refused (INVALID_ARGUMENT) for any other text.
    """
    if not token:
        return None
    try:
        found, _, position = base64.urlsafe_b64decode(token.encode()).decode().partition("\x00")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        found, position = "", ""
    if found != kind or not position:
        text = "not a page token of this list; start again without one"
        raise invalid([Violation("page_token", "FOREIGN_PAGE_TOKEN", text)])
    return position


@dataclass(frozen=True, slots=True)
class RpcFault:
    """What a caller reads out of a failed call."""

    code: grpc.StatusCode
    reason: str
    text: str
    violations: tuple[Violation, ...]
    retry_after_s: float | None
    metadata: dict[str, str]


def error_of(error: grpc.RpcError) -> RpcFault:
    """The typed fault inside an RpcError of the sync or the asyncio API."""
    call: Any = error
    code = call.code()
    reason, violations, retry = "", [], None
    metadata: dict[str, str] = {}
    for key, value in call.trailing_metadata() or ():
        if key != _DETAILS_KEY:
            continue
        status = status_pb2.Status.FromString(value)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            pause = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                reason = info.reason
                metadata = dict(info.metadata)
            elif detail.Unpack(bad):
                violations += [
                    Violation(v.field, v.reason, v.description) for v in bad.field_violations
                ]
            elif detail.Unpack(pause):
                retry = pause.retry_delay.ToNanoseconds() / 1e9
    text = str(call.details() or "")
    return RpcFault(code, reason or code.name, text, tuple(violations), retry, metadata)


# An idle channel must notice a killed peer within seconds, not after the kernel's minutes.
_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def channel(target: str) -> grpc.aio.Channel:
    """An asyncio channel to one of our services."""
    return grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)


def sync_channel(target: str) -> grpc.Channel:
    """A blocking channel to one of our services."""
    return grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)


@dataclass(frozen=True, slots=True)
class Serving:
    """One gRPC service of a process: how to register it, what answers, its full name."""

    register: Callable[[Any, Any], None]
    servicer: Any
    full_name: str


async def serve(
    services: Sequence[Serving],
    *,
    name: str,
    address: str,
    state: Path,
    background: Sequence[Callable[[], Awaitable[None]]] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. Records the address in run.json.

    `background` coroutines run beside the server; one that fails stops the process, because a
    service without its sweeper would look healthy and lose claims.
    """
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor()],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", 64 << 20),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )
    alive = health.aio.HealthServicer()  # type: ignore[attr-defined]  # stubs lack the asyncio half
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    names = [service.full_name for service in services]
    for service in services:
        service.register(service.servicer, server)
    reflection.enable_server_reflection(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    port = server.add_insecure_port(address)
    host = address.rpartition(":")[0]
    await server.start()
    for full_name in ["", *names]:
        await alive.set(full_name, health_pb2.HealthCheckResponse.SERVING)
    record_address(state, name, f"{host}:{port}")
    logger().info("serving", name=name, port=port)
    try:
        await until_stopped(background)
    finally:
        record_address(state, name, None)
        await alive.enter_graceful_shutdown()
        await server.stop(STOP_GRACE_S)
        logger().info("stopped", name=name)


async def until_stopped(background: Sequence[Callable[[], Awaitable[None]]] = ()) -> None:
    """Run the background coroutines until SIGTERM or SIGINT; then cancel them.

    Raises: whatever a background coroutine raised.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.ensure_future(work()) for work in background]
    waiting = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task is not waiting:
                task.result()
    finally:
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)
