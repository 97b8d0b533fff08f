"""What may stand in a log: the events, the keys of each, and the shape of each key's values. Pure.

Whatever is not listed here never gets into a line: a free text may hold what a person said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TypeAlias

Plain: TypeAlias = str | int | float | bool
Shape: TypeAlias = Callable[[object], Plain | None]

_LARGEST = 10**9  # below every telephone, bank or identity number
_MOST_ITEMS = 20
_LONG_DIGITS = re.compile(r"[0-9]{6}")


def _count(value: object) -> Plain | None:
    """Counts, ports, numbers of rows, seconds; True and False."""
    if isinstance(value, int | float) and type(value) in (bool, int, float):
        return value if -_LARGEST < value < _LARGEST else None
    return None


def _matching(pattern: str, *, digits: bool = False) -> Shape:
    """Texts of a form; without `digits` none with six digits in a row."""
    form = re.compile(pattern, re.ASCII)

    def shape(value: object) -> Plain | None:
        if not isinstance(value, str):
            return None
        text = str.__str__(value)  # of an enum its value, of an odd subclass its own characters
        if not form.fullmatch(text) or (not digits and _LONG_DIGITS.search(text)):
            return None
        return text

    return shape


def _fault(value: object) -> Plain | None:
    """The type of an exception, or its name."""
    if isinstance(value, BaseException):
        value = type(value).__name__
    return _TYPE(value)


def _peer(value: object) -> Plain | None:
    """The IP address of a machine that connected to a hospital's port."""
    try:
        return value if isinstance(value, str) and str(ip_address(value)) == value else None
    except ValueError:
        return None


_TYPE = _matching(r"_?[A-Za-z][A-Za-z0-9_]{0,63}")
CODE = _matching(r"[A-Z][A-Z0-9_]{0,63}")
WORD = _matching(r"[a-z][a-z0-9_]{0,31}")
# Of a process, a queue, a hospital: what an operator chose, by the forms of their own settings.
NAME = _matching(r"[a-z][a-z0-9_-]{0,62}(:[a-z][a-z0-9_-]{0,70})?")
PLACE = _matching(r"[A-Za-z0-9_.<>-]{1,80}:[0-9]{1,5}")
METHOD = _matching(r"(/[A-Za-z][A-Za-z0-9_.]{0,79}){2}")
MOMENT = _matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,3}|\+00:00|Z){0,2}")
OPAQUE = _matching(r"[0-9a-f]{32}", digits=True)
RELEASE = _matching(r"[0-9a-f]{32}(\.[0-9]{1,6})?", digits=True)  # of a bill, a name that we made
PAYOUT = _matching(r"LP[0-9a-f]{30}", digits=True)  # end-to-end ids that we made
MASTER_KEY = _matching(r"[A-Za-z0-9._-]{1,64}")
KEY_ID = _matching(r"k[0-9a-f]{1,8}", digits=True)
# Of a certificate: names of machines and desks, never of persons (docs/operating.md).
URI = _matching(r"spiffe://[a-z0-9.-]{1,100}(/[a-z0-9_-]{1,64}){1,6}")
# Of a message of HL7 v2: a segment by its name, and its field.
SEGMENT = _matching(r"[A-Z][A-Z0-9]{2}(-[0-9]{1,2})?")
# A file that an operator named in a setting, by its whole path; or an IP address and port.
WHERE = _matching(r"/[A-Za-z0-9_./-]{1,200}|\[?[0-9a-f.:]{2,45}\]?:[0-9]{1,5}")

