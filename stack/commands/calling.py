"""Calls to the running services, and failed calls as sentences. A user never sees a stack trace."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from services.common.refusals import RpcFault, Violation, error_of
from services.common.state import read_addresses
from services.common.transport.certificates import FOLDER
from services.common.transport.channels import sync_channel
from stack.commands.acting import identity_for
from stack.commands.failing import Failed, unusable

__all__ = [
    "ANOTHER_PERSON",
    "CALL_S",
    "CallFailed",
    "Failed",
    "addresses",
    "calling",
    "content_of",
    "fresh_request_id",
    "hospitals_here",
    "not_running",
    "sentences",
    "unknown_hospital",
]

CALL_S = 30.0
WORKER = "worker:hospital-"  # of run.json
_DESK = "desk-hospital-"
_ADVICE = {
    grpc.StatusCode.UNAVAILABLE: "it does not answer; `lipei status` says what runs",
    grpc.StatusCode.DEADLINE_EXCEEDED: "no answer in time; the same command may be repeated",
    grpc.StatusCode.UNIMPLEMENTED: "it runs an older version that cannot do this",
}
ANOTHER_PERSON = (
    "  in a sandbox, as another person: lipei --person NAME ... "
    "(or set LIPEI_PERSON; docs/operating.md)"
)
_ANOTHER_ROLE = frozenset({"ROLE_NOT_ALLOWED", "TENANT_NOT_ALLOWED"})


class CallFailed(Failed):
    """A service refused a call, or did not answer; `fault` is what it said."""

    def __init__(self, service: str, fault: RpcFault) -> None:
        super().__init__(*sentences(service, fault))
        self.fault = fault


def addresses(state: Path) -> dict[str, str]:
    """What runs on this state directory.

    Raises: Failed when nothing does, or who types this may not read there.
    """
    try:
        known = read_addresses(state)
    except OSError as error:
        raise unusable(state, error) from None
    if not known:
        raise not_running(state)
    return known


def not_running(state: Path) -> Failed:
    """What a command says when no `lipei up` runs on this state directory."""
    return Failed(f"nothing is running here ({state.absolute()}); start with `lipei up`")


@contextlib.contextmanager
def calling(
    state: Path, service: str, role: str, hospital: str = "", purpose: str = ""
) -> Iterator[grpc.Channel]:
    """A channel to a running service for a command that acts in a role; a hospital's says whose.

    `purpose` is what the command reads for, where that is not the role's usual purpose.

    Raises: Failed when it does not run here, or nobody may act in that role; CallFailed instead of
    grpc.RpcError.
    """
    address = addresses(state).get(service)
    if address is None:
        raise Failed(f"{service} is not running here; `lipei status` says what is")
    _is_known(state, hospital)
    identity = identity_for(state, role, hospital=hospital, purpose=purpose)
    with contextlib.closing(sync_channel(address, identity, service)) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise CallFailed(service, error_of(error)) from None


def hospitals_here(state: Path) -> list[str]:
    """The hospitals of this state directory, by the certificates and workers that stand in it.

    Who reads it may act for each of them; elsewhere nobody learns which there are.
    """
    desks = {file.stem.removeprefix(_DESK) for file in (state / FOLDER).glob(f"{_DESK}*.pem")}
    workers = {
        name.removeprefix(WORKER) for name in read_addresses(state) if name.startswith(WORKER)
    }
    return sorted(desks | workers)


def _is_known(state: Path, hospital: str) -> None:
    """Raises: Failed naming the hospitals for one that is none of them."""
    if not hospital or os.environ.get("LIPEI_TLS_CERT_FILE"):  # the operator's own names
        return
    here = hospitals_here(state)
    if hospital not in here:
        raise unknown_hospital(hospital, here)


def unknown_hospital(hospital: str, here: Sequence[str]) -> Failed:
    """What a command says of a hospital that is not here."""
    known = f"the hospitals: {', '.join(here)}" if here else "there is none; `lipei up --profiles`"
    return Failed(f'no hospital "{hospital}" here; {known}')


def sentences(service: str, fault: RpcFault) -> list[str]:
    """A failed call for a person: what, then every violation and fact on a line of its own."""
    said = fault.text or fault.reason
    if fault.code in _ADVICE:
        # Without a reason it is the wire that speaks, not the service.
        is_said = fault.text and fault.reason != fault.code.name
        said = f"{fault.text} [{fault.reason}]" if is_said else _ADVICE[fault.code]
    elif fault.reason.startswith("SOURCE_"):
        said += f" [{fault.reason}]"  # the hospital's manual is ordered by these
    if fault.reason in _ANOTHER_ROLE:
        said += " (--as ROLE)"
    lines = [f"{service}: {said}"]
    if fault.violations:
        count = len(fault.violations)
        lines = [f"{service} refused: {count} {'fault' if count == 1 else 'faults'}"]
        lines += [f"  {v.field}: {v.text} [{v.reason}]" for v in fault.violations]
    lines += [f"  {name}: {value}" for name, value in sorted(fault.metadata.items())]
    if fault.reason == "SAME_PERSON":
        lines.append(ANOTHER_PERSON)
    if fault.retry_after_s is not None:
        lines.append(f"  try again in {fault.retry_after_s:.1f} s")
    return lines


def faulty(file: Path, line_of: Callable[[str], int], faults: Sequence[Violation]) -> Failed:
    """Faults of a file's content, each with its line."""
    count = len(faults)
    return Failed(
        *(f"{file}:{line_of(one.field)}: {one.field}: {one.text} [{one.reason}]" for one in faults),
        f"{count} {'fault' if count == 1 else 'faults'}; nothing was stored",
    )


def fresh_request_id(given: str = "") -> str:
    """The given id, else one that was never used."""
    return given or uuid.uuid4().hex


def content_of(file: Path) -> bytes:
    """The bytes of a file that a person named.

    Raises: Failed when it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failed(f"{file}: {error.strerror or 'cannot be read'}", exit_code=2) from None
