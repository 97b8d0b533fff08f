"""`lipei readings ...`: record measurements, see a member's months, what a coach should look at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from stack import chinese
from stack.commands.calling import CALL_S, Failed, calling, content_of, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Language, State
from stack.commands.printing import (
    plain,
    print_json,
    print_list,
    print_table,
    rows,
    say,
    share,
    table,
    when,
    word,
)
from stack.commands.recorded_readings import RecordedReadings
from stack.commands.withheld import NOTHING, WITHHELD, Withheld, pages

app = typer.Typer(no_args_is_help=True, help="Readings: record, months, coach's tasks.")

TimeZone = Annotated[str, typer.Option("--time-zone", help="IANA name of the policy's zone.")]
ExpiringStartDate = Annotated[
    str,
    typer.Option("--expiring-start-date", help="First day of the year that expires, YYYY-MM-DD."),
]
DEFAULT_ZONE = "Asia/Shanghai"
_PAGE = 1_000


@app.command()
def record(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help='One reading a line as JSON; "-" reads stdin.')
    ],
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Record readings: lines of lipei.type.v1.Reading in JSON. The same file twice changes nothing.

    A file goes in batches of 1,000 readings, each recorded whole or not at all; every fault of
    every line is told at once. Where a line is no such JSON, nothing is recorded.

    From "-" lines are recorded as they come in, until the pipe ends; a line at fault is told at
    once and left out. Either way a service that stops is waited for, up to a minute.
    """
    recording = RecordedReadings(state)
    if file == "-":
        recording.from_pipe(stdin_descriptor())
    else:
        recording.from_file(content_of(Path(file)), file)
    whole = recording.whole
    raised = len(whole.coach_tasks)
    if as_json:
        print_json(whole)
    else:
        told = f"{whole.recorded_count} recorded, {whole.known_count} known"
        say(told + (f"; {raised} for a coach, see `lipei readings tasks`" if raised else ""))
        say("next: the months of one member, as `lipei readings months --help` says")
    if recording.left_out:
        raise Failed(f"{recording.left_out} of the lines were at fault and left out")


@app.command()
def months(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="The member's token.")],
    programme: Annotated[
        str, typer.Option("--programme", help='"{programme}" or "{programme}@sha256:{hash}"')
    ],
    renewal: Annotated[
        str, typer.Option("--renewal", help="First day of the next policy year, YYYY-MM-DD.")
    ],
    time_zone: TimeZone = DEFAULT_ZONE,
    expiring_start_date: ExpiringStartDate = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Show the months that a renewal looks at, the longest run, what it earns. Stores nothing."""
    request = pb.AssessMemberRequest(
        participation=participation(member, programme, time_zone, expiring_start_date),
        renewal_date=renewal,
    )
    with calling(state, "pricing", "partner") as channel:
        found = PricingServiceStub(channel).AssessMember(request, timeout=CALL_S).incentive
    if as_json:
        print_json(found)
    else:
        show_incentive(found)


@app.command()
def clear(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="The member's token.")],
    flag: Annotated[str, typer.Argument(metavar="FLAG", help="Its id, as `months` shows it.")],
    programme: Annotated[
        str, typer.Option("--programme", help='"{programme}" or "{programme}@sha256:{hash}"')
    ],
    renewal: Annotated[
        str, typer.Option("--renewal", help="First day of the next policy year, YYYY-MM-DD.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever audits it.")],
    evidence: Annotated[
        str, typer.Option("--evidence", help="What it rests on, such as a file's number.")
    ],
    take_back: Annotated[
        bool, typer.Option("--take-back", help="Take an earlier clearing back.")
    ] = False,
    time_zone: TimeZone = DEFAULT_ZONE,
    expiring_start_date: ExpiringStartDate = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Clear a flag with a reason, and show the months as they are then. Changes no stored quote."""
    request = pb.ClearFlagRequest(
        request_id=fresh_request_id(),
        participation=participation(member, programme, time_zone, expiring_start_date),
        renewal_date=renewal,
        flag=flag,
        reason=reason,
        evidence=evidence,
        take_back=take_back,
    )
    with calling(state, "pricing", "chief_actuary") as channel:
        found = PricingServiceStub(channel).ClearFlag(request, timeout=CALL_S).incentive
    if as_json:
        print_json(found)
    else:
        show_incentive(found)


