"""YAML that refuses to guess: every fault of a file at once, each with its line. Knows no schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a file: where, a stable reason, and what to do."""

    path: str
    line: int
    reason: str
    text: str


class StrictYamlError(ValueError):
    """A file with at least one fault; `faults` names them all in the file's order."""

    def __init__(self, faults: list[Fault], source: str) -> None:
        self.faults = sorted(faults, key=lambda f: (f.line, f.path))
        self.source = source
        super().__init__("\n".join(f"{source}:{f.line}: {f.path}: {f.text}" for f in self.faults))


class YamlMap(dict[str, Any]):
    """A mapping that remembers the line of each key."""

    line: int
    lines: dict[str, int]


class YamlList(list[Any]):
    """A sequence that remembers the line of each item."""

    line: int
    lines: list[int]


def load(text: str | bytes, source: str) -> YamlMap:
    """Read one document whose top is a mapping.

    Scalars come out as text, whole numbers, true/false or None; dates stay text. `line` and
    `lines` count from 1.

    Raises: StrictYamlError for duplicate keys, floats, anchors, aliases, tags, keys that are not
    text, more than one document, bytes that are not UTF-8, or a file above 1 MiB.
    """
    if len(text) > MAX_BYTES:
        raise StrictYamlError([Fault("", 1, "TOO_LARGE", "the file is above 1 MiB")], source)
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            fault = Fault("", line, "NOT_UTF8", "the file is not UTF-8; save it as UTF-8")
            raise StrictYamlError([fault], source) from None
    faults: list[Fault] = []
    tops = _documents(text, source)
    if len(tops) != 1 or not isinstance(tops[0], MappingNode):
        fault = Fault("", 1, "NOT_A_MAPPING", "the file must hold one mapping of keys to values")
        raise StrictYamlError([fault], source)
    tree = _value(tops[0], "", faults, 0)
    if faults:
        raise StrictYamlError(faults, source)
    return cast(YamlMap, tree)


def _documents(text: str, source: str) -> list[Node]:
    reader = YAML(typ="safe", pure=True)
    try:
        return [node for node in reader.compose_all(text) if node is not None]
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        problem = error.problem or "cannot be read"
        raise StrictYamlError([Fault("", line, "NOT_YAML", problem)], source) from None
    except (YAMLError, RecursionError, ValueError) as error:
        text_of_fault = f"cannot be read as YAML ({type(error).__name__})"
        raise StrictYamlError([Fault("", 1, "NOT_YAML", text_of_fault)], source) from None


def _value(node: Node, path: str, faults: list[Fault], depth: int) -> Any:
    line = node.start_mark.line + 1
    if depth > MAX_DEPTH:
        faults.append(Fault(path, line, "TOO_DEEP", f"nested more than {MAX_DEPTH} levels"))
        return None
    if node.anchor:
        faults.append(Fault(path, line, "ANCHOR", "anchors and aliases are not allowed"))
        return None
    if isinstance(node, MappingNode):
        return _mapping(node, path, faults, depth)
    if isinstance(node, SequenceNode):
        items = YamlList()
        items.line = line
        items.lines = [child.start_mark.line + 1 for child in node.value]
        items.extend(
            _value(child, f"{path}[{i}]", faults, depth + 1) for i, child in enumerate(node.value)
        )
        return items
    return _scalar(node, path, line, faults)  # YAML has three kinds of node


def _mapping(node: MappingNode, path: str, faults: list[Fault], depth: int) -> YamlMap:
    result = YamlMap()
    result.line = node.start_mark.line + 1
    result.lines = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode) or key_node.anchor:
            faults.append(Fault(path, line, "KEY_NOT_TEXT", "a key must be plain text"))
            continue
        key = str(key_node.value)
        where = f"{path}.{key}" if path else key
        if key == "<<":
            faults.append(Fault(where, line, "ANCHOR", "merging mappings is not allowed"))
        elif key in result:
            first = result.lines[key]
            text = f"the key stands twice; first in line {first}"
            faults.append(Fault(where, line, "DUPLICATE_KEY", text))
        else:
            result.lines[key] = line
            result[key] = _value(value_node, where, faults, depth + 1)
    return result


def _scalar(node: Node, path: str, line: int, faults: list[Fault]) -> Any:
    tag = str(node.tag)
    text = str(node.value)
    if tag in (_TAG + "str", _TAG + "timestamp"):
        return text
    if tag == _TAG + "null":
        return None
    if tag == _TAG + "bool" and text in ("true", "false"):
        return text == "true"
    if tag == _TAG + "int" and text.isascii() and text.removeprefix("-").isdigit():
        return int(text)
    if tag == _TAG + "float":
        reason, advice = "FLOAT", f'write "{text}" in quotes: numbers with a point are text here'
    else:
        reason, advice = "SCALAR", "use text, a whole number, true, false or null"
    faults.append(Fault(path, line, reason, advice))
    return None
