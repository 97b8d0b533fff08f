"""How days, and ages over 89, are written in Chinese and Western texts. Pure."""

from __future__ import annotations

from services.his_bridge.core.identifiers import (
    CN_DIGIT,
    DIGIT_AFTER,
    DIGIT_BEFORE,
    WORD_AFTER,
    WORD_BEFORE,
    Kind,
    form,
)

_MONTH = (
    "(?>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    "|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_YEAR = "(?P<year>(?>18|19|20)[0-9]{2})"
_MM, _DD = "(?>1[0-2]|0?+[1-9])", "(?>3[01]|[12][0-9]|0?+[1-9])"
_CLOCK = r"(?:[T ]{0,2}+[0-9]{1,2}+[:时][0-9]{2}(?:[:分][0-9]{2}(?:\.[0-9]{1,9}+)?+)?+)?+"

DATES = (
    form(Kind.DATE, f"{DIGIT_BEFORE}{_YEAR}[-/.]{_MM}[-/.]{_DD}{DIGIT_AFTER}{_CLOCK}", sure=True),
    form(Kind.DATE, f"{DIGIT_BEFORE}{_YEAR} ?+年 ?+{_MM} ?+月份?+(?: ?+{_DD} ?+[日号])?+{_CLOCK}"),
    form(Kind.DATE, f"{DIGIT_BEFORE}{_YEAR}[-/.]{_MM}(?![-/.0-9])"),
    form(Kind.DATE, f"{DIGIT_BEFORE}{_MM} ?+月(?:份| ?+{_DD} ?+[日号])"),
    form(Kind.DATE, f"{DIGIT_BEFORE}{_MM}[-/.]{_DD}[-/.](?:{_YEAR}|[0-9]{{2}}){DIGIT_AFTER}"),
    form(Kind.DATE, f"{DIGIT_BEFORE}{_DD}[-/.]{_MM}[-/.](?:{_YEAR}|[0-9]{{2}}){DIGIT_AFTER}"),
    form(
        Kind.DATE,
        f"{WORD_BEFORE}{_DD}(?:st|nd|rd|th)?+[- ](?:of )?+{_MONTH}\\.?+(?:[-, ]{{1,2}}+{_YEAR})?+"
        + WORD_AFTER,
    ),
    form(
        Kind.DATE,
        f"{WORD_BEFORE}{_MONTH}\\.?+ {_DD}(?:st|nd|rd|th)?+(?:,?+ {_YEAR})?+{WORD_AFTER}",
    ),
    form(Kind.DATE, f"{WORD_BEFORE}{_MONTH}\\.?+,?+ {_YEAR}{WORD_AFTER}"),
    form(
        Kind.DATE,
        f"{DIGIT_BEFORE}{_YEAR}(?:1[0-2]|0[1-9])(?:3[01]|[12][0-9]|0[1-9])"
        f"(?:[0-2][0-9][0-5][0-9](?:[0-5][0-9])?+(?:[+-][0-9]{{4}})?+)?+{DIGIT_AFTER}",
    ),
    form(
        Kind.DATE,
        f"(?:[{CN_DIGIT}]{{4}}|[{CN_DIGIT}]{{2}})年[{CN_DIGIT}十]{{1,3}}+月"
        f"(?:[{CN_DIGIT}十廿]{{1,3}}+[日号])?",
    ),
    form(Kind.DATE, f"[{CN_DIGIT}十]{{1,3}}+月[{CN_DIGIT}十廿]{{1,3}}+[日号]"),
    # Ages over 89 tell who it is; the year of such a birth as well.
    form(
        Kind.DATE,
        f"{DIGIT_BEFORE}(?:9[0-9]|1[0-4][0-9])(?: ?周?岁|[- ]?(?:years?|yrs?)(?:[- ]?old)?"
        rf"|[- ]?y/?o{WORD_AFTER})",
    ),
    form(
        Kind.DATE,
        r"(?:年龄|享年|(?<![A-Za-z])aged?)[ \t]{0,2}+[:=为]?+[ \t]{0,2}+(?P<it>9[0-9]|1[0-4][0-9])"
        + DIGIT_AFTER,
    ),
    form(Kind.DATE, f"(?:九十[{CN_DIGIT}]?|一?百[{CN_DIGIT}十]{{0,4}}+)周?岁"),
    form(
        Kind.DATE,
        r"(?:出生(?:日期|年份|年月)?|生于|(?<![A-Za-z])(?:born(?: in| on)?|dob|birth ?date))"
        r"[ \t]{0,2}+[:=]?+[ \t]{0,2}+(?P<it>(?:18|19|20)[0-9]{2})" + DIGIT_AFTER,
    ),
)
