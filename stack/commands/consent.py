"""`lipei consent ...`: a hospital's register: grant, withdraw, show, list, import from a file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from lipei.his_bridge.v1 import consent_pb2 as pb
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceStub
from lipei.type.v1 import bill_pb2
from services.common.refusals import Violation, error_of
from services.common.settings import insurer
from services.common.strict_yaml import StrictYamlError
from stack.commands.calling import (
    CALL_S,
    CallFailed,
    Failed,
    calling,
    content_of,
    faulty,
    fresh_request_id,
)
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, RequestId, State
from stack.commands.printing import (
    Enum,
    counted,
    plain,
    print_json,
    print_list,
    print_table,
    rows,
    say,
    table,
    when,
    word,
)
from stack.commands.pulling import ask_for_pull
from stack.commands.withheld import pages
from stack.message_file import MessageFile, moment_of, read_messages

app = typer.Typer(no_args_is_help=True, help="Consents: grant, withdraw, show, list, import.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="CONSENT", help="hospitals/{hospital}/consents/{consent}, as `list` prints it."
    ),
]
Document = Annotated[
    str,
    typer.Option("--document", help="What the person signed: a file, or its SHA-256 in hex."),
]
Channel = Annotated[
    str, typer.Option("--channel", help="How the person acted: paper, electronic or in_person.")
]
ERASED = "erased"
MOST = 1_000  # of one request, which is all or none
_PAGE = 500
_PLACE = re.compile(r"consents\[([0-9]+)\]")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_IMPORT_S = 120.0
_STANDS = frozenset({pb.CONSENT_STATE_NOT_YET, pb.CONSENT_STATE_ACTIVE})
# What the hospital's worker looks at when a consent for this comes or goes.
_PULLS = {
    pb.CONSENT_PURPOSE_CLAIM_SETTLEMENT: "bills",
    pb.CONSENT_PURPOSE_HEALTH_PROGRAMME: "readings",
}


@app.command()
def grant(  # noqa: PLR0913, PLR0917 an option for each thing that a consent says
    hospital: Hospital,
    member: Annotated[
        str,
        typer.Argument(metavar="MEMBER", help="Whose: as `lipei members token` says."),
    ],
    purpose: Annotated[
        str,
        typer.Option(
            "--for", help="claim_settlement, health_programme or deidentified_study; one each."
        ),
    ],
    giver: Annotated[
        str, typer.Option("--giver", help="The hospital's opaque id of who gave it; no name.")
    ],
    document: Document,
    channel: Channel = "paper",
    contents: Annotated[
        list[str] | None,
        typer.Option("--of", help="bills or readings; twice for both. As the purpose needs."),
    ] = None,
    recipient: Annotated[
        str, typer.Option("--to", help="insurers/{insurer}; this installation's.")
    ] = "",
    start: Annotated[str, typer.Option("--from", help="First moment, with zone; now.")] = "",
    until: Annotated[
        str, typer.Option("--until", help="First moment after it, with zone; until withdrawn.")
    ] = "",
    care: Annotated[
        list[str] | None, typer.Option("--care", help="Only bills of this kind of care.")
    ] = None,
    first_care_date: Annotated[str, typer.Option(help="YYYY-MM-DD")] = "",
    last_care_date: Annotated[str, typer.Option(help="YYYY-MM-DD")] = "",
    guardian: Annotated[
        bool, typer.Option("--guardian", help="A guardian gave it, not the person.")
    ] = False,
    under_14: Annotated[
        bool, typer.Option("--under-14", help="The person is a minor under 14.")
    ] = False,
    consent_id: Annotated[str, typer.Option("--id", help="Last part of its name.")] = "",
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Record a consent. What was held for want of it leaves with the pull that is asked for.

    Where the same already stands, both do, and that is said.
    """
    hospital = hospital.removeprefix("hospitals/")
    said = _number(pb.ConsentPurpose, purpose, "--for")
    usual = ["readings"] if said == pb.CONSENT_PURPOSE_HEALTH_PROGRAMME else ["bills"]
    consent = pb.Consent(
        member_token=member.removeprefix("members/"),
        recipient=recipient or f"insurers/{insurer()}",
        purpose=said,  # type: ignore[arg-type]  # one of the enum's own numbers
        scope=pb.ConsentScope(
            contents=[_number(pb.ConsentContent, one, "--of") for one in contents or usual],  # type: ignore[misc]  # the same
            care_types=[_number(bill_pb2.CareType, one, "--care") for one in care or ()],  # type: ignore[misc]  # the same
            first_care_date=first_care_date,
            last_care_date=last_care_date,
        ),
        given_by=pb.CONSENT_GIVER_GUARDIAN if guardian else pb.CONSENT_GIVER_MEMBER,
        giver=giver,
        member_under_14=under_14,
        from_time=_moment(start, "--from") if start else _now(),
        until_time=_moment(until, "--until") if until else None,
        evidence=_evidence(document, channel),
    )
    request = pb.GrantConsentRequest(
        parent=f"hospitals/{hospital}",
        consent_id=consent_id,
        consent=consent,
        request_id=fresh_request_id(request_id),
    )
    with calling(state, "his_bridge", "hospital_records", hospital) as bridge:
        register = ConsentServiceStub(bridge)
        found = register.GrantConsent(request, timeout=CALL_S).consent
        standing = [] if as_json else _standing(register, request.parent, found)
    if as_json:
        print_json(found)
    else:
        say(f"{found.name} is {word(pb.ConsentState, found.state)}")
    for one in standing:
        say(
            f"the same stands already: {one.name}, {word(pb.ConsentState, one.state)} from "
            f"{when(one.from_time)} (UTC); both stand now, one stays when the other is withdrawn"
        )
    if found.purpose in _PULLS:
        _pull(state, hospital, _PULLS[found.purpose], quiet=as_json)


