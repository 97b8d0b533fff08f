"""`lipei members ...`: the pseudonym of a person, erasure, and the erasures that were done."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.keys.v1 import keys_pb2
from lipei.keys.v1.keys_pb2_grpc import KeysServiceStub
from lipei.pricing.v1 import pricing_pb2
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from services.common.identity import is_member_token
from services.common.identity import member_token as token_of
from services.common.refusals import error_of
from services.common.sealing.order_reference import SENTENCE, order_reference
from services.common.settings import (
    UnknownSetting,
    member_token_key_file,
    member_token_key_version,
)
from services.common.state import load_or_make_key
from stack.commands.calling import (
    CALL_S,
    CallFailed,
    Failed,
    addresses,
    calling,
    fresh_request_id,
    hospitals_here,
)
from stack.commands.options import DEFAULT_STATE, AsJson, RequestId, State
from stack.commands.printing import (
    counted,
    plain,
    print_json,
    print_list,
    rows,
    say,
    table,
    when,
)
from stack.commands.withheld import pages
from stack.identity_documents import KINDS, document_faults
from stack.installation import SERVICES

_PAGE = 500

app = typer.Typer(no_args_is_help=True, help="Members: token, erase, erasures.")


@app.command()
def token(
    number: Annotated[
        str, typer.Argument(metavar="NUMBER", help='"-" reads it from standard input.')
    ],
    kind: Annotated[str, typer.Option("--kind", help=f"Kind of document: {KINDS}.")],
    state: State = DEFAULT_STATE,
    unchecked: Annotated[
        bool,
        typer.Option("--unchecked", help="Take any kind and any number, as a source states them."),
    ] = False,
) -> None:
    """Print the member token of an identity document under this installation's key.

    A number that is none of its kind is refused: its token would fit nobody. Asks no service. A
    number on the command line stays in the shell's history: prefer "-".
    """
    file = member_token_key_file(state)
    if not file.exists():  # a key made here would fit no bill
        raise Failed(f"{file}: there is no key; `lipei up` makes it")
    text = sys.stdin.readline() if number == "-" else number
    faults = [] if unchecked else document_faults(kind, text)
    if faults:
        raise Failed(*faults, "--unchecked takes it as it is", exit_code=2)
    try:
        key = load_or_make_key(file)
        made = token_of(kind, text, key=key, key_version=member_token_key_version())
    except (UnknownSetting, ValueError) as error:
        raise Failed(str(error)) from None
    except OSError as error:
        raise Failed(f"{file}: {error.strerror or 'cannot be read'}") from None
    say(made)


class Ground(StrEnum):
    """Why a person may be erased."""

    RETENTION_OVER = "retention-over"
    ORDERED = "ordered"


_GROUNDS = {
    Ground.RETENTION_OVER: claims_pb2.ERASURE_GROUND_RETENTION_OVER,
    Ground.ORDERED: claims_pb2.ERASURE_GROUND_ORDERED,
}


@app.command()
def erase(
    member_token: Annotated[
        str, typer.Option("--token", help='Member token; "-" reads it from standard input.')
    ],
    ground: Annotated[Ground, typer.Option("--ground", help="Why it may be done.")],
    order: Annotated[
        str, typer.Option("--order", help="File number of the order; it is kept.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be erased; erase nothing.")
    ] = False,
    hospitals: Annotated[
        list[str] | None,
        typer.Option("--hospital", help="Only at this hospital; else at all that run here."),
    ] = None,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Destroy the keys of everything that claims, pricing and the bridge keep about a person.

    What would go is said first, and asked; --yes asks nothing.
    Claims goes first: while a claim is open, or the law wants records kept, nothing is erased.
    Pricing is asked twice: by the insurer for its quotes, by the member for what was recorded.
    Names, states, amounts, commitments, the ledger and payment files stay.
    """
    found = sys.stdin.readline().strip() if member_token == "-" else member_token  # noqa: S105 - no password
    faults = list(_faults(found, ground, order))
    if faults:
        raise Failed(*faults, exit_code=2)
    addresses(state)
    once, ordered = fresh_request_id(request_id), _Ordered(found, ground, order)
    if dry_run or not yes:
        failed = _everywhere(state, ordered, fresh_request_id(), hospitals, dry_run=True)
        if failed:
            raise Failed(*failed, "nothing was erased")
        if dry_run:
            return
        typer.confirm("It cannot be undone. Erase this person?", abort=True)
    failed = _everywhere(state, ordered, once, hospitals, dry_run=False)
    if failed:
        again = f"repeat the same command with --request-id {once}"
        raise Failed(*failed, f"not everything was erased; {again}")


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Whom to erase, and why it may be done."""

    token: str
    ground: Ground
    order: str


def _everywhere(
    state: Path, who: _Ordered, once: str, hospitals: list[str] | None, *, dry_run: bool
) -> list[str]:
    """Erase in every service, or say what would be; what a person must hear of those that did not.

    Raises: Failed where claims refuse: then nothing further is done.
    """
    with calling(state, "claims", "senior_adjuster") as channel:
        policies = _erase_claims(ClaimsServiceStub(channel), once, who, dry_run=dry_run)
    failed = _told(
        "pricing",
        calling(state, "pricing", "senior_adjuster"),
        lambda channel: _erase_pricing(channel, once, who.token, policies, dry_run=dry_run),
    )
    # What a hospital, a partner or the member has recorded is not the insurer's to erase.
    failed += _told(
        "pricing, in the member's name",
        calling(state, "pricing", f"member:{who.token}"),
        lambda channel: _erase_pricing(channel, once, who.token, [], dry_run=dry_run),
    )
    for name in hospitals or hospitals_here(state):
        failed += _told(
            f"his_bridge of {name}",
            calling(state, "his_bridge", "hospital_records", name),
            functools.partial(
                _erase_bridge, request_id=once, token=who.token, hospital=name, dry_run=dry_run
            ),
        )
    return failed


@app.command()
def erasures(state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List the erasures that were done, by service and time: opaque id, ground, by which role.

    Says nothing of who it was: nobody can tell that any more. Acts as auditor.
    """
    found: dict[str, list[keys_pb2.Erasure]] = {}
    for name in SERVICES:
        found[name] = []
        with calling(state, name, "auditor") as channel:
            stub = KeysServiceStub(channel)
            request = keys_pb2.ListErasuresRequest(page_size=_PAGE)
            for page, _ in pages(stub.ListErasures, request):
                found[name] += page.erasures
    if as_json:
        print_json({name: [plain(one) for one in some] for name, some in found.items()})
        return
    made = table("service", "member", "erased (UTC)", "ground", "by")
    for name, some in found.items():
        lines = ((name, e.member, when(e.erase_time), e.ground, e.role) for e in some)
        rows(made, lines)
    print_list(made, "nobody was erased")


