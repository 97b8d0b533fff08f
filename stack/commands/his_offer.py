"""`lipei his offer`: bills that the insurer refused, offered again, any number of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated

import grpc
import typer

from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2 import RefusalCount
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceStub
from stack.commands.by_option import by_option
from stack.commands.calling import CALL_S, Failed, calling, fresh_request_id
from stack.commands.his_operations import id_of, parent_of
from stack.commands.his_refused import refused_bills
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, RequestId, State
from stack.commands.printing import counted, print_json, say

# Bills of one call: put back in one transaction, which keeps others of the hospital waiting.
AT_ONCE = 500
# What an insurer's or the bridge's refusal is called, whether or not a bill has it now.
REASONS = (
    *("BILL_CONFLICT", "BILL_NOT_FINAL", "BILL_OF_ANOTHER", "CONSENT_WITHDRAWN"),
    *("CORRECTION_TOO_LATE", "IN_THE_FUTURE", "TAKEN_BACK", "UNKNOWN_MEMBER", "UNKNOWN_PROVIDER"),
)
_OPTIONS = {
    "reason": "--reason",
    "first_day": "--since",
    "bills": "--bill",
    "request_id": "--request-id",
}
_RELEASE = re.compile(r"[0-9a-f]{32}(?:\.[0-9]{1,6})?", re.ASCII)


def offer(
    hospital: Hospital,
    bills: Annotated[
        list[str] | None,
        typer.Option(
            "--bill",
            metavar="BILL",
            help="This one only, by its bill number or its release; may be repeated.",
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Only those refused for it, such as UNKNOWN_MEMBER.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DAY", help="Only those billed on that day or later.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many and why; change nothing.")
    ] = False,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Offer bills again that the insurer refused: all, those of a reason, or those named.

    For what was put right at the insurer since. They are pending again, and the next pull hands
    them over; claims judges each anew. A bill of which a newer version was released stays refused,
    as does an erased person's. What was taken is never offered again: nothing is paid twice.
    """
    parent = parent_of(hospital)
    with (
        by_option(_OPTIONS),
        calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel,
    ):
        request = pb.OfferRefusedBillsRequest(
            parent=parent,
            reason=reason,
            first_day=since,
            bills=_named(channel, parent, bills or ()),
            dry_run=dry_run,
        )
        done = _offered(OperationsServiceStub(channel), request, fresh_request_id(request_id))
        if reason and not done.offered_count:
            _check_reason(channel, parent, reason)
    if as_json:
        print_json(done)
        return
    number, hospital_id = done.offered_count, id_of(hospital)
    if not number:
        say(f"no refused bill fits; `lipei his status {hospital_id}` counts them by reason")
        return
    will = "would be" if dry_run else "is" if number == 1 else "are"
    said = f"{counted(number, 'refused bill')} {will} offered again"
    say(f"{said}: {why(done.refusals)}")
    if dry_run and done.left_count:
        say(f"and {counted(done.left_count, 'bill')} after these, in further portions")
    if not dry_run:
        say(f"next: `lipei his pull {hospital_id}` hands them to the insurer")


def _named(channel: grpc.Channel, parent: str, bills: Sequence[str]) -> list[str]:
    """The names of bills, of which some are told by the hospital's own number.

    Raises: Failed for a number that no refused bill has, or several have.
    """
    names = {one: one if "/" in one else f"{parent}/bills/{one}" for one in bills}
    numbers = [one for one in bills if "/" not in one and not _RELEASE.fullmatch(one)]
    if not numbers:
        return list(names.values())
    by_number: dict[str, list[str]] = {}
    for one in refused_bills(HisBridgeServiceStub(channel), parent)[0]:
        by_number.setdefault(one.bill.bill_number, []).append(one.bill.name)
    faults = []
    for number in numbers:
        found = _newest(by_number.get(number, []))
        names[number] = found[0] if found else ""
        if not found:
            faults.append(_nobody(number, list(by_number), id_of(parent)))
        elif len(found) > 1:
            several = " or ".join(f"--bill {name.rpartition('/')[2]}" for name in found)
            faults.append(f"--bill {number}: {len(found)} refused bills have it: say {several}")
    if faults:
        raise Failed(*faults, "no bill was offered", exit_code=2)
    return list(names.values())


def _newest(names: Iterable[str]) -> list[str]:
    """The newest of each bill's releases: no other can be offered.

    >>> _newest(["h/a", "h/a.10", "h/a.9", "h/b"])
    ['h/a.10', 'h/b']
    """
    newest: dict[str, str] = {}
    for name in sorted(names, key=lambda each: int(each.partition(".")[2] or 0)):
        newest[name.partition(".")[0]] = name
    return list(newest.values())


def _nobody(number: str, known: list[str], hospital: str) -> str:
    near = get_close_matches(number, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return (
        f"--bill {number}: no refused bill has that number or release{hint}; "
        f"`lipei his refused {hospital}` lists them, `lipei his held {hospital}` those that "
        "nobody sees for want of a consent"
    )


def _check_reason(channel: grpc.Channel, parent: str, reason: str) -> None:
    """Raises: Failed when nothing was ever refused by that name."""
    request = his_bridge_pb2.GetSourceStatusRequest(hospital=parent)
    there = HisBridgeServiceStub(channel).GetSourceStatus(request, timeout=CALL_S).bills.refusals
    known = {*REASONS, *(one.reason for one in there)}
    if reason in known:
        return
    near = get_close_matches(reason.upper(), sorted(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    now = f"refused are {why(there)}" if there else "no bill that can be offered is refused now"
    raise Failed(
        f"--reason {reason}: no bill is refused for that{hint}",
        f"{now}; the reasons are {', '.join(sorted(known))}",
        exit_code=2,
    )


def why(refusals: Iterable[RefusalCount]) -> str:
    """Reasons with their numbers."""
    return ", ".join(f"{one.bill_count} {one.reason}" for one in refusals)


def _offered(
    stub: OperationsServiceStub, request: pb.OfferRefusedBillsRequest, once: str
) -> pb.OfferRefusedBillsResponse:
    """Portions of those that were refused when it began; of a dry run the first portion.

    What a pull beside it has handed over and was refused anew is not offered a second time.
    """
    reasons: Counter[str] = Counter()
    whole, calls, most = 0, 0, AT_ONCE
    while True:
        if not request.bills:
            request.max_bills = min(AT_ONCE, most - whole)
        request.request_id = f"{once}-{calls}" if calls else once
        part = stub.OfferRefusedBills(request, timeout=CALL_S)
        most = part.offered_count + part.left_count if not calls else most
        whole += part.offered_count
        for one in part.refusals:
            reasons[one.reason] += one.bill_count
        calls += 1
        if request.dry_run or whole >= most or not part.offered_count:
            return pb.OfferRefusedBillsResponse(
                offered_count=whole,
                refusals=[RefusalCount(reason=r, bill_count=n) for r, n in reasons.most_common()],
                left_count=part.left_count,
            )
