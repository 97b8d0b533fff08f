r"""HL7 v2 bytes as segments, fields and components. Knows the meaning of no field but MSH's.

Bytes are decoded, strictly, before anything but the ends of segments is looked for: 464 characters
of GB18030 end in a byte that is | ^ & ~ or \, and whoever splits bytes moves charges by a field.
An end of a segment, as every byte below 0x30, stands within no character of any charset in
CHARSETS (tests/services/his_bridge/dialects/hl7v2/test_charsets.py).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache

import msgspec

from services.his_bridge.core.hl7v2_terms import CHARSETS
from services.his_bridge.dialects.hl7v2.refusals import Denial, Place, Refusal, Refused

_ASCII = bytes(range(128))
# So many bytes beyond ASCII are not UTF-8 by chance.
_NO_CHANCE = 16
_SUBSETS = frozenset({"", "ASCII", "USASCII"})
MAX_SEGMENTS = 20_000
# The longest segment that is kept: a longer one holds a document, not a charge.
MAX_SEGMENT_BYTES = 1 << 20
_FIELDS, _PARTS, _REPETITIONS = 70, 30, 200
_CHECKED_AT_ONCE = 1 << 16
_NULL = '""'
_BOM = codecs.BOM_UTF8
_MSH = re.compile(r"MSH([!-/:-@\[-`{-~])((?:(?!\1)[!-/:-@\[-`{-~]){2,5})\1")
_LINE = re.compile(rb"[^\r\n]+")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)", re.ASCII)
_BREAK = re.compile(
    r"\.(?:br|sp[+]?[0-9]{0,2}|sk[+]?[0-9]{0,2}|in[+-]?[0-9]{1,2}|ti[+-]?[0-9]{1,2}|fi|nf|ce)"
)
_HIGHLIGHT = frozenset({"H", "N"})


class UnknownEscape(ValueError):
    """A text has an escape sequence that means nothing, or switches the charset."""


class Delimiters(msgspec.Struct, frozen=True, cache_hash=True):
    """What a message separates with, from MSH-1 and MSH-2; `escape` may be absent."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


class Header(msgspec.Struct, frozen=True):
    """MSH as it is written: `fields[n]` is MSH-n."""

    delimiters: Delimiters
    fields: tuple[str, ...]

    def field(self, number: int) -> str:
        """MSH-n, empty when it is absent."""
        return self.fields[number] if number < len(self.fields) else ""

    def part(self, number: int, component: int = 1) -> str:
        """A component of MSH-n; a quoted null is empty."""
        parts = self.field(number).split(self.delimiters.component)
        found = parts[component - 1] if component <= len(parts) else ""
        return "" if found == _NULL else found

    @property
    def type(self) -> str:
        """Type and trigger event, such as "DFT^P03"; without event the type alone."""
        kind, event = self.part(9), self.part(9, 2)
        return f"{kind}^{event}" if event else kind


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One segment as it is written: `fields[n]` is its field n; `number` counts its name's."""

    name: str
    number: int
    fields: list[str]
    delimiters: Delimiters
    charset: str

    def field(self, number: int) -> str:
        """The field as it is written, empty when it is absent."""
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int) -> list[str]:
        """The repetitions of a field that say anything."""
        field = self.fields[number] if number < len(self.fields) else ""
        if not field or field == _NULL:
            return []
        if self.delimiters.repetition not in field:
            return [field]
        each = field.split(self.delimiters.repetition, _REPETITIONS)
        return [one for one in each[:_REPETITIONS] if one]

    def parts(self, repetition: str) -> list[str]:
        """The components of one repetition, as they are written."""
        return repetition.split(self.delimiters.component, _PARTS)

    def first(self, number: int, component: int = 1) -> str:
        """A component of a field's first repetition, as it is written."""
        field = self.fields[number] if number < len(self.fields) else ""
        # Most fields are empty, or one plain value.
        if not field or (component == 1 and field.isalnum()):
            return field
        delimiters = self.delimiters
        if delimiters.repetition in field:
            field = field.split(delimiters.repetition, 1)[0]
        if delimiters.component not in field:
            return field if component == 1 else ""
        parts = field.split(delimiters.component, component)
        return parts[component - 1] if component <= len(parts) else ""

    def text(self, number: int, component: int = 1) -> str:
        """A component's first subcomponent as text, without escapes; a quoted null is empty.

        Raises: UnknownEscape.
        """
        return self.plain(self.first(number, component))

    def plain(self, written: str) -> str:
        """What a component says, without escapes; of several subcomponents the first.

        Raises: UnknownEscape.
        """
        if not written or written.isalnum():
            return written
        if self.delimiters.subcomponent in written:
            written = written.split(self.delimiters.subcomponent, 1)[0]
        return unescaped(written, self.delimiters, self.charset)

    def states(self, number: int) -> bool:
        """Whether the field says anything at all."""
        field = self.fields[number] if number < len(self.fields) else ""
        return field not in ("", _NULL)

    def is_null(self, number: int) -> bool:
        """Whether the sender says that there is nothing, instead of saying nothing."""
        return self.field(number) == _NULL


