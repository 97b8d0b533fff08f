"""What a profile says about a source's HL7 v2: the section `hl7v2`, every key of it optional."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from services.his_bridge.core.bill import CareType
from services.his_bridge.core.hl7v2_terms import (
    CHARSETS,
    SUPPORTED,
    UPDATES,
    BillBy,
    ChargeKind,
    CreditNames,
    ExtendedAmount,
    Hl7v2Terms,
    MessageId,
    TotalFrom,
)
from services.his_bridge.profiles.reader import Section

E = TypeVar("E", bound=Enum)
_SYSTEM = r"[!-~]{1,200}"
_MESSAGE = re.compile(r"[A-Z][A-Z0-9]{2}(\^[A-Z][A-Z0-9]{2})?")
_CODE = re.compile(r"[^\s|^~&\\]{1,20}")


def read(section: Section) -> Hl7v2Terms:
    """The terms. With faults they are of no use."""
    usual = Hl7v2Terms()
    charset = section.text("charset", "|".join(CHARSETS), required=False) or usual.charset
    bill = section.choice("bill", BillBy) or usual.bill
    closes = _messages(section, "closes", UPDATES, "messages about accounts and visits")
    takes_back = _messages(section, "takes_back", UPDATES, "messages about accounts and visits")
    if bill is BillBy.MESSAGE and (closes or takes_back):
        section.fault("closes", "BILL", "where each message is a bill, nothing closes one")
    if closes and takes_back and closes & takes_back:
        section.fault("takes_back", "BILL", "the same message cannot close and take back")
    total_from = section.choice("total_from", TotalFrom) or usual.total_from
    if total_from is TotalFrom.VISIT and bill is BillBy.ACCOUNT:
        section.fault("total_from", "TOTAL", "PV1-47 is a visit's total, not an account's")
    types = _choices(section, "transaction_types", ChargeKind)
    classes = _choices(section, "patient_classes", CareType)
    return Hl7v2Terms(
        charset=charset,
        bill=bill,
        closes=usual.closes if closes is None else closes,
        takes_back=takes_back or usual.takes_back,
        kept_out=_messages(section, "kept_out", None, "") or usual.kept_out,
        versions=frozenset(section.texts("versions")),
        processing_ids=frozenset(section.texts("processing_ids")) or usual.processing_ids,
        message_id=section.choice("message_id", MessageId) or usual.message_id,
        transaction_types={**usual.transaction_types, **types},
        credit_names=section.choice("credit_names", CreditNames) or usual.credit_names,
        extended_amount=section.choice("extended_amount", ExtendedAmount) or usual.extended_amount,
        total_from=total_from,
        patient_classes={**usual.patient_classes, **classes},
        emergency_admissions=frozenset(section.texts("emergency_admissions"))
        or usual.emergency_admissions,
        systems=_texts(section, "systems", re.compile(_SYSTEM).fullmatch),
        line_system=section.text("line_system", _SYSTEM, required=False) or "",
        diagnosis_system=section.text("diagnosis_system", _SYSTEM, required=False) or "",
        units=_texts(section, "units", str.isprintable),
    )


def _messages(
    section: Section, key: str, among: frozenset[str] | None, what: str
) -> frozenset[str] | None:
    """Message types, such as "ADT^A03"; None when the key is not there."""
    if not section.has(key):
        return None
    found = frozenset(section.texts(key))
    if not all(_MESSAGE.fullmatch(name) for name in found):
        section.fault(key, "MESSAGE", "must be a list of messages such as ADT^A03")
    elif among is not None and not found <= among:
        section.fault(key, "MESSAGE", f"must be {what}: {', '.join(sorted(among))}")
    elif among is None and found & SUPPORTED == SUPPORTED:
        section.fault(key, "MESSAGE", "would keep everything out")
    return found


def _choices(section: Section, key: str, kind: type[E]) -> dict[str, E]:
    by_name = {str(member.value).lower(): member for member in kind}
    found: dict[str, E] = {}
    for code, name in section.mapping(key).items():
        if not _CODE.fullmatch(code) or not isinstance(name, str) or name not in by_name:
            text = f"must assign each code one of: {', '.join(by_name)}"
            section.fault(key, "CHOICE", text)
        else:
            found[code] = by_name[name]
    return found


def _texts(section: Section, key: str, fits: Callable[[str], object]) -> dict[str, str]:
    found = {}
    for code, text in section.mapping(key).items():
        if not isinstance(text, str) or not text or not fits(text):
            section.fault(key, "TEXT", "must assign each name a text")
        else:
            found[code] = text
    return found