def _faults(token: str, ground: Ground, order: str) -> Iterator[str]:
    """What the services would refuse, before anybody is asked to confirm it."""
    if not is_member_token(token):
        yield "--token: is no member token; `lipei members token` makes it of a number"
    if ground is Ground.ORDERED and order_reference(order) is None:
        yield f"--order: {SENTENCE}"
    if ground is not Ground.ORDERED and order:
        yield "--order: belongs to --ground ordered, and only there"


def _erase_claims(
    stub: ClaimsServiceStub, request_id: str, who: _Ordered, *, dry_run: bool
) -> list[str]:
    """Policies that insured nobody else; nothing further is to be erased if this fails."""
    request = claims_pb2.EraseMemberRequest(
        request_id=request_id,
        member=f"members/{who.token}",
        ground=_GROUNDS[who.ground],
        order_reference=who.order,
        dry_run=dry_run,
    )
    try:
        done = stub.EraseMember(request, timeout=CALL_S)
    except grpc.RpcError as error:
        if error_of(error).code is grpc.StatusCode.NOT_FOUND:
            say("claims: nothing is kept about this member")
            return []
        raise
    say(
        f"claims: {counted(done.destroyed_key_count, 'key')} {_destroyed(dry_run)}; "
        f"{counted(done.claim_count, 'claim')} of {done.member} without bill and lines from now on"
    )
    if done.policies:
        gone = "would be gone" if dry_run else "are gone"
        say(f"  payee accounts of {', '.join(done.policies)}, which insure nobody else, {gone}")
    return list(done.policies)


def _destroyed(dry_run: bool) -> str:
    return "would be destroyed" if dry_run else "destroyed"


def _erase_pricing(
    channel: grpc.Channel, request_id: str, token: str, policies: list[str], *, dry_run: bool
) -> None:
    done = PricingServiceStub(channel).EraseMember(
        pricing_pb2.EraseMemberRequest(
            request_id=request_id,
            member=f"members/{token}",
            policies=policies,
            dry_run=dry_run,
        ),
        timeout=CALL_S,
    )
    say(
        f"pricing: {counted(done.destroyed_key_count, 'key')} {_destroyed(dry_run)}; of "
        f"{counted(done.reading_count, 'reading')}, {counted(done.target_count, 'target')}, "
        f"{counted(done.coach_task_count, 'task', 'tasks')} of coaches and "
        f"{counted(done.quote_count, 'quote')} nothing can be opened any more"
    )


def _erase_bridge(
    channel: grpc.Channel, request_id: str, token: str, hospital: str, *, dry_run: bool
) -> None:
    done = HisBridgeServiceStub(channel).EraseMember(
        his_bridge_pb2.EraseMemberRequest(
            request_id=request_id,
            member=f"members/{token}",
            hospital=f"hospitals/{hospital}",
            dry_run=dry_run,
        ),
        timeout=CALL_S,
    )
    say(
        f"his_bridge of {hospital}: {counted(done.destroyed_key_count, 'key')} "
        f"{_destroyed(dry_run)}; "
        f"{counted(done.bill_count, 'bill')} cannot be opened any more, "
        f"{done.refused_bill_count} of them withheld from the insurer; "
        f"{counted(done.reading_count, 'reading')} deleted"
    )


def _told(
    who: str,
    opening: AbstractContextManager[grpc.Channel],
    erase_there: Callable[[grpc.Channel], None],
) -> list[str]:
    """Erase in a service; what a person must hear when it did not."""
    try:
        with opening as channel:
            erase_there(channel)
    except CallFailed as failed:
        if failed.fault.code is not grpc.StatusCode.NOT_FOUND:
            return list(failed.lines)
        say(f"{who}: nothing is kept about this member")
    except Failed as failed:
        return list(failed.lines)
    return []
