"""`lipei claims what-if`: what a period's claims would have come to under another plan version."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import grpc
import typer
from rich.table import Table

from lipei.claims.v1 import decision_pb2, reason_pb2
from lipei.claims.v1 import recompute_pb2 as pb
from lipei.claims.v1.recompute_pb2_grpc import RecomputeServiceStub
from lipei.type.v1.money_pb2 import Money
from services.common.access.withheld import withheld_in
from services.common.money import format_minor
from services.common.state import write_private
from stack.commands.calling import CallFailed, Failed, calling, content_of
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.plans import plan_in
from stack.commands.printing import (
    console,
    counted,
    money,
    number,
    plain,
    print_json,
    print_table,
    progress_bar,
    rows,
    say,
    table,
    when,
    word,
)
from stack.commands.withheld import WITHHELD, Withheld

# What a connection may live; a million claims take less.
_LONGEST_S = 600.0
_COLUMNS = (
    *("claim", "member", "received_utc", "currency", "before", "after", "change", "moves"),
    "todays_engine",
)
_CHANGES = {
    pb.WHAT_IF_CHANGE_SAME: "the same",
    pb.WHAT_IF_CHANGE_UP: "up",
    pb.WHAT_IF_CHANGE_DOWN: "down",
    pb.WHAT_IF_CHANGE_DENIED: "denied",
    pb.WHAT_IF_CHANGE_NEWLY_PAID: "newly paid",
    pb.WHAT_IF_CHANGE_PENDED: "would wait for papers or a person",
    pb.WHAT_IF_CHANGE_UNDECIDABLE: "undecidable under it",
}
_CAUSES = {
    pb.WHAT_IF_CAUSE_NO_TERMS: "the plan has no terms in force on their day",
    pb.WHAT_IF_CAUSE_UNKNOWN_CODE_SYSTEM: "the plan knows no code system",
    pb.WHAT_IF_CAUSE_UNKNOWN_CLAUSE: "a review names a clause that the plan lacks:",
    pb.WHAT_IF_CAUSE_OTHER_FAULT: "the bill or its review is a fault under the plan:",
}


def add_to(app: typer.Typer) -> None:
    """Give `lipei claims` its what-if."""
    app.command("what-if")(what_if)


def what_if(
    plan: Annotated[
        Path, typer.Option("--plan", metavar="FILE", help="The other plan (YAML); not published.")
    ],
    first: Annotated[
        str, typer.Option("--from", metavar="DATE", help="First day on which claims came in.")
    ],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="Last day.")],
    instead_of: Annotated[
        str,
        typer.Option("--instead-of", metavar="PLAN", help="Id of the plan; the file's own if not."),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Every claim as CSV, for you only."),
    ] = None,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Re-decide a period's claims under another plan version and show the difference.

    Stores nothing. Deductibles, ceilings and earlier services run through the period under the
    new plan, claim by claim in the order received (docs/what-if.md). Acts as an actuary, who sees
    no person; --as senior_adjuster also sees members, and that is put on record.
    """
    plan_in(plan)  # faults come with the file's lines, before anything is asked
    request = pb.DecideWhatIfRequest(
        yaml=content_of(plan),
        instead_of=instead_of,
        first_date=first,
        last_date=last,
        every_claim=out is not None,
    )
    try:
        with calling(state, "claims", "actuary") as channel:
            found = _Found(RecomputeServiceStub(channel).DecideWhatIf(request, timeout=_LONGEST_S))
            found.follow(quiet=as_json)
    except CallFailed as refused:
        if refused.fault.code is not grpc.StatusCode.NOT_FOUND or instead_of:
            raise
        raise Failed(
            *refused.lines,
            "  it is the file's own id; name the published plan whose claims are to be decided "
            "again: --instead-of PLAN",
        ) from None
    if out is not None:
        _write(out, found)
    if as_json:
        print_json(found.withheld.below("summary").marked(plain(found.summary)))
        return
    for part in told(found.summary, found.withheld.below("summary")):
        if isinstance(part, str):
            say(part)
        else:
            print_table(part)
    if out is not None:
        say(f"{out}: {counted(len(found.claims), 'claim')}")


