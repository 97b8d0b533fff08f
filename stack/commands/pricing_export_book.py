"""`lipei pricing export-book`: the services' own experience as a book, in which nobody is told."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import grpc
import typer

from lipei.claims.v1 import study_pb2 as people_pb
from lipei.claims.v1.study_pb2_grpc import StudyServiceStub as PeopleStub
from lipei.pricing.v1 import study_pb2 as readings_pb
from lipei.pricing.v1.study_pb2_grpc import StudyServiceStub as ReadingsStub
from lipei.type.v1 import reading_pb2
from services.common.access.studies import PURPOSE, is_study
from services.common.access.study_tokens import NAMED_AT_ONCE
from services.common.refusals import error_of
from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.pricing_file import PricingFile
from stack.commands.calling import CallFailed, Failed, calling
from stack.commands.options import DEFAULT_STATE, State
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.printing import console, progress_bar, say
from stack.study_parts import FolderBusy, PartsLost, StudyParts, alone

if TYPE_CHECKING:
    from services.pricing.fitting.exported import BookWriter

_FOLDER, _BOOK, _ASIDE = "exporting", "book", "before"
_TAKEN = {_FOLDER, "runs", "study", "fit"}
_ROLE = "chief_actuary"
_PEOPLE, _READINGS = "people", "readings"
# What a connection may live; what takes longer goes on with another call.
_LONGEST_S = 600.0
COLUMNS = {
    "people": ("person_id", "birth_date", "sex", "conditions"),
    "policies": (
        "policy_id",
        "person_id",
        "first_day",
        "after_day",
        "deductible_minor",
        "limit_minor",
        "premium_minor",
        "currency",
    ),
    "claims": (
        "claim_id",
        "person_id",
        "policy_id",
        "cause",
        "event_day",
        "report_day",
        "amount_minor",
        "ground_up_minor",
    ),
    "readings": (
        "reading_id",
        "person_id",
        "code",
        "value",
        "unit",
        "effective_time",
        "receive_time",
        "provenance",
        "fasting",
        "device",
    ),
}
_Days = tuple[datetime, datetime]
_LAST_SECOND = time(23, 59, 59)
_LAST_ZONE = timedelta(hours=14)
# What a call ends with that was under way for long.
_ENDS = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
_NOT_GRANTED = "STUDY_NOT_GRANTED"
_FASTING = {
    reading_pb2.FASTING_STATUS_UNSPECIFIED: "UNKNOWN",
    reading_pb2.FASTING_STATUS_FASTING: "FASTING",
    reading_pb2.FASTING_STATUS_NON_FASTING: "NON_FASTING",
}
_LEFT_OUT = {
    "consent_count": "people left out, who withdrew a consent",
    "sex_unknown_count": "people left out, whose sex is not known",
    "standing_out_count": "people left out, who share birth and sex with fewer than four others",
    "never_covered_count": "people left out, without a day of cover before the valuation",
    "by_year_count": "people whose birth is told by the year",
    "by_five_years_count": "people whose birth is told by five years",
    "claims_outside_cover_count": "claims left out, whose first day lies outside all cover",
    "claims_open_count": "claims left out, not decided yet",
    "claims_impossible_count": "claims left out, which came in before their first day",
    "infancy_cut_count": "people whose cover before the second 1 January after birth is not told",
    "overlap_count": "policy years cut, where another policy covers the same days",
}
_NOT_KNOWN = (
    "not known to the services: region and premium (premium_minor is 0)",
    "not known to the services: who took part in a programme from when on (no enrolments.parquet)",
    "deductible_minor is 0, limit_minor empty: plans count them over many claims; amounts are net",
)


def add_to(app: typer.Typer) -> None:
    """Give `lipei pricing` its export of a book."""
    app.command("export-book")(export_book)


def export_book(
    file: PricingPath = DEFAULT,
    study: Annotated[
        str, typer.Option(help="Id of an earlier export, 32 hex digits, to make the same again.")
    ] = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Make a book of the experience in the running services: who was insured, claimed, measured.

    As of book.valuation_day, of your own insurer, without anything that leads to a person; each
    person read is on record. Interrupted, the same command goes on. Acts as the chief actuary.
    """
    from services.pricing.fitting import exported  # noqa: PLC0415 - pyarrow is heavy

    found = opened(file)
    book = settings_of(found, BookSettings)
    folder = _place(found, book)
    others = exported.not_exported(folder)
    if others:
        text = f"{folder} holds what no export has made ({', '.join(others)})"
        raise Failed(f"{text}; name another book.folder")
    parts = StudyParts(found.folder / _FOLDER, folders=(_BOOK, _ASIDE, exported.SPILL))
    aside = parts.folder / _ASIDE
    try:
        with alone(found.folder):
            exported.put_back(folder, aside)
            study = _begun(parts, study, book.valuation_day)
            with running(found, "export-book", arguments=["--study", study]) as work:
                counts = _made(parts, state, study, book)
                work.outputs += exported.put_in_place(parts.folder / _BOOK, folder, aside)
            parts.drop()
    except exported.Foreign as foreign:
        text = f"{folder} holds what no export has made ({foreign})"
        raise Failed(f"{text}; take that out, and the same command goes on") from None
    except FolderBusy:
        raise Failed(f"another export works in {found.folder}; wait for its end") from None
    except PartsLost:
        text = f"{parts.folder} lacks parts of the export under way, or holds others"
        raise Failed(f"{text}; remove the folder and begin anew") from None
    except OSError as error:
        text = f"{error.filename or found.folder}: {error.strerror or error}"
        raise Failed(f"{text}; once that is mended, the same command goes on") from None
    _say(found, folder, counts)


