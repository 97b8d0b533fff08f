"""Messages made for tests only: every kind of field, with any labels, and what a mask must leave.

The oracle reads the labels that the test has chosen, not the descriptors' options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from lipei.type.v1 import access_pb2

PACKAGE = "made"
T = FieldDescriptorProto
# Level by (message, field); 0 leaves the field without a label.
Levels = Mapping[tuple[str, str], int]

_SCALARS = {
    "text": T.TYPE_STRING,
    "whole": T.TYPE_INT64,
    "real": T.TYPE_DOUBLE,
    "flag": T.TYPE_BOOL,
    "raw": T.TYPE_BYTES,
}
FIELDS: dict[str, tuple[str, ...]] = {
    "Whole": (
        *_SCALARS,
        *("maybe", "word", "leaf", "again", "texts", "words", "leaves"),
        *("counts", "leaf_by_key", "chosen_text", "chosen_leaf"),
    ),
    "Leaf": ("name", "value", "inner", "note"),
    "Inner": ("remark", "whole"),
    "Note": ("remark", "more"),
}
ALL_FIELDS = [(message, field) for message, fields in FIELDS.items() for field in fields]


def made(levels: Levels) -> type[Message]:
    """The class of `Whole` under these labels."""
    file = FileDescriptorProto(name="made.proto", package=PACKAGE, syntax="proto3")
    enum = file.enum_type.add(name="Word")
    for number, name in enumerate(("WORD_UNSPECIFIED", "WORD_ONE", "WORD_TWO")):
        enum.value.add(name=name, number=number)
    _whole(file.message_type.add(name="Whole"))
    leaf = file.message_type.add(name="Leaf")
    _field(leaf, "name", T.TYPE_STRING)
    _field(leaf, "value", T.TYPE_STRING)
    _field(leaf, "inner", T.TYPE_MESSAGE, "Inner")
    _field(leaf, "note", T.TYPE_MESSAGE, "Note")
    note = file.message_type.add(name="Note")  # holds no record
    _field(note, "remark", T.TYPE_STRING)
    _field(note, "more", T.TYPE_STRING)
    inner = file.message_type.add(name="Inner")
    _field(inner, "remark", T.TYPE_STRING)
    _field(inner, "whole", T.TYPE_MESSAGE, "Whole")
    for message in file.message_type:
        for field in message.field:
            if level := levels.get((message.name, field.name), 0):
                field.options.Extensions[access_pb2.level] = level
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Whole"))


def _whole(whole: DescriptorProto) -> None:
    for name, kind in _SCALARS.items():
        _field(whole, name, kind)
    maybe = _field(whole, "maybe", T.TYPE_STRING)
    _field(whole, "word", T.TYPE_ENUM, "Word")
    _field(whole, "leaf", T.TYPE_MESSAGE, "Leaf")
    _field(whole, "again", T.TYPE_MESSAGE, "Whole")
    for name, kind, held in (
        ("texts", T.TYPE_STRING, ""),
        ("words", T.TYPE_ENUM, "Word"),
        ("leaves", T.TYPE_MESSAGE, "Leaf"),
        ("counts", T.TYPE_MESSAGE, "Whole.CountsEntry"),
        ("leaf_by_key", T.TYPE_MESSAGE, "Whole.LeafByKeyEntry"),
    ):
        _field(whole, name, kind, held).label = T.LABEL_REPEATED
    for name, value, held in (
        ("CountsEntry", T.TYPE_INT32, ""),
        ("LeafByKeyEntry", T.TYPE_MESSAGE, "Leaf"),
    ):
        entry = whole.nested_type.add(name=name)
        entry.options.map_entry = True
        _field(entry, "key", T.TYPE_STRING)
        _field(entry, "value", value, held)
    whole.oneof_decl.add(name="chosen")
    for name, kind, held in (
        ("chosen_text", T.TYPE_STRING, ""),
        ("chosen_leaf", T.TYPE_MESSAGE, "Leaf"),
    ):
        _field(whole, name, kind, held).oneof_index = 0
    whole.oneof_decl.add(name="_maybe")
    maybe.oneof_index, maybe.proto3_optional = 1, True


def _field(
    message: DescriptorProto, name: str, kind: FieldDescriptorProto.Type.ValueType, held: str = ""
) -> FieldDescriptorProto:
    return message.field.add(
        name=name,
        number=len(message.field) + 1,
        type=kind,
        label=T.LABEL_OPTIONAL,
        type_name=f".{PACKAGE}.{held}" if held else None,
    )


labels = st.fixed_dictionaries({one: st.integers(0, 6) for one in ALL_FIELDS})
# Mostly readable, so that a mask has to look deep.
open_labels = st.fixed_dictionaries(
    {one: st.sampled_from([1, 1, 1, 2, 3, 4, 5]) for one in ALL_FIELDS}
)
_text = st.text(max_size=3)
_inner = st.deferred(lambda: st.fixed_dictionaries({}, optional={"remark": _text, "whole": _any}))
_note = st.fixed_dictionaries({}, optional={"remark": _text, "more": _text})
_leaf = st.deferred(
    lambda: st.fixed_dictionaries(
        {}, optional={"name": _text, "value": _text, "inner": _inner, "note": _note}
    )
)
_any: st.SearchStrategy[dict[str, Any]] = st.deferred(lambda: contents(deep=False))


def contents(*, deep: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """What a `Whole` holds, as its constructor takes it."""
    fields: dict[str, Any] = {
        "text": _text,
        "whole": st.integers(-3, 3),
        "real": st.floats(-1, 1),
        "flag": st.booleans(),
        "raw": st.binary(max_size=2),
        "maybe": _text,
        "word": st.integers(0, 2),
        "texts": st.lists(_text, max_size=2),
        "words": st.lists(st.integers(0, 2), max_size=2),
        "counts": st.dictionaries(_text, st.integers(0, 2), max_size=2),
    }
    chosen: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({"chosen_text": _text})
    if deep:
        fields |= {
            "leaf": _leaf,
            "again": _any,
            "leaves": st.lists(_leaf, max_size=2),
            "leaf_by_key": st.dictionaries(_text, _leaf, max_size=2),
        }
        chosen |= st.fixed_dictionaries({"chosen_leaf": _leaf})
    plain = st.fixed_dictionaries({}, optional=fields)
    either = st.one_of(st.just({}), chosen)
    return st.tuples(plain, either).map(lambda both: {**both[0], **both[1]})


def filled(whole: type[Message], content: Mapping[str, Any]) -> Message:
    """A message with this content."""
    message = whole()
    _fill(message, content)
    return message


def _fill(message: Message, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        held = getattr(message, name)
        if name in ("leaf", "again", "chosen_leaf", "inner", "note") or (
            isinstance(value, dict) and (name == "whole")
        ):
            held.SetInParent()
            _fill(held, value)
        elif name == "leaves":
            for one in value:
                _fill(held.add(), one)
        elif name == "leaf_by_key":
            for key, one in value.items():
                _fill(held[key], one)
        elif name in ("texts", "words"):
            held.extend(value)
        elif name == "counts":
            held.update(value)
        else:
            setattr(message, name, value)


def seen(message: Message, levels: Levels, clearance: int) -> dict[str, Any]:
    """What the message tells a reader of this clearance, as plain values."""
    return {
        field.name: _plain(value, lambda part: seen(part, levels, clearance))
        for field, value in message.ListFields()
        if 1 <= levels.get((message.DESCRIPTOR.name, field.name), 0) <= clearance
    }


def everything(message: Message) -> dict[str, Any]:
    """All that the message tells, as plain values."""
    return {field.name: _plain(value, everything) for field, value in message.ListFields()}


def hidden(message: Message, levels: Levels, clearance: int, prefix: str = "") -> Iterator[str]:
    """The path of each populated field that a reader of this clearance may not see."""
    for field, value in message.ListFields():
        if not 1 <= levels.get((message.DESCRIPTOR.name, field.name), 0) <= clearance:
            yield prefix + field.name
            continue
        for part in _messages(value):
            yield from hidden(part, levels, clearance, f"{prefix}{field.name}.")


def _plain(value: Any, inner: Any) -> Any:
    if isinstance(value, Message):
        return inner(value)
    if hasattr(value, "items"):
        return {key: _plain(one, inner) for key, one in value.items()}
    if isinstance(value, (str, bytes, int, float)):
        return value
    return [_plain(one, inner) for one in value]


def _messages(value: Any) -> list[Message]:
    if isinstance(value, Message):
        return [value]
    held = value.values() if hasattr(value, "items") else value
    if isinstance(held, (str, bytes, int, float)):
        return []
    return [one for one in held if isinstance(one, Message)]
