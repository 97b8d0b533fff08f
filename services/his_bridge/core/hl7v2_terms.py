"""What a source profile says about HL7 v2 messages beyond what all dialects share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import CareType

# By Python's name, what MSH-18 (HL7 table 0211) may say of a message in that charset.
CHARSETS: Mapping[str, frozenset[str]] = {
    "gb18030": frozenset({"GB18030", "GB180302000", "GBK", "GB2312"}),
    "gbk": frozenset({"GBK", "GB2312"}),
    "gb2312": frozenset({"GB2312"}),
    "utf-8": frozenset({"UNICODEUTF8", "UTF8", "UNICODE"}),
    "big5": frozenset({"BIG5"}),
    "iso-8859-1": frozenset({"8859/1", "ISO88591", "88591"}),
    "iso-8859-15": frozenset({"8859/15", "ISO885915", "885915"}),
    "ascii": frozenset(),
}


class BillBy(StrEnum):
    """By which number charges belong to one bill."""

    ACCOUNT = "account"  # PID-18
    VISIT = "visit"  # PV1-19
    MESSAGE = "message"  # every DFT states a bill as a whole


class ChargeKind(StrEnum):
    """What a transaction type (FT1-6) means for a bill."""

    CHARGE = "charge"
    CREDIT = "credit"
    LEAVE_OUT = "leave_out"  # payments: a bill says what care cost, not who paid


class CreditNames(StrEnum):
    """Where a credit names the charge that it takes back."""

    TRANSACTION_REFERENCE = "transaction_reference"  # FT1-31
    TRANSACTION_ID = "transaction_id"  # FT1-2, which repeats the charge's own


class MessageId(StrEnum):
    """What tells two messages of one sender apart."""

    CONTROL_ID = "control_id"  # MSH-10
    CONTROL_ID_AND_TIME = "control_id_and_time"  # MSH-10 and MSH-7, for counters that begin anew


class TotalFrom(StrEnum):
    """What a bill of one message must add up to."""

    LINES = "lines"  # HL7's charges state no total
    VISIT = "visit"  # PV1-47, total charges


class ExtendedAmount(StrEnum):
    """What FT1-11 holds."""

    NET = "net"  # as HL7 has it: quantity times unit price
    UNIT_PRICE = "unit_price"  # as some sources write it


CHARGES = frozenset({"DFT^P03", "DFT^P11"})
MERGES = frozenset({"ADT^A40", "ADT^A41"})
RESULTS = frozenset({"ORU^R01"})
# They say something about the account or visit, and may end it when the profile says so.
UPDATES = frozenset({"ADT^A03", "ADT^A08", "BAR^P01", "BAR^P02", "BAR^P05", "BAR^P06", "BAR^P12"})
SUPPORTED = CHARGES | MERGES | RESULTS | UPDATES

_TYPES: Mapping[str, ChargeKind] = {
    "CG": ChargeKind.CHARGE,
    "CD": ChargeKind.CREDIT,
    "CR": ChargeKind.CREDIT,
    "PY": ChargeKind.LEAVE_OUT,
    "CO": ChargeKind.LEAVE_OUT,
}
_CLASSES: Mapping[str, CareType] = {
    "I": CareType.INPATIENT,
    "E": CareType.EMERGENCY,
    "O": CareType.OUTPATIENT,
}


class Hl7v2Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How one source writes HL7 v2.

    `closes` are the messages that end a bill, such as "ADT^A03", `takes_back` those that take all
    of it back; `kept_out` are those that are acknowledged and not stored, such as "ADT^A01" or
    "SIU". `systems` turns coding-system names into the systems of `codes`;
    a name that is not listed stands for itself, and `line_system`, `diagnosis_system` stand for
    codes that name none. `units` turns the source's units into UCUM. `emergency_admissions` are the
    admission types (PV1-4) of a stay that began as an emergency.
    """

    charset: str = "gb18030"
    bill: BillBy = BillBy.ACCOUNT
    closes: frozenset[str] = frozenset({"ADT^A03", "BAR^P06"})
    takes_back: frozenset[str] = frozenset()
    kept_out: frozenset[str] = frozenset()
    versions: frozenset[str] = frozenset()  # empty: 2.1 to 2.8.2
    processing_ids: frozenset[str] = frozenset({"P"})
    message_id: MessageId = MessageId.CONTROL_ID
    transaction_types: Mapping[str, ChargeKind] = msgspec.field(default_factory=lambda: _TYPES)
    credit_names: CreditNames = CreditNames.TRANSACTION_REFERENCE
    extended_amount: ExtendedAmount = ExtendedAmount.NET
    total_from: TotalFrom = TotalFrom.LINES
    patient_classes: Mapping[str, CareType] = msgspec.field(default_factory=lambda: _CLASSES)
    emergency_admissions: frozenset[str] = frozenset({"E"})
    systems: Mapping[str, str] = {}
    line_system: str = ""
    diagnosis_system: str = ""
    units: Mapping[str, str] = {}
