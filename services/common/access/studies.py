"""What a call for a study must say, and the names that a study gives people. Stores nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

import grpc

from services.common.access.caller import current_caller
from services.common.access.pseudonym import study_name
from services.common.access.tenant import Tenant
from services.common.refusals import Refused, Violation, invalid

PURPOSE = "deidentified-study"
_STUDY = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def is_study(text: str) -> bool:
    """Whether the text has the form of a study's id."""
    return _STUDY.fullmatch(text) is not None


def asked_study(study: str, before_date: str) -> date:
    """The day before which a study looks, of a call that says it is for one.

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
    if faults or before is None:
        raise invalid(faults)
    return before


def study_names(key: bytes, tenant: Tenant, study: str) -> Callable[[str, str], str]:
    """What gives a thing of some kind its name in a tenant's study."""

    def name(kind: str, of: str) -> str:
        return study_name(kind, of, key, tenant=tenant.key, study=study)

    return name
