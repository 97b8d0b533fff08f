"""`lipei his add|parse|test|unmapped|map|replay|reconcile`: a hospital's people at its bridge."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceStub
from services.common.refusals import Violation
from services.common.state import read_addresses, state_dir
from services.common.strict_yaml import Fault, StrictYamlError
from services.his_bridge.cutting.opening import parts
from services.his_bridge.cutting.refusals import FileReason, FileRefused
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.profiles.source_kinds.files import FileFormat, FilesSettings
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.profiles.source_kinds.port import SourceSettings
from services.his_bridge.receiving.opening import CannotListen, tls_context
from services.his_bridge.trying import is_faulty, kinds_of, told, try_out
from stack.commands.calling import CallFailed, Failed, calling, content_of, fresh_request_id
from stack.commands.failing import unusable
from stack.commands.his_reaching import reached
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, RequestId, State, profiles_in
from stack.commands.printing import (
    counted,
    money,
    print_json,
    print_list,
    print_table,
    rows,
    say,
    table,
    word,
)
from stack.commands.spreadsheet import Encoding, decoded
from stack.commands.withheld import pages

# A source may be slow, and a comparison reads all of it.
SOURCE_CALL_S = 300.0
_PAGE = 500
# What the fields of a request are called here.
_OPTIONS = {
    "from_system": "--from",
    "to_system": "--to",
    "version": "--version",
    "kind": "--kind",
    "request_id": "--request-id",
}
_ROW = re.compile(r"entries\[(\d+)\]\.(\w+)")
# What the columns of a table of codes may be called.
_LOCAL = ("local_code", "本地编码", "院内编码")
_STANDARD = ("standard_code", "标准编码", "医保编码")


class Kind(StrEnum):
    """What codes are of."""

    SERVICES = "services"
    DIAGNOSES = "diagnoses"
    READINGS = "readings"


def add(
    file: Annotated[Path, typer.Argument(metavar="PROFILE.yaml", help="docs/his-bridge.md")],
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the hospital's profile so far.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it; write nothing.")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Check a hospital's source profile, every fault with its line, and put it into the state.

    `lipei up` starts what stands there. Says whether the source answers, lets us in and has what
    the profile names, its folder is there or its port is free, and writes the profile either way.
    Reads no record; `lipei his test` does.
    """
    content = content_of(file)
    try:
        found = parse_profile(content, str(file), os.environ)
    except StrictYamlError as error:
        count = counted(len(error.faults), "fault")
        raise Failed(*str(error).splitlines(), f"{count}; nothing was written") from None
    if isinstance(found.source, MllpSettings) and found.source.tls is not None:
        try:
            tls_context(found.source.tls)
        except CannotListen as closed:
            raise Failed(f"{file}: source.tls: {closed}", "nothing was written") from None
    hospital = found.terms.hospital
    folder = profiles_in(state)
    place = folder / f"{hospital}.yaml"
    try:
        there = place.read_bytes() if place.exists() else None
        running = bool(read_addresses(state))
    except OSError as error:
        raise unusable(state, error) from None
    if there not in (None, content) and not replace:
        raise Failed(f"{hospital} has another profile already ({place}); --replace puts this there")
    say(reached(found, running=running))
    if dry_run:
        say(f"{file} is a good profile of {hospital}; nothing was written")
        return
    try:
        state_dir(state)  # made for its owner alone
        folder.mkdir(mode=0o700, exist_ok=True)
        draft = folder / f".{hospital}.draft"
        draft.write_bytes(content)
        draft.replace(place)
    except OSError as error:
        raise unusable(state, error) from None
    start = "stop `lipei up` and start it anew" if running else "start with `lipei up`"
    pushes = isinstance(found.source, MllpSettings)
    then = "have its engine send a message" if pushes else f"`lipei his test {hospital}`"
    say(f"{hospital} was written to {place}; {start}, then {then}")


def parse(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Records in the profile's dialect.")],
    profile: Annotated[Path, typer.Option("--profile", help="A source profile (YAML).")],
) -> None:
    """Print what each record of a file says, as one line of JSON. Asks nobody, keeps nothing.

    Member tokens are of this call alone. Exit code 1 when a record would wait for a person.
    """
    try:
        found = parse_profile(content_of(profile), str(profile), os.environ)
    except StrictYamlError as error:
        raise Failed(*str(error).splitlines()) from None
    try:
        tried = [
            one
            for part in _plain(content_of(file), file.name, found.source)
            for one in try_out(part, found)
        ]
    except FileRefused as refused:
        raise Failed(
            f"{file}:{refused.line or 1}: {refused.advice} [{refused.reason}]",
            "the whole file would be refused",
        ) from None
    for number, one in enumerate(tried, start=1):
        say(json.dumps(told(one) | {"number": number}, ensure_ascii=False))
    faulty = sum(map(is_faulty, tried))
    if not tried:
        kinds = ", ".join(kinds_of(found))
        raise Failed(f"no record in {file} is one that the profile reads: {kinds}")
    if faulty:
        count = counted(len(tried), "record")
        raise Failed(f"{count} in {file}, of which {faulty} would wait for a person, or be refused")


