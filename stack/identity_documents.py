"""Whether a text has the shape of an identity number; says the fault, never the number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date

from services.common.identity import normalised
from services.his_bridge.core.check_digits import has_identity_check

KINDS = "CN-ID, PASSPORT, US-SSN or MRN:{system}"
_MRN = re.compile(r"MRN:[A-Za-z0-9:./_-]{1,120}", re.ASCII)
_CN_ID = re.compile(r"[0-9]{17}[0-9X]", re.ASCII)
_PASSPORT = re.compile(r"[A-Z0-9]{5,15}", re.ASCII)
_US_SSN = re.compile(r"[0-9]{9}", re.ASCII)  # test data begins with 9, which is never issued
_CN_ID_LENGTH, _FIRST_GENERATION = 18, 15


def document_faults(kind: str, number: str) -> list[str]:
    """Everything wrong with a document's kind and number, in sentences.

    >>> document_faults("CN-ID", "11010519491231002X"), document_faults("CN-ID", "110105")
    ([], ['NUMBER: a CN-ID has 18 characters, this has 6'])
    """
    plain = normalised(number)
    if _MRN.fullmatch(kind):
        return [] if plain else ["NUMBER: holds no letter or digit"]
    shape = _SHAPES.get(kind.upper())
    if shape is None:
        return [f"--kind {kind[:40]}: is no kind that is known here; the kinds: {KINDS}"]
    return [f"NUMBER: {fault}" for fault in shape(plain)]


def document_doubts(
    kind: str, number: str, *, born: str = "", female: bool | None = None
) -> list[str]:
    """What an insured person's document cannot be right in, in sentences without the number.

    Beside the number's own form: of a CN-ID the day of birth and the sex that stand in it, where
    `born` (2026-01-31) and `female` are known.

    >>> document_doubts("CN-ID", "11010519491231002X", born="1949-12-30", female=True)
    ['the day of birth in it is not birth_date']
    """
    faults = document_faults(kind, number)
    if faults or kind.upper() != "CN-ID":
        return [fault.removeprefix("NUMBER: ").removeprefix("--kind ") for fault in faults]
    plain = normalised(number)
    doubts = []
    if born and plain[6:14] != born.replace("-", ""):
        doubts.append("the day of birth in it is not birth_date")
    if female is not None and (int(plain[16]) % 2 == 0) is not female:
        doubts.append("its 17th digit, even of a woman's number and odd of a man's, is not of sex")
    return doubts


def _cn_id(plain: str) -> Iterator[str]:
    """Faults of a Chinese resident identity number (GB 11643)."""
    if len(plain) == _FIRST_GENERATION and plain.isdecimal():
        yield "15 digits are a CN-ID of the first generation; give the person's 18"
        return
    if len(plain) != _CN_ID_LENGTH:
        yield f"a CN-ID has 18 characters, this has {len(plain)}"
        return
    if not _CN_ID.fullmatch(plain):
        yield "a CN-ID is 17 digits and a last digit or X"
        return
    try:
        date(int(plain[6:10]), int(plain[10:12]), int(plain[12:14]))
    except ValueError:
        yield "its characters 7 to 14 are no day of birth (YYYYMMDD)"
        return
    if not has_identity_check(plain):
        yield "its check digit does not fit the other 17; one of them is mistyped"


def _matching(form: re.Pattern[str], fault: str) -> Callable[[str], Iterator[str]]:
    def shape(plain: str) -> Iterator[str]:
        if not form.fullmatch(plain):
            yield fault

    return shape


_SHAPES: Mapping[str, Callable[[str], Iterator[str]]] = {
    "CN-ID": _cn_id,
    "PASSPORT": _matching(_PASSPORT, "a PASSPORT has 5 to 15 letters and digits"),
    "US-SSN": _matching(_US_SSN, "a US-SSN is 9 digits"),
}
