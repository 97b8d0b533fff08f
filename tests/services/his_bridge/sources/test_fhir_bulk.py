"""A bulk export is read once and to its end, whatever breaks; or it is given up aloud."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from joserfc.jwk import RSAKey

from services.his_bridge.cutting.lines import Gunzip, Lines, LineTooLong, PackedBadly
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.sources.asking import names_export
from services.his_bridge.sources.fhir_bulk import FhirBulk
from services.his_bridge.sources.port import Page, SourceFault
from tests.services.his_bridge.fhir_server import fhir_server
from tests.services.his_bridge.records import BASE_URL, around, claim, profile
from tests.services.his_bridge.sources.bulk_server import BulkServer, Reply, bulk_server

R = TypeVar("R")
STEPS = 200  # that no test needs; reaching it is an endless loop


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_772_352_000.0

    def __call__(self) -> float:
        return self.now_s


def profile_for(base_url: str, *, page_size: int = 20, source: str = "") -> SourceProfile:
    def change(text: str) -> str:
        text = text.replace(BASE_URL, base_url).replace(
            "page_size: 50", f"page_size: {page_size}, attempts: 1, max_body_mib: 1"
        )
        return text + f"source: {{kind: fhir_bulk{source}}}\n"

    return profile(change)


def with_source(
    base_url: str, work: Callable[[FhirBulk], Awaitable[R]], clock: Clock | None = None, **more: Any
) -> R:
    async def run() -> R:
        source = FhirBulk(profile_for(base_url, **more), now_s=clock or Clock())
        try:
            return await work(source)
        finally:
            await source.close()

    return asyncio.run(run())


async def to_the_end(source: FhirBulk, cursor: bytes | None = None) -> tuple[bytes, list[str]]:
    """Ids as they come, until there is no more just now."""
    seen: list[str] = []
    for _ in range(STEPS):
        page = await source.fetch("Claim", cursor)
        cursor = page.cursor
        seen += [record.record_id for record in page.records]
        if page.swept:
            return cursor, seen
    raise AssertionError("the export does not end")


def claims(count: int, prefix: str = "b") -> list[dict[str, Any]]:
    return [
        {**claim(f"{prefix}{n:04d}"), "meta": {"versionId": "1", "lastUpdated": NOW_OF_RECORDS}}
        for n in range(count)
    ]


NOW_OF_RECORDS = "2026-03-01T07:00:00.000Z"


def ids(count: int, prefix: str = "b") -> list[str]:
    return [f"{prefix}{n:04d}" for n in range(count)]


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 95])
def test_every_record_of_every_file_comes_once(count: int, packs: bool) -> None:
    with bulk_server(packs=packs) as server:
        server.put("a", claims(count))
        server.put("b", claims(7, "z"))
        server.put("patients", [{"resourceType": "Patient", "id": "p"}])
        server.types["patients"] = "Patient"
        _, seen = with_source(server.base_url, to_the_end)
        assert seen == [*ids(count), *ids(7, "z")]
        (kick_off,) = server.asked("GET $export")
        assert kick_off[2] == {"_outputFormat": "application/fhir+ndjson", "_type": "Claim"}
        assert server.headers[0]["Prefer"] == "respond-async"
        assert not server.asked("patients")  # nobody asked for them
        assert len(server.asked("DELETE status")) == 1


SYSTEM = {"rest": [{"operation": [{"name": "export"}]}]}
GROUP = {"rest": [{"resource": [{"type": "Group", "operation": [{"name": "group-export"}]}]}]}


@pytest.mark.parametrize(
    ("stated", "export", "names"),
    [
        (SYSTEM, "", True),
        (GROUP, "Group/7", True),
        (GROUP, "", False),
        (SYSTEM, "Patient", False),
        ({"rest": [{"operation": [{"name": "$export"}]}]}, "", True),
        ({"rest": [{"operation": [{"name": "validate"}]}]}, "", False),
        ({}, "", False),
        ({"rest": 1}, "", None),
        (None, "", None),
    ],
)
def test_whether_a_server_says_that_it_exports_is_asked_and_no_export_is_begun(
    stated: dict[str, Any] | None, export: str, names: bool | None
) -> None:
    def twist(path: str, reply: Reply) -> Reply:
        if path != "metadata" or stated is None:
            return reply
        return 200, {}, json.dumps({"resourceType": "CapabilityStatement", **stated}).encode()

    with bulk_server(twist=twist) as server:
        source = f", export: {export}" if export else ""
        found = asyncio.run(names_export(profile_for(server.base_url, source=source)))
        assert found is names
        assert len(server.asked("GET metadata")) == 1
        assert server.exports == 0


@pytest.mark.parametrize("per_page", [1, 2, 5])
def test_a_manifest_of_several_pages_is_read_to_its_last(per_page: int) -> None:
    with bulk_server(per_page=per_page) as server:
        for name in "abcde":
            server.put(name, claims(3, name))
        _, seen = with_source(server.base_url, to_the_end)
        assert seen == [one for name in "abcde" for one in ids(3, name)]
        assert len(server.asked("DELETE status")) == 1


def _with(number: int, **change: Any) -> Callable[[str, Reply], Reply]:
    """A page of the manifest changed."""

    def twist(path: str, reply: Reply) -> Reply:
        status, headers, body = reply
        if not path.startswith("status/") or status != 200:
            return reply
        page = json.loads(body)
        if page["output"] and page["output"][0]["url"].endswith("abcde"[number]):
            page |= change
        return status, headers, json.dumps(page).encode()

    return twist


@pytest.mark.parametrize(
    ("twist", "reason"),
    [
        # A page of another export, and one that goes on at itself for ever.
        (_with(1, transactionTime="2026-03-02T08:00:00.000Z"), "SOURCE_EXPORT_MALFORMED"),
        (_with(1, output="none"), "SOURCE_EXPORT_MALFORMED"),
        (
            _with(1, link=[{"relation": "next", "url": "job1?page=1"}]),
            "SOURCE_EXPORT_MALFORMED",
        ),
        (
            _with(0, link=[{"relation": "next", "url": "http://10.0.0.1/more"}]),
            "SOURCE_EXPORT_ELSEWHERE",
        ),
    ],
    ids=["another-export", "no-list", "circle", "elsewhere"],
)
def test_pages_that_make_no_manifest_are_refused(
    twist: Callable[[str, Reply], Reply], reason: str
) -> None:
    with bulk_server(per_page=1, twist=twist) as server:
        for name in "abc":
            server.put(name, claims(3, name))
        assert reason_of(server) == (reason, [])
        assert not server.asked("files/")


def test_a_page_of_the_manifest_that_is_not_ready_is_waited_for() -> None:
    waits = [2]

    def twist(path: str, reply: Reply) -> Reply:
        if reply[0] == 200 and b"page=2" in reply[2] and waits[0]:
            waits[0] -= 1
            return 202, {"Retry-After": "0"}, b""
        return reply

    with bulk_server(per_page=1, twist=twist) as server:
        for name in "abc":
            server.put(name, claims(2, name))
        _, seen = with_source(server.base_url, to_the_end)
        assert seen == [one for name in "abc" for one in ids(2, name)]
        assert waits == [0]


def test_what_is_left_is_told_by_the_manifests_counts() -> None:
    async def lefts(source: FhirBulk) -> list[tuple[int, int | None]]:
        found, cursor, swept = [], None, False
        while not swept:
            page = await source.fetch("Claim", cursor)
            cursor, swept = page.cursor, page.swept
            if page.records:
                found.append((len(page.records), page.left))
        return found

    with bulk_server() as server:
        server.put("a", claims(30))
        server.put("b", claims(7, "z"))
        assert with_source(server.base_url, lefts) == [(20, 17), (10, 7), (7, 0)]
        server.counts["b"] = None
        assert with_source(server.base_url, lefts) == [(20, None), (10, None), (7, 0)]


def test_the_next_export_begins_before_the_last_one_and_not_at_once() -> None:
    with bulk_server() as server:
        server.put("a", claims(3))
        clock = Clock()

        async def twice(source: FhirBulk) -> list[str]:
            cursor, _ = await to_the_end(source)
            cursor, soon = await to_the_end(source, cursor)
            assert (soon, server.exports) == ([], 1)
            clock.now_s += 3601
            return (await to_the_end(source, cursor))[1]

        assert with_source(server.base_url, twice, clock) == ids(3)  # the inbox knows them
        # The profile's overlap of five seconds before the first export's transactionTime.
        assert server.asked("$export")[1][2]["_since"] == "2026-03-01T07:59:55.000Z"


def test_a_server_whose_clock_runs_ahead_is_asked_from_our_own_time_on() -> None:
    with bulk_server(transaction_time="2099-01-01T00:00:00Z") as server:
        server.put("a", claims(3))
        clock = Clock()

        async def twice(source: FhirBulk) -> None:
            cursor, _ = await to_the_end(source)
            clock.now_s += 3601
            await to_the_end(source, cursor)

        with_source(server.base_url, twice, clock)
        # The overlap of five seconds before our clock, as the first export was asked for.
        assert server.asked("$export")[1][2]["_since"] == "2026-03-01T07:59:55.000Z"


def test_a_bridge_that_is_killed_goes_on_with_the_same_export_where_it_stood() -> None:
    """Every step is done by another process: only the cursor goes from one to the next."""
    with bulk_server(pending=2) as server:
        server.put("a", claims(50))
        server.put("b", claims(30, "z"))
        seen: list[str] = []
        cursor: bytes | None = None
        for _ in range(STEPS):

            async def step(source: FhirBulk, at: bytes | None = cursor) -> Page:
                return await source.fetch("Claim", at)

            page = with_source(server.base_url, step)
            cursor = page.cursor
            seen += [record.record_id for record in page.records]
            if page.swept:
                break
        assert seen == [*ids(50), *ids(30, "z")]
        assert server.exports == 1


@pytest.mark.parametrize("packs", [False, True])
def test_a_server_without_ranges_is_read_over(packs: bool) -> None:
    with bulk_server(ranges=False, packs=packs) as server:
        server.put("a", claims(50))
        seen: list[str] = []
        cursor: bytes | None = None
        for _ in range(STEPS):
            at = cursor
            page = with_source(server.base_url, lambda s: s.fetch("Claim", at))  # noqa: B023 called at once
            cursor, seen = page.cursor, seen + [r.record_id for r in page.records]
            if page.swept:
                break
        assert seen == ids(50)


def test_the_status_url_is_kept_before_anything_is_read() -> None:
    with bulk_server() as server:
        server.put("a", claims(1))
        page = with_source(server.base_url, lambda source: source.fetch("Claim", None))
        assert (page.records, page.swept) == ((), False)
        assert b"/status/job1" in page.cursor
        assert len(server.requests) == 1


# What breaks.


def reason_of(server: BulkServer, **more: Any) -> tuple[str, list[str]]:
    """Why it is given up, with what came before."""
    seen: list[str] = []

    async def run(source: FhirBulk) -> str:
        cursor: bytes | None = None
        for _ in range(STEPS):
            try:
                page = await source.fetch("Claim", cursor)
            except SourceFault as fault:
                return fault.reason
            cursor = page.cursor
            seen.extend(record.record_id for record in page.records)
            assert not page.swept
        raise AssertionError("neither an end nor a fault")

    return with_source(server.base_url, run, **more), seen


def twisted(name: str, change: Callable[[Reply], Reply]) -> Callable[[str, Reply], Reply]:
    return lambda path, reply: change(reply) if name in path and reply[0] < 400 else reply


def _cut(reply: Reply) -> Reply:
    status, headers, body = reply
    return status, headers, body[: len(body) // 2]


@pytest.mark.parametrize("stated", [49, 51, 0])
def test_a_file_with_another_count_is_not_believed(stated: int) -> None:
    with bulk_server() as server:
        server.put("a", claims(50))
        server.counts["a"] = stated
        reason, seen = reason_of(server)
        assert reason == "SOURCE_COUNT_DIFFERS"
        assert seen == ids(50)  # what came is kept; `_since` has not moved
    with bulk_server() as server:  # the control
        server.put("a", claims(50))
        server.counts["a"] = None
        assert with_source(server.base_url, to_the_end)[1] == ids(50)


@pytest.mark.parametrize(
    ("settings", "twist", "reason"),
    [
        ({"packs": True}, twisted("files/", _cut), "SOURCE_FILE_TRUNCATED"),
        ({}, twisted("files/", lambda _: (404, {}, b"")), "SOURCE_FILE_MISSING"),
        ({}, twisted("files/", lambda _: (410, {}, b"")), "SOURCE_FILE_MISSING"),
        ({}, twisted("files/", lambda _: (403, {}, b"")), "SOURCE_REFUSES"),
        ({}, twisted("files/", lambda _: (302, {"Location": "/x"}, b"")), "SOURCE_UNEXPECTED"),
        ({}, twisted("files/", lambda _: (500, {}, b"")), "SOURCE_AWAY"),
        (
            {},
            twisted("files/", lambda r: (200, {"Content-Length": "9999999"}, r[2][:100])),
            "SOURCE_AWAY",
        ),
        (
            {},
            twisted("files/", lambda _: (200, {"Content-Encoding": "br"}, b"x")),
            "SOURCE_COMPRESSES",
        ),
        ({}, twisted("files/", lambda _: (200, {}, b"x" * (2 << 20))), "SOURCE_TOO_LARGE"),
        (
            {"packs": True},
            twisted("files/", lambda r: (200, r[1], gzip.compress(bytes(80 << 20)))),
            "SOURCE_TOO_LARGE",
        ),
        ({}, twisted("status/", lambda _: (404, {}, b"")), "SOURCE_EXPORT_EXPIRED"),
        ({}, twisted("status/", lambda _: (410, {}, b"")), "SOURCE_EXPORT_EXPIRED"),
        (
            {},
            twisted("status/", lambda _: (500, {}, b'{"resourceType":"OperationOutcome"}')),
            "SOURCE_EXPORT_FAILED",
        ),
        ({}, twisted("status/", lambda _: (500, {}, b"<html>")), "SOURCE_AWAY"),
        ({}, twisted("status/", lambda _: (503, {"Retry-After": "9"}, b"")), "SOURCE_BUSY"),
        ({}, twisted("status/", lambda _: (200, {}, b"<html>")), "SOURCE_EXPORT_MALFORMED"),
        ({}, twisted("status/", lambda _: (200, {}, b"[" * 9000)), "SOURCE_EXPORT_MALFORMED"),
        ({"transaction_time": "soon"}, lambda _, r: r, "SOURCE_EXPORT_MALFORMED"),
        ({}, twisted("$export", lambda _: (404, {}, b"")), "SOURCE_NO_EXPORT"),
        ({}, twisted("$export", lambda _: (400, {}, b"")), "SOURCE_NO_EXPORT"),
        ({}, twisted("$export", lambda _: (200, {}, b"{}")), "SOURCE_UNEXPECTED"),
        ({}, twisted("$export", lambda _: (401, {}, b"")), "SOURCE_REFUSES"),
        ({}, twisted("$export", lambda _: (202, {}, b"")), "SOURCE_EXPORT_ELSEWHERE"),
        (
            {},
            twisted("$export", lambda _: (202, {"Content-Location": "http://10.0.0.1/x"}, b"")),
            "SOURCE_EXPORT_ELSEWHERE",
        ),
    ],
)
def test_every_broken_promise_has_its_reason(
    settings: dict[str, Any], twist: Callable[[str, Reply], Reply], reason: str
) -> None:
    with bulk_server(twist=twist, **settings) as server:
        server.put("a", claims(30))
        assert reason_of(server)[0] == reason


def _files(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, Reply], Reply]:
    """Every file of the manifest changed."""

    def twist(path: str, reply: Reply) -> Reply:
        status, headers, body = reply
        if not path.startswith("status/") or status != 200:
            return reply
        manifest = json.loads(body)
        for file in manifest["output"]:
            change(file)
        return status, headers, json.dumps(manifest).encode()

    return twist


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.pop("type"),
        lambda file: file.update(type=""),
        lambda file: file.update(type="claim"),
        lambda file: file.update(type="CLAIM"),
        lambda file: file.update(url="http://[his/a"),
        lambda file: file.update(url="http://127.0.0.1:99999/a"),
        lambda file: file.update(url="http://127.0.0.1:x/a"),
        lambda file: file.update(url=file["url"] + "\x01"),
    ],
    ids=["untyped", "empty", "small", "capitals", "brackets", "port", "letters", "control"],
)
def test_a_file_that_does_not_say_what_it_holds_or_where_it_is_ends_no_export(
    change: Callable[[dict[str, Any]], Any],
) -> None:
    """Passed over, its records were lost unseen: the next export begins behind this one."""
    with bulk_server(twist=_files(change)) as server:
        server.put("a", claims(3))
        assert reason_of(server) == ("SOURCE_EXPORT_MALFORMED", [])
    with bulk_server(twist=_files(lambda file: file.update(type="ClaimResponse"))) as server:
        server.put("a", claims(3))
        assert with_source(server.base_url, to_the_end)[1] == []  # the control: another type


def test_a_file_may_be_named_beside_the_manifest() -> None:
    def beside(file: dict[str, Any]) -> None:
        file["url"] = "/fhir/files/" + file["url"].rpartition("/")[2]

    with bulk_server(twist=_files(beside)) as server:
        server.put("a", claims(3))
        assert with_source(server.base_url, to_the_end)[1] == ids(3)


@pytest.mark.parametrize("url", ["http://[his/x", "http://127.0.0.1:99999/x", "http://a:b/x"])
def test_a_status_that_is_no_address_is_refused(url: str) -> None:
    named = twisted("$export", lambda _: (202, {"Content-Location": url}, b""))
    with bulk_server(twist=named) as server:
        assert reason_of(server)[0] == "SOURCE_EXPORT_ELSEWHERE"


@pytest.mark.parametrize("answer", [400, 401, 403])
def test_urls_whose_signature_ran_out_are_asked_for_anew(answer: int) -> None:
    """Signed for minutes: a later pull would be refused until the export is a day old."""
    signed = [1]

    def twist(path: str, reply: Reply) -> Reply:
        if path.startswith("status/"):
            query = f"?signed={signed[0]}"
            return _files(lambda file: file.update(url=file["url"] + query))(path, reply)
        asked = server.requests[-1][2].get("signed")
        if path.startswith("files/") and asked != str(signed[0]):
            return answer, {}, b""
        return reply

    async def run(source: FhirBulk) -> list[str]:
        seen: list[str] = []
        cursor = None
        for _ in range(STEPS):
            page = await source.fetch("Claim", cursor)
            cursor = page.cursor
            seen += [record.record_id for record in page.records]
            if len(page.records) == 3:
                signed[0] += 1  # between two files
            if page.swept:
                return seen
        raise AssertionError("the export does not end")

    with bulk_server(twist=twist) as server:
        server.put("a", claims(3))
        server.put("b", claims(3, "z"))
        assert with_source(server.base_url, run) == [*ids(3), *ids(3, "z")]


def test_records_of_another_type_than_the_manifest_says_are_not_taken() -> None:
    with bulk_server() as server:
        server.put("a", [*claims(3), {"resourceType": "Patient", "id": "p"}])
        assert reason_of(server) == ("SOURCE_WRONG_TYPE", ids(3))


def test_files_on_another_host_are_fetched_only_where_the_profile_says_so() -> None:
    with bulk_server() as server:
        server.put("a", claims(3))

        def elsewhere(path: str, reply: Reply) -> Reply:
            if not path.startswith("status/") or reply[0] != 200:
                return reply
            return (
                200,
                {},
                reply[2].replace(b'"url": "http://127.0.0.1', b'"url": "http://127.0.0.2'),
            )

        server.twist = elsewhere
        assert reason_of(server)[0] == "SOURCE_FILES_ELSEWHERE"
        # Plain http to a host that is not the server itself is refused even so.
        named = ', file_hosts: ["127.0.0.2"]'
        assert reason_of(server, source=named)[0] == "SOURCE_FILES_ELSEWHERE"


def test_an_export_that_never_ends_is_given_up_and_deleted() -> None:
    with bulk_server(pending=10**9, retry_after="1") as server:
        server.put("a", claims(3))
        clock = Clock()

        async def run(source: FhirBulk) -> None:
            cursor = (await source.fetch("Claim", None)).cursor
            for _ in range(3):
                page = await source.fetch("Claim", cursor)
                assert (page.records, page.swept) == ((), False)
                cursor = page.cursor
            assert server.exports == 1
            clock.now_s += 86_401
            cursor = (await source.fetch("Claim", cursor)).cursor
            assert len(server.asked("DELETE status")) == 1
            with pytest.raises(SourceFault) as caught:
                await source.fetch("Claim", cursor)
            assert caught.value.reason == "SOURCE_EXPORT_STUCK"
            assert caught.value.retry_after_s == 30
            clock.now_s += 31
            await source.fetch("Claim", cursor)
            assert server.exports == 2

        with_source(server.base_url, run, clock)


def test_a_long_wait_is_left_to_the_caller_and_kept() -> None:
    with bulk_server(pending=1, retry_after="120") as server:
        server.put("a", claims(3))
        clock = Clock()

        async def run(source: FhirBulk) -> None:
            cursor = (await source.fetch("Claim", None)).cursor
            page = await source.fetch("Claim", cursor)
            assert page.swept
            assert (await source.fetch("Claim", page.cursor)).swept
            assert len(server.asked("GET status")) == 1  # it was not asked before its time
            clock.now_s += 121
            assert (await to_the_end(source, page.cursor))[1] == ids(3)

        with_source(server.base_url, run, clock)


def test_exports_that_fail_again_and_again_are_begun_more_and_more_rarely() -> None:
    with bulk_server(twist=twisted("status/", lambda _: (404, {}, b""))) as server:
        clock = Clock()

        async def run(source: FhirBulk) -> list[float]:
            waits = []
            cursor: bytes | None = None
            for _ in range(9):
                cursor = (await source.fetch("Claim", cursor)).cursor
                cursor = (await source.fetch("Claim", cursor)).cursor
                with pytest.raises(SourceFault) as caught:
                    await source.fetch("Claim", cursor)
                waits.append(caught.value.retry_after_s or 0)
                clock.now_s += waits[-1] + 1
            return waits

        waits = with_source(server.base_url, run, clock)
        assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
        assert server.exports == 9


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    with bulk_server() as server:
        server.put("a", claims(1))
        clock = Clock()

        async def run(source: FhirBulk) -> None:
            cursor, _ = await to_the_end(source)
            clock.now_s -= 400 * 86_400
            await to_the_end(source, cursor)

        with_source(server.base_url, run, clock)
        assert server.exports == 2


# Deleted records and errors.


def _deletion(*urls: str) -> dict[str, Any]:
    entries = [{"request": {"method": "DELETE", "url": url}} for url in urls]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def test_what_the_server_deleted_comes_as_a_record_that_takes_back() -> None:
    with bulk_server(deleted=("gone",)) as server:
        server.put("a", claims(2))
        server.put("gone", [_deletion("Claim/b0009", "Patient/p1"), _deletion("Claim/b0010")])
        _, seen = with_source(server.base_url, to_the_end)
        assert seen == ["b0000", "b0001", "b0009", "b0010"]
        kept = ", deleted_withdraws: false"
        _, seen = with_source(server.base_url, to_the_end, source=kept)
        assert seen == ["b0000", "b0001"]


@pytest.mark.parametrize(
    "url", ["{base}/Claim/b0009", "/Claim/b0009", "Claim/b0009/_history/3", "Claim/b0009"]
)
def test_a_deletion_counts_however_its_url_is_written(url: str) -> None:
    with bulk_server(deleted=("gone",)) as server:
        server.put("gone", [_deletion(url.format(base=server.base_url))])
        assert with_source(server.base_url, to_the_end)[1] == ["b0009"]


@pytest.mark.parametrize(
    "line",
    [
        claim("b0009"),
        _deletion("http://10.0.0.1/fhir/Claim/b0009"),
        _deletion("Claim?identifier=9"),
        _deletion("b0009"),
        _deletion(""),
        {"resourceType": "Bundle", "entry": [{"resource": claim("b0009")}]},
        {"resourceType": "Bundle", "entry": [{"request": {"method": "PUT", "url": "Claim/b9"}}]},
    ],
    ids=["record", "elsewhere", "search", "bare-id", "empty", "no-request", "put"],
)
def test_a_list_of_deletions_that_says_something_else_is_not_passed_over(
    line: dict[str, Any],
) -> None:
    with bulk_server(deleted=("gone",)) as server:
        server.put("gone", [line])
        assert reason_of(server) == ("SOURCE_DELETED_MALFORMED", [])


def _twice(key: bytes) -> Callable[[str, Reply], Reply]:
    """A list of that name stands once more, empty, at the end of the first object."""

    def twist(_: str, reply: Reply) -> Reply:
        status, headers, body = reply
        first, rest = body.split(b"\n", 1) if b"\n" in body else (body, b"")
        told = first.rstrip()[:-1] + b', "' + key + b'": []}\n'
        return status, {**headers, "Content-Length": str(len(told + rest))}, told + rest

    return twist


@pytest.mark.parametrize(
    ("path", "key", "reason"),
    [
        ("status/", b"output", "SOURCE_EXPORT_MALFORMED"),
        ("files/gone", b"entry", "SOURCE_DELETED_MALFORMED"),
        ("files/problems", b"issue", "SOURCE_EXPORT_INCOMPLETE"),
    ],
)
def test_a_list_that_stands_twice_is_not_read_by_its_last(
    path: str, key: bytes, reason: str
) -> None:
    """What stood in the first one would be lost: records, deletions, what the server could not."""
    twist = twisted(path, lambda reply: _twice(key)(path, reply))
    with bulk_server(deleted=("gone",), errors=("problems",), twist=twist) as server:
        server.put("a", claims(2))
        server.put("gone", [_deletion("Claim/b0001")])
        outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}
        server.put("problems", [outcome])
        assert reason_of(server)[0] == reason


@pytest.mark.parametrize(
    ("severity", "reason"), [("error", "SOURCE_EXPORT_INCOMPLETE"), ("warning", "")]
)
def test_errors_of_an_export_are_heard(severity: str, reason: str) -> None:
    with bulk_server(errors=("problems",)) as server:
        server.put("a", claims(2))
        outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": severity}]}
        server.put("problems", [outcome])
        if reason:
            assert reason_of(server) == (reason, ids(2))
        else:
            assert with_source(server.base_url, to_the_end)[1] == ids(2)


# Memory.


def test_a_file_far_larger_than_memory_may_grow_is_read_in_pieces() -> None:
    with bulk_server() as server:
        big = json.dumps({**claim("x"), "text": "y" * 500_000}).encode()
        server.files["a"] = b"".join(
            big.replace(b'"id": "x"', f'"id": "x{n}"'.encode()) + b"\n" for n in range(150)
        )
        assert len(server.files["a"]) > 70 << 20

        async def run(source: FhirBulk) -> int:
            count = 0
            cursor: bytes | None = None
            tracemalloc.start()
            try:
                for _ in range(STEPS):
                    page = await source.fetch("Claim", cursor)
                    cursor, count = page.cursor, count + len(page.records)
                    if page.swept:
                        return count
                return -1
            finally:
                assert tracemalloc.get_traced_memory()[1] < 40 << 20
                tracemalloc.stop()

        assert with_source(server.base_url, run) == 150


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_cut_wherever_the_pieces_end(size: int) -> None:
    text = b"one\n\ntwo\r\nthree"
    lines = Lines(100)
    found = []
    for start in range(0, len(text), size):
        found += [(line, lines.offset) for line in lines.feed(text[start : start + size])]
    assert found == [(b"one", 4), (b"", 5), (b"two\r", 10)]
    assert (lines.last(), lines.offset) == (b"three", len(text))


def test_a_line_above_the_limit_is_never_gathered() -> None:
    lines = Lines(10)
    assert list(lines.feed(b"0123456789\n")) == [b"0123456789"]
    with pytest.raises(LineTooLong):
        list(lines.feed(b"01234567890"))


def unpacked(packed: bytes, piece: int = 7, ratio: int = 100, most: int = 1 << 30) -> bytes:
    gunzip = Gunzip(ratio, most)
    parts = [
        part for at in range(0, len(packed), piece) for part in gunzip.feed(packed[at : at + piece])
    ]
    gunzip.end()
    return b"".join(parts)


def test_gzip_is_unpacked_member_by_member_and_a_bomb_is_not() -> None:
    two = gzip.compress(b"one") + gzip.compress(b"two")
    assert unpacked(two) == b"onetwo"
    for broken in (two[:-1], two + b"x", two + b"\0", b"\x1f\x8b\x08garbage", two[:-4] + b"1234"):
        with pytest.raises(PackedBadly):
            unpacked(broken)
    with pytest.raises(PackedBadly):
        unpacked(gzip.compress(bytes(50 << 20)), piece=4096)
    with pytest.raises(PackedBadly):
        unpacked(gzip.compress(b"0123456789" * 1000), most=9_999)


# A real server, with its own export and SMART authentication.


def test_a_real_servers_export_with_a_real_token(tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048)
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(key.as_pem(private=True))
    public = {"keys": [key.as_dict(private=False)]}
    allowed = {"client_id": "lipei", "jwks": public, "scopes": "system/*.*"}
    auth = f', auth: {{client_id: lipei, key_file: {path}, scopes: ["system/*.*"]}}'
    with fhir_server(tmp_path / "server", [allowed]) as server:
        server.put([*around(), *claims(45)])
        seen = with_source(server.base_url, to_the_end, source=auth)[1]
        assert Counter(seen) == dict.fromkeys(ids(45), 1)
        found = with_source(server.base_url, lambda s: s.look_up([("Patient", "p1")]), source=auth)
        assert list(found) == [("Patient", "p1")]
        # The control: without a token there is no export.
        with pytest.raises(SourceFault) as caught:
            with_source(server.base_url, to_the_end)
        assert caught.value.reason == "SOURCE_REFUSES"
