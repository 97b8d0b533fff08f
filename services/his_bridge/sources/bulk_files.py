"""The files of one bulk export: the manifest, and NDJSON read piece by piece in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Sequence
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from services.his_bridge.cutting.lines import (
    GZIP_MAGIC,
    Gunzip,
    Lines,
    LineTooLong,
    PackedBadly,
)
from services.his_bridge.dialects.fhir_r4 import entry_of, moment_of, reports_error
from services.his_bridge.dialects.strict_json import has_each_key_once, meaning_of
from services.his_bridge.sources.http import HospitalHttp, Missing, refusal
from services.his_bridge.sources.port import RawRecord, SourceFault
from services.his_bridge.sources.wire import is_address

NDJSON = "application/fhir+ndjson"
_OK, _PARTIAL, _RANGE = 200, 206, 416
MOST_FILES = 10_000
# A file of one export; whoever has more gets several from any server.
MOST_FILE_BYTES = 1 << 40
_PAGE_BYTES = 4 << 20
# As FHIR spells its types. What a file holds that says something else, nobody can tell.
_TYPE = re.compile(r"(?:[A-Z][a-z]+){1,8}", re.ASCII)
_DELETED = re.compile(
    r"/?([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]{1,64})?", re.ASCII
)

# The export, the file in it, lines and bytes of it that were read.
At = tuple[str, int, int, int]
_Rows = AsyncGenerator[tuple[bytes, int]]


class FileBroken(Exception):
    """A file that contradicts its manifest; the whole export is given up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BulkFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: `what` is output, deleted or error; `kinds` are wanted of it.

    `base_url`: of the server, which may stand before what it says that it deleted.
    """

    what: str
    kinds: tuple[str, ...]
    url: str
    count: int | None
    deleted_at: str | None = None
    base_url: str = ""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a file, and where the next are.

    `broken`: why no more can be believed. `interrupted`: the rest needs another connection.
    """

    records: tuple[RawRecord, ...]
    line: int
    offset: int
    ended: bool
    interrupted: bool = False
    broken: str = ""
    reports_errors: bool = False


class _Output(msgspec.Struct, rename="camel"):
    url: str
    type: str = ""
    count: int | None = None


class Manifest(msgspec.Struct, rename="camel"):
    """What a finished export consists of."""

    transaction_time: str
    requires_access_token: bool = False
    output: list[_Output] = []
    deleted: list[_Output] = []
    error: list[_Output] = []
    link: list[dict[str, str]] = []


class _Request(msgspec.Struct):
    method: str = ""
    url: str = ""


class _Header(msgspec.Struct):
    request: _Request | None = None


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: str
    entry: list[msgspec.Raw] = []


def read_manifest(body: bytes, url: str) -> Manifest | None:
    """The manifest, or a page of one, that stands at a URL; None when it is none.

    A file that does not say of which type it is makes it none: left out, its records were lost
    unseen, for the next export begins behind this one.
    """
    try:
        found = msgspec.json.decode(body, type=Manifest)
        files = [*found.output, *found.deleted, *found.error]
        for file in files:
            file.url = urljoin(url, file.url)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError included
        return None
    # Of two lists of files one would be read.
    senseless = not has_each_key_once(body) or any(
        (file.count is not None and file.count < 0) or not is_address(file.url) for file in files
    )
    untold = any(not _TYPE.fullmatch(file.type) for file in found.output)
    if senseless or untold or len(files) > MOST_FILES:
        return None
    return found if moment_of(found.transaction_time) is not None else None


def next_page(manifest: Manifest) -> str:
    """Where the manifest goes on (Bulk Data 3.0, `link`); empty on its last page."""
    return next((one.get("url", "") for one in manifest.link if one.get("relation") == "next"), "")


def joined(pages: Sequence[Manifest]) -> Manifest | None:
    """One manifest of its pages; None when they are not of one export, or name too many files."""
    first = pages[0]
    whole = Manifest(
        transaction_time=first.transaction_time,
        requires_access_token=first.requires_access_token,
        output=[file for page in pages for file in page.output],
        deleted=[file for page in pages for file in page.deleted],
        error=[file for page in pages for file in page.error],
    )
    told = {(page.transaction_time, page.requires_access_token) for page in pages}
    files = len(whole.output) + len(whole.deleted) + len(whole.error)
    return whole if len(told) == 1 and files <= MOST_FILES else None


