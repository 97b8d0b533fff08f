"""Real servers whose every rpc answers with a message that is filled to the last field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.access.guard import Context, Guard
from services.common.grpc_edge import ErrorInterceptor

Handler = Callable[[Any, Context], Awaitable[Any]]

PROTOS = Path(__file__).parents[4] / "protos"
# Of every .proto, also of those that come later.
SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for file in sorted(PROTOS.rglob("*_pb2.py"))
    for service in import_module(
        ".".join(file.relative_to(PROTOS).with_suffix("").parts)
    ).DESCRIPTOR.services_by_name.values()
)
METHODS: tuple[MethodDescriptor, ...] = tuple(
    method for service in SERVICES for method in service.methods
)


def path_of(method: MethodDescriptor) -> str:
    """The path under which gRPC calls it."""
    return f"/{method.containing_service.full_name}/{method.name}"


def full(message: Descriptor) -> Message:
    """A message in which every field tells something; of a choice, the first."""
    made = GetMessageClass(message)()
    for field in message.fields:
        if field.containing_oneof is None or field.containing_oneof.fields[0] is field:
            _fill(made, field)
    return made


def _fill(made: Message, field: FieldDescriptor) -> None:
    held = getattr(made, field.name)
    if field.message_type and field.message_type.GetOptions().map_entry:
        held["key"] = _scalar(field.message_type.fields_by_name["value"])
    elif field.message_type:
        (held.add() if field.is_repeated else held).CopyFrom(full(field.message_type))
    elif field.is_repeated:
        held.append(_scalar(field))
    else:
        setattr(made, field.name, _scalar(field))


def _scalar(field: FieldDescriptor) -> Any:
    if field.name == "currency_code":
        return "CNY"  # the one text that a reader of answers looks up
    kinds = {
        field.CPPTYPE_STRING: b"x" if field.type == field.TYPE_BYTES else f"a-{field.name}",
        field.CPPTYPE_BOOL: True,
        field.CPPTYPE_ENUM: 1,
    }
    return kinds.get(field.cpp_type, 1)


async def answers_in_full(method: MethodDescriptor, _request: Message, _context: Context) -> Any:
    """Every rpc's handler."""
    return full(method.output_type)


def handlers(
    method: MethodDescriptor, answer: Callable[[MethodDescriptor, Any, Context], Awaitable[Any]]
) -> grpc.GenericRpcHandler:
    """The rpc, answered by `answer`."""

    async def call(request: Any, context: Context) -> Any:
        return await answer(method, request, context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        yield await answer(method, request, context)

    async def exchange(requests: Any, context: Context) -> AsyncIterator[Any]:
        async for request in requests:
            yield await answer(method, request, context)

    make, handler = {
        (False, False): (grpc.unary_unary_rpc_method_handler, call),
        (False, True): (grpc.unary_stream_rpc_method_handler, stream),
        (True, True): (grpc.stream_stream_rpc_method_handler, exchange),
    }[method.client_streaming, method.server_streaming]
    made: Any = cast("Any", make)(
        handler,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )
    return grpc.method_handlers_generic_handler(
        method.containing_service.full_name, {method.name: made}
    )


@asynccontextmanager
async def listening(
    guard: Guard | None,
    *more: grpc.GenericRpcHandler,
    answer: Callable[[MethodDescriptor, Any, Context], Awaitable[Any]] = answers_in_full,
    methods: Iterable[MethodDescriptor] = METHODS,
    **edge: Any,
) -> AsyncIterator[str]:
    """The address of a server with every rpc, health and reflection behind the guard."""
    server = grpc.aio.server(interceptors=[ErrorInterceptor(guard, **edge)])
    server.add_generic_rpc_handlers([*more, *(handlers(method, answer) for method in methods)])
    alive: Any = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    await alive.set("", health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection([reflection.SERVICE_NAME], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def answering(
    guard: Guard | None, *more: grpc.GenericRpcHandler, **how: Any
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to such a server."""
    async with (
        listening(guard, *more, **how) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


async def asked(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    request: Message | None = None,
    **how: Any,
) -> tuple[Any, grpc.aio.Metadata]:
    """The rpc's answer, of a stream the first message, and trailing metadata."""
    open_call: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    told: Any = full(method.input_type) if request is None else request
    if method.client_streaming:
        open_call, told = channel.stream_stream, _alone(told)
    call: Any = open_call(
        path_of(method),
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )(told, **how)
    answer = await (anext(aiter(call)) if method.server_streaming else call)
    return answer, await call.trailing_metadata()


async def _alone(one: Any) -> AsyncIterator[Any]:
    yield one


def run(work: Any) -> Any:
    """Run a coroutine to its end."""
    return asyncio.run(asyncio.wait_for(work, 60))
