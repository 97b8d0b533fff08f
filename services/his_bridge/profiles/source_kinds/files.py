"""A folder into which the hospital drops files: where, of which form, and when one is whole."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.port import Context

FOLDER_VARIABLE = "LIPEI_HIS_BRIDGE_FOLDER_"
_COLUMN = r"[^\x00-\x1f\s](?:[^\x00-\x1f]{0,98}[^\x00-\x1f\s])?"
CHARSETS = ("utf-8", "gb18030", "gbk", "big5")


class FileFormat(StrEnum):
    """What stands in the files."""

    NDJSON = "ndjson"
    CSV = "csv"
    HL7 = "hl7"


class Ready(StrEnum):
    """What tells that a file is whole."""

    RENAME = "rename"  # it appears under its name at once, by a rename within the folder's disk
    OK_FILE = "ok_file"  # an empty file {name}.ok, or one with the SHA-256, is put beside it


# What each dialect reads.
_FORMATS = {
    "fhir_r4": FileFormat.NDJSON,
    "hl7v2": FileFormat.HL7,
    "sql_rows": FileFormat.CSV,
    "yibao": FileFormat.NDJSON,
}


class CsvSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Each row is a charge: rows of one `key` stand together and are one record.

    `lines` are the columns of a charge; all others are the bill's own, and are the same in all of
    its rows. `version` changes with every change of a bill.
    """

    key: str
    lines: tuple[str, ...]
    version: str | None = None
    delimiter: str = ","


class FilesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files are and how they are read. Sizes in MiB; `max_mib` is of a file as it lies.

    `keep_days`: files that were taken or refused are removed after so many days; receipts stay.
    """

    folder: Path
    format: FileFormat
    ready: Ready = Ready.RENAME
    settle_s: int = 2
    charset: str = "utf-8"
    csv: CsvSettings | None = None
    max_mib: int = 1024
    max_unpacked_mib: int = 4096
    max_ratio: int = 200
    max_entries: int = 1000
    max_records: int = 200_000
    keep_days: int = 90

    @property
    def scope(self) -> tuple[str, ...]:
        """Another folder is another source."""
        return (str(self.folder), str(self.format))


def read(section: Section, context: Context) -> FilesSettings:
    """The settings; the folder may be given by the environment."""
    variable = FOLDER_VARIABLE + context.hospital.upper().replace("-", "_")
    folder = section.text("folder", r"/[^\x00]{1,400}", required=False)
    folder = context.environ.get(variable, folder)
    if not folder or not folder.startswith("/"):
        text = f"give the folder as a whole path from the root, here or as {variable}"
        section.fault("folder", "MISSING", text)
    form = section.choice("format", FileFormat)
    if form is None:
        section.fault("format", "MISSING", "must be given")
    dialect = context.top.text("dialect", "[a-z0-9_]+", required=False)
    if form is not None and form is not _FORMATS.get(dialect or "", form):
        section.fault("format", "FORMAT", "not what the profile's dialect reads")
    csv = _csv(section) if section.has("csv") else None
    if (form is FileFormat.CSV) != (csv is not None):
        section.fault("csv", "FORMAT", "must be given for format csv, and for no other")
    usual = FilesSettings(folder=Path("/"), format=FileFormat.NDJSON)
    return FilesSettings(
        folder=Path(folder or "/"),
        format=form or FileFormat.NDJSON,
        ready=section.choice("ready", Ready) or Ready.RENAME,
        settle_s=section.whole("settle_s", usual.settle_s, low=0, high=86_400),
        # What Chinese systems write when they export tables; JSON is UTF-8 by its standard.
        charset=section.text("charset", "|".join(CHARSETS), required=False)
        or ("gb18030" if form is FileFormat.CSV else "utf-8"),
        csv=csv,
        max_mib=section.whole("max_mib", usual.max_mib, low=1, high=65_536),
        max_unpacked_mib=section.whole(
            "max_unpacked_mib", usual.max_unpacked_mib, low=1, high=1 << 20
        ),
        max_ratio=section.whole("max_ratio", usual.max_ratio, low=2, high=2000),
        max_entries=section.whole("max_entries", usual.max_entries, low=1, high=10_000),
        max_records=section.whole("max_records", usual.max_records, low=1, high=1_000_000),
        keep_days=section.whole("keep_days", usual.keep_days, low=0, high=3660),
    )


def _csv(section: Section) -> CsvSettings:
    csv = section.section("csv")
    key = csv.text("key", _COLUMN)
    lines = csv.texts("lines")
    csv.check("lines", lines, _COLUMN)
    if not lines:
        csv.fault("lines", "MISSING", "must list the columns of a charge")
    if key in lines:
        csv.fault("lines", "COLUMNS", "the key is the bill's own, and not a charge's")
    found = CsvSettings(
        key=key or "",
        lines=lines,
        version=csv.text("version", _COLUMN, required=False),
        delimiter=csv.text("delimiter", r"[,;|\t]", required=False) or ",",
    )
    csv.close()
    return found
