"""The 18 kinds of identifiers of 45 CFR 164.514(b)(2)(i), and the forms they take in texts. Pure.

Forms are written for texts as `safe_harbour.flat` leaves them: full-width and other digits are
ASCII, nothing invisible is left. Every quantifier is bounded, so that the work per character is;
tests/services/his_bridge/core/test_safe_harbour.py adds it up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

import msgspec

from services.his_bridge.core.check_digits import (
    has_credit_code_check,
    has_identity_check,
    has_luhn_check,
    has_vin_check,
)


class Kind(StrEnum):
    """What is not to leave, in the law's order (A) to (R)."""

    NAME = "name"
    PLACE = "place"
    DATE = "date"
    PHONE = "phone"
    FAX = "fax"
    EMAIL = "email"
    SOCIAL_SECURITY = "social-security"  # and identity cards, passports, permits
    MEDICAL_RECORD = "medical-record"
    HEALTH_PLAN = "health-plan"
    ACCOUNT = "account"
    LICENCE = "licence"
    VEHICLE = "vehicle"
    DEVICE = "device"
    URL = "url"
    IP = "ip"
    BIOMETRIC = "biometric"
    PHOTO = "photo"
    OTHER = "other"


class Form(msgspec.Struct, frozen=True):
    """One form of one kind. `sure` is what a public text, such as a code's display, never is."""

    kind: Kind
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None = None
    sure: bool = False


HAN = "\u3007\u3400-\u9fff\U00020000-\U0003134f"
DIGIT_BEFORE, DIGIT_AFTER = "(?<![0-9])", "(?![0-9])"
WORD_BEFORE, WORD_AFTER = "(?<![A-Za-z0-9])", "(?![A-Za-z0-9])"
_SAYS = r"[ \t]{0,3}+(?>号码?|编号|no\.?|number|id|#)?+[ \t]{0,3}+[:=#是为]{0,2}+[ \t]{0,3}+"
_VALUE = r"[A-Za-z0-9][A-Za-z0-9/_.\-]{2,40}+"


def _has_digit(text: str) -> bool:
    return any(c.isdigit() for c in text)


def form(
    kind: Kind, pattern: str, check: Callable[[str], bool] | None = None, *, sure: bool = False
) -> Form:
    """A form that makes no difference between small and capital letters."""
    return Form(kind, re.compile(pattern, re.IGNORECASE), check, sure)


def _labelled(kind: Kind, labels: str, value: str = _VALUE) -> Form:
    """A value behind a label that says what it is; the label stays.

    Only what has a digit counts: "licence: none" is no number.
    """
    return form(kind, rf"(?>{labels}){_SAYS}(?=[A-Za-z/_.(+\-]{{0,24}}+[0-9])(?P<it>{value})")


_IDENTITY = re.compile(r"[0-9]{17}[0-9Xx]")


def _identity_card(text: str) -> bool:
    plain = re.sub("[- ]", "", text)
    return _IDENTITY.fullmatch(plain) is not None and has_identity_check(plain)


def _bank_card(text: str) -> bool:
    return has_luhn_check(re.sub("[- ]", "", text))


