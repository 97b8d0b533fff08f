"""A workbook's bytes without the time of day: the same tables give the same file."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # half a second of importing, which whoever makes a workbook has paid
    from openpyxl import Workbook

_EPOCH = (1980, 1, 1, 0, 0, 0)
_STAMP = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*(</dcterms:)")


def packed(book: Workbook) -> bytes:
    """The file without the time of day, which the library writes into it."""
    draft, made = io.BytesIO(), io.BytesIO()
    book.save(draft)
    with (
        zipfile.ZipFile(draft) as old,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "docProps/core.xml":
                content = _STAMP.sub(rb"\g<1>2000-01-01T00:00:00Z\g<2>", content)
            new.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()
