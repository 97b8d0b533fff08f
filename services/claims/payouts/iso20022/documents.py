"""XML of ISO 20022 to and from objects, checked against the schema's rules. Knows no message.

pyiso20022 ships no XSD files but classes that were generated from them; each field carries its
element's name, place, occurrence, length, pattern and digits. `faults_of` holds a document to those
rules the way an XSD validator would: unknown, missing, repeated or misplaced elements, choices with
none or two, and the text of every leaf. Texts of faults carry paths and rules, never values.
"""

from __future__ import annotations

import re
import sys
import types
import typing
import xml.etree.ElementTree as ET  # nosec B405 a DOCTYPE is refused before
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
from xsdata.exceptions import ConverterError, ParserError
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig
from xsdata.formats.dataclass.parsers.handlers import XmlEventHandler
from xsdata.formats.dataclass.serializers import XmlSerializer
from xsdata.models.datatype import XmlDate, XmlDateTime

MAX_BYTES = 8 * 1024 * 1024
# A file of 500 payments has some 15,000 tags; a bomb of empty elements has millions.
MAX_TAGS = 400_000
MAX_FAULTS = 100
_SCHEMA_LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
_DECLARATION = re.compile(
    r"<\?xml version=(['\"])1\.0\1(?:\s+encoding=(['\"])utf-8\2)?"
    r"(?:\s+standalone=(['\"])\w+\3)?\s*\?>",
    re.ASCII | re.IGNORECASE,
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})?", re.ASCII)
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)


class Fault(msgspec.Struct, frozen=True):
    """One fault: where, a stable reason, and what is wrong. No personal values."""

    path: str
    reason: str
    text: str


