"""The one form of client-made request ids."""

from __future__ import annotations

import re

from services.common.grpc_edge import Violation

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def request_id_faults(request_id: str) -> list[Violation]:
    """The fault of a request_id, if it has one."""
    if _REQUEST_ID.fullmatch(request_id):
        return []
    text = "must be 1 to 64 of A-Z a-z 0-9 . _ - and new for every new request"
    return [Violation("request_id", "MALFORMED", text)]
