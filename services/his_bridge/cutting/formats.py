"""Records out of a file's plain bytes, by the format of the profile. Understands none of them.

Text is decoded strictly, line by line: no charset here has a line feed within a character. What is
handed on is UTF-8; HL7 messages stay as they are, for each names its own charset.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain

import msgspec

from services.his_bridge.cutting.lines import Lines, LineTooLong
from services.his_bridge.cutting.objects import Objects, is_one
from services.his_bridge.cutting.refusals import FileReason, FileRefused
from services.his_bridge.profiles.source_kinds.files import (
    CsvSettings,
    FileFormat,
    FilesSettings,
)

# A longer line is no record, whatever a page of a source may have.
MOST_RECORD = 6 << 20
# A row is a charge; longer ones are no rows.
MOST_ROW = 1 << 20
MOST_COLUMNS = 1000
# Empty lines in a row; a file of nothing else would take long to say nothing.
MOST_BLANKS = 10_000
MOST_ROWS_OF_A_BILL = 20_000
# Fewer lines than these are no list of records whose first one is broken.
_A_FEW = 2
# Of a cell whose rows should say the same: the dialect names it as a fault of the bill.
DIFFERS = {"differs": True}
_SEGMENT = re.compile(rb"([A-Z][A-Z0-9]{2})(.?)", re.DOTALL)
_COUNT = re.compile(rb"[0-9]{1,9}")


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One record's bytes, and what the format itself says of its name; empty: nothing."""

    raw: bytes
    line: int
    record_id: str = ""
    version: str = ""


Pieces = Iterator[bytes]


def most_of(max_body_mib: int) -> int:
    """How many bytes a record may have in a file."""
    return min(max_body_mib << 20, MOST_RECORD)


def cutter_of(settings: FilesSettings, most: int) -> Callable[[Pieces], Iterator[Cut]]:
    """Cuts one part of a file; `most` bounds a record in bytes. It raises FileRefused."""
    if settings.format is FileFormat.HL7:
        return lambda pieces: _messages(pieces, most)
    if settings.csv is not None:
        rules, charset = settings.csv, settings.charset
        return lambda pieces: _bills(pieces, rules, charset, most)
    return lambda pieces: objects_of(pieces, settings.charset, most)


def in_utf8(content: bytes, charset: str, most: int) -> bytes:
    """A whole text in UTF-8 without a byte order mark. Raises: FileRefused."""
    return "".join(text for _, text in _texts(iter([content]), charset, most)).encode()


def objects_of(pieces: Pieces, charset: str, most: int) -> Iterator[Cut]:
    """JSON objects: one a line, or laid out over lines, or in an array. Raises: FileRefused.

    The first one decides: where it ends with its line each line is a record of its own, and one
    that is broken is that record alone.
    """
    lines = _utf8_lines(pieces, charset, most)
    first = next(lines, None)
    if first is None:
        return
    if not first[1].startswith((b"{", b"[")):
        raise FileRefused(FileReason.OTHER_FORMAT, first[0])
    if is_one(first[1].decode()):
        yield from (Cut(raw=raw, line=number) for number, raw in chain([first], lines))
        return
    yield from _laid_out(chain([first], lines), most)


def _laid_out(lines: Iterator[tuple[int, bytes]], most: int) -> Iterator[Cut]:
    """Records over several lines. Until the first one has an end it may be a broken line."""
    objects = Objects(most)
    held: list[tuple[int, bytes]] | None = []
    try:
        for number, line in lines:
            if held is not None:
                held.append((number, line))
            for began, text in objects.take(number, line.decode()):
                held = None
                raw = text.encode()
                if len(raw) > most:
                    raise FileRefused(FileReason.LINE_TOO_LONG, began)
                yield Cut(raw=raw, line=began)
        objects.end()
    except FileRefused:
        if held is None or len(held) < _A_FEW or not all(raw.startswith(b"{") for _, raw in held):
            raise
        # As many records as lines, of which the first is broken.
        yield from (Cut(raw=raw, line=number) for number, raw in chain(held, lines))