@app.command()
def tasks(
    member: Annotated[
        str, typer.Argument(metavar="MEMBER", help='The member\'s token; "-" for all.')
    ] = "-",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List low glucose that a coach should talk about, oldest first."""
    found: list[pb.CoachTask] = []
    request = pb.ListCoachTasksRequest(parent=_member(member), page_size=_PAGE)
    with calling(state, "pricing", "partner") as channel:
        stub = PricingServiceStub(channel)
        for page, _ in pages(stub.ListCoachTasks, request):
            found.extend(page.tasks)
    if as_json:
        print_json({"tasks": [plain(task) for task in found]})
        return
    made = table("reading", "mmol/L", "measured (UTC)", "raised (UTC)", right=("mmol/L",))
    for task in found:
        times = (when(task.effective_time), when(task.raise_time))
        rows(made, [(task.reading, task.glucose_mmol_l, *times)])
    print_list(made, "nothing for a coach")
    if found:
        say(f"{len(found)} for a coach")


def stdin_descriptor() -> int:
    """Where lines come in."""
    return sys.stdin.fileno()


def participation(
    member: str, programme: str, time_zone: str, expiring_start_date: str
) -> pb.Participation:
    """A member's part in a programme, with or without "members/" before the token."""
    return pb.Participation(
        member=_member(member),
        programme=programme,
        time_zone=time_zone,
        expiring_start_date=expiring_start_date,
    )


def participation_if_any(
    member: str, programme: str, time_zone: str, expiring_start_date: str
) -> pb.Participation | None:
    """The same where it may be left out; None without member and programme.

    Raises: Failed when only one of them is given.
    """
    if bool(member) != bool(programme):
        raise Failed("--member and --programme go together", exit_code=2)
    return participation(member, programme, time_zone, expiring_start_date) if member else None


def show_incentive(
    found: pb.Incentive, withheld: Withheld = NOTHING, lang: Language = Language.EN
) -> None:
    """The months as a table, then the run and what it earns."""

    def said(english: str) -> str:
        return chinese.said(english, lang)

    programme = withheld.shown("programme", found.programme)
    to = {Language.EN: "to", Language.ZH: "至"}.get(lang, "至 to")
    say(f"{programme}, {found.window_first_month} {to} {found.window_last_month}")
    if "months" in withheld:
        say(f"{said('months')} {WITHHELD}")
    else:
        _show_months(found, lang)
    run = f"{found.run_first_month} {to} {found.run_last_month}"
    run = run if found.run_months else said("none")
    longest = withheld.shown("run_months", f"{found.run_months} ({run})")
    field = "contractual_share_millionths"
    earned = withheld.shown(field, share(getattr(found, field)))
    say(f"{said('longest run')} {longest}, {said('earns')} {earned}")
    if "credit_millionths" in withheld:
        say(f"{said('credit')} {WITHHELD}")
    elif found.HasField("credit_millionths"):
        cap = f"{share(found.legal_cap.share_millionths)}: {found.legal_cap.source}"
        say(f"{said('credit')} {share(found.credit_millionths)} ({said('legal cap')} {cap})")
    else:
        say(said("no credit: the operator has set no legal cap"))
    if "adherence" not in withheld and found.HasField("adherence"):
        _show_adherence(found.adherence, lang)
    for flag in found.flags:
        _show_flag(flag, lang)


def _show_adherence(found: pb.Adherence, lang: Language) -> None:
    measured = found.HasField("pdc_millionths")
    proportion = share(found.pdc_millionths) if measured else chinese.said("not measured", lang)
    run = f"{found.run_first_month} – {found.run_last_month}" if found.run_months else "-"
    earned = f"{chinese.said('earns', lang)} {share(found.share_millionths)}"
    days = chinese.said("days covered by drugs", lang)
    longest = f"{chinese.said('longest run', lang)} {found.run_months} ({run})"
    say(f"{days} {proportion}, {longest}, {earned}")


def _show_flag(found: pb.Flag, lang: Language) -> None:
    state = "held until cleared" if found.holds else "cleared" if found.cleared else "noted"
    texts = {Language.EN: found.text_en, Language.ZH: found.text_zh}
    text = texts.get(lang, f"{found.text_zh} {found.text_en}")
    measured = found.measure != pb.MEASURE_UNSPECIFIED
    about = ", ".join([*found.months, *([word(pb.Measure, found.measure)] if measured else ())])
    named = " ".join(name.rpartition("/")[2] for name in found.evidence)
    more = " …" if found.readings > len(found.evidence) else ""
    say(f"{chinese.said('flag', lang)} {found.flag} ({chinese.said(state, lang)}): {text}")
    say(f"  {about}; {chinese.said('readings', lang)} {found.readings}: {named}{more}")


def _show_months(found: pb.Incentive, lang: Language) -> None:
    english = ("month", "result", "decided by", "slots", "means and targets", "readings")
    headings = [chinese.heading(one, lang) for one in english]
    made = table(*headings, prose=headings[4:])
    of = " of " if lang is Language.EN else " "
    doctor = f", {chinese.said('doctor', lang)}"
    for month in found.months:
        basis = {
            pb.MONTH_BASIS_LABORATORY_HBA1C: f"HbA1c{of}{month.hba1c_month}",
            pb.MONTH_BASIS_SLOTS: chinese.said("slots", lang),
        }.get(month.basis, "")
        means = ", ".join(
            f"{word(pb.Measure, m.measure)} {m.mean} ({m.target}{doctor * m.personal_target})"
            for m in month.measures
        )
        evidence = " ".join(name.rpartition("/")[2] for name in month.evidence)
        result = chinese.said(word(pb.MonthResult, month.result), lang)
        slots = f"{month.slots_filled}{of if lang is Language.EN else '/'}4"
        rows(made, [(month.month, result, basis, slots, means, evidence)])
    print_table(made)


def _member(token: str) -> str:
    return f"members/{token.removeprefix('members/')}"
