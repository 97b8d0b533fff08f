"""Tables as a spreadsheet exports them: their text, whatever it is written in."""

from __future__ import annotations

from enum import StrEnum

from services.common.strict_yaml import Fault, StrictYamlError


class Encoding(StrEnum):
    """How the text of a table is written; Excel in Chinese saves GB18030."""

    UTF_8 = "utf-8"
    GB18030 = "gb18030"


def decoded(content: bytes, source: str, encoding: str) -> str:
    """The text of a table; `encoding` empty is UTF-8, or else GB18030.

    Raises: StrictYamlError when it is text of neither.
    """
    tried = [encoding] if encoding else list(Encoding)
    for name in tried:
        try:
            return content.decode("utf-8-sig" if name == Encoding.UTF_8 else name)
        except UnicodeDecodeError:
            continue
    text = f"the table is not {' or '.join(tried)}; save it as CSV in UTF-8"
    raise StrictYamlError([Fault("", 1, "NOT_TEXT", text)], source)
