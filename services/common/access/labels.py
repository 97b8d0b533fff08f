"""What the labels in the .proto files say: who may call an rpc, how sensitive a field is.

Reads descriptors, each once; decides nothing about a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default

from lipei.type.v1 import access_pb2

LOWEST, HIGHEST = 1, 5
# From here up a field is about one person, and reading it leaves evidence.
SENSITIVE = 3
# The level of a field without a usable label: above every clearance.
NOBODYS = HIGHEST + 1
# Values rather than messages of their own: the field that carries one has the label.
_VALUES = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Rpc:
    """One labelled rpc. `record` is the path of the request's field that names what is read.

    `of_installation`: what it answers is the whole installation's, and no tenant's caller may ask.
    `streams`: it answers with many messages, each masked and put on record by itself.
    `takes_stream`: it is asked with many, before each of which the caller is looked at again.
    """

    path: str  # "/lipei.claims.v1.ClaimsService/GetClaim"
    roles: frozenset[int]
    record: tuple[str, ...]
    of_installation: bool = False
    streams: bool = False
    takes_stream: bool = False


@cache
def rpc_of(path: str) -> Rpc | None:
    """The labels of the rpc that gRPC calls by this path; None when it has none, or no role."""
    service, _, name = path.removeprefix("/").rpartition("/")
    try:
        method = Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None
    return labels_of(method)


def labels_of(method: MethodDescriptor) -> Rpc | None:
    """The labels of an rpc; None when it has none, or no role."""
    options = method.GetOptions()
    access = options.Extensions[access_pb2.access]
    roles = frozenset(access.roles) - {access_pb2.ROLE_UNSPECIFIED}
    if not roles:
        return None
    record = tuple(access.record.split(".")) if access.record else ()
    return Rpc(
        path=f"/{method.containing_service.full_name}/{method.name}",
        roles=roles,
        record=record,
        of_installation=access.of_installation,
        streams=method.server_streaming,
        takes_stream=method.client_streaming,
    )


@cache
def clearance_of(role: int) -> int:
    """The highest level that a role may read; 0 for a number that is no role."""
    value = access_pb2.Role.DESCRIPTOR.values_by_number.get(role)
    if value is None:
        return 0
    clearance: int = value.GetOptions().Extensions[access_pb2.clearance]
    return min(clearance, HIGHEST)


def role_name(role: int) -> str:
    """A role as evidence and tables write it.

    >>> role_name(3)
    'senior_adjuster'
    """
    return access_pb2.Role.Name(role).removeprefix("ROLE_").lower()  # type: ignore[arg-type]  # its own enum's numbers


@cache
def level_of(field: FieldDescriptor) -> int:
    """The field's level from 1 to 5, or NOBODYS when its label is missing or out of bounds."""
    level: int = field.GetOptions().Extensions[access_pb2.level]
    return level if LOWEST <= level <= HIGHEST else NOBODYS


@cache
def inside(field: FieldDescriptor) -> Descriptor | None:
    """The message whose fields have labels of their own: of a map, its values'. Else None."""
    message = field.message_type
    if message is not None and is_map(field):
        message = message.fields_by_name["value"].message_type
    if message is None or message.full_name in _VALUES:
        return None
    return message


@cache
def is_map(field: FieldDescriptor) -> bool:
    """Whether it is a map, whose entries are no messages of ours."""
    message = field.message_type
    return message is not None and bool(message.GetOptions().map_entry)


@cache
def record_field(message: Descriptor) -> FieldDescriptor | None:
    """The field that names the record which a message is, or the records that it lists."""
    named: str = message.GetOptions().Extensions[access_pb2.record]
    field: FieldDescriptor | None = message.fields_by_name.get(named or "name")
    return field


def reachable(message: Descriptor, *, clearance: int = HIGHEST) -> Iterator[FieldDescriptor]:
    """Every field of the message and, through fields up to the clearance, of those inside it."""
    seen, waiting = {message}, [message]
    while waiting:
        for field in waiting.pop().fields:
            yield field
            within = inside(field) if level_of(field) <= clearance else None
            if within is not None and within not in seen:
                seen.add(within)
                waiting.append(within)
