"""Whether a source says of itself that nobody has looked it up yet.

A cap "(to be verified)" is a guess with a place for its source. What a source claims to be is for
people to read; here is only found what it admits.
"""

from __future__ import annotations

import re

_OPEN = re.compile(
    r"\bto[ -]be[ -](?:verified|confirmed|checked|determined|decided|announced|added|done)\b"
    r"|\b(?:un|not (?:yet )?)(?:verified|confirmed|checked)\b"
    r"|\b(?:tb[acdv]|todo|placeholder)\b"
    r"|待(?:核|定|确认|查|补|验证|公布|填)|(?:未|尚未)(?:经)?(?:核实|核对|确认|验证)|暂定"
    r"|[?？]{2,}",
    re.IGNORECASE,
)


def is_open(source: str) -> bool:
    """Whether the text admits that it is no source yet.

    >>> is_open("Measures on Health Management Services, art. 10 (to be verified)"), is_open("TBC")
    (True, True)
    >>> (
    ...     is_open("健康管理服务费用不得超过净保费的 20%（待核实）"),
    ...     is_open("a regulation, article 7"),
    ... )
    (True, False)
    """
    return _OPEN.search(source) is not None