class Message(msgspec.Struct, frozen=True):
    """A message's header, and those of its segments that were wanted, in their order."""

    header: Header
    segments: list[Segment]

    def all(self, name: str) -> list[Segment]:
        """The segments of this name."""
        return [one for one in self.segments if one.name == name]

    def first(self, name: str) -> Segment | None:
        """The first segment of this name."""
        return next((one for one in self.segments if one.name == name), None)


def read_header(raw: bytes, charset: str) -> Header:
    """MSH, of bytes that need be readable no further.

    What is not in the charset stays as surrogates, so that it can be sent back as it came.

    Raises: Refused when there is none.
    """
    if charset == "utf-8":
        raw = raw.removeprefix(_BOM)
    line = re.split(rb"[\r\n]", raw[:MAX_SEGMENT_BYTES], maxsplit=1)[0]
    return _header_of(line.decode(charset, "surrogateescape"))


def read_message(
    raw: bytes, charset: str, wanted_of: Callable[[Header], Collection[str]]
) -> Message:
    """The message with its segments of the wanted names; all others are only decoded.

    Raises: Refused.
    """
    if charset == "utf-8":
        raw = raw.removeprefix(_BOM)
    if raw.count(b"\r") + raw.count(b"\n") > 2 * MAX_SEGMENTS:
        raise Refused(Denial(Refusal.TOO_MANY_SEGMENTS))
    lines = raw.splitlines() if len(raw) <= MAX_SEGMENT_BYTES else _large_lines(raw)
    header: Header | None = None
    wanted: Collection[str] = ()
    counts: dict[str, int] = {}
    segments: list[Segment] = []
    try:
        for line in lines:
            if not line:
                continue
            if header is None:
                if len(line) > MAX_SEGMENT_BYTES:
                    raise Refused(Denial(Refusal.SEGMENT_TOO_LONG, Place("MSH")))
                header = _header_of(str(line, charset))
                _check_charset(header, charset, raw)
                wanted = wanted_of(header)
                continue
            if len(line) > MAX_SEGMENT_BYTES:
                _check_bytes(line, charset)
                name = bytes(line[:3]).decode("latin-1")
                if name in wanted:
                    raise Refused(Denial(Refusal.SEGMENT_TOO_LONG, Place(name)))
                continue
            text = str(line, charset)
            name = text[:3]
            if name not in wanted:
                continue
            number = counts[name] = counts.get(name, 0) + 1
            delimiters = header.delimiters
            fields = text.split(delimiters.field, _FIELDS)
            segments.append(Segment(name, number, fields, delimiters, charset))
    except UnicodeDecodeError:
        raise Refused(Denial(Refusal.NOT_IN_CHARSET)) from None
    if header is None:
        raise Refused(Denial(Refusal.NOT_HL7, Place("MSH")))
    return Message(header, segments)


