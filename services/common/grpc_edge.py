"""The gRPC edge that all services share: typed refusals, health, reflection, graceful stop.

Nothing but codes, field names and our own sentences leaves here; an unexpected exception answers
INTERNAL with a correlation id and writes its type, not its text, to the log.
"""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.access.guard import Call, Guard, is_open
from services.common.access.labels import rpc_of
from services.common.log import logger, places_of
from services.common.refusals import (
    AMPLE_BYTES,
    DETAILS_KEY,
    MODEST_BYTES,
    Refused,
    RpcFault,
    Violation,
    error_of,
    invalid,
    not_found,
    status_of,
    wire_text,
)
from services.common.settings import connection_age_s
from services.common.state import forget_address, record_address
from services.common.transport.certificates import Identity
from services.common.transport.channels import USER_AGENT
from services.common.transport.credentials import server_credentials

__all__ = [
    "ErrorInterceptor",
    "Refused",
    "RpcFault",
    "Serving",
    "Violation",
    "error_of",
    "invalid",
    "not_found",
    "remaining_s",
    "serve",
    "status_of",
    "until_stopped",
]

MAX_MESSAGE_BYTES = 4 << 20
STOP_GRACE_S = 5.0
READY_EVERY_S = 5.0
# A connection that is too old ends when its calls have, and after this long in any case.
LONGEST_CALL_S = 120
# A stream into us is told to come again in words, before its connection is cut off.
LONGEST_STREAM_S = 100
_COME_AGAIN_S = 0.5
# Streams into us that are open at once. A silent one holds a few kilobytes and no thread; those
# that send share the database's threads with every other call.
MOST_STREAMS = 200
_TOO_MANY = "too many streams are open; wait and open another, or call for one batch"
Context = grpc.aio.ServicerContext[Any, Any]
_STREAM_TEXT = (
    "this method streams and is not labelled so, which is open to nobody; report it to the "
    "service's operator"
)
_INTERNAL_TEXT = "unexpected fault inside the service; report the correlation id to its operator"


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Guards every rpc, turns Refused into a rich status and anything unexpected into INTERNAL."""

    def __init__(
        self,
        guard: Guard | None,
        stopping: asyncio.Event | None = None,
        *,
        longest_stream_s: float = LONGEST_STREAM_S,
        most_streams: int = MOST_STREAMS,
    ) -> None:
        """None is for what measures or tests handlers alone; `serve` has no such way.

        Once `stopping` is set, streams into us end after the message that they work on.
        """
        self._guard = guard
        self._stopping = stopping or asyncio.Event()
        self._longest_stream_s = longest_stream_s
        self._most_streams = most_streams
        self._streams = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the method so that nobody passes unseen and nothing leaves untyped."""
        handler = await continuation(handler_call_details)
        guard, method = self._guard, handler_call_details.method
        if handler is None:
            return handler
        if handler.unary_unary is None:
            if guard is None:
                return handler
            labels = rpc_of(method)
            if labels is not None and labels.streams:
                if handler.unary_stream and not labels.takes_stream:
                    return _labelled_stream(handler, method, guard)
                if handler.stream_stream and labels.takes_stream:
                    return self._labelled_exchange(handler, method, guard)
            return _open_stream(handler, method, guard)
        read: Callable[[bytes], Any] = handler.request_deserializer or bytes
        write: Callable[[Any], bytes] = handler.response_serializer or bytes
        inner = handler.unary_unary

        # Bytes in, bytes out: what reading and writing a message raise must not leave either.
        async def answer(request: bytes, context: Context) -> bytes:
            async with _last_door(method, context):
                if guard is None:
                    return write(await inner(_read(read, request), context))
                call = await guard.admit(method, context)
                asked = _read(read, request)
                if call is None:
                    return write(await inner(asked, context))
                with call.handling():
                    answered = await inner(asked, context)
                return write(await guard.dismiss(call, asked, answered, context))
            raise AssertionError("the door lets nothing pass")

        return grpc.unary_unary_rpc_method_handler(answer)

    def _labelled_exchange(self, handler: Any, method: str, guard: Guard) -> Any:
        """A method of ours that is asked with many messages and answers each.

        Who calls is looked at again for each, since a stream outlives what it was opened with; each
        answer leaves as `_labelled_stream`'s do. A message is read once the handler asks for it.
        """
        read: Callable[[bytes], Any] = handler.request_deserializer or bytes
        write: Callable[[Any], bytes] = handler.response_serializer or bytes
        inner = handler.stream_stream

        async def asked(call: Call, context: Context) -> AsyncGenerator[Any, None]:
            async with aclosing(self._messages(context)) as messages:
                async for one in messages:
                    await guard.readmit(call, context)
                    yield _read(read, one)

        async def answer(_requests: Any, context: Context) -> None:
            async with _last_door(method, context):
                call = await guard.admit(method, context)
                assert call is not None  # noqa: S101 - only what is nobody's in particular has none
                with self._one_more_stream(), call.handling():
                    async with (
                        aclosing(asked(call, context)) as requests,
                        aclosing(inner(requests, context)) as answers,
                    ):
                        async for one in answers:
                            # It names its own records: labels let it take no request's.
                            told = await guard.dismiss(call, one, one, context)
                            await context.write(write(told))

        return grpc.stream_stream_rpc_method_handler(answer)

    @contextmanager
    def _one_more_stream(self) -> Iterator[None]:
        if self._streams >= self._most_streams:
            exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
            raise Refused(exhausted, "TOO_MANY_STREAMS", _TOO_MANY, retry_after_s=_COME_AGAIN_S)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _messages(self, context: Context) -> AsyncGenerator[bytes, None]:
        """What is sent, until the sender ends it, the stream is over, or the service stops."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._longest_stream_s
        halted = asyncio.ensure_future(self._stopping.wait())
        try:
            while not self._stopping.is_set() and (left := ends_at - loop.time()) > 0:
                reading = asyncio.ensure_future(context.read())
                try:
                    await asyncio.wait(
                        {reading, halted}, timeout=left, return_when=asyncio.FIRST_COMPLETED
                    )
                    if not reading.done():
                        break
                finally:
                    reading.cancel()  # what is read all the same was not answered, and comes again
                one = reading.result()
                if one is grpc.aio.EOF:
                    return
                yield one
        finally:
            halted.cancel()
        reason, why = "STREAM_OVER", "the stream lasted its time"
        if self._stopping.is_set():
            reason, why = "STOPPING", "the service stops"
        raise Refused(
            grpc.StatusCode.UNAVAILABLE,
            reason,
            f"{why}; open another and send again what was not answered",
            retry_after_s=_COME_AGAIN_S,
        )


@asynccontextmanager
async def _last_door(method: str, context: Context) -> AsyncIterator[None]:
    try:
        yield
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
            at=places_of(fault),
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


def _labelled_stream(handler: Any, method: str, guard: Guard) -> Any:
    """A method of ours that answers with many messages.

    Each is masked, and its reads are on record, before it leaves: one that is not leaves neither.
    """
    read: Callable[[bytes], Any] = handler.request_deserializer or bytes
    write: Callable[[Any], bytes] = handler.response_serializer or bytes
    inner = handler.unary_stream

    async def answer(request: bytes, context: Context) -> None:
        async with _last_door(method, context):
            call = await guard.admit(method, context)
            asked = _read(read, request)
            assert call is not None  # noqa: S101 - only what is nobody's in particular has none
            with call.handling():
                async with aclosing(inner(asked, context)) as answers:
                    async for one in answers:
                        told = await guard.dismiss(call, asked, one, context)
                        await context.write(write(told))

    return grpc.unary_stream_rpc_method_handler(answer)


def _open_stream(handler: Any, method: str, guard: Guard) -> Any:
    """Health's and reflection's streams; any other is refused: nothing would mask it."""
    inner = handler.unary_stream or handler.stream_stream

    async def answer(request: Any, context: Context) -> None:
        async with _last_door(method, context):
            await guard.admit(method, context)
            if not is_open(method) or inner is None:
                raise Refused(grpc.StatusCode.PERMISSION_DENIED, "RPC_NOT_LABELLED", _STREAM_TEXT)
            answers = inner(request, context)
            if not hasattr(answers, "__aiter__"):  # writes to the context by itself
                await answers
                return
            async for one in answers:
                await context.write(one)

    made = (
        grpc.stream_stream_rpc_method_handler
        if handler.request_streaming
        else grpc.unary_stream_rpc_method_handler
    )
    return made(answer, handler.request_deserializer, handler.response_serializer)


def _read(read: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return read(request)
    except DecodeError:
        text = "not a message of this method; check the client's version of the protos"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE", text) from None


async def _abort(context: grpc.aio.ServicerContext[Any, Any], refused: Refused) -> NoReturn:
    metadata = dict(context.invocation_metadata() or ())
    ours = str(metadata.get("user-agent", "")).startswith(USER_AGENT)
    status = status_of(refused, room=AMPLE_BYTES if ours else MODEST_BYTES)
    details = status.SerializeToString()
    await context.abort(refused.code, wire_text(refused.text), ((DETAILS_KEY, details),))
    raise AssertionError("abort always raises")


def remaining_s(context: grpc.aio.ServicerContext[Any, Any], default: float) -> float:
    """Seconds until the caller's deadline; `default` when the caller set none."""
    left: Any = context.time_remaining()  # None without a deadline, whatever the stubs say
    return default if left is None else max(0.0, float(left))


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
    identity: Identity,
    guard: Guard,
    background: Sequence[Callable[[], Awaitable[None]]] = (),
    ready: Callable[[], Awaitable[bool]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. Records the address in run.json.

    Only callers with a certificate of our authority get a connection, and every connection is made
    anew after LIPEI_CONNECTION_AGE_S.

    While `ready` says no, the health service says NOT_SERVING; calls are answered all the same.

    `background` coroutines run beside the server; one that fails stops the process, because a
    service without its sweeper would look healthy and lose claims.
    """
    stopping = _stop_signals()
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor(guard, stopping)],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", 64 << 20),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.max_connection_age_ms", connection_age_s() * 1000),
            ("grpc.max_connection_age_grace_ms", LONGEST_CALL_S * 1000),
        ],
    )
    alive = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    names = [service.full_name for service in services]
    for service in services:
        service.register(service.servicer, server)
    reflection.enable_server_reflection(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    port = _bound(server, address, identity)
    listens_at = f"{address.rpartition(':')[0]}:{port}"
    await server.start()
    health_of = _Health(alive, ["", *names], ready)
    await health_of.tell()
    record_address(state, name, listens_at)
    logger().info("serving", name=name, port=port)
    try:
        await _until(stopping, [*background, health_of.keep_telling])
    finally:
        stopping.set()  # also where a background coroutine failed
        forget_address(state, name, listens_at)
        await alive.enter_graceful_shutdown()
        await server.stop(STOP_GRACE_S)
        logger().info("stopped", name=name)


class _Health:
    """What the health service says of these names, asked anew every few seconds."""

    def __init__(
        self,
        alive: health.aio.HealthServicer,
        names: Sequence[str],
        ready: Callable[[], Awaitable[bool]] | None,
    ) -> None:
        self._alive = alive
        self._names = names
        self._ready = ready

    async def keep_telling(self) -> None:
        """Tell it until cancelled."""
        while True:
            await asyncio.sleep(READY_EVERY_S)
            await self.tell()

    async def tell(self) -> None:
        """Ask whether we are ready, and say so."""
        status = health_pb2.HealthCheckResponse.SERVING
        if not await self._is_ready():
            status = health_pb2.HealthCheckResponse.NOT_SERVING
        for full_name in self._names:
            await self._alive.set(full_name, status)

    async def _is_ready(self) -> bool:
        if self._ready is None:
            return True
        try:
            return await self._ready()
        except Exception as fault:  # noqa: BLE001 - a database that is away is one way to be unready
            logger().warning("not_ready", fault=type(fault).__name__)
            return False


def _bound(server: grpc.aio.Server, address: str, identity: Identity) -> int:
    try:
        return server.add_secure_port(address, server_credentials(identity))
    except RuntimeError:
        raise SystemExit(f"cannot listen on {address}; is it taken, or not of this host?") from None


async def until_stopped(background: Sequence[Callable[[], Awaitable[None]]] = ()) -> None:
    """Run the background coroutines until SIGTERM or SIGINT; then cancel them.

    Raises: whatever a background coroutine raised; RuntimeError when one returned.
    """
    await _until(_stop_signals(), background)


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _until(
    stopping: asyncio.Event, background: Sequence[Callable[[], Awaitable[None]]]
) -> None:
    tasks = [asyncio.ensure_future(work()) for work in background]
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()
            raise RuntimeError("a background coroutine returned, but it is to run until the end")
    finally:
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)
