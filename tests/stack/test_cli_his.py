"""`lipei his ...` as a hospital's IT department types it."""

from __future__ import annotations

import gzip
import json
import socket
import stat
import zipfile
from pathlib import Path

import msgspec
import pytest

from services.his_bridge.main import EXAMPLE_PROFILES
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.profiles.source_kinds.files import FileFormat, FilesSettings
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.profiles.source_kinds.port import SourceSettings
from services.his_bridge.profiles.source_kinds.sql import SqlSettings
from stack.commands import his_operations
from stack.commands.failing import Failed
from stack.commands.his_reaching import reached
from tests.services.his_bridge import messages_hl7
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE
from tests.services.his_bridge.sources.odd_server import odd_server
from tests.services.his_bridge.test_dropped_corrections import CSV_PROFILE, HEADER, NUMBER, ROW
from tests.stack.typed import lipei

HOSPITAL = "demo-hospital"


def test_a_profile_is_added_once_and_replaced_on_purpose_only(tmp_path: Path) -> None:
    file, state = tmp_path / "general.yaml", tmp_path / "state"
    file.write_text(PROFILE)
    place = state / "profiles" / f"{HOSPITAL}.yaml"
    with odd_server() as there:
        address = there.base_url.split("/")[2]
        file.write_text(PROFILE.replace(BASE_URL, there.base_url))
        trial = lipei("his", "add", file, "--dry-run", "--state", state)
    good_one = f"{file} is a good profile of {HOSPITAL}; nothing was written\n"
    searched = "answers, lets us in, and can be searched for Claim, Observation"
    assert trial.out == f"{address} {searched}\n{good_one}"
    # Nobody is there any more: said, and no fault of the profile.
    trial = lipei("his", "add", file, "--dry-run", "--state", state)
    assert trial.out == f"{address} cannot be reached: Connection refused\n{good_one}"
    file.write_text(PROFILE)
    assert not state.exists()
    added = lipei("his", "add", file, "--state", state)
    assert added.out.partition("\n")[2] == (
        f"{HOSPITAL} was written to {place}; start with `lipei up`, "
        f"then `lipei his test {HOSPITAL}`\n"
    )
    assert place.read_text() == PROFILE
    # Its owner's alone, as `lipei up` wants it.
    assert [stat.S_IMODE(one.stat().st_mode) for one in (state, place.parent)] == [0o700] * 2
    assert lipei("his", "add", file, "--state", state).code == 0  # the same again changes nothing
    file.write_text(PROFILE + "# mended\n")
    other = lipei("his", "add", file, "--state", state)
    assert other.code == 1
    assert other.said == [
        f"{HOSPITAL} has another profile already ({place}); --replace puts this there"
    ]
    assert lipei("his", "add", file, "--replace", "--state", state).code == 0
    assert place.read_text().endswith("# mended\n")
    assert [one.name for one in place.parent.iterdir()] == [place.name]


def test_a_bad_profile_is_refused_with_every_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(PROFILE.replace("CNY", "yuan").replace("Asia/Shanghai", "Asia/Beijing"))
    typed = lipei("his", "add", file, "--state", tmp_path / "state")
    assert typed.code == 1
    assert [line.split(":")[0] for line in typed.said[:-1]] == [str(file)] * 2
    assert typed.said[-1] == "2 faults; nothing was written"
    assert not (tmp_path / "state").exists()


def test_a_listener_whose_certificate_cannot_be_read_is_not_added(tmp_path: Path) -> None:
    file, state = EXAMPLE_PROFILES / "examples" / "mllp-hospital.yaml", tmp_path / "state"
    absent = tmp_path / "mllp.pem"
    mine = tmp_path / "mllp-hospital.yaml"
    mine.write_text(file.read_text("utf-8").replace("/etc/lipei/mllp.pem", str(absent)), "utf-8")
    for words in (("--dry-run",), ()):
        typed = lipei("his", "add", mine, *words, "--state", state)
        assert typed.code == 1
        why = f"{absent}: the bridge can read no certificate (PEM) there [CERTIFICATE_UNUSABLE]"
        assert typed.said == [f"{mine}: source.tls: {why}", "nothing was written"]
    assert not state.exists()