KEYS: Mapping[str, Shape] = {
    "about": PAYOUT,
    "at": PLACE,
    "bill": RELEASE,
    "channel": WORD,
    "claim": OPAQUE,
    "claims": OPAQUE,
    "correlation": OPAQUE,
    "count": _count,
    "extra": _count,
    "fault": _fault,
    "filtered": _count,
    "held": _count,
    "hospital": NAME,
    "index": _count,
    "key": KEY_ID,
    "master_key": MASTER_KEY,
    "method": METHOD,
    "missing": _count,
    "more": _count,
    "name": NAME,
    "other_total": _count,
    "peer": _peer,
    "place": SEGMENT,
    "port": _count,
    "quarantined": _count,
    "queue": NAME,
    "reason": CODE,
    "received": _count,
    "released": _count,
    "remedy": WORD,
    "rpc": METHOD,
    "state": WORD,
    "until": MOMENT,
    "uri": URI,
    "where": WHERE,
}

EVENTS: Mapping[str, frozenset[str]] = {
    event: frozenset(keys.split())
    for event, keys in {
        "bank_answer_fault": "reason about",
        "bill_fails": "hospital bill reason correlation count",
        "bill_hangs": "bill",
        "call_refused": "reason rpc uri",
        "certificate_accepted": "queue",
        "certificate_not_renewed": "fault",
        "certificate_refused": "queue reason remedy",
        "certificate_renewed": "until queue",
        "checkpoint_not_signed": "fault",
        "claims_unreadable": "claims count",
        "claims_without_payee_account": "claims count",
        "codec_keys_unreadable": "",
        "crashed": "fault at",
        "database_away": "fault",
        "database_refuses": "fault",
        "decision_outlasts_its_caller": "",
        "evidence_alarm": "name reason index",
        "evidence_key_missing": "name",
        "evidence_log_silent": "name",
        "evidence_not_written": "fault",
        "failing_bill_not_kept": "fault",
        "failing_bill_of_nobody": "fault",
        "file_passed_over": "hospital fault",
        "master_key_missing": "master_key state count",
        "key_pinned_anew": "name",
        "insurer_fails": "hospital reason",
        "listener_failed": "hospital fault",
        "master_keys_not_read": "fault",
        "metrics_not_read": "fault",
        "mllp_listening": "hospital port",
        "not_listening": "hospital reason where",
        "not_read": "hospital channel fault",
        "not_ready": "fault",
        "not_stored": "hospital fault",
        "not_taken": "hospital reason place peer count",
        "payload_refused": "reason key",
        "payouts_not_started": "fault",
        "polling": "queue",
        "pull_failed": "hospital channel reason",
        "pulled": "hospital channel received released quarantined filtered held more",
        "reconciliation_differs": "hospital missing extra other_total",
        "reconciliation_failed": "hospital reason",
        "record_failed": "hospital channel fault",
        "scrub_done": "",
        "scrub_owed": "",
        "serving": "name port",
        "start_failed": "fault",
        "settled_apart": "count fault",
        "stopped": "name",
        "sweep_failed": "fault",
        "swept": "count",
        "undecidable": "claim fault",
        "unexpected_fault": "method correlation fault at",
        "unpayable_claims": "claims count",
        "unsettled": "claim fault",
    }.items()
}
UNREGISTERED = "unregistered"


def allowed(event: object, values: Mapping[str, object]) -> dict[str, Plain | list[Plain]]:
    """The line's event and those values that may stand there; `dropped` counts the others.

    Of a list, the items that may stand there, and at most twenty.
    """
    known = isinstance(event, str) and event in EVENTS
    name, dropped = (str(event), 0) if known else (UNREGISTERED, 1)
    keys = EVENTS.get(name, frozenset())
    line: dict[str, Plain | list[Plain]] = {"event": name}
    for key, value in values.items():
        if key not in keys:
            dropped += 1
            continue
        items = list(value) if isinstance(value, list | tuple) else [value]
        kept = [found for item in items[:_MOST_ITEMS] if (found := KEYS[key](item)) is not None]
        dropped += len(items) - len(kept)
        if isinstance(value, list | tuple):
            line[key] = kept
        elif kept:
            line[key] = kept[0]
    if dropped:
        line["dropped"] = dropped
    return line