_PLATE = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
CN_DIGIT = "〇零一二三四五六七八九"
CONTACTS = (
    _labelled(Kind.FAX, r"传真|(?<![A-Za-z])fax", r"[+(]?[0-9][0-9() .\-]{5,24}+"),
    _labelled(
        Kind.PHONE,
        r"电[ \t]{0,4}+话|手机|联系方式|座机"
        r"|(?<![A-Za-z])(?:tel(?:ephone)?|phone|mobile|cell|call)\.?",
        r"[+(]?[0-9][0-9() .\-]{5,24}+",
    ),
    form(
        Kind.PHONE,
        rf"{DIGIT_BEFORE}(?:(?:\+|00)?86[- ]?)?1[3-9][0-9][- ]?[0-9]{{4}}[- ]?[0-9]{{4}}"
        + DIGIT_AFTER,
        sure=True,
    ),
    form(
        Kind.PHONE,
        rf"{DIGIT_BEFORE}\(?0[1-9][0-9]{{1,2}}\)?[- ]?[2-9][0-9]{{6,7}}+(?:[-转][0-9]{{1,6}}+)?"
        + DIGIT_AFTER,
    ),
    form(Kind.PHONE, rf"{DIGIT_BEFORE}[48]00[- ]?[0-9]{{3,4}}[- ]?[0-9]{{3,4}}{DIGIT_AFTER}"),
    form(Kind.PHONE, r"\+[1-9][0-9]{0,2}+(?:[ .\-]?\(?[0-9]{2,4}\)?){2,5}+", sure=True),
    form(
        Kind.PHONE,
        rf"{DIGIT_BEFORE}\(?[2-9][0-9]{{2}}\)?[-. ][2-9][0-9]{{2}}[-. ][0-9]{{4}}{DIGIT_AFTER}",
    ),
    form(Kind.EMAIL, r"[\w.%+\-]{1,64}+@[\w\-]{1,63}+(?:\.[\w\-]{1,63}+){1,8}+", sure=True),
    form(Kind.URL, r"(?:https?|s?ftp|file|wss?)://[^\s<>\"'，。；）】]{1,2000}+", sure=True),
    form(Kind.URL, r"(?<![\w.@])www\.[^\s<>\"'，。；）】]{1,2000}+", sure=True),
    form(
        Kind.URL,
        r"(?<![\w.@\-])[A-Za-z0-9\-]{1,63}+(?:\.(?!(?:com|net|org|gov|edu|cn|io|hk|tw|info"
        r"|hospital)(?![A-Za-z0-9.]))[A-Za-z0-9\-]{1,63}+){0,4}+"
        rf"\.(?:com|net|org|gov|edu|cn|io|hk|tw|info|hospital){WORD_AFTER}(?:/[^\s<>\"']{{0,2000}}+)?",
        sure=True,
    ),
    form(
        Kind.IP,
        r"(?<![0-9.])(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}"
        r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?![0-9]|\.[0-9])",
        sure=True,
    ),
    form(Kind.IP, r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{1,4}+:){7}[0-9A-Fa-f]{1,4}+", sure=True),
    form(
        Kind.IP,
        r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{1,4}+:){0,6}+:(?:[0-9A-Fa-f]{1,4}+:?){1,6}+",
        lambda text: _has_digit(text) and text.count(":") >= 2,
    ),
)

