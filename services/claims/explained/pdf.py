"""An explained decision as PDF/A-2a and PDF/UA-1: typeset by Typst, in Noto Sans SC, as a subset.

The same claim gives the same bytes: no font of the machine, no time but the decision's own.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import typst
from pylopdf_fonts_zh_cn import sans_path

from services.claims.explained.told import ToldClaim
from services.claims.explained.view import title, view
from services.claims.explained.words import Language

# 500 lines take 5 s and 4 MB in two languages; a page and FHIR have no such limit.
MOST_LINES = 500
# Printed in place of a letter that the font lacks, as Chinese typesetters always did.
GETA = "〓"


@lru_cache(maxsize=1)
def _fonts() -> typst.Fonts:
    return typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[str(sans_path().parent)],
    )


@lru_cache(maxsize=1)
def _template() -> bytes:
    return files("services.claims.explained").joinpath("page.typ").read_bytes()


def pdf(claim: ToldClaim, languages: Sequence[Language]) -> bytes:
    """The PDF, one part a language, tagged and with text that can be searched and copied.

    Texts reach the typesetter as JSON and are set as they are: no markup in them is read. A letter
    that the font lacks is printed as 〓.
    """
    views = [view(claim, language) for language in languages]
    decided = claim.moment(claim.decided_us)
    content = {
        "title": title(views),
        "language": views[0]["language"].partition("-")[0],
        "decided": [decided.year, decided.month, decided.day],
        "views": views,
    }
    made = typst.compile(
        _template(),
        font_paths=_fonts(),
        ignore_system_fonts=True,
        format="pdf",
        sys_inputs={"content": json.dumps(_in_font(content), ensure_ascii=False)},
        pdf_standards=["a-2a", "ua-1"],
        timestamp=int(decided.timestamp()),
    )
    if not isinstance(made, bytes):
        raise TypeError("the typesetter gave no document")
    return made


def _in_font(content: Any) -> Any:
    """The same content with every letter that the font lacks replaced."""
    match content:
        case str():
            if all(map(_has_glyph, content)):
                return content
            return "".join(letter if _has_glyph(letter) else GETA for letter in content)
        case dict():
            return {key: _in_font(value) for key, value in content.items()}
        case list():
            return [_in_font(value) for value in content]
        case _:
            return content


def _has_glyph(letter: str) -> bool:
    return ord(letter) in _glyphs()


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """The code points that the font has a glyph for, from its cmap table (OpenType, format 12)."""
    font = sans_path().read_bytes()
    (tables,) = struct.unpack_from(">H", font, 4)
    records = (struct.unpack_from(">4sLLL", font, 12 + 16 * one) for one in range(tables))
    cmap = next(offset for tag, _, offset, _ in records if tag == b"cmap")
    (subtables,) = struct.unpack_from(">H", font, cmap + 2)
    found: set[int] = set()
    for one in range(subtables):
        _, _, offset = struct.unpack_from(">HHL", font, cmap + 4 + 8 * one)
        at = cmap + offset
        if struct.unpack_from(">H", font, at) != (12,):
            continue
        (groups,) = struct.unpack_from(">L", font, at + 12)
        for group in range(groups):
            first, last, _ = struct.unpack_from(">LLL", font, at + 16 + 12 * group)
            found.update(range(first, last + 1))
    return frozenset(found)
