"""A dropped file is taken once and whole, or refused with a receipt; and leads nowhere else."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import random
import socket
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from services.common.strict_yaml import Fault, load
from services.his_bridge.cutting.formats import cutter_of
from services.his_bridge.cutting.refusals import ADVICE, FileReason, FileRefused
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.files import read
from services.his_bridge.profiles.source_kinds.port import Context
from services.his_bridge.sources.files import FileDrop
from services.his_bridge.sources.port import Page, RawRecord, SourceFault, Unsettled
from tests.services.his_bridge.records import NAME, around, claim, profile

STEPS = 300  # that no test needs; reaching it is an endless loop
KIND = "Claim"


class Clock:
    """Far enough from every file's time that none is still being written."""

    now_s = time.time() + 3600

    def __call__(self) -> float:
        return self.now_s


def profile_for(folder: Path, more: str = "format: ndjson", page_size: int = 20) -> SourceProfile:
    def change(text: str) -> str:
        text = text.replace("base_url: http://127.0.0.1:8091/fhir\n", "")
        text = text.replace("page_size: 50", f"page_size: {page_size}, max_body_mib: 1")
        return text + f"source: {{kind: files, folder: {folder}, format: ndjson}}\n"

    usual = profile(change)
    faults: list[Fault] = []
    dialect = "yibao" if "ndjson" in more else "sql_rows" if "csv" in more else "hl7v2"
    dialect = "fhir_r4" if "charset" not in more and dialect == "yibao" else dialect
    section = Section(load(f"{{folder: {folder}, {more}}}", "test"), "", faults)
    top = Section(load(f"dialect: {dialect}", "test"), "", faults)
    settings = read(section, Context(hospital="h", top=top, environ={}))
    section.close()
    assert not faults
    return msgspec.structs.replace(usual, dialect=dialect, source=settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path.resolve() / "drop"
    (found / KIND).mkdir(parents=True, mode=0o750)
    return found


class Drop:
    """A folder with its source, stepped by hand."""

    def __init__(self, folder: Path, more: str = "format: ndjson", page_size: int = 20) -> None:
        self.profile = profile_for(folder, more, page_size)
        self.place = folder / KIND
        self.cursor: bytes | None = None
        self.clock = Clock()
        self.source = FileDrop(self.profile, now_s=self.clock)

    def restart(self) -> None:
        """Another process: nothing is known but the cursor and the folder."""
        asyncio.run(self.source.close())
        self.source = FileDrop(self.profile, now_s=self.clock)

    def put(self, name: str, content: bytes) -> None:
        (self.place / name).write_bytes(content)

    def step(self) -> Page:
        pages: list[Page] = []

        async def fetch() -> None:
            # What a task has returned asyncio writes out as it ends, for nobody: a whole page.
            pages.append(await self.source.fetch(KIND, self.cursor))

        asyncio.run(fetch())
        (page,) = pages
        self.cursor = page.cursor
        return page

    def everything(self, *, restarting: bool = False) -> list[RawRecord]:
        found: list[RawRecord] = []
        for _ in range(STEPS):
            page = self.step()
            found += page.records
            if restarting:
                self.restart()
            if page.swept:
                return found
        raise AssertionError("the folder never gets empty")

    def ids(self, **more: bool) -> list[str]:
        return [record.record_id for record in self.everything(**more)]

    def receipt(self, name: str, place: str = "done") -> dict[str, Any]:
        text = (self.place / place / f"{name}.receipt.json").read_text("utf-8")
        found: dict[str, Any] = json.loads(text)
        return found

    def reason(self, name: str) -> str:
        """Why it was refused; nothing of it was stored, and it lies among the refused."""
        assert os.path.lexists(self.place / "refused" / name)
        receipt = self.receipt(name, "refused")
        assert receipt["outcome"] == "refused"
        assert receipt["records"] == 0
        (reason,) = receipt["reasons"]
        assert reason["advice"].startswith(ADVICE[FileReason(reason["reason"])])
        return str(reason["reason"])


@pytest.fixture
def drop(folder: Path) -> Iterator[Drop]:
    found = Drop(folder)
    yield found
    asyncio.run(found.source.close())


def ndjson(*resources: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in resources)


def claims(first: int, count: int) -> list[dict[str, Any]]:
    return [claim(f"b{number:04d}") for number in range(first, first + count)]


def named(first: int, count: int) -> list[str]:
    return [f"b{number:04d}" for number in range(first, first + count)]


def zipped(*entries: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return made.getvalue()


# What is taken.


@pytest.mark.parametrize("restarting", [False, True])
@pytest.mark.parametrize("count", [1, 19, 20, 21, 60])
def test_every_record_of_every_file_comes_once_in_order_of_names(
    drop: Drop, count: int, restarting: bool
) -> None:
    drop.put("b.ndjson", ndjson(*claims(count, 3)))
    drop.put("a.jsonl", ndjson(*around(), *claims(0, count)))
    drop.put("c.ndjson.gz", gzip.compress(ndjson(*claims(count + 3, 2))))
    two = zipped(
        ("2.ndjson", ndjson(*claims(count + 6, 1))), ("1.ndjson", ndjson(*claims(count + 5, 1)))
    )
    drop.put("d.zip", two)
    assert drop.ids(restarting=restarting) == named(0, count + 7)
    names = ("a.jsonl", "b.ndjson", "c.ndjson.gz", "d.zip")
    assert [drop.receipt(name)["records"] for name in names] == [count, 3, 2, 2]
    assert drop.receipt("d.zip")["sha256"] == hashlib.sha256(two).hexdigest()
    assert sorted(path.name for path in drop.place.iterdir()) == [".lipei", "done", "refused"]


def test_a_receipt_holds_counts_and_reasons_and_no_value(drop: Drop) -> None:
    drop.put("a.ndjson", ndjson(*around(), *claims(0, 2)))
    drop.put("b.ndjson", ndjson(*claims(0, 2)) + NAME.encode("gb18030") + b"\n")
    drop.everything()
    assert set(drop.receipt("a.ndjson")) == {"at", "bytes", "file", "outcome", "records", "sha256"}
    refused = drop.receipt("b.ndjson", "refused")
    advice = ADVICE[FileReason.WRONG_CHARSET]
    advice += ": utf-8; the line can be read as gb18030 (source.charset)"
    assert refused["reasons"] == [{"reason": "WRONG_CHARSET", "line": 3, "advice": advice}]
    text = json.dumps([drop.receipt("a.ndjson"), refused], ensure_ascii=False)
    assert NAME not in text
    assert "b0000" not in text


def test_the_same_bytes_are_taken_once_under_whatever_name(drop: Drop) -> None:
    content = ndjson(*claims(0, 3))
    drop.put("a.ndjson", content)
    assert drop.ids() == named(0, 3)
    drop.put("a.ndjson", content)
    drop.put("b.ndjson", content)
    assert drop.ids() == []
    assert drop.receipt("b.ndjson")["outcome"] == "known"
    assert drop.receipt("a.ndjson.2")["outcome"] == "known"


def test_a_name_with_other_bytes_is_a_conflict_and_said_so(drop: Drop) -> None:
    drop.put("a.ndjson", ndjson(*claims(0, 3)))
    drop.everything()
    drop.put("a.ndjson", ndjson(*claims(0, 4)))
    assert drop.ids() == []
    assert drop.reason("a.ndjson") == "SAME_NAME_OTHER_CONTENT"
    # The control: under its own name it is taken.
    drop.put("a-2.ndjson", ndjson(*claims(0, 4)))
    assert drop.ids() == named(0, 4)


def test_a_refused_file_may_come_again_mended(drop: Drop) -> None:
    drop.put("a.ndjson", b"<!DOCTYPE html>")
    assert drop.ids() == []
    assert drop.reason("a.ndjson") == "OTHER_FORMAT"
    drop.put("a.ndjson", ndjson(*claims(0, 1)))
    assert drop.ids() == named(0, 1)


def test_one_record_that_is_no_json_is_a_record_and_stops_no_other(drop: Drop) -> None:
    bad = [b'{"resourceType": "Claim", "id": NaN', b'{"a": 1e400}', b"{" + b"[" * 5000]
    drop.put("a.ndjson", ndjson(*claims(0, 1)) + b"\n".join(bad) + b"\n" + ndjson(*claims(1, 1)))
    found = drop.everything()
    assert len(found) == 5
    assert {record.record_id for record in found} >= {"b0000", "b0001"}


def test_a_file_stays_until_its_last_page_was_judged(drop: Drop) -> None:
    """The pull asks for the next page while it judges the last, which needs what is in the file."""
    drop.put("a.ndjson", ndjson(*around(), *claims(0, 5)))
    keys = {("Patient", "p1"), ("Condition", "c1"), ("Patient", "nobody")}

    def found() -> set[tuple[str, str]]:
        return set(asyncio.run(drop.source.look_up(keys)))

    known = {("Patient", "p1"), ("Condition", "c1")}
    drop.step()  # checked
    assert len(drop.step().records) == 5
    assert found() == known
    drop.step()  # asked for while those five are judged
    drop.restart()  # killed before they were: the next pull reads them first
    assert found() == known
    drop.step()
    assert found() == set()
    assert drop.receipt("a.ndjson")["records"] == 5


def test_what_points_far_is_found_in_a_file_larger_than_what_is_held(drop: Drop) -> None:
    patients = [{**around()[0], "id": f"p{n}", "text": "x" * 100_000} for n in range(250)]
    drop.put("a.ndjson", ndjson(*claims(0, 1), *patients))
    drop.step()
    for wanted in ("p0", "p249", "p249"):
        key = ("Patient", wanted)
        assert set(asyncio.run(drop.source.look_up([key]))) == {key}


def test_files_that_were_put_away_are_removed_in_time_and_receipts_stay(folder: Path) -> None:
    drop = Drop(folder, "format: ndjson, keep_days: 30")
    drop.clock.now_s = folder.stat().st_mtime + 3600
    drop.put("a.ndjson", ndjson(*claims(0, 1)))
    drop.put("b.ndjson", b"<")
    assert drop.ids() == named(0, 1)
    taken, refused = drop.place / "done" / "a.ndjson", drop.place / "refused" / "b.ndjson"
    drop.clock.now_s += 29 * 86_400
    assert drop.ids() == []
    assert taken.exists()
    assert refused.exists()
    drop.clock.now_s += 2 * 86_400
    assert drop.ids() == []
    assert not taken.exists()
    assert not refused.exists()
    assert drop.receipt("a.ndjson")["records"] == 1
    assert drop.receipt("b.ndjson", "refused")["reasons"]
    # And the same file is still known.
    drop.put("a.ndjson", ndjson(*claims(0, 1)))
    assert drop.ids() == []
    assert drop.receipt("a.ndjson")["outcome"] == "known"


# When a file is whole.


def test_a_file_that_is_being_written_is_left_alone(folder: Path) -> None:
    drop = Drop(folder, "format: ndjson, settle_s: 60")
    drop.put("a.ndjson", ndjson(*claims(0, 1)))
    drop.put("b.ndjson.tmp", b"half")
    drop.put(".c.ndjson", b"half")
    drop.clock.now_s = (folder / KIND / "a.ndjson").stat().st_mtime + 59
    assert drop.ids() == []
    drop.clock.now_s += 2
    assert drop.ids() == named(0, 1)
    assert (drop.place / "b.ndjson.tmp").exists()
    assert (drop.place / ".c.ndjson").exists()


def test_what_does_not_count_yet_is_told_with_its_time(folder: Path) -> None:
    drop = Drop(folder, "format: ndjson, settle_s: 5")
    drop.put("day.ndjson", b"{}")
    changed = (drop.place / "day.ndjson").stat()
    changed_s = max(changed.st_mtime, changed.st_ctime)
    drop.clock.now_s = changed_s + 2
    page = asyncio.run(drop.source.fetch(KIND, None))
    assert page.swept
    assert page.unsettled == Unsettled(count=1, settle_s=changed_s + 5)
    drop.clock.now_s = changed_s + 5
    assert drop.step().unsettled is None
    other = folder.parent / "marked"
    (other / KIND).mkdir(parents=True, mode=0o750)
    marked = Drop(other, "format: ndjson, ready: ok_file")
    marked.put("two.ndjson", b"{}")
    page = asyncio.run(marked.source.fetch(KIND, None))
    assert page.unsettled == Unsettled(count=1, settle_s=None)


def test_what_was_refused_is_told_until_a_person_takes_it_away(folder: Path) -> None:
    drop = Drop(folder)
    drop.put("good.ndjson", ndjson(*claims(0, 1)))
    drop.put("bad.ndjson", "名".encode("gb18030"))
    (folder / "beside.ndjson").write_bytes(b"{}")
    assert drop.ids() == named(0, 1)
    page = drop.step()
    assert (page.taken_files, page.refused_files) == (1, 2)
    (drop.place / "refused" / "bad.ndjson").unlink()
    assert drop.step().refused_files == 1  # its receipt stays, and is no file that was refused
    (folder / "refused" / "beside.ndjson").unlink()
    assert drop.step().refused_files == 0


def test_with_ok_files_nothing_is_taken_before_its_mark(folder: Path) -> None:
    drop = Drop(folder, "format: ndjson, ready: ok_file")
    content = ndjson(*claims(0, 2))
    drop.put("a.ndjson", content)
    assert drop.ids() == []
    drop.put("a.ndjson.ok", f"{hashlib.sha256(content).hexdigest()}  a.ndjson\n".encode())
    assert drop.ids() == named(0, 2)
    assert not (drop.place / "a.ndjson.ok").exists()
    drop.put("b.ndjson", ndjson(*claims(2, 2)))
    drop.put("b.ndjson.ok", hashlib.sha256(b"other").hexdigest().encode())
    assert drop.ids() == []
    assert drop.reason("b.ndjson") == "MARK_DIFFERS"


def test_a_file_that_is_written_into_while_it_is_read_is_given_up(drop: Drop) -> None:
    drop.put("a.ndjson", ndjson(*claims(0, 50)))
    drop.step()
    assert len(drop.step().records) == 20
    with (drop.place / ".lipei" / "work" / "a.ndjson").open("ab") as late:
        late.write(ndjson(*claims(50, 1)))
    assert drop.ids() == []
    receipt = drop.receipt("a.ndjson", "refused")
    assert receipt["reasons"][0]["reason"] == "CHANGED_WHILE_READ"
    assert receipt["records"] == 20  # whole records that were taken before


@pytest.mark.parametrize("page", [1, 3])
def test_a_file_that_is_cut_off_within_a_page_gives_nothing_of_that_page(
    drop: Drop, page: int
) -> None:
    class Racing(FileDrop):
        """Somebody truncates the file after it was looked at, and before the page is read."""

        pages = 0

        def _some(self, *args: Any) -> tuple[list[RawRecord], int, bool]:
            self.pages += 1
            if self.pages == page:
                os.truncate(drop.place / ".lipei" / "work" / "a.ndjson", 10)
            return super()._some(*args)

    drop.put("a.ndjson", ndjson(*claims(0, 400)))
    asyncio.run(drop.source.close())
    drop.source = Racing(drop.profile, now_s=drop.clock)
    assert drop.ids() == named(0, 20 * (page - 1))
    receipt = drop.receipt("a.ndjson", "refused")
    assert receipt["reasons"][0]["reason"] == "CHANGED_WHILE_READ"
    assert receipt["records"] == 20 * (page - 1)


def until_it_shows(work: Path, touch: Callable[[], object]) -> None:
    """The clock of a file system ticks in milliseconds: two touches may fall into one."""
    before_ns = work.stat().st_ctime_ns
    while work.stat().st_ctime_ns == before_ns:
        touch()


def _chmod(work: Path, _: Drop) -> None:
    work.chmod(0o600)


def _times_set_anew(work: Path, _: Drop) -> None:
    found = work.stat()
    os.utime(work, ns=(found.st_atime_ns, found.st_mtime_ns))


def _backup(work: Path, drop: Drop) -> None:
    os.link(work, drop.place.parent.parent / "backup")


def _restored(work: Path, _: Drop) -> None:
    content = work.read_bytes()
    work.unlink()
    work.write_bytes(content)


def _upgraded(_: Path, drop: Drop) -> None:
    place = json.loads(drop.cursor or b"")
    drop.cursor = json.dumps({**place, "changed_ns": place["changed_ns"] - 1}).encode()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("touch", [_chmod, _times_set_anew, _backup, _restored, _upgraded])
def test_a_file_of_the_same_content_is_read_to_its_end_whoever_touches_it(
    drop: Drop, touch: Callable[[Path, Drop], None], restarts: bool
) -> None:
    drop.put("a.ndjson", ndjson(*claims(0, 50)))
    drop.step()
    assert len(drop.step().records) == 20
    touch(drop.place / ".lipei" / "work" / "a.ndjson", drop)
    if restarts:
        drop.restart()
    assert drop.ids() == named(20, 30)
    assert drop.receipt("a.ndjson", "done")["records"] == 50


@pytest.mark.parametrize("restarts", [False, True])
def test_other_content_of_the_same_size_and_time_is_found(drop: Drop, restarts: bool) -> None:
    drop.put("a.ndjson", ndjson(*claims(0, 50)))
    drop.step()
    assert len(drop.step().records) == 20
    work = drop.place / ".lipei" / "work" / "a.ndjson"
    found = work.stat()
    with work.open("r+b") as changed:
        changed.seek(-3, os.SEEK_END)
        changed.write(b"!")
    times = (found.st_atime_ns, found.st_mtime_ns)
    until_it_shows(work, lambda: os.utime(work, ns=times))
    if restarts:
        drop.restart()
    assert drop.ids() == []
    receipt = drop.receipt("a.ndjson", "refused")
    assert receipt["reasons"][0]["reason"] == "CHANGED_WHILE_READ"
    assert receipt["records"] == 20


@pytest.mark.parametrize(("times", "taken"), [(1, 50), (1000, 0)])
def test_a_page_during_which_a_file_is_touched_is_read_again(
    drop: Drop, times: int, taken: int
) -> None:
    """Whoever puts content back meanwhile has nothing of another one handed on."""

    class Touched(FileDrop):
        left = times

        def _some(self, *args: Any) -> tuple[list[RawRecord], int, bool]:
            found = super()._some(*args)
            if self.left:
                self.left -= 1
                work = drop.place / ".lipei" / "work" / "a.ndjson"
                until_it_shows(work, lambda: work.chmod(0o640))
            return found

    drop.put("a.ndjson", ndjson(*claims(0, 50)))
    asyncio.run(drop.source.close())
    drop.source = Touched(drop.profile, now_s=drop.clock)
    assert drop.ids() == named(0, taken)
    place = "done" if taken else "refused"
    assert drop.receipt("a.ndjson", place)["records"] == taken


# What is no file of this folder.


def _symlink(place: Path, elsewhere: Path) -> None:
    (place / "a.ndjson").symlink_to(elsewhere)


def _hard_link(place: Path, elsewhere: Path) -> None:
    (place / "a.ndjson").hardlink_to(elsewhere)


def _pipe(place: Path, _: Path) -> None:
    os.mkfifo(place / "a.ndjson")


def _socket(place: Path, _: Path) -> None:
    here = Path.cwd()
    os.chdir(place)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("a.ndjson")
    finally:
        os.chdir(here)


def _folder(place: Path, _: Path) -> None:
    (place / "a.ndjson").mkdir()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_symlink, "NOT_A_FILE"),
        (_hard_link, "HARD_LINK"),
        (_pipe, "NOT_A_FILE"),
        (_socket, "NOT_A_FILE"),
        (_folder, "NOT_A_FILE"),
    ],
)
def test_what_is_no_plain_file_is_put_away_unread(
    drop: Drop, tmp_path: Path, make: Callable[[Path, Path], None], reason: str
) -> None:
    elsewhere = tmp_path / "secret"
    elsewhere.write_bytes(ndjson(*claims(0, 1)))
    make(drop.place, elsewhere)
    drop.put("b.ndjson", ndjson(*claims(7, 1)))
    assert drop.ids() == named(7, 1)  # and it stops no other
    assert drop.reason("a.ndjson") == reason
    assert elsewhere.read_bytes() == ndjson(*claims(0, 1))


