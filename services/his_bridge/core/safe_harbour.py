"""Texts and values without what identifies a person, for whoever needs clinical features. Pure.

The method is the "safe harbour" of 45 CFR 164.514(b)(2): the 18 kinds of identifiers go, each
behind a marker that names its kind; of dates the year may stay, of places the province or state.
What is doubtful goes. It is not a proof: a name that nobody knows and that stands in no context of
a name stays, and so does what describes a person without a number or a name (docs/his-bridge.md).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from services.his_bridge.core.dates_and_ages import DATES
from services.his_bridge.core.identifiers import CONTACTS, NUMBERS, OTHERS, Form, Kind
from services.his_bridge.core.names_and_places import NAMES, PLACES

# In this order: of two that overlap the first one gives the marker, and all of both goes.
FORMS: tuple[Form, ...] = (*CONTACTS, *NUMBERS, *DATES, *PLACES, *NAMES, *OTHERS)
_SURE = tuple(form for form in FORMS if form.sure)
_SHORTEST_KNOWN = 2
_NOISE = frozenset(" \t\r\n-‐‑‒–—−_.·•・/()（）")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣－", "-"))
_ODD = re.compile(r"[^\t\n -~]")
# What an identifier goes on with: the rest of a number, a name or an address is never left behind.
_REST = re.compile(r"[A-Za-z0-9@_]")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the person: names, and other texts such as numbers and addresses."""

    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Redacted(msgspec.Struct, frozen=True, kw_only=True):
    """A text without identifiers, and how many of each kind were in it."""

    text: str
    found: Mapping[Kind, int]


class _Span(msgspec.Struct, frozen=True):
    start: int
    end: int
    kind: Kind
    keep: str = ""


def redacted(text: str, known: Known | None = None, *, care_year: int | None = None) -> Redacted:
    """The text with a marker such as `[phone]` in the place of each identifier.

    `known` is what the hospital knows of this person. With `care_year`, the year of the visit,
    years of dates stay, except those that tell an age over 89; without it none does. Digits of all
    scripts and full-width forms come out as ASCII, invisible characters not at all. The work is
    linear in the text's length, whatever it holds.

    >>> redacted("患者王小明,电话13812345678,血糖 7.8 mmol/L").text
    '患者[name],电话[phone],血糖 7.8 mmol/L'
    """
    plain = flat(text)
    spans = [*_known(plain, known or Known()), *_found(plain, FORMS, care_year)]
    found: Counter[Kind] = Counter()
    parts: list[str] = []
    end = 0
    for span in _apart(plain, spans):
        found[span.kind] += 1
        parts += (plain[end : span.start], f"[{span.kind}{span.keep}]")
        end = span.end
    parts.append(plain[end:])
    return Redacted(text="".join(parts), found=dict(found))


@functools.lru_cache(maxsize=4096)  # public texts come again and again
def identifies(text: str) -> bool:
    """Whether a text surely holds an identifier of some kind, by its form alone.

    For public texts, such as a code's display, where the doubtful forms would hit medicine's own
    words and numbers.
    """
    return next(_found(flat(text), _SURE, None), None) is not None


def redacted_value(value: Any, known: Known | None = None, *, care_year: int | None = None) -> Any:
    """A structure as JSON has it, without identifiers: in texts, in numbers, and behind keys.

    What stands behind a key that names a kind ("name", "birthDate", "住址") becomes a marker whole,
    whatever it is. Keys are redacted like texts.
    """
    if isinstance(value, Mapping):
        made: dict[str, Any] = {}
        for key, child in value.items():
            kind = _kind_of_key(str(key))
            kept = redacted(str(key), known, care_year=care_year).text
            made[kept] = (
                redacted_value(child, known, care_year=care_year)
                if kind is None or child is None
                else f"[{kind}]"
            )
        return made
    if isinstance(value, list | tuple):
        return [redacted_value(child, known, care_year=care_year) for child in value]
    if value is None or isinstance(value, bool):
        return value
    text = str(value)
    told = redacted(text, known, care_year=care_year)
    return told.text if isinstance(value, str) or told.found else value


def flat(text: str) -> str:
    """A text as forms are looked for in it: NFKC, digits and dashes ASCII, nothing invisible."""
    normal = unicodedata.normalize("NFKC", text)
    return _ODD.sub(lambda found: _flat_character(found[0]), normal).translate(_DASHES)


def _flat_character(c: str) -> str:
    if c.isascii():
        return " "
    category = unicodedata.category(c)
    if category == "Nd":
        return str(unicodedata.digit(c))
    if category in ("Cf", "Cc", "Cn", "Co", "Mn", "Me"):  # also marks put over letters and digits
        return ""
    return " " if category in ("Zs", "Zl", "Zp") else c


