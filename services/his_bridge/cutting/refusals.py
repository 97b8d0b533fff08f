"""Why a dropped file is not taken: stable reasons, advice, receipts. Never a value of the file."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class FileReason(StrEnum):
    """Stable names, as receipts carry them."""

    NOT_A_FILE = "NOT_A_FILE"
    HARD_LINK = "HARD_LINK"
    NOT_READABLE = "NOT_READABLE"
    NAME_UNUSABLE = "NAME_UNUSABLE"
    WRONG_FOLDER = "WRONG_FOLDER"
    SUFFIX_UNKNOWN = "SUFFIX_UNKNOWN"
    MARK_DIFFERS = "MARK_DIFFERS"
    SAME_NAME_OTHER_CONTENT = "SAME_NAME_OTHER_CONTENT"
    CHANGED_WHILE_READ = "CHANGED_WHILE_READ"
    EMPTY = "EMPTY"
    TOO_LARGE = "TOO_LARGE"
    PACKED_BADLY = "PACKED_BADLY"
    UNPACKS_TOO_LARGE = "UNPACKS_TOO_LARGE"
    TOO_MANY_ENTRIES = "TOO_MANY_ENTRIES"
    ENTRY_UNUSABLE = "ENTRY_UNUSABLE"
    WRONG_CHARSET = "WRONG_CHARSET"
    LINE_TOO_LONG = "LINE_TOO_LONG"
    OTHER_FORMAT = "OTHER_FORMAT"
    TOO_MANY_RECORDS = "TOO_MANY_RECORDS"
    HEADER_UNUSABLE = "HEADER_UNUSABLE"
    ROW_UNUSABLE = "ROW_UNUSABLE"
    ROWS_SCATTERED = "ROWS_SCATTERED"
    ENVELOPE_BROKEN = "ENVELOPE_BROKEN"
    COUNT_DIFFERS = "COUNT_DIFFERS"


ADVICE = {
    FileReason.NOT_A_FILE: "a link, folder, pipe or device; drop plain files",
    FileReason.HARD_LINK: "the file has another name elsewhere; drop a copy",
    FileReason.NOT_READABLE: "the bridge cannot read the file; give it the right and drop it anew",
    FileReason.NAME_UNUSABLE: "the name is not UTF-8, too long, or holds control characters",
    FileReason.WRONG_FOLDER: (
        "it lies beside the folders of the kinds of records and not in one; drop it into its own"
    ),
    FileReason.SUFFIX_UNKNOWN: "the name's ending is not of the profile's format",
    FileReason.MARK_DIFFERS: "the SHA-256 in the .ok file is another; send the file anew",
    FileReason.SAME_NAME_OTHER_CONTENT: (
        "a file of this name was taken with other content; give each file its own name"
    ),
    FileReason.CHANGED_WHILE_READ: (
        "somebody wrote into it after it was there; write it elsewhere, then rename it"
    ),
    FileReason.EMPTY: "there is nothing in it",
    FileReason.TOO_LARGE: "larger than the profile's max_mib; send it in parts",
    FileReason.PACKED_BADLY: "the archive is damaged, cut short or of an unknown kind",
    FileReason.UNPACKS_TOO_LARGE: "unpacks to more than max_unpacked_mib or max_ratio allow",
    FileReason.TOO_MANY_ENTRIES: "the archive holds more files than max_entries",
    FileReason.ENTRY_UNUSABLE: (
        "an entry with a path, a password, a link, another archive, or a name used twice"
    ),
    FileReason.WRONG_CHARSET: "not in the profile's charset",
    FileReason.LINE_TOO_LONG: "a line, or a record over lines, is longer than any record may be",
    FileReason.OTHER_FORMAT: "its content is not of the profile's format",
    FileReason.TOO_MANY_RECORDS: "more records than max_records; send it in parts",
    FileReason.HEADER_UNUSABLE: (
        "the first row must name every column once, those of the profile among them"
    ),
    FileReason.ROW_UNUSABLE: (
        "a row has another number of fields than the header, no key, or bad quoting"
    ),
    FileReason.ROWS_SCATTERED: "rows of one bill must stand together",
    FileReason.ENVELOPE_BROKEN: "FHS, BHS, messages, BTS and FTS are not in their order",
    FileReason.COUNT_DIFFERS: "BTS or FTS states another number than there is; send it anew",
}


class FileRefused(Exception):
    """The file is not taken. `line` is where the fault was found, from 1; 0 without one.

    `detail`: what the profile expects there and what kind of thing was found; no value.
    """

    def __init__(self, reason: FileReason, line: int = 0, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.detail = detail

    @property
    def advice(self) -> str:
        """What a person can do, for this file."""
        said = ADVICE[self.reason]
        return f"{said}: {self.detail}" if self.detail else said


def receipt(
    name: str,
    outcome: str,
    *,
    at_s: float,
    records: int,
    sha256: str,
    size: int,
    refused: FileRefused | None = None,
) -> dict[str, Any]:
    """What the sender finds beside the file: counts and reasons, and nothing of its content."""
    found: dict[str, Any] = {
        "file": name,
        "outcome": outcome,
        "records": records,
        "at": datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds"),
    }
    if sha256:
        found |= {"sha256": sha256, "bytes": size}
    if refused is not None:
        reason = {"reason": str(refused.reason), "advice": refused.advice}
        found["reasons"] = [reason | ({"line": refused.line} if refused.line else {})]
    return found