class InvalidDocument(ValueError):
    """The document breaks at least one rule. Every fault found is named."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{f.path}: {f.text}" for f in faults[:MAX_FAULTS]))
        self.faults = tuple(faults[:MAX_FAULTS])


def parse(data: bytes, document: type[Any]) -> Any:
    """The typed document in the bytes, which come from somebody else.

    Refuses any DOCTYPE, every encoding but UTF-8, other namespaces than the document's, processing
    instructions and sizes beyond the limits, before anything is built from them.

    Raises: InvalidDocument.
    """
    root = _tree(data)
    expected = f"{{{document.Meta.namespace}}}Document"
    if root.tag != expected:
        raise _invalid("/", "NAMESPACE", f"the root is not Document of {document.Meta.namespace}")
    _refuse(faults_of(root, document))
    config = ParserConfig(fail_on_converter_warnings=True, fail_on_unknown_attributes=False)
    try:
        return XmlParser(config=config, handler=XmlEventHandler).from_bytes(data, document)
    except (ParserError, ConverterError):
        raise _invalid("/", "UNREADABLE", "the document cannot be converted") from None


def render(document: Any) -> bytes:
    """The document as UTF-8 bytes, held to the rules that are expected of others.

    Raises: InvalidDocument, and then nothing may be sent.
    """
    namespace = type(document).Meta.namespace
    try:
        text = XmlSerializer().render(document, ns_map={None: namespace})
        data = text.encode()
        root = _tree(data)
    except (ConverterError, UnicodeEncodeError):
        raise _invalid("/", "UNWRITABLE", "a value cannot be written as XML") from None
    _refuse(faults_of(root, type(document)))
    return data


def faults_of(root: ET.Element, document: type[Any]) -> list[Fault]:
    """Every rule of the schema that the tree breaks, at most MAX_FAULTS of them."""
    found = _element_faults(root, document, {}, "/Document", document.Meta.namespace)
    return [fault for fault, _ in zip(found, range(MAX_FAULTS), strict=False)]


def _invalid(path: str, reason: str, text: str) -> InvalidDocument:
    return InvalidDocument([Fault(path, reason, text)])


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise InvalidDocument(faults)


def _tree(data: bytes) -> ET.Element:
    if len(data) > MAX_BYTES:
        raise _invalid("/", "TOO_LARGE", f"{len(data)} bytes are more than {MAX_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _invalid("/", "ENCODING", "the bytes are not UTF-8") from None
    declaration = _DECLARATION.match(text)
    body = text[declaration.end() :] if declaration else text
    # Entities need a DOCTYPE; without one no parser can expand or fetch anything.
    if "<!DOCTYPE" in body or "<!ENTITY" in body:
        raise _invalid("/", "DOCTYPE", "a DOCTYPE is not allowed")
    if "<?" in body:
        raise _invalid("/", "PROCESSING_INSTRUCTION", "only an XML 1.0 declaration in UTF-8 is")
    if body.count("<") > MAX_TAGS:
        raise _invalid("/", "TOO_LARGE", f"there are more than {MAX_TAGS} tags")
    try:
        return ET.fromstring(data)  # noqa: S314 -- DOCTYPE, size and tags are checked above  # nosec B314 see S314
    except ET.ParseError as error:
        line, column = error.position
        text = f"not well-formed at line {line}, column {column}"
        raise _invalid("/", "NOT_WELL_FORMED", text) from None


class _Field(msgspec.Struct, frozen=True):
    place: int
    kind: Any
    rules: Mapping[str, Any]
    at_least: int
    at_most: int | None


class _Shape(msgspec.Struct, frozen=True):
    elements: Mapping[str, _Field]
    attributes: Mapping[str, _Field]
    content: _Field | None
    choice: bool


_shapes: dict[Any, _Shape] = {}  # a few hundred classes, each read once


def _shape_of(cls: Any) -> _Shape:
    if cls not in _shapes:
        _shapes[cls] = _read_shape(cls)
    return _shapes[cls]


def _read_shape(cls: Any) -> _Shape:
    elements: dict[str, _Field] = {}
    attributes: dict[str, _Field] = {}
    content = None
    hints = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]))
    for place, field in enumerate(fields(cls)):
        rules = dict(field.metadata)
        many = typing.get_origin(hints[field.name]) is list
        required = 1 if rules.get("required") else 0
        shape = _Field(
            place=place,
            kind=_kind(hints[field.name]),
            rules=rules,
            at_least=rules.get("min_occurs", 0) if many else required,
            at_most=rules.get("max_occurs") if many else 1,
        )
        name = rules.get("name", field.name)
        if rules.get("type") == "Element":
            elements[name] = shape
        elif rules.get("type") == "Attribute":
            attributes[name] = shape
        elif "type" not in rules:
            content = shape
        # Wildcards (supplementary data of other namespaces) are left out, and so refused.
    choice = re.search(r"Choice(?:_[0-9]+)?$", cls.__name__) is not None
    return _Shape(elements=elements, attributes=attributes, content=content, choice=choice)


def _kind(hint: Any) -> Any:
    """The element's own type, without list and None around it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType, list):
        return next(_kind(part) for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _element_faults(
    element: ET.Element, kind: Any, rules: Mapping[str, Any], path: str, namespace: str
) -> Iterator[Fault]:
    if not is_dataclass(kind):
        yield from _attribute_faults(element, {}, path)
        if len(element):
            yield Fault(path, "UNKNOWN", "elements stand where only text may")
        yield from _leaf_faults(element.text or "", kind, rules, path)
        return
    shape = _shape_of(kind)
    yield from _attribute_faults(element, shape.attributes, path)
    if shape.content is not None:
        rules = shape.content.rules
        yield from _leaf_faults(element.text or "", shape.content.kind, rules, path)
    elif (element.text or "").strip() or any((child.tail or "").strip() for child in element):
        yield Fault(path, "UNKNOWN", "text stands between elements")
    yield from _children_faults(element, shape, path, namespace)


def _children_faults(
    element: ET.Element, shape: _Shape, path: str, namespace: str
) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    latest = -1
    for child in element:
        prefix, _, name = child.tag.rpartition("}")
        if prefix != f"{{{namespace}":
            yield Fault(path, "NAMESPACE", "an element of another namespace stands here")
            continue
        if name not in shape.elements:
            yield Fault(f"{path}/{_printable(name)}", "UNKNOWN", "the element is not known here")
            continue
        field = shape.elements[name]
        seen[name] = seen.get(name, 0) + 1
        below = f"{path}/{name}" if field.at_most == 1 else f"{path}/{name}[{seen[name]}]"
        if field.place < latest:
            yield Fault(below, "ORDER", "the element stands too late")
        latest = max(latest, field.place)
        yield from _element_faults(child, field.kind, field.rules, below, namespace)
    if shape.choice and len(seen) != 1:
        yield Fault(path, "CHOICE", "exactly one kind of element must stand here")
    for name, field in shape.elements.items():
        if seen.get(name, 0) < field.at_least:
            yield Fault(f"{path}/{name}", "MISSING", "the element is required")
        if field.at_most is not None and seen.get(name, 0) > field.at_most:
            yield Fault(f"{path}/{name}", "REPEATED", f"it may stand {field.at_most} times")


def _attribute_faults(
    element: ET.Element, known: Mapping[str, _Field], path: str
) -> Iterator[Fault]:
    for name, value in element.attrib.items():
        if name in known:
            yield from _leaf_faults(value, known[name].kind, known[name].rules, f"{path}/@{name}")
        elif name != _SCHEMA_LOCATION or path != "/Document":
            yield Fault(f"{path}/@{_printable(name)}", "UNKNOWN", "the attribute is not known here")
    for name, field in known.items():
        if field.at_least and name not in element.attrib:
            yield Fault(f"{path}/@{name}", "MISSING", "the attribute is required")


def _leaf_faults(text: str, kind: Any, rules: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if kind is str:
        if not rules.get("min_length", 0) <= len(text) <= rules.get("max_length", MAX_BYTES):
            bounds = f"{rules.get('min_length', 0)} to {rules.get('max_length', 'many')}"
            yield Fault(path, "LENGTH", f"{len(text)} characters are not {bounds}")
        if "pattern" in rules and not re.fullmatch(rules["pattern"], text, re.ASCII):
            yield Fault(path, "PATTERN", f"the text is not of the form {rules['pattern']}")
        return
    text = text.strip(" \t\r\n")  # the schema collapses space around all other types
    if kind is Decimal:
        yield from _decimal_faults(text, rules, path)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        if text not in {member.value for member in kind}:
            yield Fault(path, "CODE", "the code is not in the list")
    elif kind is bool and text not in {"true", "false", "1", "0"}:
        yield Fault(path, "BOOLEAN", "the text is not true or false")
    elif kind in (XmlDate, XmlDateTime) and not _is_date(text, kind):
        yield Fault(path, "DATE", "the text is not a date or time that exists")


def _decimal_faults(text: str, rules: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if len(text) > 64 or not _DECIMAL.fullmatch(text):
        yield Fault(path, "NUMBER", "the text is not a plain decimal number")
        return
    whole, _, rest = text.lstrip("+-").partition(".")
    whole, rest = whole.lstrip("0"), rest.rstrip("0")
    if len(rest) > rules.get("fraction_digits", 64):
        yield Fault(path, "DIGITS", f"more than {rules['fraction_digits']} decimal places")
    if len(whole) + len(rest) > rules.get("total_digits", 64):
        yield Fault(path, "DIGITS", f"more than {rules['total_digits']} digits")
    if Decimal(text) < rules.get("min_inclusive", Decimal(text)):
        yield Fault(path, "RANGE", f"below {rules['min_inclusive']}")


def _is_date(text: str, kind: type[XmlDate | XmlDateTime]) -> bool:
    if not (_DATE if kind is XmlDate else _DATE_TIME).fullmatch(text):
        return False
    try:
        kind.from_string(text)
    except ValueError:
        return False
    return True


def _printable(name: str) -> str:
    # A name chosen by the sender goes into a log line: letters only, and not many.
    return re.sub(r"[^A-Za-z0-9]", "?", name.rpartition("}")[2])[:35]
