"""`lipei pricing renew hand-over`: outcome tiers into claims, with next year's policies.

Pricing knows no identity document and claims no readings: only here, at intake, the two meet.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import grpc
import typer

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import policy_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from services.common.refusals import Violation, error_of
from stack.commands.calling import Failed, calling
from stack.commands.options import DEFAULT_STATE, State
from stack.commands.policies import CALL_S, MOST, read_policies
from stack.commands.pricing_folder import DEFAULT, PricingPath, opened, say_next
from stack.commands.pricing_renew import FOLDER
from stack.commands.printing import say

if TYPE_CHECKING:
    from stack.message_file import MessageFile

    File = MessageFile[policy_pb2.Policy]

_PLACE = re.compile(r"policies\[([0-9]{1,4})\]", re.ASCII)


@dataclass(kw_only=True, slots=True)
class _Count:
    """What was done, and a line for each policy that was refused."""

    created: int = 0
    revised: int = 0
    unchanged: int = 0
    tiers: int = 0
    refused: list[str] = field(default_factory=list)


def hand_over(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The next year's policies, as YAML.")
    ],
    certified: Annotated[
        str, typer.Option(help="The day on which the tiers were certified, YYYY-MM-DD.")
    ],
    file: PricingPath = DEFAULT,
    state: State = DEFAULT_STATE,
) -> None:
    """Import policies into claims, each with the outcome tier that its renewal came to.

    A policy is looked for in the renewal by its previous_policy_id, else by its policy_id.
    Repeating the command imports what is left and nothing twice. Acts as the insurer's intake.
    """
    from services.pricing.fitting.renewal.tiers import NoTiers, tiers_of  # noqa: PLC0415 -- heavy

    day = certified_day(certified)
    found = opened(file)
    result = found.folder / FOLDER / "renewals"
    if not (result / "manifest.json").exists():
        raise Failed(f"{result} is not there; `lipei pricing renew` first")
    read = [(path, read_policies(path)) for path in files]
    wanted = [_expiring(policy) for _, one in read for policy in one.messages]
    try:
        tiers = tiers_of(result, wanted)
    except NoTiers:
        text = "the renewed book has no column outcome_tier; add it, or name it in renewal.columns"
        raise Failed(text) from None
    count = _Count()
    with calling(state, "claims", "insurer_intake") as channel:
        stub = ClaimsServiceStub(channel)
        for path, policies in read:
            for part in _parts(_certified(path, policies, tiers, day, count)):
                _import(stub, path, policies, part, count)
    _say(count, day)
    say_next(f"lipei pricing report -f {found.path}")


def certified_day(text: str) -> date:
    """The day on which tiers were certified.

    Raises: Failed when it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Failed("--certified must be a day as YYYY-MM-DD", exit_code=2) from None


@dataclass(frozen=True, slots=True)
class Successor:
    """The policy of a file that renews another, and where it stands there."""

    path: Path
    read: File
    place: int


def successor_of(path: Path, policy: str) -> Successor:
    """The one policy in a file that renews this one.

    Raises: Failed when there is none, or several, or the file has faults.
    """
    read = read_policies(path)
    places = [place for place, one in enumerate(read.messages) if _expiring(one) == policy]
    if len(places) != 1:
        text = f"{path} has {len(places)} policies that renew {policy}, by previous_policy_id or"
        raise Failed(f"{text} policy_id; it must have one", exit_code=2)
    return Successor(path, read, places[0])


def hand_over_one(policy: str, next_year: Successor, tier: str, day: date, state: Path) -> None:
    """Import the policy that renews this one into claims, with its tier; the file's others stay.

    Raises: Failed when claims refuses it.
    """
    count = _Count()
    path, read = next_year.path, next_year.read
    with calling(state, "claims", "insurer_intake") as channel:
        given = _certified(path, read, {policy: tier}, day, count, only=next_year.place)
        for part in _parts(given):
            _import(ClaimsServiceStub(channel), path, read, part, count)
    _say(count, day)