@pytest.mark.parametrize("part", ["drop", "Claim", ".lipei", "done"])
def test_a_link_in_the_path_is_not_followed(folder: Path, tmp_path: Path, part: str) -> None:
    drop = Drop(folder)
    drop.put("a.ndjson", ndjson(*claims(0, 1)))
    elsewhere = tmp_path.resolve() / "elsewhere"
    place = {"drop": folder, "Claim": folder / KIND}.get(part, folder / KIND / part)
    if place.exists():
        place.rename(elsewhere)
    else:
        elsewhere.mkdir()
    place.symlink_to(elsewhere)
    with pytest.raises(SourceFault) as caught:
        drop.step()
    assert caught.value.reason == "SOURCE_FOLDER_UNSAFE"


def test_a_folder_that_is_missing_or_open_to_everybody_is_named(folder: Path) -> None:
    drop = Drop(folder)
    folder.chmod(0o777)
    with pytest.raises(SourceFault) as caught:
        drop.step()
    assert caught.value.reason == "SOURCE_FOLDER_UNSAFE"
    folder.chmod(0o750)
    assert drop.ids() == []
    (folder / KIND).rename(folder.parent / "away")
    folder.rmdir()
    with pytest.raises(SourceFault) as caught:
        drop.step()
    assert caught.value.reason == "SOURCE_FOLDER_MISSING"


