"""Typed refusals: what a service answers instead of a result, and how a caller reads it back.

A refusal is a google.rpc.Status with ErrorInfo, BadRequest and RetryInfo in the trailing metadata
of the call. Nothing but codes, field names and our own sentences goes into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "lipei"
DETAILS_KEY = "grpc-status-details-bin"
# A gRPC client drops a whole answer whose trailing metadata is above its limit, 8 KiB by default,
# and reports RESOURCE_EXHAUSTED instead. Some encode binary values by a third longer.
MODEST_BYTES = 4 << 10
# What our own channels take: they say so by their user agent, and get every violation.
AMPLE_BYTES = 512 << 10
_TEXT_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a request: the field's path, a stable reason, what to do."""

    field: str
    reason: str
    text: str


class Refused(Exception):
    """A request that is answered with a typed error instead of a result."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        text: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.text = text
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.violations = tuple(violations)
        self.uri = ""  # of a caller who is refused for who it is: for the log, never sent


def invalid(violations: Sequence[Violation]) -> Refused:
    """INVALID_ARGUMENT that names every fault of the request at once."""
    text = "; ".join(f"{v.field}: {v.text}" for v in violations[:20])
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", text, violations=violations)


def request_id_reused(other: str = "other content") -> Refused:
    """ALREADY_EXISTS for a request_id that was used before, with something else."""
    text = f"this request_id was used with {other}; make a new one"
    return Refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", text)


def not_found(what: str, name: str) -> Refused:
    """NOT_FOUND for a resource name, which is opaque and so may be repeated."""
    return Refused(
        grpc.StatusCode.NOT_FOUND,
        "NOT_FOUND",
        f"no such {what}",
        metadata={"name": name[:200]},
    )


def status_of(refused: Refused, *, room: int = MODEST_BYTES) -> status_pb2.Status:
    """The google.rpc.Status with ErrorInfo, BadRequest and RetryInfo as they apply.

    Violations beyond `room` bytes are left off; how many, the ErrorInfo's metadata tell.
    """
    status = status_pb2.Status(
        code=code_pb2.Code.Value(refused.code.name), message=wire_text(refused.text)
    )
    info = error_details_pb2.ErrorInfo(reason=refused.reason, domain=DOMAIN)
    info.metadata.update(refused.metadata)
    bad = error_details_pb2.BadRequest()
    left = room - status.ByteSize() - info.ByteSize() - 200  # the rest's wrapping
    for done, violation in enumerate(refused.violations):
        found = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field, reason=violation.reason, description=violation.text
        )
        left -= found.ByteSize() + 6
        if left < 0:
            info.metadata["violations_left_off"] = str(len(refused.violations) - done)
            break
        bad.field_violations.append(found)
    _add(status, info)
    if refused.violations:
        _add(status, bad)
    if refused.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(refused.retry_after_s * 1e9))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def wire_text(text: str) -> str:
    """As much of a text as may stand in an answer's status line, where Chinese takes nine bytes."""
    taken = 0
    for place, character in enumerate(text):
        taken += 1 if " " <= character <= "~" else 3 * len(character.encode("utf-8", "replace"))
        if taken > _TEXT_BYTES:
            return text[:place].rstrip() + " ..."
    return text


def _add(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


@dataclass(frozen=True, slots=True)
class RpcFault:
    """What a caller reads out of a failed call."""

    code: grpc.StatusCode
    reason: str
    text: str
    violations: tuple[Violation, ...]
    retry_after_s: float | None
    metadata: dict[str, str]


def error_of(error: grpc.RpcError) -> RpcFault:
    """The typed fault inside an RpcError of the sync or the asyncio API."""
    call: Any = error
    code = call.code()
    reason, violations, retry = "", [], None
    metadata: dict[str, str] = {}
    for detail in _details(call.trailing_metadata() or ()):
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        pause = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
            metadata = dict(info.metadata)
        elif detail.Unpack(bad):
            violations += [
                Violation(v.field, v.reason, v.description) for v in bad.field_violations
            ]
        elif detail.Unpack(pause):
            retry = pause.retry_delay.ToNanoseconds() / 1e9
    text = str(call.details() or "")
    return RpcFault(code, reason or code.name, text, tuple(violations), retry, metadata)


def _details(trailing: Iterable[tuple[str, str | bytes]]) -> Iterator[any_pb2.Any]:
    for key, value in trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            with suppress(DecodeError):  # a proxy between may write what it likes
                yield from status_pb2.Status.FromString(value).details
