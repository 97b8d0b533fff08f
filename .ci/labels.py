"""Hold the labels of protos/: every rpc says who may call it, every field how sensitive it is.

It reads the .proto files of the current folder by protoc, not the generated code, and prints each
breach. docs/access-matrix.md must say what the labels say; `--write` writes it.
"""

import argparse
import importlib
import inspect
import pkgutil
import sys
import tempfile
import typing
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_tools import protoc

import workflows
from lipei.type.v1 import access_pb2
from services.common.access.labels import (
    HIGHEST,
    LOWEST,
    SENSITIVE,
    inside,
    is_map,
    labels_of,
    level_of,
    reachable,
    record_field,
)
from services.common.access.masking import hides
from services.common.access.matrix import matrix, messages_of
from services.common.access.records import nameless

PROTOS = Path("protos")
MATRIX = Path("docs") / "access-matrix.md"
# Temporal keeps what it was given for as long as it likes, so nothing about a person may go there.
HIGHEST_IN_PAYLOADS = 2
LABELLED = "lipei/"
VALUES = ("google.protobuf.Timestamp", "google.protobuf.Duration")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each breach, 1 when there is one; with --write, write the matrix instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/access-matrix.md")
    write: bool = parser.parse_args(arguments).write
    ours = described(PROTOS)
    if ours is None:
        return 1
    if write:
        MATRIX.write_text(matrix(ours), "utf-8")
        return 0
    found = [*breaches(ours, payloads())]
    if not MATRIX.exists() or MATRIX.read_text("utf-8") != matrix(ours):
        found.append(f"{MATRIX}: is not what the labels say; run `make proto` and commit it")
    for breach in found:
        print(breach, file=sys.stderr)
    return 1 if found else 0


def described(source: Path) -> list[FileDescriptor] | None:
    """The files of ours as protoc reads them; None when it cannot, which it says itself."""
    protos = sorted(source.rglob("*.proto"))
    includes = [f"-I{source}", f"-I{files('grpc_tools') / '_proto'}"]
    with tempfile.NamedTemporaryFile() as scratch:
        out = ["--include_imports", f"--descriptor_set_out={scratch.name}"]
        if protoc.main(["protoc", *includes, *out, *map(str, protos)]) != 0:
            return None
        described = FileDescriptorSet.FromString(Path(scratch.name).read_bytes())
    pool = DescriptorPool()
    for file in described.file:
        pool.AddSerializedFile(file.SerializeToString())
    names = (file.name for file in described.file if file.name.startswith(LABELLED))
    return [pool.FindFileByName(name) for name in names]


def payloads() -> frozenset[str]:
    """Messages that workflows and activities are given or answer with, by full name.

    That is, what stands in the signatures of the public methods of the classes in `workflows`.
    """
    names = (module.name for module in pkgutil.iter_modules(workflows.__path__, "workflows."))
    found: set[str] = set()
    for module in map(importlib.import_module, names):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__:
                own = (made for name, made in vars(kind).items() if not name.startswith("_"))
                for method in filter(inspect.isfunction, own):
                    hints = typing.get_type_hints(method)
                    found.update(*map(carried_by, hints.values()))
    return frozenset(found)


def carried_by(hint: typing.Any) -> Iterator[str]:
    """Messages in a type hint, also within list[...] and the like."""
    if inspect.isclass(hint) and issubclass(hint, Message) and hint is not Message:
        yield hint.DESCRIPTOR.full_name
    for part in typing.get_args(hint):
        yield from carried_by(part)


def breaches(ours: Sequence[FileDescriptor], carried: Iterable[str]) -> Iterator[str]:
    """Each breach as the full name of what is at fault, and what is wrong with it."""
    messages = {message.full_name: message for message in messages_of(ours)}
    for message in messages.values():
        yield from of_message(message)
    for file in ours:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield from of_rpc(method)
    for name in sorted(carried):
        if name not in messages:
            yield f"{name}: a workflow carries it, but no .proto declares it"
            continue
        for field in reachable(messages[name]):
            if level_of(field) > HIGHEST_IN_PAYLOADS:
                yield (
                    f"{field.full_name}: stays in Temporal as part of {name}, "
                    f"so its level is {HIGHEST_IN_PAYLOADS} at most"
                )


def of_message(message: Descriptor) -> Iterator[str]:
    """What is wrong with a message's labels."""
    if message.is_extendable:
        yield f"{message.full_name}: takes extensions, which carry no label"
    for field in message.fields:
        yield from of_field(field)
    named = message.GetOptions().Extensions[access_pb2.record]
    if named and not is_text(record_field(message)):
        yield f"{message.full_name}: its record {named!r} is no text field of it"
    name = record_field(message)
    if name and level_of(name) > SENSITIVE and hides(message, SENSITIVE - 1):
        yield f"{name.full_name}: names the record of a read, so its level is {SENSITIVE} at most"


def of_field(field: FieldDescriptor) -> Iterator[str]:
    """What is wrong with a field's label."""
    options = field.GetOptions()
    level = options.Extensions[access_pb2.level]
    if not options.HasExtension(access_pb2.level):
        yield f"{field.full_name}: has no level; see (lipei.type.v1.level)"
    elif not LOWEST <= level <= HIGHEST:
        yield f"{field.full_name}: level {level} is not from {LOWEST} to {HIGHEST}"
    held = field.message_type
    if held is not None and is_map(field):
        held = held.fields_by_name["value"].message_type
    if held and not held.file.name.startswith(LABELLED) and held.full_name not in VALUES:
        yield f"{field.full_name}: {held.full_name} carries no labels, so nobody could read it"


def of_rpc(method: MethodDescriptor) -> Iterator[str]:
    """What is wrong with an rpc's labels."""
    labels = labels_of(method)
    if labels is None:
        yield f"{method.full_name}: has no role; see (lipei.type.v1.access)"
        return
    if access_pb2.ROLE_UNSPECIFIED in method.GetOptions().Extensions[access_pb2.access].roles:
        yield f"{method.full_name}: ROLE_UNSPECIFIED is never granted"
    if method.client_streaming and not method.server_streaming:
        yield f"{method.full_name}: takes a stream and answers once, which the guard refuses"
    if method.client_streaming and labels.record:
        yield f"{method.full_name}: takes a stream, so that its answers name their own records"
    if labels.record and not is_text(field_at(method.input_type, labels.record), once=True):
        path = ".".join(labels.record)
        yield f"{method.full_name}: its record {path!r} is no text field of the request"
    if nameless(method.output_type) and not labels.record:
        yield (
            f"{method.full_name}: its answer shows level {nameless(method.output_type)} outside "
            "every record, so its access option needs `record`"
        )


def field_at(message: Descriptor | None, path: Sequence[str]) -> FieldDescriptor | None:
    """The field at a dotted path through single messages."""
    field: FieldDescriptor | None = None
    for name in path:
        field = message.fields_by_name.get(name) if message else None
        message = inside(field) if field and not field.is_repeated else None
    return field


def is_text(field: FieldDescriptor | None, *, once: bool = False) -> bool:
    """Whether a field is there and holds text, and no list of texts if `once`."""
    if field is None or field.type != FieldDescriptor.TYPE_STRING:
        return False
    return not (once and field.is_repeated)


if __name__ == "__main__":
    sys.exit(main())