def test_what_was_found_at_a_source_s_place_is_said_without_its_password(tmp_path: Path) -> None:
    usual = parse_profile(PROFILE.encode(), "p.yaml", {})

    def found(settings: SourceSettings, *, running: bool = False) -> str:
        return reached(msgspec.structs.replace(usual, source=settings), running=running)

    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        taken = MllpSettings(host="127.0.0.1", port=port)
        assert "nobody can listen there" in found(taken)
        assert "it may be the bridge that runs here" in found(taken, running=True)
    assert found(taken) == f"127.0.0.1:{port} is free to listen on"
    url = f"mssql+pymssql://lipei:s3cret@127.0.0.1:{port}/his"
    away = SqlSettings(variable="LIPEI_HIS_BRIDGE_SQL_URL_H", url=url)
    assert found(away) == f"127.0.0.1:{port} cannot be reached: Connection refused"
    for unquoted in ("s3@cret", "s3@cr/et"):
        torn = SqlSettings(variable="V", url=f"postgresql://lipei:{unquoted}@127.0.0.1/his")
        said = found(torn)
        assert said.startswith("V: an @ in user or password")
        assert "cr" not in said
    unset = SqlSettings(variable="LIPEI_HIS_BRIDGE_SQL_URL_H", url="")
    assert "export LIPEI_HIS_BRIDGE_SQL_URL_H" in found(unset)
    place = tmp_path.resolve() / "drop"
    folder = FilesSettings(folder=place, format=FileFormat.NDJSON)
    assert "is no folder" in found(folder)
    place.mkdir()
    assert "makes the folders to drop into" in found(folder)
    (place / "Claim").mkdir()
    assert found(folder).endswith("is there, with the folders Claim")


