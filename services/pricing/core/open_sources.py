"""Whether a source says of itself that nobody has looked it up yet.

A cap "(to be verified)" is a guess with a place for its source. What a source claims to be is for
people to read; here is only found what it admits, in words of a closed list. That helps against
forgetting and proves nothing: other words for the same are not found.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import product

# These say it wherever they stand.
_ANYWHERE = (
    *(f"to be {done}" for done in ("verified", "re verified", "confirmed", "checked")),
    *(
        " ".join(words)
        for words in product(
            ("not", "not yet", "not been", "not yet been"), ("verified", "confirmed", "checked")
        )
    ),
    *("awaiting verification", "awaiting confirmation"),
    *("pending verification", "pending confirmation"),
)
# These also stand in titles ("todo el artículo 7", "on unconfirmed claims"): no word may follow.
_AT_AN_END = (
    *(f"to be {done}" for done in ("determined", "decided", "announced", "added", "done")),
    *("unverified", "unconfirmed", "unchecked", "placeholder", "todo", "tba", "tbc", "tbd", "tbv"),
    *("source unknown", "source missing", "source pending"),
)
# And these say it only where nothing else is said.
_ALONE = frozenset(
    {
        "-",
        "?",
        "n/a",
        "none",
        "unknown",
        "pending",
        "xxx",
        "some day",
        "无",
        "無",
        "未知",
        "不详",
        "不詳",
    }
)
# In Chinese a title goes on (暂定办法, 待查勘案件管理规定), an admission ends.
_CHINESE = (
    *(
        first + last
        for first, last in product(
            ("待", "未", "未经", "未經"),
            (
                "核实",
                "核實",
                "核对",
                "核對",
                "核查",
                "确认",
                "確認",
                "验证",
                "驗證",
                "查证",
                "查證",
            ),
        )
    ),
    *(
        "待核",
        "待查",
        "待定",
        "待确定",
        "待確定",
        "待补",
        "待補",
        "待补充",
        "待補充",
        "待公布",
        "待填",
    ),
    *(
        "待填写",
        "待填寫",
        "待落实",
        "待落實",
        "需核实",
        "需核實",
        "需确认",
        "需確認",
        "暂定",
        "暫定",
    ),
    *("来源不详", "來源不詳", "来源未知", "來源未知"),
)
_HAN = r"[\u3400-\u9fff]"


def _any_of(phrases: tuple[str, ...]) -> str:
    return "|".join(re.escape(one) for one in phrases)


_OPEN = re.compile(
    rf"\b(?:{_any_of(_ANYWHERE)})\b"
    rf"|\b(?:{_any_of(_AT_AN_END)})\b(?! ?\w)"
    rf"|(?:{_any_of(_CHINESE)})(?! ?{_HAN})"
    r"|\?{2,}"
)
_SPACE_IN_CHINESE = re.compile(rf"(?<={_HAN}) (?={_HAN})")
_HYPHEN = re.compile(r"(?<=\w)[-_\u2010-\u2015](?=\w)")
_DOTTED = re.compile(r"\b(?:[a-z]\.){2,}[a-z]?")


def is_open(source: str) -> bool:
    """Whether the text admits that it is no source yet.

    Width of letters, case, runs of white space, hyphens and the dots of "T.B.C." do not count.

    >>> is_open("Measures on Health Management Services, art. 10 (to be verified)"), is_open("TBC")
    (True, True)
    >>> (
    ...     is_open("健康管理服务费用不得超过净保费的 20%（待核实）"),
    ...     is_open("a regulation, article 7"),
    ... )
    (True, False)
    """
    text = _normal(source)
    return not text or text in _ALONE or _OPEN.search(text) is not None


def _normal(source: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", source).casefold().split())
    text = _DOTTED.sub(lambda found: found[0].replace(".", ""), text)
    return _SPACE_IN_CHINESE.sub("", _HYPHEN.sub(" ", text))