def _utf8_lines(pieces: Pieces, charset: str, most: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, in UTF-8 and without a byte order mark."""
    for number, line in _lines(pieces, most):
        text = _decoded(number, line, charset)
        # A record may be large: of what is UTF-8 already no more copies are made.
        raw = line if charset == "utf-8" else text.encode()
        del text
        raw = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).strip(b" \t\r\n")
        if raw:
            yield number, raw


def _texts(pieces: Pieces, charset: str, most: int) -> Iterator[tuple[int, str]]:
    """Lines with their number, each with its line feed, without a byte order mark."""
    for number, line in _lines(pieces, most):
        yield number, _decoded(number, line, charset) + "\n"


def _decoded(number: int, line: bytes, charset: str) -> str:
    if number == 1 and line.startswith(tuple(_NO_TEXT)):
        found = next(said for begin, said in _NO_TEXT.items() if line.startswith(begin))
        raise FileRefused(FileReason.OTHER_FORMAT, 1, found)
    if number == 1 and charset != "utf-8" and line.startswith(codecs.BOM_UTF8):
        raise FileRefused(FileReason.WRONG_CHARSET, 1, f"{charset}; it says that it is utf-8")
    try:
        text = line.decode(charset)
    except UnicodeDecodeError:
        raise FileRefused(FileReason.WRONG_CHARSET, number, _expected(line, charset)) from None
    return text.removeprefix("\ufeff") if number == 1 else text


# What is dropped for a text and is none, by its first bytes.
_NO_TEXT = {
    b"PK\x03\x04": "an Excel workbook or a zip archive under another name; save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook under another name; save it as CSV",
    b"\x1f\x8b": "packed by gzip, and its name does not end in .gz",
}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _expected(line: bytes, charset: str) -> str:
    """The profile's charset, and in which other one the line would be a text."""
    if line.startswith(_UTF_16):
        return f"{charset}; it says that it is UTF-16, which Excel calls Unicode text"
    other = "gb18030" if charset == "utf-8" else "utf-8"
    try:
        line.decode(other)
    except UnicodeDecodeError:
        return charset
    return f"{charset}; the line can be read as {other} (source.charset)"


def _lines(pieces: Pieces, most: int) -> Iterator[tuple[int, bytes]]:
    lines, number, blanks = Lines(most), 0, 0
    try:
        for piece in pieces:
            for line in lines.feed(piece):
                number += 1
                blanks = 0 if line else blanks + 1
                if blanks > MOST_BLANKS:
                    raise FileRefused(FileReason.OTHER_FORMAT, number)
                yield number, line
    except LineTooLong:
        raise FileRefused(FileReason.LINE_TOO_LONG, number + 1) from None
    last = lines.last()
    if last:
        yield number + 1, last


# CSV.


def _bills(pieces: Pieces, rules: CsvSettings, charset: str, most: int) -> Iterator[Cut]:
    texts = _texts(pieces, charset, min(most, MOST_ROW))
    reader = csv.reader((text for _, text in texts), delimiter=rules.delimiter, strict=True)
    rows = _rows(reader)
    header = next(rows, None)
    if header is None:
        return
    names = _header(header[1], rules)
    seen: set[int] = set()
    held: list[dict[str, str | None]] = []
    began, size = 0, 0
    for number, cells in rows:
        row = dict(zip(names, cells, strict=False))
        if len(cells) != len(names) or not row[rules.key]:
            raise FileRefused(FileReason.ROW_UNUSABLE, number)
        if held and row[rules.key] != held[0][rules.key]:
            yield _bill(held, rules, began)
            held, size = [], 0
        if not held:
            began = number
            name = _short(row[rules.key] or "")
            if name in seen:
                raise FileRefused(FileReason.ROWS_SCATTERED, number)
            seen.add(name)
        held.append(row)
        size += sum(len(cell) for cell in cells if cell)
        if size > most or len(held) > MOST_ROWS_OF_A_BILL:
            raise FileRefused(FileReason.LINE_TOO_LONG, number)
    if held:
        yield _bill(held, rules, began)


def _rows(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str | None]]]:
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise FileRefused(FileReason.ROW_UNUSABLE, number + 1) from None
        number += 1
        if len(cells) > MOST_COLUMNS:
            raise FileRefused(FileReason.ROW_UNUSABLE, number)
        found = [cell.strip() or None for cell in cells]
        # What a spreadsheet leaves below its last row says nothing; a header must be one.
        if any(found) or (cells and number == 1):
            yield number, found


def _header(cells: list[str | None], rules: CsvSettings) -> list[str]:
    names = [name for name in cells if name is not None]
    needed = {rules.key, *rules.lines, *([rules.version] if rules.version else [])}
    if len(names) != len(cells) or len(set(names)) != len(names) or not needed <= set(names):
        raise FileRefused(FileReason.HEADER_UNUSABLE, 1, _amiss(names, needed, rules))
    return names


