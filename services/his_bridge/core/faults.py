"""Why a record cannot be released: stable reasons, ranked, with advice. Knows no values."""

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
    FOLD = "fold"
    CONFLICT = "conflict"


class Reason(StrEnum):
    """Stable names of faults. A new one needs a sentence in `ADVICE` and a case in the tests."""

    RECORD_TOO_LARGE = "RECORD_TOO_LARGE"
    NOT_JSON = "NOT_JSON"
    NOT_HL7 = "NOT_HL7"
    NOT_IN_CHARSET = "NOT_IN_CHARSET"
    CHARSET_CONTRADICTED = "CHARSET_CONTRADICTED"
    TOO_DEEP = "TOO_DEEP"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    WRONG_TYPE = "WRONG_TYPE"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    NUMBER_MALFORMED = "NUMBER_MALFORMED"
    NUMBER_REPEATED = "NUMBER_REPEATED"
    BINARY_FLOAT = "BINARY_FLOAT"
    ROWS_DISAGREE = "ROWS_DISAGREE"
    TEXT_MALFORMED = "TEXT_MALFORMED"
    STATUS_UNKNOWN = "STATUS_UNKNOWN"
    MODIFIER_UNKNOWN = "MODIFIER_UNKNOWN"
    MESSAGE_UNSUPPORTED = "MESSAGE_UNSUPPORTED"
    REFERENCE_MISSING = "REFERENCE_MISSING"
    REFERENCE_MALFORMED = "REFERENCE_MALFORMED"
    REFERENCE_ELSEWHERE = "REFERENCE_ELSEWHERE"
    REFERENCE_NOT_FOUND = "REFERENCE_NOT_FOUND"
    REFERENCE_TAKEN_BACK = "REFERENCE_TAKEN_BACK"
    TIME_MISSING = "TIME_MISSING"
    SEVERAL_DAYS = "SEVERAL_DAYS"
    TIME_IMPOSSIBLE = "TIME_IMPOSSIBLE"
    TIME_WITHOUT_ZONE = "TIME_WITHOUT_ZONE"
    END_BEFORE_START = "END_BEFORE_START"
    CARE_TYPE_UNKNOWN = "CARE_TYPE_UNKNOWN"
    PROVIDER_UNKNOWN = "PROVIDER_UNKNOWN"
    TIER_UNKNOWN = "TIER_UNKNOWN"
    NO_LINES = "NO_LINES"
    TRANSACTION_TYPE_UNKNOWN = "TRANSACTION_TYPE_UNKNOWN"
    CREDIT_WITHOUT_CHARGE = "CREDIT_WITHOUT_CHARGE"
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
    PERSON_NOT_FOUND = "PERSON_NOT_FOUND"
    ANOTHER_PATIENT = "ANOTHER_PATIENT"
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
    BRIDGE_FAILED = "BRIDGE_FAILED"
    ORIGINAL_NOT_THERE = "ORIGINAL_NOT_THERE"
    ORIGINAL_NEVER_CAME = "ORIGINAL_NEVER_CAME"
    OVER_REVERSED = "OVER_REVERSED"
    REVERSAL_DOES_NOT_FIT = "REVERSAL_DOES_NOT_FIT"
    REFUND_WITHOUT_LINES = "REFUND_WITHOUT_LINES"
    PATIENTS_DIFFER = "PATIENTS_DIFFER"
    MERGE_CIRCULAR = "MERGE_CIRCULAR"
    MERGED_BEFORE = "MERGED_BEFORE"
    UNMERGE_UNSUPPORTED = "UNMERGE_UNSUPPORTED"
    SAME_VERSION_OTHER_CONTENT = "SAME_VERSION_OTHER_CONTENT"
    MEMBER_ERASED = "MEMBER_ERASED"