def left_of(files: Sequence[BulkFile], file: int, line: int) -> int | None:
    """Records behind a place by the manifest's counts; None where it does not count every file."""
    ahead = [one.count for one in files[file:] if one.what == "output"]
    if any(count is None for count in ahead):
        return None
    return max(0, sum(count for count in ahead if count is not None) - line)


def files_of(
    manifest: Manifest, kinds: Sequence[str], deleted: bool, base_url: str
) -> list[BulkFile]:
    """What is to be read: the files of these kinds, what was deleted, and what went wrong."""
    wanted = tuple(kinds)
    found = [
        BulkFile(what="output", kinds=(kind,), url=file.url, count=file.count)
        for kind in wanted
        for file in manifest.output
        if file.type == kind
    ]
    found += [
        BulkFile(
            what="deleted",
            kinds=wanted,
            url=file.url,
            count=file.count,
            deleted_at=manifest.transaction_time,
            base_url=base_url,
        )
        for file in (manifest.deleted if deleted else ())
    ]
    found += [
        BulkFile(what="error", kinds=(), url=file.url, count=file.count) for file in manifest.error
    ]
    return found


def fingerprint(files: Sequence[BulkFile]) -> str:
    """Tells lists of files apart; signatures in their URLs may change from look to look."""
    parts = [(file.what, file.kinds, urlsplit(file.url).path, file.count) for file in files]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


class OpenFile:
    """A file that is being read. `at` is where its cursor stands."""

    def __init__(self, answer: httpx.Response, file: BulkFile, at: At, rows: _Rows) -> None:
        self.at = at
        self._answer = answer
        self._file = file
        self._rows = rows

    async def read(self, most: int, within_s: float) -> Piece:
        """At most so many records; fewer when the server breaks off or takes too long.

        Raises: SourceFault, TimeoutError, httpx.TransportError when not even one came.
        """
        records: list[RawRecord] = []
        line, offset = self.at[2], self.at[3]
        broken, errors, size = "", False, 0
        ended = interrupted = False
        try:
            async with asyncio.timeout(within_s):
                while not broken and len(records) < most and size < _PAGE_BYTES:
                    text, offset_behind = await anext(self._rows)
                    if text.strip():
                        found, wrong = _read(text, self._file)
                        records += found
                        errors = errors or _reports_error(text, self._file)
                        broken = "SOURCE_WRONG_TYPE" if wrong else ""
                        line += 1
                    size += len(text) + 1
                    offset = offset_behind
        except StopAsyncIteration:
            ended = True
        except PackedBadly:
            broken = "SOURCE_FILE_TRUNCATED"
        except (TimeoutError, httpx.TransportError, LineTooLong) as fault:
            if not records and isinstance(fault, LineTooLong):
                text_ = "a record is larger than the profile's max_body_mib"
                raise SourceFault("SOURCE_TOO_LARGE", text_) from None
            if not records:
                raise
            interrupted = True
        self.at = (self.at[0], self.at[1], line, offset)
        return Piece(
            records=tuple(records),
            line=line,
            offset=offset,
            ended=ended,
            interrupted=interrupted,
            broken=broken,
            reports_errors=errors,
        )

    async def close(self) -> None:
        """Let the connection go."""
        await self._answer.aclose()


async def open_file(
    http: HospitalHttp,
    file: BulkFile,
    at: At,
    *,
    with_token: bool,
    most_line: int,
    max_ratio: int,
) -> OpenFile:
    """Open a file where its cursor stands, by asking for the rest or by reading over the start.

    Raises: FileBroken when it is not there; SourceFault.
    """
    offset = at[3]
    more = {"Accept": NDJSON, "Accept-Encoding": "identity" if offset else "gzip, identity"}
    if offset:
        more["Range"] = f"bytes={offset}-"
    answer = await http.open(file.url, more, with_token=with_token)
    ranged = answer.headers.get("content-range", "").startswith(f"bytes {offset}-")
    packed = answer.headers.get("content-encoding", "identity") != "identity"
    if answer.status_code == _RANGE or (answer.status_code == _PARTIAL and (packed or not ranged)):
        # It cannot begin there: from the start, then, and over what was read.
        await answer.aclose()
        del more["Range"]
        answer = await http.open(file.url, more, with_token=with_token)
    if answer.status_code not in (_OK, _PARTIAL):
        await answer.aclose()
        fault = refusal(answer.status_code)
        if isinstance(fault, Missing):
            raise FileBroken("SOURCE_FILE_MISSING")
        if isinstance(fault, SourceFault):
            raise fault
        raise SourceFault("SOURCE_UNEXPECTED", f"the source answered {answer.status_code}")
    skip = 0 if answer.status_code == _PARTIAL else offset
    rows = _rows(answer, skip, Lines(most_line, offset), max_ratio)
    return OpenFile(answer, file, at, rows)


