"""What of a history Temporal stores in clear: every such field is held to a list of forms."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

_NUMBER = re.compile(r"-?[0-9]{1,10}(\.[0-9])?")  # below a telephone number
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?s")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?Z")
_ENUM = re.compile(r"[A-Z][A-Z0-9_]{1,79}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOST = re.compile(r"[0-9]{1,9}@[a-z0-9.-]{1,80}(-[0-9a-f]{32})?")
# 32 hex digits are a random id of ours, 64 the hash of a request id.
_WORKFLOW = re.compile(
    r"claims/[0-9a-f]{32}(/(papers|adjustments)/[0-9]{1,4})?|payouts/[a-z][a-z0-9-]{0,62}"
    r"|renewals/[0-9a-f]{16}"
    r"|pull-(bills|readings|withdrawals)/[a-z][a-z0-9-]{0,62}(-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?",
    re.ASCII,
)
_QUEUE = re.compile(r"claims|renewals|hospital-[a-z][a-z0-9-]{0,62}")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,60}|core_local_activity|core_patch")
_UPDATE = re.compile(r"[0-9a-f]{64}")

# By the field's name; the names are Temporal's.
FORMS: dict[str, tuple[re.Pattern[str], ...]] = {
    "acceptedRequestMessageId": (re.compile(r"[0-9a-f]{64}/request"),),
    "binaryChecksum": (re.compile(r"[0-9a-f]{32}"),),
    "buildId": (re.compile(r"[0-9a-f]{32}|lipei [0-9.]{1,12}"),),
    "firstExecutionRunId": (_UUID,),
    "id": (_WORKFLOW,),
    "identity": (
        _HOST,
        re.compile(
            r"temporal-scheduler-default-pull-(bills|readings|withdrawals)/[a-z][a-z0-9-]{0,62}"
        ),
    ),
    "markerName": (_TYPE,),
    "message": (re.compile(r"Encoded failure"),),
    "name": (_TYPE, _QUEUE, _HOST, re.compile(r"decision")),
    "normalName": (_QUEUE,),
    "originalExecutionRunId": (_UUID,),
    "patchId": (re.compile(r"[a-z-]{1,60}"),),
    "protocolInstanceId": (_UPDATE,),
    "requestId": (_UUID, re.compile(r"request-from-RespondWorkflowTaskCompleted")),
    "runId": (_UUID,),
    "sdkName": (re.compile(r"temporal-python"),),
    "sdkVersion": (re.compile(r"[0-9.]{1,12}"),),
    "signalName": (_TYPE,),
    "source": (re.compile(r"PythonSDK"),),
    "type": (_TYPE,),
    "updateId": (_UPDATE,),
    "workflowId": (_WORKFLOW,),
}
# Whatever the field is called.
_ANYWHERE = (_NUMBER, _SECONDS, _MOMENT, _ENUM)
_ANYWHERE_NOT = frozenset(FORMS)  # a name of the list is held to its own forms

_NANOS = re.compile(r'null|\{"nanos": [0-9]{1,9}, "seconds": [0-9]{1,10}\}')
# What the SDK notes in clear: of a local activity names and times, of a patch its name.
MARKER: dict[str, re.Pattern[str]] = {
    "activation_index": _NUMBER,
    "activity_id": _NUMBER,
    "activity_type": _TYPE,
    "attempt": _NUMBER,
    "backoff": _NANOS,
    "complete_time": _NANOS,
    "deprecated": re.compile(r"true|false"),
    "id": re.compile(r"[a-z-]{1,60}"),
    "original_schedule_time": _NANOS,
    "seq": _NUMBER,
}


def telling(history: Any) -> list[str]:
    """Every clear-text field of a history (as JSON) that is not of a listed form, with its path."""
    return [f"{path} {value!r}" for path, value in _untold(history, ())]


def _untold(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        if "metadata" in node and "data" in node:
            yield from _of_payload(node, path)
            return
        for key, child in node.items():
            yield from _untold(child, (*path, key))
    elif isinstance(node, list):
        for child in node:
            yield from _untold(child, path)
    elif not isinstance(node, bool) and not _of_a_form(path[-1], str(node)):
        yield ".".join(path), node


def _of_a_form(name: str, text: str) -> bool:
    forms = FORMS.get(name, () if name in _ANYWHERE_NOT else _ANYWHERE)
    return any(form.fullmatch(text) for form in forms)


def _of_payload(payload: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    encoding = base64.b64decode(payload["metadata"]["encoding"])
    if encoding in (b"binary/lipei-aes-gcm", b"binary/lipei-aes-gcm-2"):
        key_id = base64.b64decode(payload["metadata"]["key-id"]).decode()
        if payload["metadata"].keys() != {"encoding", "key-id"} or not re.fullmatch(
            r"k[0-9a-f]{1,8}", key_id
        ):
            yield ".".join(path), payload["metadata"]
    elif "searchAttributes" in path:  # never encrypted: only Temporal's own may stand there
        if not path[-1].startswith("Temporal"):
            yield ".".join(path), payload
    elif encoding == b"json/plain" and "markerRecordedEventAttributes" in path:
        for key, value in json.loads(base64.b64decode(payload["data"])).items():
            if key not in MARKER or not MARKER[key].fullmatch(
                json.dumps(value, sort_keys=True).strip('"')
            ):
                yield ".".join((*path, key)), value
    else:
        yield ".".join(path), encoding