# In order of precedence: the record's stage is that of its first fault in this order.
_ADVICE: dict[Stage, dict[Reason, str]] = {
    Stage.PARSE: {
        Reason.BRIDGE_FAILED: "the bridge itself failed on this record; report it to its maker",
        Reason.RECORD_TOO_LARGE: (
            "larger than any bill, or of more values; have the HIS leave out what is attached"
        ),
        Reason.NOT_JSON: "not one JSON object in UTF-8; have the HIS send it anew",
        Reason.NOT_HL7: "no HL7 v2 message with a usable MSH; have the interface send it anew",
        Reason.NOT_IN_CHARSET: (
            "not in the charset of the source's profile; correct the profile or the sender"
        ),
        Reason.CHARSET_CONTRADICTED: (
            "MSH-18 names another charset than the source's profile, or the bytes are UTF-8"
        ),
        Reason.TOO_DEEP: "nested too deeply to be a record of this kind",
        Reason.DUPLICATE_KEY: "stands twice in one object; nobody can say which counts",
        Reason.WRONG_TYPE: "not the kind of value that belongs here",
        Reason.NOT_A_NUMBER: "NaN and Infinity are no numbers; correct the value at the HIS",
        Reason.NUMBER_MALFORMED: (
            "no plain decimal with the allowed digits; write it without exponent"
        ),
        Reason.BINARY_FLOAT: (
            "a binary floating-point value is no exact amount; cast it to DECIMAL in the view"
        ),
        Reason.ROWS_DISAGREE: "the rows of one record differ in this; nobody can say which counts",
        Reason.NUMBER_REPEATED: "missing, below 1 or used before; number the entries from 1",
        Reason.TEXT_MALFORMED: (
            "empty, too long, or holds control characters or half of one that was cut in two; "
            "a number or code is in ASCII"
        ),
        Reason.STATUS_UNKNOWN: "missing or not a status of this kind of record",
        Reason.MODIFIER_UNKNOWN: (
            "changes what the record means in a way that the bridge does not know; have the HIS "
            "state it without"
        ),
        Reason.MESSAGE_UNSUPPORTED: (
            "changes a bill in a way that this message does not tell; a person looks at the bill"
        ),
        Reason.REFERENCE_MISSING: "the record must say which one it means",
        Reason.REFERENCE_MALFORMED: (
            "not Type/id, urn:uuid:id, #id or a URL of this source; or another type"
        ),
        Reason.REFERENCE_ELSEWHERE: "points at another server; the bridge asks only its own source",
        Reason.REFERENCE_NOT_FOUND: "the source has no such record; send it, then the bill anew",
        Reason.REFERENCE_TAKEN_BACK: (
            "points at what was entered in error, cancelled, refuted or is not to be paid; correct "
            "it or the pointer, then send the bill anew"
        ),
        Reason.TIME_MISSING: "begin and end must be given, here or in the encounter",
        Reason.SEVERAL_DAYS: "results of several days in one order; send an order for each day",
        Reason.TIME_IMPOSSIBLE: (
            "no date of the calendar, or in another form: FHIR YYYY-MM-DD[Thh:mm:ss+zz:zz], rows "
            "YYYY-MM-DD[ hh:mm:ss], HL7 v2 YYYYMMDD[hhmm[ss]][+zzzz]"
        ),
        Reason.TIME_WITHOUT_ZONE: "a time of day needs its offset from UTC",
        Reason.END_BEFORE_START: "ends before it begins, or is released before it is measured",
        Reason.CARE_TYPE_UNKNOWN: (
            "the kind of care is missing or unknown; set it, or say in the profile what it means"
        ),
        Reason.PROVIDER_UNKNOWN: "the organization has no identifier of the profile's system",
        Reason.TIER_UNKNOWN: "the tier is primary, secondary or tertiary",
        Reason.NO_LINES: "a bill without lines says nothing about what was done",
        Reason.TRANSACTION_TYPE_UNKNOWN: (
            "the profile does not say what this type of transaction is; add it"
        ),
        Reason.CREDIT_WITHOUT_CHARGE: "a credit must name the charge that it takes back",
        Reason.FACTOR_UNSUPPORTED: (
            "a price factor other than 1 is not supported; send final prices"
        ),
        Reason.QUANTITY_NOT_POSITIVE: (
            "a charge needs a quantity above 0; take lines back by a reversal"
        ),
        Reason.NEGATIVE_AMOUNT: "an amount is not negative; take charges back by a reversal",
        Reason.WRONG_CURRENCY: "missing, or not the currency of the source's profile",
        Reason.DIAGNOSIS_NUMBER_UNKNOWN: "the bill has no diagnosis of this number",
        Reason.VALUE_MISSING: "a reading needs a value",
        Reason.VALUE_NOT_EXACT: "a bound such as < is not a value",
        Reason.UNIT_UNKNOWN: "not one of the units that the profile lists for this reading",
        Reason.PROVENANCE_UNKNOWN: "no category that the profile assigns to anybody who vouches",
    },
    Stage.IDENTITY: {
        Reason.IDENTITY_MISSING: "no identity document of the kinds that the profile lists",
        Reason.IDENTITY_AMBIGUOUS: (
            "two different numbers of one kind; correct the patient's record"
        ),
        Reason.PERSON_NOT_FOUND: (
            "no document is known for this 人员编号: add its row to the table of persons "
            "(source.persons) and replay; in files put baseinfo beside infno, or beside request"
        ),
        Reason.ANOTHER_PATIENT: (
            "points at what is another patient's than the bill; correct it, then send the bill anew"
        ),
        Reason.PERSONAL_DATA: "would carry the patient's name or number out of the hospital",
    },
    Stage.MAP: {
        Reason.CODE_MISSING: "no code; text alone cannot be decided on",
        Reason.CODE_SYSTEM_UNKNOWN: (
            "no code of a system that the profile accepts or maps; load a table of codes for it"
        ),
        Reason.CODE_NOT_MAPPED: "the profile's map has no standard code for this one; add it",
    },
    Stage.BALANCE: {
        Reason.AMOUNT_TOO_FINE: "has a fraction of the smallest coin",
        Reason.AMOUNT_OUT_OF_RANGE: "larger than any bill",
        Reason.TOTAL_MISSING: "the bill must state its total",
        Reason.LINE_WITHOUT_AMOUNT: (
            "neither net nor unit price, and the profile has no rule for it"
        ),
        Reason.PRICE_NOT_EXACT: "no unit price of six places gives this net; state the unit price",
        Reason.LINE_DOES_NOT_MULTIPLY: (
            "net is not quantity times unit price, rounded once, half up"
        ),
        Reason.LINES_DO_NOT_ADD_UP: (
            "the lines do not add up to the total under the source's profile"
        ),
        Reason.FUND_PAID_DOES_NOT_ADD_UP: (
            "exceeds its line, or the lines do not add up to the bill's"
        ),
        Reason.SOCIAL_INSURANCE_CONTRADICTS: (
            "said to be unused and to have paid, or to have paid above the total, or the rest is "
            "not what the patient is said to have paid"
        ),
    },
    Stage.FOLD: {
        Reason.PATIENTS_DIFFER: (
            "this bill's records name different patients; nothing of it is released meanwhile"
        ),
        Reason.ORIGINAL_NOT_THERE: "takes back what has not come yet; it waits for that",
        Reason.ORIGINAL_NEVER_CAME: (
            "takes back what never came; have the HIS send the original, and this counts by itself"
        ),
        Reason.OVER_REVERSED: "takes back more than was charged; correct it, or the charge",
        Reason.REVERSAL_DOES_NOT_FIT: (
            "takes back a quantity and an amount that do not belong to one charge"
        ),
        Reason.REFUND_WITHOUT_LINES: (
            "a refund must say which charges it takes back; send its lines"
        ),
        Reason.MERGE_CIRCULAR: "would merge what it was merged into; nothing was changed",
        Reason.MERGED_BEFORE: "was merged into another already; nothing was changed",
        Reason.UNMERGE_UNSUPPORTED: (
            "a merge cannot be undone here; have the HIS reverse the bills and state them anew"
        ),
    },
    Stage.CONFLICT: {
        Reason.SAME_VERSION_OTHER_CONTENT: (
            "came before with other content; have the HIS raise the version, or send the HL7 v2 "
            "message under a new control id"
        ),
        Reason.MEMBER_ERASED: (
            "what came before of it was erased with its patient; a person decides what to do"
        ),
    },
}
ADVICE = {
    reason: (stage, text) for stage, texts in _ADVICE.items() for reason, text in texts.items()
}
_RANK = {reason: rank for rank, reason in enumerate(ADVICE)}


class Fault(msgspec.Struct, frozen=True, gc=False, kw_only=True):
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