def test_no_descriptor_is_left_open(drop: Drop) -> None:
    drop.everything()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 only counted
    for number in range(30):
        drop.put(f"a{number}.ndjson", ndjson(*claims(number, 1)))
        drop.put(f"b{number}.ndjson", b"<")
    drop.everything()
    (drop.place / ".lipei" / "names").rename(drop.place / "moved")
    (drop.place / ".lipei" / "names").symlink_to(drop.place / "moved")
    for _ in range(20):
        with pytest.raises(SourceFault):
            drop.step()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 only counted


# What is refused, each with its reason.

# Lines of blanks, a few bytes packed and far more than is allowed unpacked.
BLANKS = (b" " * 50_000 + b"\n") * 1000
GOOD = ndjson(*claims(0, 2))


def _lies_about_sizes() -> bytes:
    archive = bytearray(zipped(("a.ndjson", GOOD), how=zipfile.ZIP_STORED))
    at = archive.rfind(b"PK\x05\x06")
    archive[at + 12 : at + 16] = (1 << 31).to_bytes(4, "little")
    return bytes(archive)


def _encrypted() -> bytes:
    archive = bytearray(zipped(("a.ndjson", GOOD)))
    at = archive.find(b"PK\x01\x02")
    archive[at + 8] |= 1
    return bytes(archive)


