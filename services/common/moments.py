"""Times on the wire to and from microseconds since 1970. Knows no clock."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from services.common.refusals import Violation


def microseconds(field: str, moment: Timestamp, faults: list[Violation]) -> int:
    """A time in microseconds; one that no calendar has is a fault NOT_A_TIME, and 0.

    The wire takes any seconds and nanoseconds, also such as lie before year 1 or after 9999.
    """
    try:
        return moment.ToMicroseconds()
    except ValueError:
        faults.append(Violation(field, "NOT_A_TIME", "must be a time from year 1 to 9999"))
        return 0


def timestamp(micros: int) -> Timestamp:
    """A time as messages state it."""
    message = Timestamp()
    message.FromMicroseconds(micros)
    return message