def _plain(content: bytes, name: str, source: SourceSettings) -> list[bytes]:
    """What a dropped file holds, unpacked as the drop folder does. Raises: FileRefused."""
    if not isinstance(source, FilesSettings):
        return [content]
    if not content:
        raise FileRefused(FileReason.EMPTY)
    found = [b"".join(pieces) for pieces in parts(io.BytesIO(content), name, source)]
    # What FHIR records point at may stand in another entry of the archive.
    return [b"\n".join(found)] if source.format is FileFormat.NDJSON else found


def try_source(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Ask the source for its first page and say what would become of it. Keeps nothing.

    Exit code 1 when a channel of the source cannot be read.
    """
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        request = pb.TestSourceRequest(hospital=parent_of(hospital))
        answer = OperationsServiceStub(channel).TestSource(request, timeout=SOURCE_CALL_S)
    if as_json:
        print_json(answer)
    else:
        _print_tests(answer.channels)
    failed = [one for one in answer.channels if one.failure_reason]
    if failed:
        raise Failed(*(f"{o.channel}: {o.failure_text} [{o.failure_reason}]" for o in failed))
    if not as_json:
        for line in what_it_proves(answer.channels, id_of(hospital)):
            say(line)


def what_it_proves(channels: Iterable[pb.ChannelTest], hospital: str) -> Iterator[str]:
    """What channels that gave no fault prove, and what to do next."""
    preparing = [one.channel for one in channels if one.preparing]
    if not preparing:
        yield f"the source can be read; next: `lipei his pull {hospital}`"
        return
    yield (
        f"{' and '.join(preparing)}: the source took the question and is still preparing its "
        "answer (an export); no record was read, so nothing is proven yet"
    )
    yield (
        f"next: `lipei his pull {hospital}`, which asks for it and reads it once it is there; "
        f"`lipei his status {hospital}` then says what came of it"
    )


def _print_tests(channels: Iterable[pb.ChannelTest]) -> None:
    columns = ("first page of", "records", "good", "kept out", "would wait", "fault")
    made = table(*columns, right=columns[1:5], prose=("fault",))
    for one in channels:
        numbers = (one.record_count, one.good_count, one.kept_out_count, one.faulty_count)
        head = (one.channel, *map(str, numbers))
        said = [
            f"{fault.record_count} times: {fault.path} {fault.text} [{fault.reason}]"
            for fault in one.faults
        ]
        for place, text in enumerate(said or [""]):
            rows(made, [(*(head if place == 0 else [""] * len(head)), text)])
    print_table(made)


def unmapped(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List the codes that records in quarantine wait for, the most money first."""
    codes: list[pb.UnmappedCode] = []
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        stub = OperationsServiceStub(channel)
        request = pb.ListUnmappedCodesRequest(parent=parent_of(hospital), page_size=_PAGE)
        for page, _ in pages(stub.ListUnmappedCodes, request, SOURCE_CALL_S):
            codes.extend(page.codes)
    if as_json:
        print_json({"codes": codes})
        return
    made = table("of", "system", "code", "records", "at stake", right=("records", "at stake"))
    for one in codes:
        kind = word(pb.CodeKind, one.kind)
        rows(made, [(kind, one.system, one.code, str(one.record_count), money(one.at_stake))])
    print_list(made, "no record waits for a code")
    if codes:
        say(f"{counted(len(codes), 'code')}; `lipei his map {id_of(hospital)} FILE.csv` teaches")


def map_codes(  # noqa: PLR0913, PLR0917 -- an option each
    hospital: Hospital,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Columns local_code and standard_code.")
    ],
    kind: Annotated[Kind, typer.Option("--kind", help="What the codes are of.")],
    from_system: Annotated[str, typer.Option("--from", help="URI of the hospital's own system.")],
    to_system: Annotated[str, typer.Option("--to", help="URI of the standard system.")],
    version: Annotated[str, typer.Option("--version", help="The table's own version.")],
    encoding: Annotated[
        Encoding | None, typer.Option("--encoding", help="Found out when left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it; change nothing.")] = False,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Put a table of codes into force, in place of the one of its kind and system before.

    Records in quarantine that wait for its codes are read once more by themselves.
    """
    table = table_of(content_of(file), str(file), encoding or "")
    request = pb.ImportCodeMapRequest(
        parent=parent_of(hospital),
        request_id=fresh_request_id(request_id),
        kind=pb.CodeKind.Value(f"CODE_KIND_{kind.name}"),
        from_system=from_system,
        to_system=to_system,
        version=version,
        entries=table.entries,
        # What is wrong with the file is told together with all else that is.
        dry_run=dry_run or bool(table.faults),
    )
    try:
        with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
            answer = OperationsServiceStub(channel).ImportCodeMap(request, timeout=SOURCE_CALL_S)
    except CallFailed as refused:
        if not (table.faults or refused.fault.violations):
            raise
        raise _refused(str(file), table, refused.fault.violations) from None
    if table.faults:
        raise _refused(str(file), table, ())
    if answer.from_system_unknown:
        _warn_of_system(from_system, answer.waiting_systems)
    if as_json:
        print_json(answer)
        return
    would = "would be " if dry_run else ""
    say(
        f"{counted(len(request.entries), 'code')}: {would}{answer.added_count} added, "
        f"{answer.changed_count} changed, {answer.removed_count} removed; "
        f"{counted(answer.resumed_count, 'record')} {would}read once more"
    )


def _warn_of_system(system: str, waiting: Sequence[str]) -> None:
    near = get_close_matches(system, waiting, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = f"; records wait for codes of {', '.join(waiting)}" if waiting else ""
    typer.echo(
        f"warning: nothing here knows the system {system}: no record waits for a code of it, and "
        f"the profile does not name it{known}{hint}",
        err=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeTable:
    """The rows of a table of codes, the line of each, and what is wrong with other rows."""

    entries: list[pb.CodeMapEntry]
    lines: list[int]
    faults: list[Fault]


def table_of(content: bytes, source: str, encoding: str) -> CodeTable:
    """A table of codes; blank rows are left out.

    Raises: Failed for a file that is no such table.
    """
    try:
        lines = decoded(content, source, encoding)
        reader = csv.reader(io.StringIO(lines), strict=True)
        header = [name.strip() for name in next(reader, [])]
        places = [
            next((header.index(name) for name in names if name in header), None)
            for names in (_LOCAL, _STANDARD)
        ]
        local, standard = places
        if local is None or standard is None:
            text = "the first line names the columns: local_code and standard_code"
            raise StrictYamlError([Fault("", 1, "COLUMNS", text)], source)
        found = CodeTable(entries=[], lines=[], faults=[])
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                text = f"has {len(row)} cells, the first line {len(header)}"
                found.faults.append(Fault("", reader.line_num, "CELLS", text))
                continue
            local_code, standard_code = row[local].strip(), row[standard].strip()
            if not local_code or not standard_code:
                text = "both codes must be there"
                found.faults.append(Fault("", reader.line_num, "EMPTY", text))
                continue
            found.entries.append(
                pb.CodeMapEntry(local_code=local_code, standard_code=standard_code)
            )
            found.lines.append(reader.line_num)
    except StrictYamlError as error:
        raise Failed(*str(error).splitlines(), "nothing was loaded") from None
    except csv.Error:
        raise Failed(f"{source}: not a table in CSV; nothing was loaded") from None
    return found


def _refused(source: str, table: CodeTable, violations: Sequence[Violation]) -> Failed:
    """Everything wrong with the file and with the options, in one go; nothing was loaded."""
    said = [
        (fault.line, f"{source}:{fault.line}: {fault.text} [{fault.reason}]")
        for fault in table.faults
    ]
    for one in violations:
        row = _ROW.match(one.field)
        if row is None:
            if one.field == "entries" and table.faults:
                continue  # its rows are all at fault
            option = _OPTIONS.get(one.field, one.field)
            said.append((0, f"{option}: {one.text} [{one.reason}]"))
        else:
            line = table.lines[int(row[1])]
            said.append((line, f"{source}:{line}: {row[2]} {one.text} [{one.reason}]"))
    lines = [text for _, text in sorted(said, key=lambda each: each[0])]
    return Failed(*lines, f"{counted(len(lines), 'fault')}; nothing was loaded")


def id_of(hospital: str) -> str:
    """A hospital's id, from its id or its name. Raises: Failed for an empty one."""
    found = hospital.removeprefix("hospitals/")
    if not found:
        raise Failed("HOSPITAL is empty: name a hospital by its id", exit_code=2)
    return found


def parent_of(hospital: str) -> str:
    """A hospital's name, from its id or its name."""
    return f"hospitals/{id_of(hospital)}"