NUMBERS = (
    form(
        Kind.SOCIAL_SECURITY,
        f"{DIGIT_BEFORE}(?:[0-9]{{6}}[- ]?[0-9]{{8}}[- ]?[0-9]{{3}}[0-9X]){WORD_AFTER}",
        _identity_card,
        sure=True,
    ),
    form(
        Kind.SOCIAL_SECURITY,
        f"{DIGIT_BEFORE}[1-8][0-9]{{5}}(?:18|19|20)[0-9]{{2}}(?:1[0-2]|0[1-9])[0-3][0-9]"
        f"[0-9]{{3}}[0-9X]{WORD_AFTER}",
    ),
    form(
        Kind.SOCIAL_SECURITY,
        f"{DIGIT_BEFORE}[1-8][0-9]{{7}}(?:1[0-2]|0[1-9])[0-3][0-9][0-9]{{3}}{DIGIT_AFTER}",
    ),
    form(Kind.SOCIAL_SECURITY, f"{DIGIT_BEFORE}[0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}}{DIGIT_AFTER}"),
    form(Kind.SOCIAL_SECURITY, f"{WORD_BEFORE}[A-Z]{{1,2}}[0-9]{{6}} ?\\([0-9A]\\)"),
    # Not behind 准字: that is a drug's approval number.
    form(
        Kind.SOCIAL_SECURITY,
        f"{WORD_BEFORE}(?<!准字)[DEGHKMPS][A-Z]?[0-9]{{8,9}}+{WORD_AFTER}",
    ),
    _labelled(
        Kind.SOCIAL_SECURITY,
        r"身份证件?|护照|通行证|军官证|居留证|证件"
        r"|(?<![A-Za-z])(?:ssn|social security|passport|national id|identity card|nhs)",
        r"[A-Za-z0-9][A-Za-z0-9 \-]{3,24}+",
    ),
    _labelled(
        Kind.MEDICAL_RECORD,
        r"病历|病案|住院|门诊|就诊卡?|登记|检查|标本|床位?|影像"
        r"|(?<![A-Za-z])(?:mrn|medical record|chart|patient id|accession|visit)",
    ),
    _labelled(
        Kind.HEALTH_PLAN,
        r"医保卡?|社保卡?|参保|保单|医疗保险|新农合"
        r"|(?<![A-Za-z])(?:policy|member|beneficiary|health ?plan|insurance|medicare|medicaid)",
    ),
    _labelled(
        Kind.ACCOUNT,
        r"账户?|帐户?|卡|银行卡|发票|收据|票据"
        r"|(?<![A-Za-z])(?:account|acct|a/c|card|iban|invoice|receipt)",
        r"[A-Za-z0-9][A-Za-z0-9 \-]{3,32}+",
    ),
    form(
        Kind.ACCOUNT,
        f"{DIGIT_BEFORE}[1-9][0-9]{{3}}(?:[- ]?[0-9]{{4}}){{2,3}}[- ]?[0-9]{{1,4}}{DIGIT_AFTER}",
        _bank_card,
    ),
    form(
        Kind.ACCOUNT,
        f"{WORD_BEFORE}[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{3,7}}+(?: ?[A-Z0-9]{{1,3}})?"
        + WORD_AFTER,
        _has_digit,
    ),
    _labelled(
        Kind.LICENCE,
        r"执业证书?|资格证书?|驾驶证|营业执照|许可证|批准文号|毕业证书?|证书"
        r"|(?<![A-Za-z])(?:licen[cs]e|certificate|permit|dea|npi|registration)",
    ),
    form(
        Kind.LICENCE,
        f"{WORD_BEFORE}[0-9A-HJ-NPQRTUWXY]{{2}}[0-9]{{6}}[0-9A-HJ-NPQRTUWXY]{{10}}{WORD_AFTER}",
        has_credit_code_check,
    ),
    form(
        Kind.VEHICLE,
        f"[{_PLATE}使领][A-HJ-Z][·•. -]?[A-HJ-NP-Z0-9]{{4,6}}[挂学警港澳]?(?![A-Za-z0-9])",
        _has_digit,
        sure=True,
    ),
    _labelled(
        Kind.VEHICLE,
        r"车牌|车架|车辆识别代?码?|(?<![A-Za-z])(?:licen[cs]e plate|plate|vin|vehicle)",
    ),
    form(Kind.VEHICLE, f"{WORD_BEFORE}[A-HJ-NPR-Z0-9]{{17}}{WORD_AFTER}", has_vin_check),
    _labelled(
        Kind.DEVICE,
        r"序列|设备|器械|植入物|批|出厂|机身|型号及编"
        r"|(?<![A-Za-z])(?:serial|s/n|sn|device|udi|imei|lot|implant|pacemaker)",
    ),
    form(Kind.DEVICE, r"\(01\)[0-9]{14}(?:\((?:10|11|17|21)\)[\w/.\-]{1,20}){0,4}+", sure=True),
    form(
        Kind.DEVICE,
        f"{WORD_BEFORE}[0-9A-F]{{2}}(?:[:-][0-9A-F]{{2}}){{5}}{WORD_AFTER}",
        sure=True,
    ),
    _labelled(
        Kind.BIOMETRIC,
        r"(?:指纹|掌纹|虹膜|声纹|人脸|面部|视网膜|基因|静脉)(?:特征|模板|识别|信息|样本|图谱)?"
        r"|(?<![A-Za-z])(?:finger ?prints?|iris|voice ?prints?|face|facial|retina(?:l scan)?"
        r"|palm|biometric|genome)(?: (?:template|hash|sample|scan|id))?",
    ),
    form(
        Kind.PHOTO,
        r"data:[a-z]{1,20}+/[a-z0-9.+\-]{1,40}+(?:;[a-z0-9=\-]{1,40}+){0,3}+,",
        sure=True,
    ),
    form(
        Kind.PHOTO,
        r"[\w\-]{1,120}+\.(?:jpe?g|png|gif|bmp|tiff?|dcm|heic|webp|mp4|avi|mov)" + WORD_AFTER,
        sure=True,
    ),
    # Base64 has no spaces; words of a language have.
    form(Kind.PHOTO, r"[A-Za-z0-9+/\-_]{60,4000}+={0,2}"),
)

OTHERS = (
    _labelled(
        Kind.OTHER,
        r"微信|QQ|工号|学号|条码|二维码|流水|申请单?|处方|(?<![A-Za-z])(?:wechat|employee|barcode|badge|order)",
    ),
    form(
        Kind.OTHER,
        f"{WORD_BEFORE}[0-9A-F]{{8}}-?(?:[0-9A-F]{{4}}-?){{3}}[0-9A-F]{{12}}{WORD_AFTER}",
        sure=True,
    ),
    form(Kind.OTHER, f"{WORD_BEFORE}[0-9A-F]{{16,200}}+{WORD_AFTER}", _has_digit),
    form(Kind.OTHER, r"(?<![0-9.])[0-9]{1,40}+(?:\.[0-9]{1,40}+){5,30}+"),
    form(Kind.OTHER, r"(?<![0-9.])(?<!准字[A-Z])[0-9]{7,200}+"),
    form(Kind.OTHER, f"{WORD_BEFORE}[0-9]{{3,8}}+(?:[ -][0-9]{{2,8}}+){{2,6}}+{WORD_AFTER}"),
    form(Kind.OTHER, f"{WORD_BEFORE}(?<!准字)[A-Z]{{1,6}}+[-_]?[0-9]{{6,40}}+[A-Z0-9]{{0,10}}+"),
    form(Kind.OTHER, f"[{CN_DIGIT}幺壹贰叁肆伍陆柒捌玖]{{7,40}}+"),
)
