"""`lipei his reconcile`: source and bridge compared, window by window when there are many days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Annotated, Any

import grpc
import typer

from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceStub
from services.common.refusals import error_of
from stack.commands.calling import Failed, calling, sentences
from stack.commands.his_operations import SOURCE_CALL_S, id_of, parent_of
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, State
from stack.commands.printing import (
    counted,
    money,
    plain,
    print_json,
    print_list,
    print_table,
    rows,
    say,
    stepwise,
    table,
    word,
)
from stack.commands.withheld import Withheld, ask

Answer = tuple[pb.ReconcileSourceResponse, Withheld]
_COLUMNS = (
    *("day", "source", "total there", "released", "total here"),
    *("waiting", "missing", "extra", "other total"),
)


def reconcile(
    hospital: Hospital,
    first: Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last day, YYYY-MM-DD.")] = "",
    step: Annotated[
        int, typer.Option("--step", min=1, max=366, help="Days that one comparison takes in.")
    ] = 31,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Compare source and bridge bill by bill, and fetch again what is missing here.

    Without days the last week until yesterday. Many days are compared step by step, which is shown;
    a FHIR server is read from its beginning for each step, so there a large --step is faster.

    Exit code 1 when a difference stays, or when there was no bill on either side: nothing was
    compared then, and nothing is proved.
    """
    answers: list[Answer] = []
    windows = list(_windows(*_days(first, last), step))
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        stub = OperationsServiceStub(channel)
        with stepwise("comparing", len(windows), "steps") as done:
            for begin, end in windows:
                request = pb.ReconcileSourceRequest(
                    hospital=parent_of(hospital), first_day=begin, last_day=end
                )
                try:
                    answers.append(ask(stub.ReconcileSource, request, SOURCE_CALL_S))
                except KeyboardInterrupt:
                    raise Failed(
                        f"stopped; what was compared is kept: go on with --from {begin}",
                        exit_code=130,
                    ) from None
                except grpc.RpcError as error:
                    if not answers:
                        raise
                    _print(answers)
                    raise Failed(
                        *sentences("his_bridge", error_of(error)),
                        f"what was compared is kept: go on with --from {begin}",
                    ) from None
                done(1)
    if as_json:
        found = [_marked(one) for one in answers]
        print_json(found[0] if len(found) == 1 else {"windows": found})
    else:
        _print(answers)
    differing = [one.reconciliation for one, _ in answers if not one.reconciliation.agrees]
    if differing:
        raise Failed(
            *(
                f"source and bridge differ from {one.first_day} to {one.last_day}"
                for one in differing
            ),
            "what is missing or extra was asked for once more already: look at the source",
            *_corrected(answers, id_of(hospital)),
            *_gone(answers),
        )
    _agrees(answers, id_of(hospital), silent=as_json)


def _corrected(answers: list[Answer], hospital: str) -> list[str]:
    """Where a correction is that the insurer was not told of."""
    if not any(day.other_total_count for one, _ in answers for day in one.reconciliation.days):
        return []
    text = (
        "other total: the insurer has the bill as it was; if its correction came, "
        f"`lipei his quarantine {hospital}` or `lipei his held {hospital}` says why it waits"
    )
    return [text]


def _gone(answers: list[Answer]) -> list[str]:
    """What the HIS does about bills that it does not have any more."""
    if not any(day.extra_count for one, _ in answers for day in one.reconciliation.days):
        return []
    text = (
        "extra: a bill that is gone at the source stands at the insurer still; have the HIS state "
        "it anew, or take it back (status reversed, cancelled, 冲红)"
    )
    return [text]


def _agrees(answers: list[Answer], hospital: str, *, silent: bool) -> None:
    """Nothing differs; what nobody released is no proof, and is told.

    Raises: Failed when nothing was compared.
    """
    days = [day for one, _ in answers for day in one.reconciliation.days]
    if not days:
        first, last = answers[0][0].reconciliation, answers[-1][0].reconciliation
        raise Failed(
            f"nothing was compared: no bill from {first.first_day} to {last.last_day}, neither at "
            "the source nor here; --from and --to name other days"
        )
    if silent:
        return
    waiting = sum(day.waiting_count for day in days)
    if waiting:
        say(
            f"{counted(waiting, 'bill')} of these not released: `lipei his quarantine {hospital}` "
            f"and `lipei his held {hospital}` say why"
        )
    say("every bill of the source is accounted for")


def _days(first: str, last: str) -> tuple[date | None, date | None]:
    """The first and the last day, or none of both. Raises: Failed naming the option."""
    if bool(first) != bool(last):
        missing, given = ("--to", "--from") if first else ("--from", "--to")
        text = f"{missing} is missing: {given} alone names no days; give both, or none for a week"
        raise Failed(text, exit_code=2)
    days: list[date | None] = []
    faults = []
    for option, text in (("--from", first), ("--to", last)):
        try:
            if text and len(text) != len("YYYY-MM-DD"):
                raise ValueError
            days.append(date.fromisoformat(text) if text else None)
        except ValueError:
            faults.append(f"{option}: must be a date of the calendar, written YYYY-MM-DD")
    if faults:
        raise Failed(*faults, exit_code=2)
    begin, end = days
    if begin is not None and end is not None and begin > end:
        raise Failed(f"--to {end} lies before --from {begin}", exit_code=2)
    return begin, end


def _windows(begin: date | None, end: date | None, step: int) -> Iterator[tuple[str, str]]:
    """The days in portions; without days what the bridge takes then."""
    if begin is None or end is None:
        yield "", ""
        return
    while begin <= end:
        until = min(end, begin + timedelta(days=step - 1))
        yield begin.isoformat(), until.isoformat()
        begin = until + timedelta(days=1)


def _marked(answer: Answer) -> Any:
    found, withheld = answer
    return withheld.marked(plain(found))


def _print(answers: list[Answer]) -> None:
    made = table(*_COLUMNS, right=_COLUMNS[1:])
    which = table("day", "differs", "source record")
    for answer, withheld in answers:
        below = withheld.below("differences")
        for day in answer.reconciliation.days:
            there = (str(day.source_count), money(day.source_total))
            here = (str(day.here_count), money(day.here_total))
            others = (
                *(day.waiting_count, day.missing_count),
                *(day.extra_count, day.other_total_count),
            )
            rows(made, [(day.day, *there, *here, *map(str, others))])
        for one in answer.differences:
            kind = word(pb.DifferenceKind, one.kind)
            record = below.shown("source_record", one.source_record)
            rows(which, [(one.day, kind, record)])
    first, last = answers[0][0].reconciliation.first_day, answers[-1][0].reconciliation.last_day
    print_list(made, f"no bills from {first} to {last}, neither there nor here")
    again = sum(answer.repulled_count for answer, _ in answers)
    if again:
        say(f"{counted(again, 'bill')} fetched again")
    if which.row_count:
        print_table(which)
