"""What maps of codes and offers on the wire must look like. Reads no database."""

from __future__ import annotations

import re
from datetime import date

import msgspec

from lipei.his_bridge.v1 import operations_pb2 as pb
from services.common.grpc_edge import Violation
from services.his_bridge.core.mapping import Side, StoredMap
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.requests import BILL, below, not_a_name
from services.his_bridge.storage.offers import Asked

LOINC = "http://loinc.org"
MOST_ENTRIES = 50_000
USUAL_OFFER, MOST_OFFER = 100, 500
SIDES = {
    pb.CODE_KIND_SERVICES: Side.SERVICES,
    pb.CODE_KIND_DIAGNOSES: Side.DIAGNOSES,
    pb.CODE_KIND_READINGS: Side.READINGS,
}
_SYSTEM = re.compile(r"[!-~]{1,200}", re.ASCII)
# A code has no control characters and no blank at either end, as in a profile.
_CODE = re.compile(r"[^\s](?:[^\x00-\x1f]{0,98}[^\s])?")
_VERSION = re.compile(r"[!-~]{1,64}", re.ASCII)
# What the insurer may call a reason, as AcknowledgeBills takes it.
_REASON = re.compile(r"[!-~]{1,200}", re.ASCII)
_LOINC_CODE = re.compile(r"[0-9]{1,7}-[0-9]", re.ASCII)


def code_map_faults(request: pb.ImportCodeMapRequest, terms: SourceTerms | None) -> list[Violation]:
    """Everything wrong with a map; without terms the hospital is judged elsewhere."""
    faults = []
    if request.kind not in SIDES:
        text = "must be services, diagnoses or readings"
        faults.append(Violation("kind", "UNKNOWN_VALUE", text))
    for field, pattern, form in (
        ("from_system", _SYSTEM, "a URI of 1 to 200 characters"),
        ("to_system", _SYSTEM, "a URI of 1 to 200 characters"),
        ("version", _VERSION, "1 to 64 printable characters without blanks"),
    ):
        if not pattern.fullmatch(getattr(request, field)):
            faults.append(Violation(field, "MALFORMED", f"must be {form}"))
    accepted = _accepted(request.kind, terms)
    if accepted is not None and request.to_system not in accepted:
        text = f"must be a system that the profile accepts: {', '.join(sorted(accepted))}"
        faults.append(Violation("to_system", "NOT_ACCEPTED", text))
    if accepted is not None and request.from_system in accepted:
        text = "is accepted as it is; a map of it would never be asked"
        faults.append(Violation("from_system", "ACCEPTED_ALREADY", text))
    if not 1 <= len(request.entries) <= MOST_ENTRIES:
        faults.append(Violation("entries", "COUNT", f"must hold 1 to {MOST_ENTRIES:,}"))
    return faults + _entry_faults(request)


def _entry_faults(request: pb.ImportCodeMapRequest) -> list[Violation]:
    faults = []
    seen: set[str] = set()
    for index, entry in enumerate(request.entries[:MOST_ENTRIES]):
        path = f"entries[{index}]"
        for field in ("local_code", "standard_code"):
            if not _CODE.fullmatch(getattr(entry, field)):
                text = "must be 1 to 100 characters without a blank at either end"
                faults.append(Violation(f"{path}.{field}", "MALFORMED", text))
        if request.kind == pb.CODE_KIND_READINGS and not _LOINC_CODE.fullmatch(entry.standard_code):
            text = "must be a LOINC code such as 4548-4"
            faults.append(Violation(f"{path}.standard_code", "NOT_LOINC", text))
        if entry.local_code in seen:
            faults.append(Violation(f"{path}.local_code", "REPEATED", "stands twice"))
        seen.add(entry.local_code)
    return faults


def _accepted(kind: pb.CodeKind.ValueType, terms: SourceTerms | None) -> frozenset[str] | None:
    if kind == pb.CODE_KIND_READINGS:
        return frozenset({LOINC})
    if terms is None or kind not in SIDES:
        return None
    rules = terms.line_codes if kind == pb.CODE_KIND_SERVICES else terms.diagnosis_codes
    return frozenset(rules.accepted)


def named_systems(profile: SourceProfile) -> frozenset[str]:
    """Every code system that a profile names, and some other words of it."""
    terms = profile.terms
    maps = (terms.line_codes.maps, terms.diagnosis_codes.maps, terms.reading_maps)
    found = {system for one in maps for system in one}
    return frozenset(found | _words(msgspec.to_builtins(profile.dialect_terms)))


def _words(node: object) -> set[str]:
    if isinstance(node, str):
        return {node}
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return {word for one in inner for word in _words(one)}


def loaded_map(request: pb.ImportCodeMapRequest) -> StoredMap:
    """The map; only after its faults were checked."""
    return StoredMap(
        side=SIDES[request.kind],
        from_system=request.from_system,
        to_system=request.to_system,
        codes={entry.local_code: entry.standard_code for entry in request.entries},
    )


def offer_faults(request: pb.OfferRefusedBillsRequest) -> list[Violation]:
    """Everything wrong with what is to be offered again."""
    faults = []
    if len(request.bills) > MOST_OFFER:
        faults.append(Violation("bills", "COUNT", f"must hold at most {MOST_OFFER}"))
    seen: set[str] = set()
    for index, bill in enumerate(request.bills[:MOST_OFFER]):
        named = BILL.fullmatch(bill)
        if named is None or f"hospitals/{named[1]}" != request.parent:
            faults.append(not_a_name(f"bills[{index}]", below(request.parent, "bills/{bill}")))
        elif bill in seen:
            faults.append(Violation(f"bills[{index}]", "REPEATED", "stands twice"))
        seen.add(bill)
    for field in ("reason", "first_day", "max_bills"):
        if request.bills and getattr(request, field):
            text = "only belongs to an offer without bills"
            faults.append(Violation(field, "DOES_NOT_FIT", text))
    if request.reason and not _REASON.fullmatch(request.reason):
        text = "must be 1 to 200 printable characters without blanks, such as UNKNOWN_MEMBER"
        faults.append(Violation("reason", "MALFORMED", text))
    if request.first_day:
        day_of(request.first_day, "first_day", faults)
    if not 0 <= request.max_bills <= MOST_OFFER:
        text = f"must lie between 0 and {MOST_OFFER}; 0 means {USUAL_OFFER}"
        faults.append(Violation("max_bills", "OUT_OF_RANGE", text))
    return faults


def offer_asked(request: pb.OfferRefusedBillsRequest) -> Asked:
    """The offer as storage takes it; only after its faults were checked."""
    return Asked(
        names=tuple(sorted(bill.rpartition("/")[2] for bill in request.bills)),
        reason=request.reason,
        first_day=request.first_day,
        most=request.max_bills or USUAL_OFFER,
    )


def day_of(text: str, field: str, faults: list[Violation]) -> date | None:
    """The day that a field says; None and a fault when it says none."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return date.fromisoformat(text)
    except ValueError:
        pass  # 2026-02-30: named below
    text = "must be a date of the calendar, written YYYY-MM-DD"
    faults.append(Violation(field, "NOT_A_DATE", text))
    return None