def unescaped(written: str, delimiters: Delimiters, charset: str) -> str:
    r"""The text that an escaped one stands for; a quoted null stands for the empty one.

    >>> unescaped(r"a\T\b\.br\c\X26\d", Delimiters("|", "^", "~", "\\", "&"), "ascii")
    'a&b\nc&d'

    Raises: UnknownEscape.
    """
    if written == _NULL:
        return ""
    mark = delimiters.escape
    if not mark or mark not in written:
        return written
    pieces = written.split(mark)
    if len(pieces) % 2 == 0:
        raise UnknownEscape
    known = _escapes_of(delimiters)
    return "".join(
        piece if index % 2 == 0 else known.get(piece) or _sequence(piece, charset)
        for index, piece in enumerate(pieces)
    )


def _large_lines(raw: bytes) -> Iterator[bytes | memoryview]:
    """The segments, one after the other; of a long one no copy is made."""
    view = memoryview(raw)
    for found in _LINE.finditer(raw):
        start, end = found.span()
        long = end - start > MAX_SEGMENT_BYTES
        yield view[start:end] if long else raw[start:end]


def _header_of(text: str) -> Header:
    found = _MSH.match(text)
    if found is None:
        raise Refused(Denial(Refusal.NOT_HL7, Place("MSH")))
    separator, encoding = found.groups()
    delimiters = _delimiters(separator, encoding)
    fields = text.split(separator, _FIELDS)
    return Header(delimiters, (fields[0], separator, *fields[1:]))


# One object for all messages of a source: what is looked up by it is found by identity.
@lru_cache(maxsize=64)
def _delimiters(separator: str, encoding: str) -> Delimiters:
    component, repetition = encoding[0], encoding[1]
    escape = encoding[2] if len(encoding) > 2 else ""
    # Whoever names no separator of subcomponents uses none; the usual one cuts nothing else.
    subcomponent = encoding[3] if len(encoding) > 3 else "&"
    used = (separator, *encoding[:4])
    if len(set(used)) < len(used):
        raise Refused(Denial(Refusal.NOT_HL7, Place("MSH", 2)))
    return Delimiters(separator, component, repetition, escape, subcomponent)


def _check_charset(header: Header, charset: str, raw: bytes) -> None:
    """Of several charsets the first is the message's; others need escapes, which are refused.

    Most UTF-8 is GB18030 as well, with other characters that swallow delimiters. So bytes that are
    UTF-8 are not believed to be another charset unless MSH-18 says that they are, and where there
    are many of them, not even then: no real text is both by chance.
    """
    named = re.sub(r"[ _-]", "", header.field(18).split(header.delimiters.repetition)[0]).upper()
    fits = named in _SUBSETS or named in CHARSETS[charset]
    if fits and charset != "utf-8" and not raw.isascii():
        beyond = len(raw.translate(None, _ASCII))
        fits = not _is_utf_8(raw) or (named not in _SUBSETS and beyond < _NO_CHANCE)
    if not fits:
        raise Refused(Denial(Refusal.CHARSET_CONTRADICTED, Place("MSH", 18)))


def _is_utf_8(raw: bytes) -> bool:
    try:
        _check_bytes(raw, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_bytes(line: bytes | memoryview, charset: str) -> None:
    """Decode in pieces, keeping none. Raises: UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder(charset)()
    for at in range(0, len(line), _CHECKED_AT_ONCE):
        decoder.decode(line[at : at + _CHECKED_AT_ONCE])
    decoder.decode(b"", final=True)


@lru_cache(maxsize=64)
def _escapes_of(delimiters: Delimiters) -> dict[str, str]:
    return {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
    }


def _sequence(name: str, charset: str) -> str:
    if name in _HIGHLIGHT:
        return ""
    found = _HEX.fullmatch(name)
    if found is not None:
        try:
            return bytes.fromhex(found.group(1)).decode(charset)
        except UnicodeDecodeError:
            raise UnknownEscape from None
    if _BREAK.fullmatch(name):
        return " " if name.startswith((".sp", ".in", ".ti")) else "\n"
    raise UnknownEscape
