"""A FHIR search answer cut into its records, byte for byte. Judges no record.

One record that is not JSON must not take its neighbours along: when the page cannot be read as a
whole, the records are cut out by their brackets.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.dialects.fhir_r4.structs import Header, Meta
from services.his_bridge.dialects.strict_json import (
    StrictDecoder,
    has_each_key_once,
    names_of,
)

INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII
)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_VERSION = re.compile(r"[!-~]{1,64}", re.ASCII)
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]', re.DOTALL)
# Deeper than any record; what is deeper still tells nothing of where records begin.
_DEEPEST = 100_000
_SEARCHSET = "searchset"
_SEVERE = {"error", "fatal"}
# Stands where a record was cut out.
_CUT_OUT = b"0"
_CLOSES = {b"}": b"{", b"]": b"["}


class NotABundle(ValueError):
    """The answer is no searchset Bundle."""


class KeyRepeated(ValueError):
    """An object of the answer, outside its records, has a key twice: one of the two is unread."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a page. `updated` is None when the server does not say, or badly."""

    raw: bytes
    kind: str
    record_id: str
    version: str
    updated: datetime | None


class Framed(msgspec.Struct, frozen=True, kw_only=True):
    """A page: its records in the server's order, and what the server says of the rest.

    `says_more` is proof of more; its absence proves nothing. `total` counts what matches the
    search, where the server tells. `reports_errors`: the server says that something is missing.
    """

    entries: tuple[Entry, ...]
    says_more: bool
    total: int | None
    reports_errors: bool = False


class _Search(msgspec.Struct):
    mode: str | None = None


class _Link(msgspec.Struct):
    relation: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    resource: msgspec.Raw = msgspec.Raw(b"")
    search: _Search | None = None


class _Issue(msgspec.Struct):
    severity: str = ""


class _OperationOutcome(msgspec.Struct):
    issue: list[_Issue] = []


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: str
    type: str = _SEARCHSET
    total: int | None = None
    entry: list[_Entry] = []
    link: list[_Link] = []


_BUNDLE = msgspec.json.Decoder(_Bundle)
_OUTCOME = msgspec.json.Decoder(_OperationOutcome)
_HEADER = msgspec.json.Decoder(Header)
_LOOSE_HEADER = StrictDecoder(Header, names_of(Header, Meta))
_TWO_KINDS = Fault(reason=Reason.DUPLICATE_KEY, path="resourceType")


def frame(page: bytes, kind: str) -> Framed:
    """The records of this kind in a search answer; included records are left out.

    So are warnings; that a server reports errors is said, for then records may be missing.

    Raises: NotABundle when the answer is something else, such as a login page; KeyRepeated.
    """
    told: list[bytes] = []
    try:
        bundle = _BUNDLE.decode(page)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        spans, says_more, total = _cut(page), False, None
    else:
        if bundle.resource_type != "Bundle" or bundle.type != _SEARCHSET:
            raise NotABundle("not a searchset")
        if not _has_each_key_once(page, bundle):
            raise KeyRepeated("a key twice")
        total = bundle.total
        says_more = any(link.relation == "next" for link in bundle.link)
        spans = [
            bytes(entry.resource)
            for entry in bundle.entry
            if entry.search is None or entry.search.mode in (None, "match")
        ]
        told = [
            bytes(entry.resource)
            for entry in bundle.entry
            if entry.search is not None and entry.search.mode == "outcome"
        ]
    # One that does not say what it is cannot be told apart from what was asked for.
    entries = [_entry_asked_for(raw, kind) for raw in spans if raw]
    told += [entry.raw for entry in entries if entry.kind == "OperationOutcome"]
    return Framed(
        entries=tuple(entry for entry in entries if entry.kind == kind),
        says_more=says_more,
        total=total,
        reports_errors=any(map(reports_error, told)),
    )


def reports_error(raw: bytes) -> bool:
    """Whether an OperationOutcome says more than warnings; what cannot be read does."""
    try:
        issues = _OUTCOME.decode(raw).issue
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return True
    return not has_each_key_once(raw) or any(issue.severity in _SEVERE for issue in issues)


def moment_of(text: str | None) -> datetime | None:
    """A FHIR instant; None when it is missing or impossible."""
    if text is None or not INSTANT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def entry_of(raw: bytes, asked_for: str) -> Entry:
    """One record by its own header; one that does not say its kind is of the kind asked for."""
    try:
        header: Header | None = _HEADER.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        header, _ = _LOOSE_HEADER.decode(raw)
    header = header or Header()
    meta = header.meta or Meta()
    record_id, version = header.id or "", meta.version_id or meta.last_updated or ""
    # A record without a proper id is told apart by its bytes: it still waits in quarantine, once.
    return Entry(
        raw=raw,
        kind=header.resource_type or asked_for,
        record_id=record_id if _ID.fullmatch(record_id) else digest_of(raw),
        version=version if _VERSION.fullmatch(version) else digest_of(version.encode()),
        updated=moment_of(meta.last_updated),
    )


def digest_of(content: bytes) -> str:
    """What stands for a name that is missing, or that nobody may use as one."""
    return f"sha256-{hashlib.sha256(content).hexdigest()[:32]}"


# The version of a record that states none.
UNVERSIONED = digest_of(b"")


def _entry_asked_for(raw: bytes, kind: str) -> Entry:
    """One record of a page; what says in two ways which kind it is, is not passed over for one."""
    entry = entry_of(raw, kind)
    if entry.kind != kind and _TWO_KINDS in _LOOSE_HEADER.decode(raw)[1]:
        return msgspec.structs.replace(entry, kind=kind)
    return entry


def _has_each_key_once(page: bytes, bundle: _Bundle) -> bool:
    """Whether this holds of a page outside its records, which are judged one by one.

    Its records are cut out first: to read the page whole would cost as much as they all.
    """
    outline: list[bytes] = []
    at = 0
    records = [bytes(entry.resource) for entry in bundle.entry]
    for raw in records:
        if not raw.startswith(b"{"):
            continue
        found = page.find(raw, at)
        if found < 0:
            return False
        outline += (page[at:found], _CUT_OUT)
        at = found + len(raw)
    rest = b"".join((*outline, page[at:]))
    try:
        left = [bytes(entry.resource) for entry in _BUNDLE.decode(rest).entry]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    # What was cut is what was read: as many places, and each of them is empty now.
    cut = [_CUT_OUT if raw.startswith(b"{") else raw for raw in records]
    return left == cut and has_each_key_once(rest)


def _cut(page: bytes) -> list[bytes]:
    """What stands at entry[*].resource, found by brackets alone."""
    spans: list[bytes] = []
    stack: list[tuple[bytes, bytes, int]] = []  # opening bracket, key before it, position
    key = last_text = b""
    for match in _TOKEN.finditer(page):
        token = match.group()
        if token == b":":
            key = last_text
        elif token in (b"{", b"["):
            if len(stack) >= _DEEPEST:
                break
            stack.append((token, key, match.start()))
            key = b""
        elif token in (b"}", b"]"):
            if not stack or stack[-1][0] != _CLOSES[token]:
                break
            _, opened_by, start = stack.pop()
            in_entry = len(stack) == 3 and stack[1][1] == b'"entry"'
            if in_entry and opened_by == b'"resource"':
                spans.append(page[start : match.end()])
        else:
            last_text = token
    if not spans:
        raise NotABundle("not a Bundle with entries")
    return spans
