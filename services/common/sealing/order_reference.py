"""By what an order to erase is named; it is kept, and says nothing about the person."""

from __future__ import annotations

import unicodedata

LONGEST = 64
SENTENCE = (
    f"name the order by its file number, as 〔2026〕12号: a digit or numeral, at most {LONGEST} "
    "letters, digits, signs and single spaces"
)


def order_reference(text: str) -> str | None:
    """The file number as it is kept (NFC), or None for what is none.

    A number has a digit or a numeral, so that a name alone is none. What a reader cannot see
    (control and format characters, other spaces than one between two words) is refused.

    >>> order_reference("〔2026〕12号"), order_reference("王小明"), order_reference("12\u202e34")
    ('〔2026〕12号', None, None)
    """
    found = unicodedata.normalize("NFC", text)
    seen = all(_is_seen(one) for one in found)
    if not seen or not 1 <= len(found) <= LONGEST or not any(one.isnumeric() for one in found):
        return None
    return found if " ".join(found.split()) == found else None


def _is_seen(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] in "LMNPS"
