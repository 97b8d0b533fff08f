"""Why a message is not accepted, what that is called in HL7, and whether sending again may help.

AE: sending again may mend it, or a person must look at bytes that were kept. AR: it will never do
as it is. Texts hold no value of the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Refusal(StrEnum):
    """Stable names; each has a row in `TERMS` and a case in the tests."""

    NOT_HL7 = "NOT_HL7"
    NOT_IN_CHARSET = "NOT_IN_CHARSET"
    CHARSET_CONTRADICTED = "CHARSET_CONTRADICTED"
    MESSAGE_CUT_SHORT = "MESSAGE_CUT_SHORT"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    TOO_MANY_SEGMENTS = "TOO_MANY_SEGMENTS"
    SEGMENT_TOO_LONG = "SEGMENT_TOO_LONG"
    VERSION_UNSUPPORTED = "VERSION_UNSUPPORTED"
    PROCESSING_ID_UNSUPPORTED = "PROCESSING_ID_UNSUPPORTED"
    TYPE_UNSUPPORTED = "TYPE_UNSUPPORTED"
    EVENT_UNSUPPORTED = "EVENT_UNSUPPORTED"
    ACKNOWLEDGEMENT_UNSUPPORTED = "ACKNOWLEDGEMENT_UNSUPPORTED"
    CONTROL_ID_MISSING = "CONTROL_ID_MISSING"
    SEGMENT_MISSING = "SEGMENT_MISSING"
    FIELD_MISSING = "FIELD_MISSING"
    CONTROL_ID_REUSED = "CONTROL_ID_REUSED"
    NOT_STORED = "NOT_STORED"


class Terms(msgspec.Struct, frozen=True):
    """A refusal in HL7's terms, `code` of table 0357. `is_kept`: the bytes wait in quarantine."""

    may_mend: bool
    code: str
    code_text: str
    text: str
    is_kept: bool = False


_REQUIRED, _SEQUENCE = ("101", "Required field missing"), ("100", "Segment sequence error")
_TYPE, _TABLE = ("102", "Data type error"), ("103", "Table value not found")
_INTERNAL = ("207", "Application internal error")
TERMS: dict[Refusal, Terms] = {
    Refusal.NOT_HL7: Terms(True, *_SEQUENCE, "does not begin with a usable MSH segment", True),
    Refusal.NOT_IN_CHARSET: Terms(
        True,
        *_TYPE,
        "not in the charset that is agreed for this source; it waits for a person",
        True,
    ),
    Refusal.CHARSET_CONTRADICTED: Terms(
        True,
        *_TABLE,
        "another charset than is agreed for this source, by MSH-18 or by its bytes",
        True,
    ),
    Refusal.MESSAGE_CUT_SHORT: Terms(
        True, *_SEQUENCE, "ended before its end-of-block character; send it again, whole"
    ),
    Refusal.MESSAGE_TOO_LARGE: Terms(False, *_INTERNAL, "larger than this source may send"),
    Refusal.TOO_MANY_SEGMENTS: Terms(False, *_SEQUENCE, "more segments than any bill has"),
    Refusal.SEGMENT_TOO_LONG: Terms(False, *_TYPE, "a segment that is read is too long"),
    Refusal.VERSION_UNSUPPORTED: Terms(
        False, "203", "Unsupported version id", "not a version of HL7 that this source may send"
    ),
    Refusal.PROCESSING_ID_UNSUPPORTED: Terms(
        False, "202", "Unsupported processing id", "not for the processing that happens here"
    ),
    Refusal.TYPE_UNSUPPORTED: Terms(
        False, "200", "Unsupported message type", "this kind of message is not taken"
    ),
    Refusal.EVENT_UNSUPPORTED: Terms(
        False, "201", "Unsupported event code", "this trigger event is not taken"
    ),
    Refusal.ACKNOWLEDGEMENT_UNSUPPORTED: Terms(
        False, *_TABLE, "no separate application acknowledgement is sent; ask for none, or on error"
    ),
    Refusal.CONTROL_ID_MISSING: Terms(False, *_REQUIRED, "a message needs its control id"),
    Refusal.SEGMENT_MISSING: Terms(
        False, *_SEQUENCE, "a segment that this message needs is missing"
    ),
    Refusal.FIELD_MISSING: Terms(False, *_REQUIRED, "a field that this message needs is empty"),
    Refusal.CONTROL_ID_REUSED: Terms(
        False, "205", "Duplicate key identifier", "another message came under this control id", True
    ),
    Refusal.NOT_STORED: Terms(True, *_INTERNAL, "could not be stored now; send it again, later"),
}


class Place(msgspec.Struct, frozen=True):
    """Where in a message a refusal is seen: segment and field; 0 without a field."""

    segment: str = ""
    field: int = 0

    def __str__(self) -> str:
        return f"{self.segment}-{self.field}" if self.field else self.segment


class Denial(msgspec.Struct, frozen=True):
    """One reason why a message is not accepted, and where."""

    refusal: Refusal
    place: Place = Place()

    @property
    def terms(self) -> Terms:
        """What HL7 calls it."""
        return TERMS[self.refusal]


class Refused(Exception):
    """A message is not accepted; `denials` names every reason."""

    def __init__(self, *denials: Denial) -> None:
        super().__init__(", ".join(denial.refusal for denial in denials))
        self.denials = denials


def may_mend(denials: Sequence[Denial]) -> bool:
    """Whether sending again may help: only if nothing stands against it for good."""
    return all(denial.terms.may_mend for denial in denials)


def is_kept(denials: Sequence[Denial]) -> bool:
    """Whether the bytes are to wait for a person."""
    return all(denial.terms.is_kept for denial in denials)