def _place(file: PricingFile, book: BookSettings) -> Path:
    """Where the book goes.

    Raises: Failed when no export can put one there.
    """
    home = file.folder.resolve()
    folder = file.folder / book.folder
    there = folder.resolve()
    within = there.relative_to(home).parts if there.is_relative_to(home) else ()
    above = [one for one in (folder, *folder.parents) if one.exists() or one.is_symlink()]
    fault = ""
    if folder.is_symlink():
        fault = "is a link"
    elif not within or ".." in Path(book.folder).parts:
        fault = "lies outside the pricing folder, or is it"
    elif within[0] in _TAKEN:
        fault = f"lies in {within[0]}, which is not for books"
    elif not above[0].is_dir():
        fault = f"cannot be: {above[0]} is a file"
    elif above[0].stat().st_dev != home.stat().st_dev:
        fault = "lies on another file system than the pricing folder"
    if fault:
        raise Failed(f"{folder} {fault}; name another book.folder", exit_code=2)
    return folder


def _made(parts: StudyParts, state: Path, study: str, book: BookSettings) -> Counter[str]:
    """The finished book in the parts' folder, confirmed by claims just now; what was left out.

    Raises: Failed; PartsLost.
    """
    from services.pricing.fitting import exported  # noqa: PLC0415 - pyarrow is heavy

    made, before = parts.folder / _BOOK, book.valuation_day
    try:
        with calling(state, "claims", _ROLE, purpose=PURPOSE) as channel:
            _fetch_people(parts, PeopleStub(channel), study, before)
        told = {"study": study, "before": before.isoformat(), "zone": book.zone}
        if not exported.is_finished(made, told):
            people = [bytes.fromhex(one.person) for one in _people(parts)]
            for start in range(0, len(people), NAMED_AT_ONCE):
                named = people[start : start + NAMED_AT_ONCE]
                _fetch_readings(parts, state, study, before, start // NAMED_AT_ONCE, named)
            _write(parts, made, told, _left_out(parts))
        _confirmed(parts, state, study, before)
    except CallFailed as failed:
        foreign = any(one.reason == "FOREIGN_PAGE_TOKEN" for one in failed.fault.violations)
        # Under another key than before, all names are others.
        if foreign or failed.fault.reason in {"POPULATION_CHANGED", _NOT_GRANTED}:
            parts.drop()
            text = "what was fetched is dropped: the same command begins anew"
            raise Failed(*failed.lines, text) from None
        raise
    return _left_out(parts)


def _confirmed(parts: StudyParts, state: Path, study: str, before: date) -> Sequence[bytes]:
    """Grants of claims for the people of the parts, all of whom are still in the study.

    Raises: CallFailed (POPULATION_CHANGED) when one is not.
    """
    last = parts.last(_PEOPLE, people_pb.ExportPeopleResponse)
    if last is None or not last.confirm_token:
        raise PartsLost
    request = people_pb.ExportPeopleRequest(
        study=study, before_date=before.isoformat(), page_token=last.confirm_token
    )
    grants: list[bytes] = []
    with calling(state, "claims", _ROLE, purpose=PURPOSE) as channel:
        for answer in PeopleStub(channel).ExportPeople(request, timeout=_LONGEST_S):
            grants += answer.grants
    return grants


def _begun(parts: StudyParts, study: str, before: date) -> str:
    """The id of the study under way, or of a new one.

    Raises: Failed when another one is under way, that is no study's id, or the day is to come.
    """
    if study and not is_study(study):
        raise Failed("--study: must be 32 hex digits, as manifest.json has it", exit_code=2)
    if before > (datetime.now(UTC) + _LAST_ZONE).date():
        text = f"book.valuation_day: {before} has not come: what is reported until then would be"
        raise Failed(f"{text} missing from the book as if it had not happened", exit_code=2)
    begun, as_of = parts.begin(study or secrets.token_hex(16), before)
    if as_of != before or (study and study != begun):
        text = f"{parts.folder} holds an export under way as of {as_of}, study {begun}"
        raise Failed(f"{text}; go on with these, or remove the folder and begin anew")
    return begun


def _fetch_people(parts: StudyParts, stub: PeopleStub, study: str, before: date) -> None:
    def ask(token: str) -> Iterator[Any]:
        request = people_pb.ExportPeopleRequest(
            study=study, before_date=before.isoformat(), page_token=token
        )
        return iter(stub.ExportPeople(request, timeout=_LONGEST_S))

    follow(parts, _PEOPLE, people_pb.ExportPeopleResponse, "people", ask)


def _fetch_readings(
    parts: StudyParts,
    state: Path,
    study: str,
    before: date,
    number: int,
    named: Sequence[bytes],
) -> None:
    """Of as many of the people as a call names, in the order of the parts."""
    with calling(state, "pricing", _ROLE, purpose=PURPOSE) as channel:
        stub = ReadingsStub(channel)

        def ask(token: str) -> Iterator[Any]:
            grants = _confirmed(parts, state, study, before)
            if number >= len(grants):
                raise PartsLost
            request = readings_pb.ExportReadingsRequest(
                study=study,
                before_date=before.isoformat(),
                people=named,
                page_token=token,
                grant=grants[number],
            )
            return iter(stub.ExportReadings(request, timeout=_LONGEST_S))

        follow(
            parts, f"{_READINGS}-{number:03d}", readings_pb.ExportReadingsResponse, "readings", ask
        )


def follow(
    parts: StudyParts, kind: str, of: type[Any], what: str, ask: Callable[[str], Iterator[Any]]
) -> None:
    """Keep every answer from the last one kept on; a connection that ends is made anew."""
    with progress_bar(console()) as bar:
        task = bar.add_task(what, total=None)
        last = parts.last(kind, of)
        while last is None or last.next_page_token:
            before = last
            try:
                for answer in ask(last.next_page_token if last is not None else ""):
                    parts.keep(kind, answer)
                    last = answer
                    bar.update(task, completed=answer.done, total=answer.total)
            except grpc.RpcError as error:
                fault = error_of(error)
                # A grant that ends under way, as when a clock is set, is asked for anew.
                goes_on = fault.code in _ENDS or fault.reason == _NOT_GRANTED
                if last is before or not goes_on:
                    raise


def _people(parts: StudyParts) -> Iterator[people_pb.StudyPerson]:
    for part in parts.all(_PEOPLE, people_pb.ExportPeopleResponse):
        yield from part.people


def _left_out(parts: StudyParts) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part in parts.all(_PEOPLE, people_pb.ExportPeopleResponse):
        counts.update({name: getattr(part.left_out, name) for name in _LEFT_OUT})
    return counts


def _write(parts: StudyParts, folder: Path, told: dict[str, str], left_out: Counter[str]) -> None:
    """The tables and their manifest, in a folder of their own."""
    from services.pricing.fitting import exported  # noqa: PLC0415 - pyarrow is heavy

    zone, before = ZoneInfo(told["zone"]), date.fromisoformat(told["before"])
    with exported.BookWriter(folder, COLUMNS) as book:
        for part in parts.all(_PEOPLE, people_pb.ExportPeopleResponse):
            _add_people(book, part)
        for reader in parts.all(_READINGS, readings_pb.ExportReadingsResponse):
            add_readings(book, reader, zone, before)
    exported.write_manifest(
        folder, book.rows, {**told, "left_out": dict(left_out), "not_known": list(_NOT_KNOWN)}
    )


def _add_people(book: BookWriter, part: people_pb.ExportPeopleResponse) -> None:
    day = date.fromisoformat
    people = part.people
    book.add(
        "people",
        {
            "person_id": [one.person for one in people],
            "birth_date": [day(one.birth_date) for one in people],
            "sex": [one.sex for one in people],
            "conditions": [one.conditions for one in people],
        },
    )
    years = [(one.person, year) for one in people for year in one.policies]
    book.add(
        "policies",
        {
            "policy_id": [year.policy for _, year in years],
            "person_id": [person for person, _ in years],
            "first_day": [day(year.first_day) for _, year in years],
            "after_day": [day(year.after_day) for _, year in years],
            "deductible_minor": [0] * len(years),
            "limit_minor": [None] * len(years),
            "premium_minor": [0] * len(years),
            "currency": [year.currency_code for _, year in years],
        },
    )
    claims = [(one.person, claim) for one in people for claim in one.claims]
    book.add(
        "claims",
        {
            "claim_id": [claim.claim for _, claim in claims],
            "person_id": [person for person, _ in claims],
            "policy_id": [claim.policy for _, claim in claims],
            "cause": [claim.cause for _, claim in claims],
            "event_day": [day(claim.event_day) for _, claim in claims],
            "report_day": [day(claim.report_day) for _, claim in claims],
            "amount_minor": [claim.amount_minor for _, claim in claims],
            "ground_up_minor": [claim.ground_up_minor for _, claim in claims],
        },
    )


def add_readings(
    book: BookWriter, part: readings_pb.ExportReadingsResponse, zone: ZoneInfo, before: date
) -> None:
    """Those received before a day of the zone, as `check` counts days."""
    read = [
        (one.person, reading, told)
        for one in part.people
        for reading, told in zip(one.readings, days(one.readings, zone), strict=True)
        if told[1].date() < before
    ]
    provenance = reading_pb2.ReadingProvenance.Name
    book.add(
        "readings",
        {
            "reading_id": [reading.reading for _, reading, _ in read],
            "person_id": [person for person, _, _ in read],
            "code": [reading.code for _, reading, _ in read],
            "value": [float(reading.value) for _, reading, _ in read],
            "unit": [reading.unit for _, reading, _ in read],
            "effective_time": [measured for _, _, (measured, _) in read],
            "receive_time": [received for _, _, (_, received) in read],
            "provenance": [
                provenance(reading.provenance).removeprefix("READING_PROVENANCE_")
                for _, reading, _ in read
            ],
            "fasting": [_FASTING[reading.fasting_status] for _, reading, _ in read],
            "device": [reading.device or None for _, reading, _ in read],
        },
    )


def days(readings: Sequence[readings_pb.StudyReading], zone: ZoneInfo) -> list[_Days]:
    """When a person's readings were measured and received, to the day.

    The time of day says only what a study needs: which were measured at one time, as both values
    of a pressure are, and in which order, a second after midnight for each earlier time of the day.
    A day's receipts stand at its last second, so that nothing was received before it was measured.
    """
    times = [one.effective_time.ToDatetime(UTC).astimezone(zone) for one in readings]
    of_day: dict[date, list[datetime]] = {}
    for moment in sorted(set(times)):
        of_day.setdefault(moment.date(), []).append(moment)
    told = []
    for one, moment in zip(readings, times, strict=True):
        midnight = datetime.combine(moment.date(), time.min, zone)
        measured = midnight + timedelta(seconds=of_day[moment.date()].index(moment))
        received = one.receive_time.ToDatetime(UTC).astimezone(zone)
        told.append((measured, datetime.combine(received.date(), _LAST_SECOND, zone)))
    return told


def _say(file: PricingFile, folder: Path, left_out: Counter[str]) -> None:
    from services.pricing.fitting import exported  # noqa: PLC0415 - pyarrow is heavy

    rows, before = exported.rows_of(folder), settings_of(file, BookSettings).valuation_day
    say(f"{folder}: {', '.join(f'{name} {number:,}' for name, number in rows.items())}")
    for name, text in _LEFT_OUT.items():
        if left_out[name]:
            say(f"{text}: {left_out[name]:,}")
    for text in _NOT_KNOWN:
        say(text)
    say(f"not there: claims that came in, and readings received, on {before} or later")
    if not rows["claims"]:
        say(f"no claims: none was decided and came in before {before}; see book.valuation_day")
    few = exported.few_alike(folder)
    for number, what in (
        (few.conditions, "birth, sex and conditions"),
        (few.cover, "birth, sex, conditions and days of cover"),
    ):
        if number:
            say(f"people who share {what} with fewer than four others: {number:,}")
    if not rows["readings"]:
        say("no readings: nobody has any")
    say_next(f"lipei pricing check -f {file.path}", f"lipei pricing study -f {file.path}")