@pytest.mark.parametrize("example", sorted(EXAMPLE_PROFILES.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_example_profiles_can_be_added(tmp_path: Path, example: Path) -> None:
    assert lipei("his", "add", example, "--state", tmp_path).code == 0


def test_a_file_is_parsed_line_by_line_and_nothing_is_asked(tmp_path: Path) -> None:
    profile, file = tmp_path / "p.yaml", tmp_path / "records"
    profile.write_text(PROFILE)
    around, claims, _ = good(3)
    words = ("his", "parse", file, "--profile", profile)
    bundle = {"resourceType": "Bundle", "entry": [{"resource": o} for o in (*around, *claims)]}
    file.write_text(json.dumps(bundle, indent=2))
    typed = lipei(*words)
    assert typed.code == 0
    lines = [json.loads(line) for line in typed.out.splitlines()]
    assert [line["outcome"] for line in lines] == ["BillStated"] * 3
    assert [line["record"] for line in lines] == [f"Claim/{one['id']}" for one in claims]
    assert {line["bill"]["member_token"].partition(".")[0] for line in lines} == {"trial"}
    # As lines, and with one that is nothing.
    file.write_text("\n".join([*map(json.dumps, (*claims, *around)), '{"a": ', ""]))
    typed = lipei(*words)
    assert typed.code == 1
    assert typed.said == [f"4 records in {file}, of which 1 would wait for a person, or be refused"]
    last = json.loads(typed.out.splitlines()[-1])
    assert (last["outcome"], [one["reason"] for one in last["faults"]]) == (
        "SetAside",
        ["NOT_JSON"],
    )
    file.write_bytes(b'{"resourceType": "ExplanationOfBenefit", "id": "e"}')
    nothing = lipei(*words)
    assert nothing.code == 1
    assert nothing.said == [
        f"no record in {file} is one that the profile reads: Claim, Observation"
    ]


def test_a_message_that_a_listener_would_refuse_is_told_so(tmp_path: Path) -> None:
    profile, file = tmp_path / "p.yaml", tmp_path / "batch.hl7"
    profile.write_text(messages_hl7.PROFILE)
    good_one = messages_hl7.dft()
    test_one = good_one.replace("|P|2.5.1|", "|T|2.5.1|")
    text = "FHS|^~\\&\rBHS|^~\\&\r" + good_one + test_one + "BTS|2\rFTS|1\r"
    file.write_bytes(text.encode("gb18030"))
    typed = lipei("his", "parse", file, "--profile", profile)
    assert typed.code == 1
    first, second = [json.loads(line) for line in typed.out.splitlines()]
    assert (first["outcome"], first["kind"], first["bill_id"]) == ("BillHappened", "LATE", "ACC001")
    assert (second["outcome"], second["answer"]) == ("Refused", "AR")
    assert [one["reason"] for one in second["denials"]] == ["PROCESSING_ID_UNSUPPORTED"]


def test_a_file_of_rows_is_parsed_as_it_would_be_dropped(tmp_path: Path) -> None:
    profile, file = tmp_path / "p.yaml", tmp_path / "bills.csv"
    profile.write_text(CSV_PROFILE.replace("FOLDER", str(tmp_path)))
    rows = [ROW.format(bill=bill, number=NUMBER, amount="5.00", rev=1) for bill in (1, 2)]
    file.write_text(HEADER + "".join(rows) + rows[1].replace("B2,", "B3,").replace("5.00", "x"))
    typed = lipei("his", "parse", file, "--profile", profile)
    assert typed.code == 1
    first, second, third = [json.loads(line) for line in typed.out.splitlines()]
    assert [(one["record"], one["outcome"]) for one in (first, second)] == [
        ("B1", "BillStated"),
        ("B2", "BillStated"),
    ]
    assert {one["reason"] for one in third["faults"]} == {"NUMBER_MALFORMED"}
    # And what refuses the whole file is said with its line.
    file.write_text(HEADER + rows[0] + rows[1] + rows[0])
    typed = lipei("his", "parse", file, "--profile", profile)
    assert typed.code == 1
    assert typed.said == [
        f"{file}:4: rows of one bill must stand together [ROWS_SCATTERED]",
        "the whole file would be refused",
    ]


@pytest.mark.parametrize(
    ("charset", "written", "whole"),
    [("gb18030", "gb18030", True), ("utf-8", "utf-8-sig", True), ("utf-8", "gb18030", False)],
)
def test_dropped_json_is_parsed_in_the_folder_s_charset_and_named_by_its_line(
    tmp_path: Path, charset: str, written: str, whole: bool
) -> None:
    profile, file = tmp_path / "p.yaml", tmp_path / "day.ndjson"
    base = f"base_url: {BASE_URL}"
    source = f"source: {{kind: files, folder: {tmp_path}, format: ndjson, charset: {charset}}}"
    assert base in PROFILE
    profile.write_text(PROFILE.replace(base, source))
    around, claims, _ = good(2)
    lines = [json.dumps(one, ensure_ascii=False) for one in (*around, *claims)]
    assert not "".join(lines).isascii()
    file.write_bytes("\n".join([*lines, "", "{"]).encode(written))
    typed = lipei("his", "parse", file, "--profile", profile)
    assert typed.code == 1
    if not whole:
        assert "[WRONG_CHARSET]" in typed.said[0]
        assert typed.said[1] == "the whole file would be refused"
        return
    told = [json.loads(line) for line in typed.out.splitlines()]
    assert [one["outcome"] for one in told] == ["BillStated", "BillStated", "SetAside"]
    assert [one["line"] for one in told] == [len(lines) - 1, len(lines), len(lines) + 2]


@pytest.mark.parametrize("ending", [".ndjson.gz", ".zip"])
def test_a_packed_file_is_parsed_as_the_folder_unpacks_it(tmp_path: Path, ending: str) -> None:
    profile, file = tmp_path / "p.yaml", tmp_path / f"day{ending}"
    source = f"source: {{kind: files, folder: {tmp_path}, format: ndjson}}"
    profile.write_text(PROFILE.replace(f"base_url: {BASE_URL}", source))
    around, claims, _ = good(2)
    people, bills = ("\n".join(map(json.dumps, some)) for some in (around, claims))
    if ending == ".zip":
        with zipfile.ZipFile(
            file, "w"
        ) as archive:  # what the bills point at in an entry of its own
            archive.writestr("b.ndjson", bills)
            archive.writestr("p.ndjson", people)
    else:
        file.write_bytes(gzip.compress(f"{people}\n{bills}".encode()))
    typed = lipei("his", "parse", file, "--profile", profile)
    told = [json.loads(line) for line in typed.out.splitlines()]
    assert [(one["number"], one["outcome"]) for one in told] == [
        (1, "BillStated"),
        (2, "BillStated"),
    ]
    assert typed.code == 0
    file.write_bytes(file.read_bytes()[:-30])
    typed = lipei("his", "parse", file, "--profile", profile)
    assert (typed.code, "[PACKED_BADLY]" in typed.said[0]) == (1, True)
    file.write_bytes(b"")
    assert "[EMPTY]" in lipei("his", "parse", file, "--profile", profile).said[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_table_of_codes_is_read_as_a_spreadsheet_writes_it(encoding: str) -> None:
    text = '院内编码,名称,医保编码\r\n\r\nXJ-1,血常规,250101001\r\nXJ-2,"a, b",250101002\r\n'
    found = his_operations.table_of(text.encode(encoding), "t.csv", "")
    assert not found.faults
    assert found.lines == [3, 4]
    assert [(one.local_code, one.standard_code) for one in found.entries] == [
        ("XJ-1", "250101001"),
        ("XJ-2", "250101002"),
    ]


def test_every_faulty_line_of_a_table_is_named() -> None:
    text = "local_code,standard_code\na,b\nc\n,d\ne,\n"
    found = his_operations.table_of(text.encode(), "t.csv", "")
    assert [fault.line for fault in found.faults] == [3, 4, 5]
    assert [one.local_code for one in found.entries] == ["a"]
    for content in (b"code,other\na,b\n", b""):
        with pytest.raises(Failed):
            his_operations.table_of(content, "t.csv", "")