def _twice() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.ndjson", GOOD)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.ndjson", GOOD)
    return made.getvalue()


def _linked() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        entry = zipfile.ZipInfo("a.ndjson")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.ndjson", b"", "EMPTY"),
        ("a.ndjson", b"\n \n", "EMPTY"),
        ("a.ndjson", ndjson(*around()), "EMPTY"),  # none that this folder is for
        ("a.xml", b"<a/>", "SUFFIX_UNKNOWN"),
        ("a.csv", b"a,b", "SUFFIX_UNKNOWN"),
        ("a.ndjson", b'<?xml version="1.0"?><!DOCTYPE a []><a/>', "OTHER_FORMAT"),
        ("a.ndjson", b"[" + GOOD + b"]", "OTHER_FORMAT"),
        ("a.ndjson", GOOD + b"\n" * 20_000, "OTHER_FORMAT"),
        ("a.ndjson", GOOD + b"\xff\xfe", "WRONG_CHARSET"),
        ("a.ndjson", GOOD.decode().encode("utf-16"), "WRONG_CHARSET"),
        ("a.ndjson", b'{"a":"' + b"x" * (10 << 20) + b'"}', "LINE_TOO_LONG"),
        ("a.ndjson", GOOD * 40, "TOO_MANY_RECORDS"),
        ("a.ndjson", os.urandom(3 << 20), "TOO_LARGE"),
        ("a.ndjson.gz", lambda: gzip.compress(BLANKS, compresslevel=1), "UNPACKS_TOO_LARGE"),
        ("a.ndjson.gz", gzip.compress(GOOD, mtime=0)[:-3], "PACKED_BADLY"),
        ("a.ndjson.gz", gzip.compress(GOOD, mtime=0) + b"x", "PACKED_BADLY"),
        ("a.ndjson.gz", GOOD, "PACKED_BADLY"),
        ("a.zip", lambda: zipped(("a.ndjson", BLANKS)), "UNPACKS_TOO_LARGE"),
        ("a.zip", zipped(("a.ndjson", GOOD))[:-5], "PACKED_BADLY"),
        ("a.zip", GOOD, "PACKED_BADLY"),
        ("a.zip", _lies_about_sizes(), "PACKED_BADLY"),
        ("a.zip", zipped(), "EMPTY"),
        ("a.zip", zipped(*((f"{n}.ndjson", GOOD) for n in range(6))), "TOO_MANY_ENTRIES"),
        ("a.zip", zipped(("../a.ndjson", GOOD)), "ENTRY_UNUSABLE"),
        ("a.zip", zipped(("/etc/a.ndjson", GOOD)), "ENTRY_UNUSABLE"),
        ("a.zip", zipped(("..\\a.ndjson", GOOD)), "ENTRY_UNUSABLE"),
        ("a.zip", zipped(("a.zip", zipped(("a.ndjson", GOOD)))), "ENTRY_UNUSABLE"),
        ("a.zip", _encrypted(), "ENTRY_UNUSABLE"),
        ("a.zip", _twice(), "ENTRY_UNUSABLE"),
        ("a.zip", _linked(), "ENTRY_UNUSABLE"),
    ],
)
def test_a_bad_file_is_refused_as_a_whole(
    folder: Path, name: str, content: bytes | Callable[[], bytes], reason: str
) -> None:
    drop = Drop(
        folder,
        "format: ndjson, max_mib: 2, max_unpacked_mib: 20, max_records: 40, max_entries: 5"
        if reason != "LINE_TOO_LONG"
        else "format: ndjson",
    )
    drop.put(name, content if isinstance(content, bytes) else content())
    drop.put("good.ndjson", GOOD)
    assert drop.ids() == named(0, 2)
    assert drop.reason(name) == reason


