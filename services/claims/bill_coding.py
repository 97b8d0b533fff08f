"""What a bill says of its coding, its papers and who else is liable: faults, and facts.

Asks no database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from lipei.type.v1 import bill_pb2
from services.claims.core.facts import MAX_DAYS_SUPPLY, Liability, Licence
from services.common.grpc_edge import Violation

MAX_PAPERS, MAX_MODIFIERS = 50, 10
_MIDNIGHT = time(0)
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_MODIFIER = re.compile(r"[0-9A-Za-z]{1,16}", re.ASCII)
_LICENCES = {bill_pb2.Licence.Value(f"LICENCE_{one.name}"): one for one in Licence}
_LIABILITIES: dict[int, Liability | None] = {
    bill_pb2.LIABILITY_UNSPECIFIED: None,
    **{bill_pb2.Liability.Value(f"LIABILITY_{one.name}"): one for one in Liability},
}


def coding_faults(
    bill: bill_pb2.Bill, possible: Callable[[Timestamp], bool]
) -> Iterator[Violation]:
    """Every fault of what edits read; `possible` says whether a time can be."""
    if any(licence not in _LICENCES for licence in bill.licences):
        yield _fault("licences", "UNKNOWN_VALUE", "a licence is not one that this version knows")
    if bill.liability not in _LIABILITIES:
        yield _fault("liability", "UNKNOWN_VALUE", "is not a value that this version knows")
    if len(bill.papers) > MAX_PAPERS:
        yield _fault("papers", "TOO_MANY", f"at most {MAX_PAPERS}")
    if not all(_WORD.fullmatch(paper) for paper in bill.papers):
        yield _fault("papers", "MALFORMED", _AS_PLANS_WRITE)
    if bill.late_reason and not _WORD.fullmatch(bill.late_reason):
        yield _fault("late_reason", "MALFORMED", _AS_PLANS_WRITE)
    numbers = {line.number for line in bill.lines}
    for index, line in enumerate(bill.lines):
        yield from _line_faults(f"lines[{index}]", line, numbers, possible)


_AS_PLANS_WRITE = "write a word as plans do: a-z, 0-9, - and _, beginning with a letter"


def _line_faults(
    where: str,
    line: bill_pb2.BillLine,
    numbers: set[int],
    possible: Callable[[Timestamp], bool],
) -> Iterator[Violation]:
    if len(line.modifiers) > MAX_MODIFIERS:
        yield _fault(f"{where}.modifiers", "TOO_MANY", f"at most {MAX_MODIFIERS}")
    if not all(_MODIFIER.fullmatch(one) for one in line.modifiers):
        text = "a modifier is 1 to 16 letters and digits"
        yield _fault(f"{where}.modifiers", "MALFORMED", text)
    if line.HasField("part_of") and (line.part_of not in numbers or line.part_of == line.number):
        text = "must be the number of another line of the bill"
        yield _fault(f"{where}.part_of", "UNKNOWN_LINE", text)
    if line.HasField("prescription_time") and not possible(line.prescription_time):
        yield _fault(f"{where}.prescription_time", "IMPOSSIBLE_DATE", "is not a possible date")
    if line.HasField("days_supply") and not 1 <= line.days_supply <= MAX_DAYS_SUPPLY:
        text = f"must be from 1 to {MAX_DAYS_SUPPLY}"
        yield _fault(f"{where}.days_supply", "OUT_OF_RANGE", text)
    if line.repeat_reason and not _WORD.fullmatch(line.repeat_reason):
        yield _fault(f"{where}.repeat_reason", "MALFORMED", _AS_PLANS_WRITE)


def filing_facts(bill: bill_pb2.Bill) -> dict[str, Any]:
    """Licences, liability, papers and why it is late, as fields of BillFacts."""
    return {
        "licences": tuple(_LICENCES[one] for one in bill.licences),
        "liability": _LIABILITIES[bill.liability],
        "papers": tuple(bill.papers),
        "late_reason": bill.late_reason,
    }


def is_emergency(bill: bill_pb2.Bill) -> bool:
    """Whether the bill is for emergency care, or for a stay that began as an emergency."""
    return bill.emergency_admission or bill.care_type == bill_pb2.CARE_TYPE_EMERGENCY


def admission_time(bill: bill_pb2.Bill, zone: ZoneInfo) -> datetime | None:
    """When emergency care began, by the hospital's clock; nothing reads it of other care.

    Midnight is a day without a time, as sources write it that know no time.
    """
    if not is_emergency(bill):
        return None
    admitted = local_time(bill.start_time, zone)
    return None if admitted.time() == _MIDNIGHT else admitted


def coding_facts(line: bill_pb2.BillLine, zone: ZoneInfo, *, timed: bool) -> dict[str, Any]:
    """Modifiers, package, prescription, supply and override, as fields of LineFacts.

    The time of the service is told where the bill is `timed`, as emergency care is, and beside one
    of prescribing: nothing else reads it. Midnight is a day without a time, as sources write it
    that know no time; it would be before every prescription of its day.
    """
    prescribed = line.HasField("prescription_time")
    dispensed = (prescribed or timed) and line.HasField("service_time")
    if dispensed and local_time(line.service_time, zone).time() == _MIDNIGHT:
        dispensed = False
    return {
        "modifiers": tuple(line.modifiers),
        "part_of": line.part_of if line.HasField("part_of") else None,
        "service_time": local_time(line.service_time, zone) if dispensed else None,
        "prescription_time": local_time(line.prescription_time, zone) if prescribed else None,
        "days_supply": line.days_supply if line.HasField("days_supply") else None,
        "repeat_reason": line.repeat_reason,
    }


def local_time(moment: Timestamp, zone: ZoneInfo) -> datetime:
    """The hospital's clock at that second, without zone."""
    return datetime.fromtimestamp(moment.seconds, UTC).astimezone(zone).replace(tzinfo=None)


def _fault(field: str, reason: str, text: str) -> Violation:
    return Violation(f"bill.{field}", reason, text)
