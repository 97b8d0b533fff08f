"""`lipei claims supply`: the facts that papers state, for a claim that waits for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1 import review_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims.plans.code_systems import CODE_SYSTEMS
from stack.commands.claim_acts import Name, Note, Revision, act, awaited_of, claim_at, minor
from stack.commands.failing import Failed
from stack.commands.options import DEFAULT_STATE, AsJson, Language, RequestId, State
from stack.commands.printing import Enum, word

_ROLE = "insurer_intake"
# What each awaited fact is stated by. The others are the person's, which `policies import` brings.
_OPTIONS = {
    "social_insurance.used": "--social-insurance [--fund-paid A], or --no-social-insurance",
    "provider.tier": "--tier",
    "provider.licences": "--licence",
    "bill.care_type": "--care-type",
    "bill.referral": "--referral or --no-referral",
    "bill.liability": "--liability",
    "line.diagnosis": "--diagnosis, or --line-diagnosis LINE=NUMBER",
    "line.prescription_time": "--prescribed LINE=TIME",
    "bill.admission_time": "--admitted TIME",
    "line.service_time": "--given LINE=TIME",
}
_PAPER = "paper."


def supply(  # noqa: PLR0913, PLR0917 -- an option each
    name: Name,
    tier: Annotated[
        str, typer.Option("--tier", help="The hospital's tier: primary, secondary or tertiary.")
    ] = "",
    licence: Annotated[
        list[str] | None,
        typer.Option("--licence", help="What it is licensed as, for example community-centre."),
    ] = None,
    care_type: Annotated[
        str, typer.Option("--care-type", help="How the care was given, for example inpatient.")
    ] = "",
    referral: Annotated[
        bool | None,
        typer.Option("--referral/--no-referral", help="Whether the patient was referred there."),
    ] = None,
    liability: Annotated[
        str, typer.Option("--liability", help="nobody, work-injury or third-party.")
    ] = "",
    social_insurance: Annotated[
        bool | None,
        typer.Option(
            "--social-insurance/--no-social-insurance", help="Whether it settled the bill."
        ),
    ] = None,
    fund_paid: Annotated[
        str, typer.Option("--fund-paid", help="What its funds paid, in major units.")
    ] = "",
    account_paid: Annotated[
        str, typer.Option("--account-paid", help="What the patient's medical account paid.")
    ] = "",
    diagnosis: Annotated[
        list[str] | None,
        typer.Option(
            "--diagnosis",
            metavar="SYSTEM|CODE",
            help="Numbered from 1; the first is principal. A URI, or a word such as icd-10.",
        ),
    ] = None,
    authorisation: Annotated[
        list[str] | None,
        typer.Option("--authorisation", metavar="[LINE=]N", help="Its number, of all or a line."),
    ] = None,
    late_reason: Annotated[
        str, typer.Option("--late-reason", help="Why it is late, by a word of the plan.")
    ] = "",
    line_diagnosis: Annotated[
        list[str] | None,
        typer.Option("--line-diagnosis", metavar="LINE=N", help="A diagnosis that it is for."),
    ] = None,
    prescribed: Annotated[
        list[str] | None,
        typer.Option(
            "--prescribed", metavar="LINE=TIME", help="When, such as 1=2026-01-05T09:30+08:00."
        ),
    ] = None,
    admitted: Annotated[
        str, typer.Option("--admitted", metavar="TIME", help="When the patient was admitted.")
    ] = "",
    given: Annotated[
        list[str] | None,
        typer.Option("--given", metavar="LINE=TIME", help="When the service was given."),
    ] = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="The stay began as an emergency.")
    ] = False,
    days_supply: Annotated[
        list[str] | None,
        typer.Option("--days-supply", metavar="LINE=DAYS", help="How long it lasts."),
    ] = None,
    repeat_reason: Annotated[
        list[str] | None,
        typer.Option("--repeat-reason", metavar="LINE=WORD", help="Why it was done again."),
    ] = None,
    part_of: Annotated[
        list[str] | None,
        typer.Option("--part-of", metavar="LINE=LINE", help="Whose package it is part of."),
    ] = None,
    brought: Annotated[
        list[str] | None,
        typer.Option("--brings", metavar="ID", help="A paper that the plan asks for, by its id."),
    ] = None,
    paper: Annotated[
        list[Path] | None, typer.Option("--paper", help="A paper's file; only its hash is sent.")
    ] = None,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Hand papers in for a claim that waits for them: the facts that they state.

    Without any it is decided anew where it waits for what `policies import` has brought.
    """
    request = pb.SupplyFactsRequest(name=name, note=note)
    facts = request.facts
    for field, enum, option, text in (
        ("hospital_tier", bill_pb2.HospitalTier, "--tier", tier),
        ("care_type", bill_pb2.CareType, "--care-type", care_type),
        ("liability", bill_pb2.Liability, "--liability", liability),
    ):
        if text:
            setattr(facts, field, _value(enum, option, text))
    facts.licences.extend(_value(bill_pb2.Licence, "--licence", one) for one in licence or ())
    if referral is not None:
        facts.referral = referral
    if social_insurance is not None:
        facts.social_insurance.used = social_insurance
    for number, text in enumerate(diagnosis or (), start=1):
        made = facts.diagnoses.add(number=number, principal=number == 1)
        system, _, made.code.code = text.rpartition("|")
        known = CODE_SYSTEMS.get(system)  # a word of the plan language, else a URI
        made.code.system = system if known is None else known.uri
    facts.late_reason = late_reason
    if admitted:
        facts.start_time.FromDatetime(_moment("--admitted", admitted))
    facts.emergency_admission = emergency
    facts.papers.extend(brought or ())
    facts.authorisation = next((one for one in authorisation or () if "=" not in one), "")
    _state_of_lines(
        _Lines(facts),
        authorisation=[one for one in authorisation or () if "=" in one],
        line_diagnosis=line_diagnosis or (),
        prescribed=prescribed or (),
        given=given or (),
        days_supply=days_supply or (),
        repeat_reason=repeat_reason or (),
        part_of=part_of or (),
    )
    request.paper_digests.extend(map(_digest, paper or ()))
    for option, field, amount in (
        ("--fund-paid", "fund_paid", fund_paid),
        ("--account-paid", "account_paid", account_paid),
    ):
        if amount:
            currency = claim_at(name, state, _ROLE).paid.currency_code
            told = getattr(facts.social_insurance, field)
            told.currency_code, told.minor_units = currency, minor(amount, currency, option)
    if not facts.ListFields():
        _check_that_it_waits_for_others(claim_at(name, state, _ROLE))
    act("SupplyFacts", request, _ROLE, revision, request_id, state, as_json)


