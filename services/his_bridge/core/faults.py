"""Why a record cannot be released: stable reasons in order of precedence, with advice. Knows no record's values."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """Where in the pipeline a record was stopped, first to last."""

    PARSE = "parse"
    IDENTITY = "identity"
    MAP = "map"
    BALANCE = "balance"
    CONFLICT = "conflict"


class Reason(StrEnum):
    """Stable names of faults. A new one needs a sentence in `ADVICE` and a case in the tests."""

    NOT_JSON = "NOT_JSON"
    TOO_DEEP = "TOO_DEEP"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    WRONG_TYPE = "WRONG_TYPE"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    NUMBER_MALFORMED = "NUMBER_MALFORMED"
    NUMBER_REPEATED = "NUMBER_REPEATED"
    TEXT_MALFORMED = "TEXT_MALFORMED"
    STATUS_UNKNOWN = "STATUS_UNKNOWN"
    REFERENCE_MISSING = "REFERENCE_MISSING"
    REFERENCE_MALFORMED = "REFERENCE_MALFORMED"
    REFERENCE_ELSEWHERE = "REFERENCE_ELSEWHERE"
    REFERENCE_NOT_FOUND = "REFERENCE_NOT_FOUND"
    TIME_MISSING = "TIME_MISSING"
    TIME_IMPOSSIBLE = "TIME_IMPOSSIBLE"
    TIME_WITHOUT_ZONE = "TIME_WITHOUT_ZONE"
    END_BEFORE_START = "END_BEFORE_START"
    CARE_TYPE_UNKNOWN = "CARE_TYPE_UNKNOWN"
    PROVIDER_UNKNOWN = "PROVIDER_UNKNOWN"
    TIER_UNKNOWN = "TIER_UNKNOWN"
    NO_LINES = "NO_LINES"
    FACTOR_UNSUPPORTED = "FACTOR_UNSUPPORTED"
    QUANTITY_NOT_POSITIVE = "QUANTITY_NOT_POSITIVE"
    NEGATIVE_AMOUNT = "NEGATIVE_AMOUNT"
    WRONG_CURRENCY = "WRONG_CURRENCY"
    DIAGNOSIS_NUMBER_UNKNOWN = "DIAGNOSIS_NUMBER_UNKNOWN"
    VALUE_MISSING = "VALUE_MISSING"
    VALUE_NOT_EXACT = "VALUE_NOT_EXACT"
    UNIT_UNKNOWN = "UNIT_UNKNOWN"
    PROVENANCE_UNKNOWN = "PROVENANCE_UNKNOWN"
    IDENTITY_MISSING = "IDENTITY_MISSING"
    IDENTITY_AMBIGUOUS = "IDENTITY_AMBIGUOUS"
    PERSONAL_DATA = "PERSONAL_DATA"
    CODE_MISSING = "CODE_MISSING"
    CODE_SYSTEM_UNKNOWN = "CODE_SYSTEM_UNKNOWN"
    CODE_NOT_MAPPED = "CODE_NOT_MAPPED"
    AMOUNT_TOO_FINE = "AMOUNT_TOO_FINE"
    AMOUNT_OUT_OF_RANGE = "AMOUNT_OUT_OF_RANGE"
    TOTAL_MISSING = "TOTAL_MISSING"
    LINE_WITHOUT_AMOUNT = "LINE_WITHOUT_AMOUNT"
    PRICE_NOT_EXACT = "PRICE_NOT_EXACT"
    LINE_DOES_NOT_MULTIPLY = "LINE_DOES_NOT_MULTIPLY"
    LINES_DO_NOT_ADD_UP = "LINES_DO_NOT_ADD_UP"
    FUND_PAID_DOES_NOT_ADD_UP = "FUND_PAID_DOES_NOT_ADD_UP"
    SOCIAL_INSURANCE_CONTRADICTS = "SOCIAL_INSURANCE_CONTRADICTS"
    SAME_VERSION_OTHER_CONTENT = "SAME_VERSION_OTHER_CONTENT"


# In order of precedence: the record's stage is that of its first fault in this order.
ADVICE: dict[Reason, tuple[Stage, str]] = {
    Reason.NOT_JSON: (Stage.PARSE, "not one JSON object in UTF-8; have the HIS send it anew"),
    Reason.TOO_DEEP: (Stage.PARSE, "nested too deeply to be a record of this kind"),
    Reason.DUPLICATE_KEY: (Stage.PARSE, "a key stands twice in one object; nobody can say which counts"),
    Reason.WRONG_TYPE: (Stage.PARSE, "not the kind of value that belongs here (text, number, object, list)"),
    Reason.NOT_A_NUMBER: (Stage.PARSE, "NaN and Infinity are no numbers; correct the value at the HIS"),
    Reason.NUMBER_MALFORMED: (
        Stage.PARSE,
        "not a plain decimal with the allowed number of digits; write it without exponent",
    ),
    Reason.NUMBER_REPEATED: (Stage.PARSE, "missing, below 1 or used before; number the entries from 1"),
    Reason.TEXT_MALFORMED: (Stage.PARSE, "empty, too long, or holds control characters"),
    Reason.STATUS_UNKNOWN: (Stage.PARSE, "missing or not a status of this kind of record"),
    Reason.REFERENCE_MISSING: (Stage.PARSE, "the record must say which one it means"),
    Reason.REFERENCE_MALFORMED: (
        Stage.PARSE,
        "not Type/id, urn:uuid:id, #contained or a URL of this source, or of another type",
    ),
    Reason.REFERENCE_ELSEWHERE: (Stage.PARSE, "points at another server; the bridge asks only its own source"),
    Reason.REFERENCE_NOT_FOUND: (Stage.PARSE, "the source has no such record; send it, then the bill anew"),
    Reason.TIME_MISSING: (Stage.PARSE, "begin and end must be given, here or in the encounter"),
    Reason.TIME_IMPOSSIBLE: (Stage.PARSE, "not a date of the calendar, or not written YYYY-MM-DD[Thh:mm:ss+zz:zz]"),
    Reason.TIME_WITHOUT_ZONE: (Stage.PARSE, "a time of day needs its offset from UTC"),
    Reason.END_BEFORE_START: (Stage.PARSE, "ends before it begins"),
    Reason.CARE_TYPE_UNKNOWN: (
        Stage.PARSE,
        "the encounter's class is missing or not one that the bridge knows; set it, or the profile's default",
    ),
    Reason.PROVIDER_UNKNOWN: (Stage.PARSE, "the organization has no identifier of the profile's system"),
    Reason.TIER_UNKNOWN: (Stage.PARSE, "the tier is primary, secondary or tertiary"),
    Reason.NO_LINES: (Stage.PARSE, "a bill without lines says nothing about what was done"),
    Reason.FACTOR_UNSUPPORTED: (Stage.PARSE, "a price factor other than 1 is not supported; send final prices"),
    Reason.QUANTITY_NOT_POSITIVE: (Stage.PARSE, "a charge needs a quantity above 0; take lines back by a reversal"),
    Reason.NEGATIVE_AMOUNT: (Stage.PARSE, "an amount is not negative; take charges back by a reversal"),
    Reason.WRONG_CURRENCY: (Stage.PARSE, "missing, or not the currency of the source's profile"),
    Reason.DIAGNOSIS_NUMBER_UNKNOWN: (Stage.PARSE, "the bill has no diagnosis of this number"),
    Reason.VALUE_MISSING: (Stage.PARSE, "a reading needs a value"),
    Reason.VALUE_NOT_EXACT: (Stage.PARSE, "a bound such as < is not a value"),
    Reason.UNIT_UNKNOWN: (Stage.PARSE, "not one of the units that the profile lists for this reading"),
    Reason.PROVENANCE_UNKNOWN: (Stage.PARSE, "no category that the profile assigns to a laboratory, clinic or device"),
    Reason.IDENTITY_MISSING: (Stage.IDENTITY, "no identity document of the kinds that the profile lists"),
    Reason.IDENTITY_AMBIGUOUS: (Stage.IDENTITY, "two different numbers of one kind; correct the patient's record"),
    Reason.PERSONAL_DATA: (Stage.IDENTITY, "would carry the patient's name or number out of the hospital"),
    Reason.CODE_MISSING: (Stage.MAP, "no code; text alone cannot be decided on"),
    Reason.CODE_SYSTEM_UNKNOWN: (Stage.MAP, "no code of a system that the profile accepts or maps"),
    Reason.CODE_NOT_MAPPED: (Stage.MAP, "the profile's map has no standard code for this one; add it"),
    Reason.AMOUNT_TOO_FINE: (Stage.BALANCE, "has a fraction of the smallest coin"),
    Reason.AMOUNT_OUT_OF_RANGE: (Stage.BALANCE, "larger than any bill"),
    Reason.TOTAL_MISSING: (Stage.BALANCE, "the bill must state its total"),
    Reason.LINE_WITHOUT_AMOUNT: (Stage.BALANCE, "neither net nor unit price, and the profile declares no rule for it"),
    Reason.PRICE_NOT_EXACT: (Stage.BALANCE, "no unit price of six places gives this net; state the unit price"),
    Reason.LINE_DOES_NOT_MULTIPLY: (Stage.BALANCE, "net is not quantity times unit price, rounded once, half up"),
    Reason.LINES_DO_NOT_ADD_UP: (Stage.BALANCE, "the lines do not add up to the total under the source's profile"),
    Reason.FUND_PAID_DOES_NOT_ADD_UP: (
        Stage.BALANCE,
        "what the funds paid exceeds its line, or the lines do not add up to the bill's",
    ),
    Reason.SOCIAL_INSURANCE_CONTRADICTS: (
        Stage.BALANCE,
        "says that social insurance was not used and that it paid, or that it paid more than the total",
    ),
    Reason.SAME_VERSION_OTHER_CONTENT: (
        Stage.CONFLICT,
        "this version came before with other content; have the HIS raise the version",
    ),
}
_RANK = {reason: rank for rank, reason in enumerate(ADVICE)}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: why and where. The path holds field names and positions, never a value."""

    reason: Reason
    path: str

    @property
    def text(self) -> str:
        """What is wrong and what to do."""
        return ADVICE[self.reason][1]


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The faults without repetition, in order of precedence, then of place."""
    unique = {(fault.reason, fault.path): fault for fault in faults}
    return tuple(sorted(unique.values(), key=lambda f: (_RANK[f.reason], f.path)))


def stage_of(faults: Iterable[Fault]) -> Stage:
    """Where a record with these faults was stopped: the stage of the first in precedence.

    Raises: ValueError without any fault.
    """
    return ADVICE[min((fault.reason for fault in faults), key=_RANK.__getitem__)][0]