class _Claim(NamedTuple):
    """A claim as its row tells it: a fraction of its message's memory; in the order of the file."""

    received_ns: int
    name: str
    member: str
    received_utc: str
    currency: str
    before: str
    after: str
    change: str
    moves: str
    todays_engine: str


class _Found:
    """The answer as it comes."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.claims: list[_Claim] = []
        self.summary = pb.WhatIfSummary()
        self.withheld = Withheld()

    def follow(self, *, quiet: bool) -> None:
        """Read it to its end, with a bar on a terminal. Given up, the work ends over there too."""
        try:
            with progress_bar(console(quiet=quiet)) as progress:
                bar = progress.add_task("deciding again", total=None)
                for one in self._call:
                    self.claims.extend(map(_claim, one.claims))
                    if one.HasField("progress"):
                        done, total = one.progress.done, one.progress.total
                        progress.update(bar, completed=done, total=total)
                    if one.HasField("summary"):
                        self.summary = one.summary
            self.withheld = Withheld(withheld_in(self._call.trailing_metadata()))
        finally:
            self._call.cancel()


def _claim(one: pb.WhatIfClaim) -> _Claim:
    return _Claim(
        received_ns=one.create_time.ToNanoseconds(),
        name=one.name,
        member=one.member,
        received_utc=when(one.create_time),
        currency=sys.intern(one.before.currency_code),
        before=number(one.before),
        after=number(one.after),
        change=sys.intern(word(pb.WhatIfChange, one.change)),
        moves=sys.intern("; ".join(map(_moved, one.shares))),
        todays_engine=number(one.todays_engine) if one.HasField("todays_engine") else "",
    )


def _write(out: Path, found: _Found) -> None:
    """Every claim, the oldest first; amounts in units of the currency, as text."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    hidden = found.withheld.below("claims")
    found.claims.sort()
    for one in found.claims:
        writer.writerow(
            (
                one.name,
                hidden.shown("member", one.member),
                one.received_utc,
                one.currency,
                one.before,
                one.after,
                one.change,
                hidden.shown("shares", one.moves),
                one.todays_engine,
            )
        )
    try:
        write_private(out, text.getvalue().encode())
    except OSError as error:
        raise Failed(f"{out}: cannot be written ({type(error).__name__})", exit_code=2) from None


def told(summary: pb.WhatIfSummary, withheld: Withheld) -> Iterator[Table | str]:
    """Totals first, then by reason, then what moves most."""
    versions = ", ".join(summary.instead_of) or "no version: there is no claim"
    yield f"{summary.plan_version}\ninstead of {versions}\n"
    yield (
        f"{counted(summary.claims, 'claim')} of {counted(summary.members, 'member')}: "
        f"paid {_from_to(summary.before, summary.after)}"
    )
    yield from _engine(summary)
    yield from _undecidable(summary)
    yield from _left_out(summary)
    if not summary.claims:
        yield "--from and --to are days on which claims were received, not days of treatment"
        return
    yield _counts(summary.changes)
    yield _by_reason(summary)
    if summary.claims_that_move:
        yield f"The {counted(len(summary.claims_that_move), 'claim')} that move most:"
        yield _movers(
            "claim",
            (
                (one.name, one.before, one.after, _what_became(one))
                for one in summary.claims_that_move
            ),
        )
    if "members_that_move" in withheld:
        yield f"Members: {WITHHELD} from this role"
    elif summary.members_that_move:
        yield f"The {counted(len(summary.members_that_move), 'member')} whose claims move most:"
        yield _movers(
            "member",
            (
                (one.member, one.before, one.after, counted(len(one.claims), "claim"))
                for one in summary.members_that_move
            ),
        )


def _what_became(one: pb.WhatIfClaim) -> str:
    change = _CHANGES.get(one.change, "")
    if not one.HasField("todays_engine"):
        return change
    return f"{change}; by today's engine under its own plan {money(one.todays_engine)}"