def _amiss(names: list[str], needed: set[str], rules: CsvSettings) -> str:
    """Which of the profile's columns the header lacks; of the file's own no name is told."""
    missing = sorted(needed - set(names))
    if missing == sorted(needed):
        said = "none of the profile's columns is there"
        return said if len(names) > 1 else f"{said}; columns are parted by {rules.delimiter!r}"
    if missing:
        return f"missing: {', '.join(missing)}"
    return "a name stands twice, or is empty"


def _bill(rows: list[dict[str, str | None]], rules: CsvSettings, line: int) -> Cut:
    of_lines = set(rules.lines)
    head: dict[str, object] = {}
    for name, value in rows[0].items():
        if name not in of_lines:
            head[name] = value if all(row[name] == value for row in rows) else DIFFERS
    version = head.get(rules.version or "")
    lines = [{name: row[name] for name in rules.lines} for row in rows]
    raw = json.dumps(
        {"head": head, "lines": lines}, ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )
    return Cut(
        raw=raw.encode("utf-8", "backslashreplace"),
        line=line,
        record_id=rows[0][rules.key] or "",
        version=version if isinstance(version, str) else "",
    )


def _short(text: str) -> int:
    """Eight bytes that stand for a key: a file may have many."""
    digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


# HL7 v2 batches.


class _Envelope:
    """What stands around messages: FHS [BHS messages BTS]... FTS, each pair complete or absent."""

    def __init__(self) -> None:
        self.file = self.batch = self.closed = False
        self.messages = self.batches = 0

    def take(self, name: bytes, segment: bytes, line: int) -> None:
        """A segment of the envelope. Raises: FileRefused."""
        if self.closed:
            raise FileRefused(FileReason.ENVELOPE_BROKEN, line)
        fits = {
            b"FHS": not (self.file or self.batch or self.messages or self.batches),
            b"BHS": not self.batch and (self.file or not self.messages),
            b"BTS": self.batch,
            b"FTS": self.file and not self.batch,
        }[name]
        if not fits:
            raise FileRefused(FileReason.ENVELOPE_BROKEN, line)
        if name == b"FHS":
            self.file = True
        elif name == b"BHS":
            self.batch, self.messages = True, 0
        elif name == b"BTS":
            self._check(segment, self.messages, line)
            self.batch, self.batches = False, self.batches + 1
        else:
            self._check(segment, self.batches, line)
            self.closed = True

    def end(self, line: int) -> None:
        """Nothing comes any more. Raises: FileRefused when a trailer is missing."""
        if self.batch or (self.file and not self.closed):
            raise FileRefused(FileReason.ENVELOPE_BROKEN, line)

    @staticmethod
    def _check(segment: bytes, counted: int, line: int) -> None:
        stated = segment[4:].split(segment[3:4] or b"|")[0].strip()
        if stated and (not _COUNT.fullmatch(stated) or int(stated) != counted):
            raise FileRefused(FileReason.COUNT_DIFFERS, line)


def _messages(pieces: Pieces, most: int) -> Iterator[Cut]:
    envelope = _Envelope()
    message: list[bytes] = []
    began = size = number = 0
    ends = (piece.replace(b"\r", b"\n") for piece in pieces)
    first = next(ends, b"").removeprefix(codecs.BOM_UTF8)
    for number, segment in _lines(chain([first], ends), most):
        if not segment.strip():
            continue
        found = _SEGMENT.match(segment)
        if found is None:
            reason = FileReason.ENVELOPE_BROKEN if began else FileReason.OTHER_FORMAT
            raise FileRefused(reason, number)
        name = found.group(1)
        if name in (b"FHS", b"BHS", b"BTS", b"FTS", b"MSH"):
            if message:
                yield Cut(raw=b"\r".join(message) + b"\r", line=began)
            message, size = [], 0
            began = number
            if name != b"MSH":
                envelope.take(name, segment, number)
                continue
            envelope.messages += 1
            if envelope.closed or (envelope.file and not envelope.batch):
                raise FileRefused(FileReason.ENVELOPE_BROKEN, number)
        elif not message:
            reason = FileReason.ENVELOPE_BROKEN if began else FileReason.OTHER_FORMAT
            raise FileRefused(reason, number)
        message.append(segment)
        size += len(segment) + 1
        if size > most:
            raise FileRefused(FileReason.LINE_TOO_LONG, number)
    if message:
        yield Cut(raw=b"\r".join(message) + b"\r", line=began)
    envelope.end(number)