def test_what_is_dropped_beside_the_folders_is_refused_with_a_receipt(folder: Path) -> None:
    drop = Drop(folder)
    drop.put("good.ndjson", GOOD)
    (folder / "astray.ndjson").write_bytes(GOOD)
    (folder / ".being-written").write_bytes(GOOD)
    assert drop.ids() == named(0, 2)
    receipt = json.loads((folder / "refused" / "astray.ndjson.receipt.json").read_text("utf-8"))
    assert [one["reason"] for one in receipt["reasons"]] == ["WRONG_FOLDER"]
    assert (folder / "refused" / "astray.ndjson").read_bytes() == GOOD
    assert (folder / ".being-written").exists()
    # It holds records in clear, and goes as all others do.
    drop.clock.now_s += 91 * 24 * 3600
    os.utime(folder / "refused" / "astray.ndjson")
    assert drop.ids() == []
    assert (folder / "refused" / "astray.ndjson.receipt.json").exists()


def test_a_folder_in_which_nothing_is_astray_gets_no_places_of_ours(folder: Path) -> None:
    drop = Drop(folder)
    drop.put("good.ndjson", GOOD)
    assert drop.ids() == named(0, 2)
    assert sorted(one.name for one in folder.iterdir()) == [KIND]


def test_names_that_no_system_should_have_are_put_away(drop: Drop) -> None:
    (drop.place / "a\n.ndjson").write_bytes(GOOD)
    os.close(os.open(os.fsencode(drop.place) + b"/\xff.ndjson", os.O_CREAT | os.O_WRONLY))
    drop.put("费用明细.ndjson", GOOD)
    assert drop.ids() == named(0, 2)
    assert drop.reason("a\n.ndjson") == "NAME_UNUSABLE"
    assert len(list((drop.place / "refused").iterdir())) == 4
    assert drop.receipt("费用明细.ndjson")["records"] == 2