def _engine(told: pb.WhatIfSummary) -> Iterator[str]:
    if told.engine_count:
        yield (
            "of these, decided by an earlier engine, and otherwise by today's under their own plan "
            f"too: {counted(told.engine_count, 'claim')}, "
            f"{_from_to(told.engine_before, told.engine_after)}; so much is the engine's doing, "
            "not the plan's (docs/what-if.md)"
        )


def _undecidable(told: pb.WhatIfSummary) -> Iterator[str]:
    if not told.undecidable_count:
        return
    paid = money(told.undecidable_before)
    yield (
        f"undecidable under it, and in none of these sums: "
        f"{counted(told.undecidable_count, 'claim')}, paid {paid}"
    )
    for one in told.undecidable:
        why = _CAUSES.get(one.cause, word(pb.WhatIfCause, one.cause))
        yield f"  {counted(one.claims, 'claim')}: {' '.join(filter(None, (why, one.about)))}"


def _left_out(told: pb.WhatIfSummary) -> Iterator[str]:
    for count, why in (
        (told.erased_count, "ERASED: the person's data is gone, and nothing can be decided"),
        (told.taken_back_count, "withdrawn, reversed or closed: they pay under no plan"),
        (told.undecided_count, "not decided yet"),
    ):
        if count:
            yield f"left out, {why}: {counted(count, 'claim')}"
    if told.pended_before_count or told.pended_after_count:
        yield (
            "waiting for papers or a person, and paid nothing until then: "
            f"{told.pended_before_count} -> {told.pended_after_count}; proposed for them, and in "
            f"none of the sums paid: {_from_to(told.proposed_before, told.proposed_after)}"
        )


def _counts(changes: Iterable[pb.WhatIfCount]) -> Table:
    made = table(
        *("claims that would be", "claims", "before", "after", "difference"),
        right=("claims", "before", "after", "difference"),
    )
    return rows(
        made,
        (
            (
                _CHANGES.get(one.change, word(pb.WhatIfChange, one.change)),
                str(one.claims),
                money(one.before),
                money(one.after),
                _difference(one.before, one.after),
            )
            for one in changes
        ),
    )


def _by_reason(told: pb.WhatIfSummary) -> Table:
    """The reasons of what is decided; what waits has none yet, and rows of its own below.

    The insurer's benefit and what is paid first add up to the sums paid of the headline.
    """
    made = table(
        *("reason", "borne by", "claims", "before", "after", "difference"),
        right=("claims", "before", "after", "difference"),
    )
    rows(
        made,
        (
            (
                word(reason_pb2.Reason, one.reason),
                word(decision_pb2.Bearer, one.bearer),
                f"{one.claims_before} -> {one.claims_after}",
                money(one.before),
                money(one.after),
                _difference(one.before, one.after),
            )
            for one in told.shares
        ),
    )
    waiting = f"{told.pended_before_count} -> {told.pended_after_count}"
    for what, before, after in (
        ("paid first while it waits", told.paid_first_before, told.paid_first_after),
        ("waits: proposed, not paid", told.proposed_before, told.proposed_after),
    ):
        if before.minor_units or after.minor_units:
            amounts = (money(before), money(after), _difference(before, after))
            rows(made, [(what, "insurer", waiting, *amounts)])
    return made


def _movers(what: str, moving: Iterable[tuple[str, Money, Money, str]]) -> Table:
    made = table(what, "before", "after", "difference", "", right=("before", "after", "difference"))
    return rows(
        made,
        (
            (name, money(before), money(after), _difference(before, after), more)
            for name, before, after, more in moving
        ),
    )


def _moved(one: pb.WhatIfShare) -> str:
    reason, bearer = word(reason_pb2.Reason, one.reason), word(decision_pb2.Bearer, one.bearer)
    return f"{reason} ({bearer}): {number(one.before)} -> {number(one.after)}"


def _from_to(before: Money, after: Money) -> str:
    return f"{money(before)} -> {money(after)} ({_difference(before, after)})"


def _difference(before: Money, after: Money) -> str:
    moved = after.minor_units - before.minor_units
    sign = "+" if moved > 0 else ""
    return sign + format_minor(moved, before.currency_code) if before.currency_code else ""