def _found(plain: str, forms: Iterable[Form], care_year: int | None) -> Iterator[_Span]:
    for form in forms:
        for match in form.pattern.finditer(plain):
            inner = "it" in form.pattern.groupindex
            start, end = match.span("it" if inner else 0)
            if start < end and (form.check is None or form.check(plain[start:end])):
                yield _Span(start, end, form.kind, _kept_year(match, care_year))


def _kept_year(match: re.Match[str], care_year: int | None) -> str:
    if care_year is None or "year" not in match.re.groupindex or not match["year"]:
        return ""
    year = int(match["year"])
    return f" {year}" if care_year - 89 <= year <= care_year + 1 else ""


def _known(plain: str, known: Known) -> Iterator[_Span]:
    """Where known texts stand, whatever stands between their characters."""
    places = [place for place, c in enumerate(plain) if c not in _NOISE]
    dense = "".join(_small(plain[place]) for place in places)
    for kind, texts in ((Kind.NAME, known.names), (Kind.OTHER, known.others)):
        for text in texts:
            wanted = "".join(_small(c) for c in flat(text) if c not in _NOISE)
            if len(wanted) < _SHORTEST_KNOWN:
                continue
            start = dense.find(wanted)
            while start >= 0:
                end = start + len(wanted)
                yield _Span(places[start], places[end - 1] + 1, kind)
                start = dense.find(wanted, end)


def _small(c: str) -> str:
    lower = c.lower()
    return lower if len(lower) == 1 else c


def _apart(plain: str, spans: Iterable[_Span]) -> Iterator[_Span]:
    """Spans that do not overlap, each grown over the rest of the word it cuts, in their order."""
    order = {kind: place for place, kind in enumerate(dict.fromkeys(f.kind for f in FORMS))}
    grown: list[_Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if grown and span.start < grown[-1].end:
            last = grown.pop()
            first = min(last, span, key=lambda s: order[s.kind])
            grown.append(_Span(last.start, max(last.end, span.end), first.kind, first.keep))
        else:
            grown.append(span)
    end = 0
    for span in grown:
        start = span.start
        while start > end and _joined(plain, start):
            start -= 1
        stop = max(span.end, end)
        while stop < len(plain) and _joined(plain, stop):
            stop += 1
        if stop <= end:
            continue
        yield _Span(max(start, end), stop, span.kind, span.keep)
        end = stop


def _joined(plain: str, place: int) -> bool:
    """Whether the characters before and at a place belong to one ASCII word."""
    return _REST.match(plain[place - 1]) is not None and _REST.match(plain[place]) is not None


_KEYS: Mapping[Kind, str] = {
    Kind.NAME: (
        "name names given family surname fullname patientname subject contact 姓名 名字 联系人"
    ),
    Kind.PLACE: (
        "address addresses line city district postalcode zip residence 地址 住址 籍贯 邮编 户籍"
    ),
    Kind.DATE: "birthdate birthday dob deceased deceaseddatetime 出生日期 生日 出生年月",
    Kind.PHONE: "phone telecom mobile telephone tel 电话 手机 联系电话",
    Kind.FAX: "fax 传真",
    Kind.EMAIL: "email mail 邮箱 电子邮箱",
    Kind.SOCIAL_SECURITY: (
        "ssn identitynumber idnumber idcard passport 身份证 身份证号 证件号 护照 护照号"
    ),
    Kind.MEDICAL_RECORD: "mrn medicalrecordnumber 病历号 病案号 住院号 门诊号 就诊号",
    Kind.HEALTH_PLAN: "memberid subscriberid policynumber 医保卡号 医保号 社保卡号 保单号",
    Kind.ACCOUNT: "account accountnumber iban cardnumber 账号 卡号 银行账号 发票号",
    Kind.LICENCE: "license licence licensenumber certificatenumber 执业证号 证书编号",
    Kind.VEHICLE: "vin plate licenseplate vehicle 车牌 车牌号",
    Kind.DEVICE: "udi udicarrier serialnumber deviceidentifier 序列号 设备号",
    Kind.URL: "url uri fullurl website 网址",
    Kind.IP: "ip ipaddress",
    Kind.BIOMETRIC: "fingerprint iris voiceprint biometric faceid 指纹 虹膜 声纹 人脸",
    Kind.PHOTO: "photo image picture attachment signature data 照片 头像 影像",
    Kind.OTHER: "identifier id uuid membertoken wechat qq 微信 编号 工号",
}
_KIND_OF_KEY = {key: kind for kind, keys in _KEYS.items() for key in keys.split()}


def _kind_of_key(key: str) -> Kind | None:
    return _KIND_OF_KEY.get(re.sub("[^0-9a-z\u3400-\u9fff]", "", flat(key).lower()))
