"""Facts that papers bring to a bill: which may come so, and the bill with them. Asks no database.

They come as a bill that says nothing else. Only the hospital corrects what its bill states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import time
from zoneinfo import ZoneInfo

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from lipei.type.v1 import bill_pb2
from services.claims.bill_coding import local_time
from services.common.refusals import Violation

# What makes the bill this bill, or its money: whoever hands a paper in cannot change it.
_THE_BILLS_OWN = frozenset(
    [
        "name",
        "bill_number",
        "provider_id",
        "kind",
        "member_token",
        "time_zone",
        "total",
        "consent",
    ]
)
# Of these the bill may state the day alone, as midnight.
_TIMES = frozenset(["start_time", "end_time"])
# Of these the bill may state a part.
_IN_PARTS = frozenset(["lines", "papers", "social_insurance"])
_ONE_PLACE = "a line stands here twice; say all that papers say of it in one"
_OF_LINES = frozenset(
    [
        "diagnosis_numbers",
        "service_time",
        "part_of",
        "prescription_time",
        "days_supply",
        "repeat_reason",
        "authorisation",
    ]
)


def fact_faults(bill: bill_pb2.Bill, facts: bill_pb2.Bill) -> Iterator[Violation]:
    """Every fact that cannot come by papers, or that the bill states already, whatever it says."""
    for field, value in facts.ListFields():
        where = f"facts.{field.name}"
        if field.name in _THE_BILLS_OWN:
            yield _not_by_papers(where)
        elif field.name in _TIMES:
            yield from _time(bill, getattr(bill, field.name), value, where)
        elif field.name == "social_insurance":
            yield from _social_insurance(bill, facts)
        elif field.name == "lines":
            times = Counter(line.number for line in value)
            for index, line in enumerate(value):
                if times[line.number] > 1:
                    yield Violation(f"{where}[{index}].number", "DUPLICATE_NUMBER", _ONE_PLACE)
                yield from _line(bill, line, f"{where}[{index}]")
        elif field.name != "papers" and _states(bill, field.name):
            yield _stated(where)


def with_facts(bill: bill_pb2.Bill, facts: bill_pb2.Bill) -> bill_pb2.Bill:
    """The bill with the facts of papers; faultless ones change nothing that it states."""
    made, more = bill_pb2.Bill(), bill_pb2.Bill()
    made.CopyFrom(bill)
    more.CopyFrom(facts)
    lines = {line.number: line for line in more.lines}
    more.ClearField("lines")
    more.papers[:] = [paper for paper in more.papers if paper not in made.papers]
    made.MergeFrom(more)
    for line in made.lines:
        if line.number in lines:
            line.MergeFrom(lines[line.number])
    return made


def unstated(bill: bill_pb2.Bill, facts: bill_pb2.Bill) -> bill_pb2.Bill:
    """The facts of papers without those that the bill states itself."""
    left = bill_pb2.Bill()
    left.CopyFrom(facts)
    for field, value in facts.ListFields():
        if field.name in _TIMES:
            stated = any(_time(bill, getattr(bill, field.name), value, ""))
        else:
            stated = field.name not in _IN_PARTS and _states(bill, field.name)
        if stated:
            _clear(left, field.name)
    for field, _ in facts.social_insurance.ListFields():
        if _states(bill.social_insurance, field.name):
            _clear(left.social_insurance, field.name)
    known = {line.number: line for line in bill.lines}
    for line in left.lines:
        for field, _ in line.ListFields():
            if line.number not in known or field.name == "number":
                continue
            stated = _states(known[line.number], field.name)
            if field.name == "service_time":
                stated = any(_service_time(bill, known[line.number], line, ""))
            if stated:
                _clear(line, field.name)
    return left


def _clear(message: Message, field: str) -> None:
    message.ClearField(field)


def _social_insurance(bill: bill_pb2.Bill, facts: bill_pb2.Bill) -> Iterator[Violation]:
    for field, _ in facts.social_insurance.ListFields():
        if _states(bill.social_insurance, field.name):
            yield _stated(f"facts.social_insurance.{field.name}")


def _line(bill: bill_pb2.Bill, line: bill_pb2.BillLine, where: str) -> Iterator[Violation]:
    known = next((one for one in bill.lines if one.number == line.number), None)
    if known is None:
        yield Violation(f"{where}.number", "UNKNOWN_LINE", "the bill has no such line")
        return
    for field, _ in line.ListFields():
        if field.name == "number":
            continue
        if field.name not in _OF_LINES:
            yield _not_by_papers(f"{where}.{field.name}")
        elif field.name == "service_time":
            yield from _service_time(bill, known, line, f"{where}.service_time")
        elif _states(known, field.name):
            yield _stated(f"{where}.{field.name}")


def _service_time(
    bill: bill_pb2.Bill, known: bill_pb2.BillLine, line: bill_pb2.BillLine, where: str
) -> Iterator[Violation]:
    """What is wrong with the time of a service; of a line without any the bill's last day is it."""
    stated = known.HasField("service_time")
    day = known.service_time if stated else bill.end_time
    yield from _time(bill, day, line.service_time, where, day_alone=not stated)


def _time(
    bill: bill_pb2.Bill, known: Timestamp, given: Timestamp, where: str, *, day_alone: bool = False
) -> Iterator[Violation]:
    """What is wrong with a time beside the day that the bill states: another, or stated already."""
    zone = ZoneInfo(bill.time_zone)
    stated = local_time(known, zone)
    if not (day_alone or stated.time() == time(0)):
        yield _stated(where)
        return
    try:
        same_day = local_time(given, zone).date() == stated.date()
    except (OverflowError, ValueError, OSError):
        same_day = False
    if not same_day:
        text = "must be a time of the day that the bill states, in the hospital's zone"
        yield Violation(where, "OTHER_DAY", text)


def _states(
    message: bill_pb2.Bill | bill_pb2.BillLine | bill_pb2.SocialInsurance, name: str
) -> bool:
    return any(field.name == name for field, _ in message.ListFields())


def _stated(where: str) -> Violation:
    text = "the bill states it already; only the hospital corrects its bill"
    return Violation(where, "STATED_ALREADY", text)


def _not_by_papers(where: str) -> Violation:
    return Violation(where, "NOT_BY_PAPERS", "no paper changes it; ask the hospital for a bill")