def _say(count: _Count, day: date) -> None:
    say(
        f"{count.created} created, {count.revised} revised, {count.unchanged} unchanged; "
        f"{count.tiers} with an outcome tier certified on {day}; {len(count.refused)} refused"
    )
    if count.refused:
        raise Failed(*count.refused)


def _expiring(policy: policy_pb2.Policy) -> str:
    return policy.previous_policy_id or policy.policy_id


def _certified(
    path: Path,
    read: File,
    tiers: dict[str, str],
    day: date,
    count: _Count,
    only: int | None = None,
) -> Iterator[int]:
    """Give each policy, or one only, its tier; the places of those that can be handed over."""
    for place, policy in enumerate(read.messages):
        if only is not None and place != only:
            continue
        where = f"policies[{place}]"
        tier = tiers.get(_expiring(policy))
        if tier is None:
            text = "the renewal has no such policy; it was referred, or left out of the book"
            fault = ("", "NOT_RENEWED", text)
        elif tier and len(policy.members) != 1:
            fault = (
                ".members",
                "WHOSE_TIER",
                "a tier is one person's; policies of one member only",
            )
        elif tier and policy.members[0].outcome_tier.certified_date > day.isoformat():
            text = "a later one stands there already; say when these were certified"
            fault = (".members[0].outcome_tier", "CERTIFIED_LATER", text)
        else:
            if tier:
                _give(policy.members[0], tier, day.isoformat())
            yield place
            continue
        field_path = f"{where}{fault[0]}"
        count.refused.append(_line(path, read, Violation(field_path, fault[1], fault[2])))


def _give(member: policy_pb2.InsuredMember, tier: str, day: str) -> None:
    """The tier, with the one that stood there among the earlier ones."""
    before = member.outcome_tier
    if before.tier and before.certified_date < day:
        member.earlier_outcome_tiers.add().CopyFrom(before)
    member.outcome_tier.tier, member.outcome_tier.certified_date = tier, day


def _parts(places: Iterator[int]) -> Iterator[list[int]]:
    part: list[int] = []
    for place in places:
        part.append(place)
        if len(part) == MOST:
            yield part
            part = []
    if part:
        yield part


def _import(
    stub: ClaimsServiceStub, path: Path, read: File, places: Sequence[int], count: _Count
) -> None:
    """Import them, all or none; without those that claims refuses, until it refuses none."""
    left = list(places)
    while left:
        policies = [read.messages[place] for place in left]
        content = b"".join(one.SerializeToString(deterministic=True) for one in policies)
        request = pb.ImportPoliciesRequest(
            # The same policies make the same request: one that was cut off is repeated as it was.
            request_id=f"hand-over-{hashlib.sha256(content).hexdigest()[:40]}",
            policies=policies,
        )
        try:
            answer = stub.ImportPolicies(request, timeout=CALL_S)
        except grpc.RpcError as error:
            faults = [(_place(v.field), v) for v in error_of(error).violations]
            refused = {index for index, _ in faults}
            if not refused or None in refused:
                raise
            for index, v in faults:
                field_path = f"policies[{left[index or 0]}]{_PLACE.sub('', v.field)}"
                count.refused.append(_line(path, read, Violation(field_path, v.reason, v.text)))
            left = [place for index, place in enumerate(left) if index not in refused]
            continue
        count.created += answer.created
        count.revised += answer.revised
        count.unchanged += answer.unchanged
        count.tiers += sum(bool(one.members[0].outcome_tier.tier) for one in policies)
        return


def _place(field_path: str) -> int | None:
    found = _PLACE.match(field_path)
    return int(found[1]) if found else None


def _line(path: Path, read: File, fault: Violation) -> str:
    return f"{path}:{read.line_of(fault.field)}: {fault.field}: {fault.text} [{fault.reason}]"
