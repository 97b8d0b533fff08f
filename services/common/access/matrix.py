"""The table role × rpc × level that a person can read, made from descriptors alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from services.common.access.labels import (
    HIGHEST,
    NOBODYS,
    SENSITIVE,
    clearance_of,
    labels_of,
    level_of,
    reachable,
    role_name,
)
from services.common.access.masking import hides, withheld_from
from services.common.access.purposes import MEANINGS, PURPOSES

_WIDEST_COLUMN = 60  # what is longer sticks out
_HEAD = """\
# Who may call what, and what they may see

Generated from the labels in `protos/` by `make proto`; `make check` compares it. The roles and the
levels are explained in [access.proto](../protos/lipei/type/v1/access.proto).

A cell is the highest level of field that the role can find in the rpc's answer; `0` is an answer
that holds nothing, and an empty cell a call that is refused (`PERMISSION_DENIED`). A `*` says that
the answer has more: the fields named below the table are absent from it, and the trailing metadata
`lipei-withheld` names those that were there. A `†` marks what is the whole installation's: only
callers without a tenant may call it. Which tenant's records a role finds is not in this
table: what is another's is `NOT_FOUND`. Health and reflection are open to every authenticated
caller.
"""
_PURPOSES = """\
## Purposes

What a call may state in its metadata `lipei-purpose`. Who states none reads for the first of their
role's. Another word is refused (`INVALID_ARGUMENT PURPOSE_UNKNOWN`), as is a purpose of none of the
caller's roles that may call the rpc (`PERMISSION_DENIED PURPOSE_NOT_ALLOWED`); of somebody with
several roles only those count that have the purpose.
"""


def matrix(files: Iterable[FileDescriptor]) -> str:
    """The document: a table for each service, then the sensitive fields of every message."""
    ours = sorted(files, key=lambda file: file.name)
    services = [service for file in ours for service in file.services_by_name.values()]
    parts = [_HEAD, _roles(services), _purposes(), *(_service(service) for service in services)]
    return "\n".join([*parts, _sensitive(ours)])


def messages_of(files: Iterable[FileDescriptor]) -> Iterator[Descriptor]:
    """Every message of the files, nested ones too, without the entries of maps."""
    waiting = [message for file in files for message in file.message_types_by_name.values()]
    for message in waiting:
        if not message.GetOptions().map_entry:
            yield message
            waiting.extend(message.nested_types)


def _roles(services: Sequence[ServiceDescriptor]) -> str:
    calls: defaultdict[int, int] = defaultdict(int)
    for service in services:
        for method in service.methods:
            for role in _allowed(method):
                calls[role] += 1
    rows = ([role_name(r), str(clearance_of(r)), str(calls[r])] for r in sorted(calls))
    return "## Roles\n\n" + _table(["role", "reads up to level", "rpcs"], rows)


def _purposes() -> str:
    rows = ([role_name(r), ", ".join(PURPOSES[r])] for r in sorted(PURPOSES))
    told = ([purpose, meaning] for purpose, meaning in sorted(MEANINGS.items()))
    return "\n".join(
        [_PURPOSES, _table(["role", "may read for"], rows), _table(["purpose", "means"], told)]
    )


def _service(service: ServiceDescriptor) -> str:
    allowed = {method.name: _allowed(method) for method in service.methods}
    roles = sorted(frozenset().union(*allowed.values()))
    rows = (
        [_name(method), *(_cell(method, role, allowed[method.name]) for role in roles)]
        for method in service.methods
    )
    text = f"## {service.full_name}\n\n" + _table(["rpc", *map(role_name, roles)], rows)
    withheld = list(_withheld(service, allowed))
    if withheld:
        text += "\n" + _table(["rpc", "withheld from", "fields"], withheld)
    return text


def _name(method: MethodDescriptor) -> str:
    labels = labels_of(method)
    return f"{method.name} †" if labels and labels.of_installation else method.name


def _allowed(method: MethodDescriptor) -> frozenset[int]:
    labels = labels_of(method)
    return labels.roles if labels else frozenset()


def _cell(method: MethodDescriptor, role: int, allowed: frozenset[int]) -> str:
    if role not in allowed:
        return ""
    clearance, answer = clearance_of(role), method.output_type
    levels = (level_of(field) for field in reachable(answer, clearance=clearance))
    highest = max((level for level in levels if level <= clearance), default=0)
    return f"{highest}*" if hides(answer, clearance) else str(highest)


def _withheld(
    service: ServiceDescriptor, allowed: Mapping[str, frozenset[int]]
) -> Iterator[list[str]]:
    for method in service.methods:
        roles_by_fields: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for role in sorted(allowed[method.name]):
            fields = tuple(withheld_from(method.output_type, clearance_of(role)))
            roles_by_fields[fields].append(role_name(role))
        for fields, roles in roles_by_fields.items():
            if fields:
                named = ", ".join(f"`{field}`" for field in fields)
                yield [method.name, ", ".join(roles), named]


def _sensitive(files: Sequence[FileDescriptor]) -> str:
    levels = range(SENSITIVE, HIGHEST + 1)
    rows = []
    for message in sorted(messages_of(files), key=lambda one: one.full_name):
        by_level = [_named(message.fields, level) for level in levels]
        if any(by_level):
            rows.append([message.full_name, *by_level])
    head = ["message", *(f"level {level}" for level in levels)]
    return f"## Fields from level {SENSITIVE} up\n\n" + _table(head, rows)


def _named(fields: Sequence[FieldDescriptor], level: int) -> str:
    unusable = level == HIGHEST  # a field without a usable label is everybody's taboo
    wanted = {level, NOBODYS} if unusable else {level}
    return ", ".join(field.name for field in fields if level_of(field) in wanted)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    longest = (max(map(len, column)) for column in zip(*lines, strict=True))
    widths = [max(3, min(width, _WIDEST_COLUMN)) for width in longest]
    lines.insert(1, ["-" * width for width in widths])
    return "".join("| " + " | ".join(map(str.ljust, line, widths)) + " |\n" for line in lines)