def test_the_longest_names_are_put_away_each_with_its_receipt(drop: Drop) -> None:
    """A character of Chinese is three bytes, and a name has at most 255 of them."""
    longest = ["账" * 82 + ".ndjson", "账" * 82 + ".jsonl", "a" * 248 + ".ndjson"]
    for _ in range(2):
        for name in longest:
            drop.put(name, GOOD)
        drop.put("费.ndjson", GOOD)
        drop.everything()
    for byte in (b"/\xfe.ndjson", b"/\xff.ndjson"):
        os.close(os.open(os.fsencode(drop.place) + byte, os.O_CREAT | os.O_WRONLY))
    drop.everything()
    assert drop.receipt("费.ndjson")["records"] == 2
    names = [path.name for path in (drop.place / "refused").iterdir()]
    receipts = [name for name in names if name.endswith(".receipt.json")]
    assert len(receipts) == len(names) - len(receipts) == 2 * len(longest) + 2
    assert {path.name for path in drop.place.iterdir()} == {".lipei", "done", "refused"}


def test_a_name_that_fails_stops_none_behind_it(drop: Drop) -> None:
    drop.put("a.ndjson", claims_of := ndjson(*claims(0, 1)))
    drop.put("b.ndjson", ndjson(*claims(1, 1)))
    # A folder is where the record of the taken names would be: reading it is an OSError.
    (drop.place / ".lipei" / "names" / "a.ndjson").mkdir(parents=True)
    # And one that is being read already has its name.
    (drop.place / ".lipei" / "work" / "c.ndjson").mkdir(parents=True)
    (drop.place / "refused").mkdir()
    (drop.place / "refused" / "c.ndjson.receipt.json").mkdir()
    drop.put("c.ndjson", claims_of)
    drop.put("d.ndjson", ndjson(*claims(3, 1)))
    with structlog.testing.capture_logs() as lines:
        assert drop.ids() == [*named(1, 1), *named(3, 1)]
    assert drop.reason("a.ndjson") == "NOT_READABLE"
    assert (drop.place / "c.ndjson").exists()  # it waits until the other one is gone
    assert {line["event"] for line in lines} == {"file_passed_over"}


# What comes later is later.


def times(records: list[RawRecord]) -> list[datetime]:
    return [record.updated for record in records if record.updated is not None]


@pytest.mark.parametrize("restarting", [False, True])
def test_records_without_a_time_count_in_the_order_of_files_and_lines(
    drop: Drop, restarting: bool
) -> None:
    """Whatever our clock says: it is set back by a day between two files, and stands still."""
    bare = [{k: v for k, v in one.items() if k != "meta"} for one in claims(0, 25)]
    found: list[RawRecord] = []
    for name, back_s in (("a", 0), ("b", 86_400), ("c", 0)):
        drop.clock.now_s -= back_s
        changed = [{**one, "status": "cancelled", "created": name} for one in bare]
        drop.put(f"{name}.ndjson", ndjson(*changed))
        found += drop.everything(restarting=restarting)
    moments = times(found)
    assert len(moments) == 75
    assert moments == sorted(set(moments))


def test_a_page_that_is_read_again_has_the_same_times(drop: Drop) -> None:
    drop.put("a.ndjson", ndjson(*({"resourceType": "Claim", "id": f"x{n}"} for n in range(5))))
    drop.step()
    at, first = drop.cursor, drop.step().records
    drop.restart()
    drop.clock.now_s += 60
    drop.cursor = at
    assert drop.step().records == first


@pytest.mark.parametrize(("version", "counts"), [("9", True), ("009", True), ("v9", False)])
def test_versions_that_are_counted_decide_and_all_others_leave_it_to_the_file(
    folder: Path, version: str, counts: bool
) -> None:
    drop = Drop(folder, CSV)
    drop.put("a.csv", (HEADER + f"J1,甲,{version},A1,1,10.00\r\n").encode("gb18030"))
    (record,) = drop.everything()
    assert (record.version, record.updated is None) == (version, counts)


def test_a_time_of_the_records_own_is_left_as_it_is(drop: Drop) -> None:
    own = {**claims(0, 1)[0], "meta": {"lastUpdated": "2026-03-01T07:00:00Z"}}
    drop.put("a.ndjson", ndjson(own))
    assert times(drop.everything()) == [datetime(2026, 3, 1, 7, tzinfo=UTC)]