async def _rows(
    answer: httpx.Response, skip: int, lines: Lines, max_ratio: int
) -> AsyncGenerator[tuple[bytes, int]]:
    """Lines, each with the offset behind it. Raises: PackedBadly, LineTooLong, httpx's errors."""
    coding = answer.headers.get("content-encoding", "identity")
    if coding not in ("identity", "gzip"):
        raise SourceFault("SOURCE_COMPRESSES", "a file is compressed in a way nobody asked for")
    gunzip = Gunzip(max_ratio, MOST_FILE_BYTES) if coding == "gzip" else None
    from_start = lines.offset == skip
    head: bytes | None = b""
    async for piece in answer.aiter_raw():
        packed = piece
        if head is not None:
            packed = head + piece
            if len(packed) < len(GZIP_MAGIC):
                head = packed
                continue
            # Some servers keep their files packed and say so by the name alone.
            if gunzip is None and from_start and packed.startswith(GZIP_MAGIC):
                gunzip = Gunzip(max_ratio, MOST_FILE_BYTES)
            head = None
        for plain in gunzip.feed(packed) if gunzip else (packed,):
            rest = plain[skip:]
            skip -= len(plain) - len(rest)
            for line in lines.feed(rest):
                yield line, lines.offset
    if head:
        for line in lines.feed(head[skip:]):
            yield line, lines.offset
    if gunzip is not None:
        gunzip.end()
    last = lines.last()
    if last:
        yield last, lines.offset


def _read(text: bytes, file: BulkFile) -> tuple[list[RawRecord], bool]:
    """The records of a line, and whether it is of a type that does not belong there."""
    if file.what == "output":
        entry = entry_of(text, file.kinds[0])
        if entry.kind != file.kinds[0]:
            return [], True
        record = RawRecord(
            kind=entry.kind,
            record_id=entry.record_id,
            version=entry.version,
            updated=entry.updated,
            raw=text,
            meaning=meaning_of(text),
        )
        return [record], False
    return (_deleted(text, file) if file.what == "deleted" else []), False


def _deleted(text: bytes, file: BulkFile) -> list[RawRecord]:
    """What a line of a deleted file takes back: entries of a Bundle that say DELETE Type/id.

    Raises: FileBroken for what says anything else: a bill might go on that was taken back.
    """
    try:
        bundle = msgspec.json.decode(text, type=_Bundle)
        requests = [(raw, msgspec.json.decode(raw, type=_Header).request) for raw in bundle.entry]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise FileBroken("SOURCE_DELETED_MALFORMED") from None
    if bundle.resource_type != "Bundle" or not has_each_key_once(text):
        raise FileBroken("SOURCE_DELETED_MALFORMED")
    found = []
    version = f"deleted-{hashlib.sha256((file.deleted_at or '').encode()).hexdigest()[:16]}"
    for raw, request in requests:
        url = "" if request is None else request.url.removeprefix(file.base_url)
        named = _DELETED.fullmatch(url)
        if request is None or request.method != "DELETE" or named is None:
            raise FileBroken("SOURCE_DELETED_MALFORMED")
        if named[1] not in file.kinds:
            continue
        found.append(
            RawRecord(
                kind=named[1],
                record_id=named[2],
                version=version,
                updated=moment_of(file.deleted_at),
                raw=bytes(raw),
            )
        )
    return found


def _reports_error(text: bytes, file: BulkFile) -> bool:
    """Whether a line of an error file says that something is missing; warnings do not."""
    return file.what == "error" and reports_error(text)