class _Lines:
    """The lines that facts name, each once."""

    def __init__(self, facts: bill_pb2.Bill) -> None:
        self._facts = facts

    def of(self, number: int) -> bill_pb2.BillLine:
        """The line of that number, new when nothing was said of it before."""
        known = (line for line in self._facts.lines if line.number == number)
        return next(known, None) or self._facts.lines.add(number=number)


def _state_of_lines(
    lines: _Lines,
    *,
    authorisation: Sequence[str],
    line_diagnosis: Sequence[str],
    prescribed: Sequence[str],
    given: Sequence[str],
    days_supply: Sequence[str],
    repeat_reason: Sequence[str],
    part_of: Sequence[str],
) -> None:
    for line, text in _of_lines("--authorisation", authorisation):
        lines.of(line).authorisation = text
    for line, number in _numbers("--line-diagnosis", line_diagnosis):
        lines.of(line).diagnosis_numbers.append(number)
    for line, text in _of_lines("--prescribed", prescribed):
        lines.of(line).prescription_time.FromDatetime(_moment("--prescribed", text))
    for line, text in _of_lines("--given", given):
        lines.of(line).service_time.FromDatetime(_moment("--given", text))
    for line, number in _numbers("--days-supply", days_supply):
        lines.of(line).days_supply = number
    for line, text in _of_lines("--repeat-reason", repeat_reason):
        lines.of(line).repeat_reason = text
    for line, number in _numbers("--part-of", part_of):
        lines.of(line).part_of = number


def _check_that_it_waits_for_others(claim: claims_pb2.Claim) -> None:
    """Raises: Failed naming what is awaited and its options, where papers must state all of it."""
    pends = claim.decision.pends
    if claim.state != claims_pb2.CLAIM_STATE_PENDED_INFO or any(
        pend.awaits not in _OPTIONS and not pend.awaits.startswith(_PAPER) for pend in pends
    ):
        return
    options = {
        f"--brings {pend.awaits.removeprefix(_PAPER)}"
        if pend.awaits.startswith(_PAPER)
        else _OPTIONS[pend.awaits]: None
        for pend in pends
    }
    raise Failed(
        f"{claim.name}: say what the papers state; awaited: {awaited_of(claim, Language.EN)}",
        *(f"  {option}" for option in options),
        exit_code=2,
    )


def _value(enum: Enum, option: str, text: str) -> Any:
    names = list(enum.keys())
    wanted = names[0].removesuffix("UNSPECIFIED") + text.strip().upper().replace("-", "_")
    if wanted not in names[1:]:
        known = ", ".join(word(enum, enum.Value(one)).replace(" ", "-") for one in names[1:])
        raise Failed(f'{option}: "{text}" is none that there is; write one of {known}', exit_code=2)
    return enum.Value(wanted)


def _of_lines(option: str, texts: Sequence[str]) -> Iterator[tuple[int, str]]:
    for text in texts:
        line, _, value = text.partition("=")
        if not line.isdecimal() or not value:
            raise Failed(f'{option}: "{text}" must read LINE=VALUE', exit_code=2)
        yield int(line), value


def _numbers(option: str, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    for line, value in _of_lines(option, texts):
        if not value.isdecimal():
            raise Failed(f'{option}: "{value}" is no number', exit_code=2)
        yield line, int(value)


def _moment(option: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        form = "must be a time with its offset, such as 2026-01-05T09:30+08:00"
        raise Failed(f'{option}: "{text}" {form}', exit_code=2)
    return moment


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Failed(f"{path}: cannot be read ({type(error).__name__})", exit_code=2) from None


def add_to(app: typer.Typer) -> None:
    """Add the command to `lipei claims`."""
    app.command()(supply)