def test_a_large_file_is_read_in_bounded_memory(folder: Path) -> None:
    drop = Drop(folder)
    noise = random.Random(7).randbytes(100_000).hex().encode()
    with gzip.open(drop.place / "a.ndjson.gz", "wb", compresslevel=0) as packed:
        for number in range(300):
            text = noise[number * 100 :] + noise[: number * 100]
            packed.write(b'{"resourceType": "Claim", "id": "x%d", "n": "%s"}\n' % (number, text))
    tracemalloc.start()
    count = 0
    for _ in range(STEPS):
        page = drop.step()
        count += len(page.records)
        if page.swept:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 300  # of 60 MB
    assert peak < 45 << 20


def test_every_reason_has_advice() -> None:
    assert set(ADVICE) == set(FileReason)


# CSV.

CSV = "format: csv, csv: {key: 结算号, lines: [项目编码, 数量, 金额], version: 版本}"
HEADER = "结算号,姓名,版本,项目编码,数量,金额\r\n"
ROWS = "J1,欧阳建国,1,A1,1,10.00\r\nJ1,欧阳建国,1,A2,2,\r\nJ2,誠,1,A1,1,10.00\r\n"


def test_rows_of_one_key_are_one_record_in_gb18030(folder: Path) -> None:
    drop = Drop(folder, CSV)
    drop.put("a.csv", (HEADER + ROWS).encode("gb18030"))
    first, second = drop.everything()
    assert (first.record_id, first.version, first.kind) == ("J1", "1", KIND)
    assert json.loads(first.raw) == {
        "head": {"结算号": "J1", "姓名": "欧阳建国", "版本": "1"},
        "lines": [
            {"项目编码": "A1", "数量": "1", "金额": "10.00"},
            {"项目编码": "A2", "数量": "2", "金额": None},
        ],
    }
    assert json.loads(second.raw)["head"]["姓名"] == "誠"
    assert drop.receipt("a.csv")["records"] == 2


def test_heads_that_differ_between_rows_of_a_bill_are_marked_for_the_dialect(folder: Path) -> None:
    drop = Drop(folder, CSV)
    drop.put("a.csv", (HEADER + "J1,甲,1,A1,1,1\nJ1,乙,1,A2,1,1\n").encode("gb18030"))
    (record,) = drop.everything()
    assert json.loads(record.raw)["head"]["姓名"] == {"differs": True}


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_a_byte_order_mark_is_no_column(folder: Path, mark: bytes) -> None:
    drop = Drop(folder, f"{CSV}, charset: utf-8")
    drop.put("a.csv", mark + (HEADER + ROWS).encode())
    assert len(drop.everything()) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEADER, "EMPTY"),
        ("结算号,姓名,版本,项目编码,数量\n", "HEADER_UNUSABLE"),
        (HEADER.replace("姓名", "版本") + ROWS, "HEADER_UNUSABLE"),
        (HEADER.replace("姓名", "") + ROWS, "HEADER_UNUSABLE"),
        (HEADER + "J1,甲,1,A1,1\n", "ROW_UNUSABLE"),
        (HEADER + "J1,甲,1,A1,1,1,\n", "ROW_UNUSABLE"),
        (HEADER + ",甲,1,A1,1,1\n", "ROW_UNUSABLE"),
        (HEADER + 'J1,甲,1,"A1"x,1,1\n', "ROW_UNUSABLE"),
        (HEADER + 'J1,甲,1,"A1,1,1\n', "ROW_UNUSABLE"),
        (HEADER + 'J1,甲,1,"' + "x" * 200_000 + '",1,1\n', "ROW_UNUSABLE"),
        (HEADER + ROWS + "J1,甲,1,A1,1,1\n", "ROWS_SCATTERED"),
        (HEADER + "J1,甲,1,A1,1,1" + "," * (2 << 20), "LINE_TOO_LONG"),
    ],
)
def test_rows_that_nobody_can_trust_refuse_the_file(folder: Path, text: str, reason: str) -> None:
    drop = Drop(folder, CSV)
    drop.put("a.csv", text.encode("gb18030"))
    assert drop.ids() == []
    assert drop.reason("a.csv") == reason


