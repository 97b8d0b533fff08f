"""JSON bytes to typed structs, naming every fault of structure at once. Knows no dialect.

The fast path costs two scans in C. Only a record that fails it is taken apart slowly: each wrong
value is named and replaced by nothing, and then the record is read once more, so that the rest of
it is judged as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
import msgspec.inspect

from services.his_bridge.core.faults import Fault, Reason

T = TypeVar("T")

# The largest record that is taken apart: a stay of some thousand charges. An object of Python takes
# up to fifty times what it takes in JSON, so that a small text could be a large record.
MAX_BYTES = 4 << 20
MAX_MARKS = 250_000
MAX_DEPTH = 60
MAX_FAULTS = 100
_NULL = msgspec.inspect.NoneType
# Half of a UTF-16 pair, which JSON can write and no text can hold.
_HALF = re.compile("[\ud800-\udfff]")
# Made once: `json.dumps` makes one anew for each text.
_text = json.JSONEncoder(ensure_ascii=False).encode


class _Repetition(ValueError):
    """A key stands twice in one object."""


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Constant(str):
    """NaN, Infinity or -Infinity."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys as written, repetitions included."""


class StrictDecoder(Generic[T]):
    """Reads one kind of record. `names` are keys that may stand in a fault's path."""

    def __init__(self, kind: type[T], names: Collection[str]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._shape = msgspec.inspect.type_info(kind)
        self._names = frozenset(names)

    def decode(self, raw: bytes) -> tuple[T | None, tuple[Fault, ...]]:
        """The record, and the faults of its structure; None when nothing of it can be read."""
        if is_too_large(raw):
            return None, (Fault(reason=Reason.RECORD_TOO_LARGE, path=""),)
        try:
            json.loads(raw.decode("utf-8"), object_pairs_hook=_without_repetition)
            return self._decoder.decode(raw), ()
        except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError included
            return self._repaired(raw)

    def _repaired(self, raw: bytes) -> tuple[T | None, tuple[Fault, ...]]:
        try:
            loose = json.loads(
                raw.decode("utf-8"),
                object_pairs_hook=_Pairs,
                parse_float=_Number,
                parse_int=_Number,
                parse_constant=_Constant,
            )
        except RecursionError:
            return None, (Fault(reason=Reason.TOO_DEEP, path=""),)
        except ValueError:
            return None, (Fault(reason=Reason.NOT_JSON, path=""),)
        faults: list[Fault] = []
        tree = self._tree(loose, "", 0, faults)
        if not isinstance(tree, dict):
            return None, (*faults[: MAX_FAULTS - 1], Fault(reason=Reason.NOT_JSON, path=""))
        fitting = _fitted(tree, self._shape, "", faults)
        if len(faults) >= MAX_FAULTS:
            return None, tuple(faults[:MAX_FAULTS])
        try:
            return self._decoder.decode(_written(fitting)), tuple(faults)
        except msgspec.ValidationError:  # of a type that `_fitted` does not know
            return None, (*faults, Fault(reason=Reason.WRONG_TYPE, path=""))
        except msgspec.DecodeError:
            return None, (*faults, Fault(reason=Reason.NOT_JSON, path=""))

    def _tree(self, node: Any, path: str, depth: int, faults: list[Fault]) -> Any:
        if depth > MAX_DEPTH:
            faults.append(Fault(reason=Reason.TOO_DEEP, path=path))
            return None
        if isinstance(node, _Constant):
            faults.append(Fault(reason=Reason.NOT_A_NUMBER, path=path))
            return None
        if isinstance(node, _Pairs):
            found: dict[str, Any] = {}
            for key, value in node:
                shown = key if key in self._names else "?"
                where = f"{path}.{shown}" if path else shown
                if _HALF.search(key):
                    faults.append(Fault(reason=Reason.TEXT_MALFORMED, path=where))
                elif key in found:
                    faults.append(Fault(reason=Reason.DUPLICATE_KEY, path=where))
                else:
                    found[key] = self._tree(value, where, depth + 1, faults)
            return found
        if isinstance(node, list):
            return [
                self._tree(value, f"{path}[{index}]", depth + 1, faults)
                for index, value in enumerate(node)
            ]
        if isinstance(node, str) and _HALF.search(node):
            faults.append(Fault(reason=Reason.TEXT_MALFORMED, path=path))
            return ""
        return node


def meaning_of(raw: bytes) -> bytes:
    """The same bytes for the same JSON, however it is laid out and escaped; else the bytes.

    A server may write one record in two ways, as an answer and in an export. Numbers stay as they
    are written, and keys that stand twice do so here. What no record may be means its bytes.
    """
    if is_too_large(raw):
        return raw
    try:
        return _canonical(
            json.loads(
                raw.decode("utf-8"),
                object_pairs_hook=_Pairs,
                parse_float=_Number,
                parse_int=_Number,
                parse_constant=_Constant,
            )
        ).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return raw


def has_each_key_once(raw: bytes) -> bool:
    """Whether this is JSON of which no object has a key twice; msgspec takes the last in silence.

    Costs several times what msgspec needs to read the same: for what is small.
    """
    try:
        json.loads(raw.decode("utf-8"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        return False
    return True


def is_too_large(raw: bytes) -> bool:
    """Whether a record is more than we take apart."""
    return len(raw) > MAX_BYTES or marks_of(raw) > MAX_MARKS


def marks_of(raw: bytes) -> int:
    """How many values JSON holds at most, counted by its marks; costs three scans in C."""
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def names_of(*structs: type[msgspec.Struct]) -> frozenset[str]:
    """All keys that these structs read."""
    return frozenset(
        field.encode_name for struct in structs for field in msgspec.structs.fields(struct)
    )


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repetition
    return found


def _written(node: Any) -> bytes:
    """The tree as JSON, numbers exactly as they were."""
    if isinstance(node, _Number):
        return node.encode()
    if isinstance(node, dict):
        parts = (json.dumps(key).encode() + b":" + _written(node[key]) for key in node)
        return b"{" + b",".join(parts) + b"}"
    if isinstance(node, list):
        return b"[" + b",".join(map(_written, node)) + b"]"
    return json.dumps(node).encode()


def _canonical(node: Any) -> str:
    if isinstance(node, _Number | _Constant):
        return str(node)
    if isinstance(node, _Pairs):
        pairs = sorted(node, key=lambda pair: pair[0])
        return "{" + ",".join([f"{_text(key)}:{_canonical(value)}" for key, value in pairs]) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(_canonical, node)) + "]"
    return _text(node)


def _fitted(node: Any, kind: Any, path: str, faults: list[Fault]) -> Any:
    """The tree with nothing in the place of whatever is of another type; each is named.

    Once over all of it: the decoder names the first alone, and would read the record once for each.
    What no field reads stays as it is.
    """
    if isinstance(kind, msgspec.inspect.UnionType):
        if node is None and any(isinstance(one, _NULL) for one in kind.types):
            return None
        kinds = [one for one in kind.types if not isinstance(one, _NULL)]
        return node if len(kinds) != 1 else _fitted_to(node, kinds[0], path, faults, nothing=None)
    return _fitted_to(node, kind, path, faults, nothing=_nothing_of(kind))


def _fitted_to(node: Any, kind: Any, path: str, faults: list[Fault], *, nothing: Any) -> Any:
    if not _is_of(node, kind):
        faults.append(Fault(reason=Reason.WRONG_TYPE, path=path))
        return nothing
    if isinstance(kind, msgspec.inspect.StructType):
        fields = _fields_of(kind.cls)
        return {
            key: _fitted(value, fields[key], f"{path}.{key}" if path else key, faults)
            if key in fields
            else value
            for key, value in node.items()
        }
    if isinstance(kind, msgspec.inspect.ListType):
        return [
            _fitted(value, kind.item_type, f"{path}[{index}]", faults)
            for index, value in enumerate(node)
        ]
    return node


def _is_of(node: Any, kind: Any) -> bool:
    if isinstance(kind, msgspec.inspect.StructType | msgspec.inspect.DictType):
        return isinstance(node, dict)
    if isinstance(kind, msgspec.inspect.ListType):
        return isinstance(node, list)
    if isinstance(kind, msgspec.inspect.StrType):
        return isinstance(node, str) and not isinstance(node, _Number)
    return not isinstance(kind, msgspec.inspect.BoolType) or isinstance(node, bool)


def _nothing_of(kind: Any) -> Any:
    if isinstance(kind, msgspec.inspect.ListType):
        return []
    return "" if isinstance(kind, msgspec.inspect.StrType) else {}


@cache
def _fields_of(struct: type[msgspec.Struct]) -> Mapping[str, Any]:
    info = msgspec.inspect.type_info(struct)
    if not isinstance(info, msgspec.inspect.StructType):
        raise TypeError("a struct is no struct")
    return {field.encode_name: field.type for field in info.fields}