def _standing(register: ConsentServiceStub, parent: str, granted: pb.Consent) -> list[pb.Consent]:
    """The person's other consents to the same that stand, or will."""
    request = pb.ListConsentsRequest(
        parent=parent, page_size=_PAGE, member_token=granted.member_token
    )
    try:
        known = register.ListConsents(request, timeout=CALL_S).consents
    except grpc.RpcError:
        return []  # it is recorded: that this role may not list, say, is no failure
    return [
        one
        for one in known
        if one.name != granted.name and one.state in _STANDS and _to(one) == _to(granted)
    ]


def _to(one: pb.Consent) -> tuple[object, ...]:
    """What a consent allows whom, whatever its times and its document."""
    scope = one.scope
    days = (scope.first_care_date, scope.last_care_date)
    return one.recipient, one.purpose, set(scope.contents), set(scope.care_types), days


@app.command()
def withdraw(
    name: Name,
    document: Document = "",
    channel: Channel = "paper",
    at: Annotated[str, typer.Option("--at", help="When the person withdrew it; now.")] = "",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Also when its grant has not arrived yet.")
    ] = False,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Withdraw a consent: nothing that rests on it leaves from here on, and the insurer is told.

    Undecided claims that rest on it end; what was decided before stands.
    """
    request = pb.WithdrawConsentRequest(
        name=name,
        withdraw_time=_moment(at, "--at") if at else None,
        evidence=_evidence(document, channel) if document else None,
        allow_missing=allow_missing,
        request_id=fresh_request_id(request_id),
    )
    hospital = _hospital_of(name)
    with calling(state, "his_bridge", "hospital_records", hospital) as bridge:
        register = ConsentServiceStub(bridge)
        before = None if as_json else _known(register, name)
        found = register.WithdrawConsent(request, timeout=CALL_S).consent
    if as_json:
        print_json(found)
    elif before is not None and before.withdraw_time == found.withdraw_time != Timestamp():
        _say_nothing_recorded(before, document)
    elif found.state:
        shown = "with the document" if document else "without a document"
        say(f"{found.name} is withdrawn since {when(found.withdraw_time)} (UTC), {shown}")
        if found.purpose == pb.CONSENT_PURPOSE_CLAIM_SETTLEMENT:
            say(
                "undecided claims that rest on it end once the insurer is told: `lipei claims list`"
            )
    else:
        say(f"{found.name} is not known yet; its grant will be withdrawn when it arrives")
    _pull(state, hospital, "withdrawals", quiet=as_json)


def _known(register: ConsentServiceStub, name: str) -> pb.Consent | None:
    """The consent with its history as it stood before; None where none is known."""
    try:
        return register.GetConsent(pb.GetConsentRequest(name=name), timeout=CALL_S).consent
    except grpc.RpcError as error:
        if error_of(error).code is not grpc.StatusCode.NOT_FOUND:
            raise
        return None


def _say_nothing_recorded(before: pb.Consent, document: str) -> None:
    """Since when it was withdrawn already, and by which document; another is not recorded."""
    digests = [
        one.evidence.document_sha256
        for one in before.events
        if one.kind == "withdraw" and one.effective_time == before.withdraw_time
    ]
    shown = next((f"with document {one}" for one in digests if one), "without a document")
    since = when(before.withdraw_time)
    say(f"{before.name} was withdrawn already, since {since} (UTC), {shown}; nothing is recorded")
    if document:
        say("the document given now is not recorded either: a withdrawal is recorded once")


@app.command()
def show(name: Name, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Show one consent with what happened to it."""
    with calling(state, "his_bridge", "hospital_records", _hospital_of(name)) as bridge:
        request = pb.GetConsentRequest(name=name)
        found = ConsentServiceStub(bridge).GetConsent(request, timeout=CALL_S).consent
    if as_json:
        print_json(found)
        return
    made = table("field", "value")
    print_table(rows(made, _lines(found)))
    if found.erased:
        return
    events = table("what", "as of (UTC)", "recorded (UTC)", "channel", "document")
    for event in found.events:
        times = (when(event.effective_time), when(event.record_time))
        shown = word(pb.ConsentChannel, event.evidence.channel) if event.evidence.channel else ""
        rows(events, [(event.kind, *times, shown, event.evidence.document_sha256)])
    print_table(events)


