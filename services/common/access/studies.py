"""What a call for a study must say, and the names that a study gives people. Stores nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import grpc

from services.common.access.caller import current_caller
from services.common.access.pseudonym import study_name
from services.common.access.tenant import Tenant
from services.common.refusals import Refused, Violation, invalid

PURPOSE = "deidentified-study"
_STUDY = re.compile(r"[0-9a-f]{32}", re.ASCII)
# The zone that is furthest ahead of UTC.
_FIRST_ZONE = timedelta(hours=14)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def is_study(text: str) -> bool:
    """Whether the text has the form of a study's id."""
    return _STUDY.fullmatch(text) is not None


def asked_study(study: str, before_date: str, *, now_us: int) -> date:
    """The day before which a study looks, of a call that says it is for one.

    It begins a quarter, and has come: two studies of days as one likes would tell by what they
    differ in who was insured, or claimed, in between.

    Raises: Refused, PERMISSION_DENIED for another purpose, else INVALID_ARGUMENT with each fault.
    """
    if current_caller().purpose != PURPOSE:
        text = f"say lipei-purpose {PURPOSE}: people are told of for that alone"
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "PURPOSE_NOT_ALLOWED", text)
    faults = []
    if not is_study(study):
        faults.append(Violation("study", "MALFORMED", "must be 32 hex digits, fresh and random"))
    before = None
    try:
        before = date.fromisoformat(before_date if _DATE.fullmatch(before_date) else "")
    except ValueError:
        faults.append(Violation("before_date", "MALFORMED", "must be a day, YYYY-MM-DD"))
    if before is not None:
        if before.day != 1 or before.month % 3 != 1:
            text = "must be the first day of a quarter"
            faults.append(Violation("before_date", "NOT_A_QUARTER", text))
        # Where the day begins first, it has come while it is still the day before in UTC.
        if before > (datetime.fromtimestamp(now_us / 1_000_000, UTC) + _FIRST_ZONE).date():
            faults.append(Violation("before_date", "TO_COME", "must be a day that has come"))
    if faults or before is None:
        raise invalid(faults)
    return before


def study_names(key: bytes, tenant: Tenant, study: str, before: date) -> Callable[[str, str], str]:
    """What gives a thing of some kind its name in a tenant's study of what was before a day.

    The same id with another day is another study: else the two would be one row each of a person.
    """

    def name(kind: str, of: str) -> str:
        return study_name(kind, of, key, tenant=tenant.key, study=f"{study} {before.isoformat()}")

    return name