def test_rows_of_blanks_that_a_spreadsheet_leaves_are_passed_over(folder: Path) -> None:
    drop = Drop(folder, CSV)
    drop.put("a.csv", (HEADER + ROWS + ",,,,,\n" * 2 + " ,\n").encode("gb18030"))
    assert len(drop.everything()) == 2
    drop.put("b.csv", (",,,,,\n" + HEADER + ROWS).encode("gb18030"))
    assert drop.ids() == []
    assert drop.reason("b.csv") == "HEADER_UNUSABLE"


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + (HEADER + ROWS).encode(), (HEADER + ROWS).encode("gb18030") + b"\x81"],
)
def test_the_charset_is_the_profiles_and_not_guessed(folder: Path, content: bytes) -> None:
    drop = Drop(folder, CSV)
    drop.put("a.csv", content)
    assert drop.ids() == []
    assert drop.reason("a.csv") == "WRONG_CHARSET"


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"PK\x03\x04" + b"xl/workbook.xml", "OTHER_FORMAT", "an Excel workbook or a zip archive"),
        (b"\xd0\xcf\x11\xe0" + b"Workbook", "OTHER_FORMAT", "an old Excel workbook"),
        (gzip.compress(b"x", mtime=0), "OTHER_FORMAT", "packed by gzip"),
        ((HEADER + ROWS).encode("utf-16"), "WRONG_CHARSET", "gb18030; it says that it is UTF-16"),
        # Of UTF-8 every other text is GB18030 too; this one ends in the middle of a character.
        (
            HEADER.encode() + "甲".encode(),
            "WRONG_CHARSET",
            "gb18030; the line can be read as",
        ),
        (HEADER.replace("数量", "数").encode("gb18030"), "HEADER_UNUSABLE", "missing: 数量"),
        (
            HEADER.replace(",", ";").encode("gb18030"),
            "HEADER_UNUSABLE",
            "none of the profile's columns is there; columns are parted by ','",
        ),
        (
            HEADER.replace("姓名", "版本").encode("gb18030"),
            "HEADER_UNUSABLE",
            "a name stands twice, or is empty",
        ),
    ],
)
def test_what_a_file_is_instead_and_which_columns_it_lacks_is_told(
    folder: Path, content: bytes, reason: str, detail: str
) -> None:
    drop = Drop(folder, CSV)
    drop.put("a.csv", content)
    assert drop.ids() == []
    assert drop.reason("a.csv") == reason
    (said,) = drop.receipt("a.csv", "refused")["reasons"]
    assert said["advice"].startswith(f"{ADVICE[FileReason(reason)]}: {detail}")


def test_messages_that_name_nothing_are_named_by_their_bytes(folder: Path) -> None:
    drop = Drop(folder, "format: ndjson, charset: gb18030")
    lines = ['{"head": {"msgid": "M1"}, "名": "誠"}', '{"head": {"msgid": 7}}', '{"head": 1}', "{"]
    drop.put("a.ndjson", "\n".join(lines).encode("gb18030"))
    found = drop.everything()
    assert [record.raw.decode() for record in found] == lines
    assert len({record.record_id for record in found}) == 4
    # Another file states its messages anew: one that was changed back is not taken for known.
    drop.put("b.ndjson", "\n".join([*lines, "{}"]).encode("gb18030"))
    again = drop.everything()
    assert [record.record_id for record in again[:4]] == [record.record_id for record in found]
    assert {record.version for record in again}.isdisjoint(record.version for record in found)


# HL7 batches.

MSH = "MSH|^~\\&|HIS|H|LIPEI|I|20260301||DFT^P03|{}|P|2.4"
FHS, BHS = "FHS|^~\\&|HIS", "BHS|^~\\&|HIS"


def message(number: int) -> list[str]:
    return [MSH.format(number), "PID|||1", "FT1|1"]


def batch(*segments: str | list[str], end: str = "\r") -> bytes:
    flat = [one for part in segments for one in ([part] if isinstance(part, str) else part)]
    return end.join(flat).encode() + end.encode()


def cut_hl7(folder: Path, content: bytes, piece: int = 1 << 16) -> list[bytes]:
    settings: Any = profile_for(folder, "format: hl7").source
    pieces = (content[at : at + piece] for at in range(0, len(content), piece))
    return [cut.raw for cut in cutter_of(settings, 1 << 20)(iter(pieces))]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_messages_of_a_batch_are_cut_at_their_headers(folder: Path, end: str, piece: int) -> None:
    whole = batch(
        *(FHS, BHS, message(1), message(2), "BTS|2", BHS, message(3), "BTS|1", "FTS|2"), end=end
    )
    expected = [batch(message(number)) for number in (1, 2, 3)]
    assert cut_hl7(folder, whole, piece) == expected
    assert cut_hl7(folder, batch(message(1), message(2), end=end), piece) == expected[:2]


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ((FHS, BHS, message(1), "BTS|2", "FTS|1"), "COUNT_DIFFERS"),
        ((FHS, BHS, message(1), "BTS|1", "FTS|2"), "COUNT_DIFFERS"),
        ((FHS, BHS, message(1), "BTS|-1", "FTS|1"), "COUNT_DIFFERS"),
        ((FHS, BHS, message(1), "BTS|1"), "ENVELOPE_BROKEN"),
        ((FHS, BHS, message(1)), "ENVELOPE_BROKEN"),
        ((BHS, message(1)), "ENVELOPE_BROKEN"),
        ((BHS, BHS, message(1), "BTS|1"), "ENVELOPE_BROKEN"),
        ((message(1), "BTS|1"), "ENVELOPE_BROKEN"),
        ((message(1), "FTS|1"), "ENVELOPE_BROKEN"),
        ((FHS, message(1), "FTS|1"), "ENVELOPE_BROKEN"),
        ((FHS, BHS, message(1), "BTS|1", "FTS|1", message(2)), "ENVELOPE_BROKEN"),
        ((message(1), "no segment"), "ENVELOPE_BROKEN"),
        (("PID|||1",), "OTHER_FORMAT"),
        (("<html>",), "OTHER_FORMAT"),
    ],
)
def test_a_batch_that_was_cut_short_or_counts_wrongly_is_refused(
    folder: Path, segments: tuple[str | list[str], ...], reason: str
) -> None:
    with pytest.raises(FileRefused) as caught:
        cut_hl7(folder, batch(*segments))
    assert caught.value.reason == reason


def test_the_cutting_looks_at_no_character_of_a_message(folder: Path) -> None:
    """Bytes of GB18030 that look like delimiters stay within their message."""
    whole = batch(message(1)).replace(b"PID|||1", "PID|||玕瑋誠".encode("gb18030"))
    assert cut_hl7(folder, whole) == [whole]