@app.command("list")
def list_(
    hospital: Hospital,
    member: Annotated[str, typer.Option("--member", help="Only of this person: a token.")] = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List consents, oldest record first."""
    found: list[pb.Consent] = []
    hospital = hospital.removeprefix("hospitals/")
    request = pb.ListConsentsRequest(
        parent=f"hospitals/{hospital}",
        page_size=_PAGE,
        member_token=member.removeprefix("members/"),
    )
    with calling(state, "his_bridge", "hospital_records", hospital) as bridge:
        stub = ConsentServiceStub(bridge)
        for page, _ in pages(stub.ListConsents, request):
            found += page.consents
    if as_json:
        print_json({"consents": [plain(one) for one in found]})
        return
    made = table("consent", "member", "to", "for", "state", "from (UTC)", "until (UTC)")
    for one in found:
        kind = (word(pb.ConsentPurpose, one.purpose), _state(one))
        end = one.withdraw_time if one.HasField("withdraw_time") else one.until_time
        head = (one.name, ERASED if one.erased else one.member_token, one.recipient)
        rows(made, [(*head, *kind, when(one.from_time), when(end))])
    print_list(made, f"no consents {'of this person ' if member else ''}at {hospital}")
    if found:
        say(counted(len(found), "consent"))


@app.command("import")
def import_file(
    hospital: Hospital,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML; see docs/consent.md.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; record nothing.")
    ] = False,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Record the consents of a file. Every fault is named with its line before any is recorded."""
    hospital = hospital.removeprefix("hospitals/")
    try:
        read = read_messages(content_of(file), str(file), "consents", pb.Consent)
    except StrictYamlError as error:
        raise Failed(*str(error).splitlines()) from None
    whole = pb.GrantConsentsResponse()
    would = _all(state, hospital, file, read, dry_run=True)
    for answer in would if dry_run else _all(state, hospital, file, read, dry_run=False):
        whole.granted_count += answer.granted_count
        whole.known_count += answer.known_count
    if as_json:
        print_json(whole)
    else:
        would_be = "would be " if dry_run else ""
        say(f"{whole.granted_count} {would_be}recorded, {whole.known_count} known")
    if not dry_run:
        for what in sorted({_PULLS[c.purpose] for c in read.messages if c.purpose in _PULLS}):
            _pull(state, hospital, what, quiet=as_json)


def _all(
    state: Path, hospital: str, file: Path, read: MessageFile[pb.Consent], *, dry_run: bool
) -> list[pb.GrantConsentsResponse]:
    """Every batch's answer.

    Raises: Failed with the faults of all batches.
    """
    answers: list[pb.GrantConsentsResponse] = []
    faults: list[Violation] = []
    for start in range(0, len(read.messages), MOST):
        request = pb.GrantConsentsRequest(
            parent=f"hospitals/{hospital}",
            consents=read.messages[start : start + MOST],
            dry_run=dry_run,
            request_id=fresh_request_id(),
        )
        try:
            with calling(state, "his_bridge", "hospital_records", hospital) as bridge:
                answers.append(ConsentServiceStub(bridge).GrantConsents(request, timeout=_IMPORT_S))
        except CallFailed as refused:
            if not refused.fault.violations:
                raise
            for one in refused.fault.violations:
                field = _PLACE.sub(lambda m: f"consents[{int(m[1]) + start}]", one.field)  # noqa: B023 - used at once
                faults.append(Violation(field, one.reason, one.text))
    if faults:
        raise faulty(file, read.line_of, faults)
    return answers


def _pull(state: Path, hospital: str, what: str, *, quiet: bool) -> None:
    """The worker looks at once; without one here it does at its next turn."""
    try:
        ask_for_pull(state, hospital, what)
    except Failed as failed:
        if not quiet:
            say(f"it is recorded; {failed.lines[0]}")


def _lines(found: pb.Consent) -> Iterator[tuple[str, str]]:
    scope = found.scope
    yield "name", found.name
    yield "state", _state(found)
    if found.erased:  # name, recipient, purpose and times of recording are all that is left
        yield "to", found.recipient
        yield "for", word(pb.ConsentPurpose, found.purpose)
        yield "from (UTC)", when(found.from_time)
        yield "everything else", ERASED
        return
    yield "member", found.member_token
    yield "to", found.recipient
    yield "for", word(pb.ConsentPurpose, found.purpose)
    yield "of", ", ".join(word(pb.ConsentContent, one) for one in scope.contents)
    yield "care", ", ".join(word(bill_pb2.CareType, one) for one in scope.care_types) or "any"
    yield "days of care", f"{scope.first_care_date or '…'} to {scope.last_care_date or '…'}"
    minor = ", for a minor under 14" if found.member_under_14 else ""
    yield "given by", f"{word(pb.ConsentGiver, found.given_by)} {found.giver}{minor}"
    yield "from (UTC)", when(found.from_time)
    yield "until (UTC)", when(found.until_time) or "it is withdrawn"
    yield "withdrawn since (UTC)", when(found.withdraw_time)
    yield "insurer told (UTC)", when(found.relay_time)


def _state(found: pb.Consent) -> str:
    """Where it stands; of an erased person's, that nobody can tell any more."""
    return ERASED if found.erased else word(pb.ConsentState, found.state)


def _hospital_of(name: str) -> str:
    parts = name.split("/")
    if len(parts) != 4 or parts[::2] != ["hospitals", "consents"]:
        form = "hospitals/{hospital}/consents/{consent}"
        raise Failed(f"{name}: give {form}", exit_code=2)
    return parts[1]


def _number(enum: Enum, text: str, option: str) -> int:
    """The value of an enum that a person named, with - or _ between words."""
    names = list(enum.keys())
    prefix = names[0].removesuffix("UNSPECIFIED")
    named = prefix + text.upper().replace("-", "_")
    if named not in names[1:]:
        known = ", ".join(name.removeprefix(prefix).lower() for name in names[1:])
        raise Failed(f"{option} {text}: give one of {known}", exit_code=2)
    return int(enum.Value(named))


def _moment(text: str, option: str) -> Timestamp:
    moment = moment_of(text)
    if moment is None:
        example = "2026-01-01T00:00:00+08:00"
        raise Failed(f"{option} {text}: give a moment with its zone, as {example}", exit_code=2)
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _now() -> Timestamp:
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


def _evidence(document: str, channel: str) -> pb.ConsentEvidence:
    digest = document
    if not _SHA256.fullmatch(document):
        digest = hashlib.sha256(content_of(Path(document))).hexdigest()
    return pb.ConsentEvidence(
        document_sha256=digest,
        channel=_number(pb.ConsentChannel, channel, "--channel"),  # type: ignore[arg-type]  # one of the enum's own numbers
    )
