"""The cursor misses nothing and doubles nothing, whatever the server does; or it says so aloud."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import httpx
import msgspec
import pytest

from services.his_bridge.core.reconciliation import DayTotals
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.port import SourceFault
from tests.services.his_bridge.records import BASE_URL, claim, profile
from tests.services.his_bridge.sources.odd_server import START, OddServer, odd_server

R = TypeVar("R")
OVERLAP_S = 5
PATIENCE = 300  # pages that no test needs; reaching it is an endless loop


def profile_for(server: OddServer, page_size: int) -> SourceProfile:
    def change(text: str) -> str:
        return text.replace(BASE_URL, server.base_url).replace(
            "page_size: 50", f"page_size: {page_size}, attempts: 1, max_body_mib: 1"
        )

    return profile(change)


def with_source(
    server: OddServer, page_size: int, work: Callable[[FhirRest], Awaitable[R]], **more: Any
) -> R:
    async def run() -> R:
        source = FhirRest(profile_for(server, page_size), **more)
        try:
            return await work(source)
        finally:
            await source.close()

    return asyncio.run(run())


async def sweep(source: FhirRest, cursor: bytes | None) -> tuple[bytes, list[str]]:
    """One sweep to its end; ids in the order of arrival, with repetitions."""
    seen: list[str] = []
    for _ in range(PATIENCE):
        page = await source.fetch("Claim", cursor)
        cursor = page.cursor
        seen += [record.record_id for record in page.records]
        if page.swept:
            return cursor, seen
    raise AssertionError("the sweep does not end")


def sweep_once(server: OddServer, page_size: int = 20) -> list[str]:
    _, seen = with_source(server, page_size, lambda source: sweep(source, None))
    return seen


def fill(server: OddServer, count: int, step: timedelta = timedelta(seconds=1)) -> None:
    for number in range(count):
        server.write(f"r{number:04d}", updated=server.now + number * step)
    server.now += count * step


@pytest.mark.parametrize("count", [0, 1, 2, 19, 20, 21, 40, 199])
@pytest.mark.parametrize("tells_total", [True, False])
def test_a_sweep_reads_everything_once(count: int, tells_total: bool) -> None:
    with odd_server(tells_total=tells_total) as server:
        fill(server, count)
        seen = sweep_once(server)
        assert Counter(seen) == dict.fromkeys(server.ids(), 1)


@pytest.mark.parametrize(("tells_total", "lefts"), [(True, [25, 5, 0]), (False, [None] * 3)])
def test_how_many_follow_is_what_the_server_counts(
    tells_total: bool, lefts: list[int | None]
) -> None:
    async def pages(source: FhirRest) -> list[int | None]:
        found, cursor, swept = [], None, False
        while not swept:
            page = await source.fetch("Claim", cursor)
            cursor, swept = page.cursor, page.swept
            if page.records:
                found.append(page.left)
        return found

    with odd_server(tells_total=tells_total) as server:
        fill(server, 45)
        found = with_source(server, 20, pages)
    assert found[:3] == lefts


def test_no_offset_is_ever_asked_for() -> None:
    with odd_server() as server:
        fill(server, 60)
        sweep_once(server)
        assert not [request for request in server.requests if "_offset" in request]


# Late commits.


def hospital_day(seed: int) -> list[tuple[float, float]]:
    """Times of 1,200 writes and how long each takes to commit: mostly at once, at most 4 s."""
    chance = random.Random(seed)
    writes = [
        (chance.uniform(0, 120), chance.choice([0, 0, 0, chance.uniform(0, 4)]))
        for _ in range(1200)
    ]
    return sorted(writes)


def busy_hour(seed: int) -> list[tuple[float, float]]:
    """More writes per request than a page holds: one sweep runs behind them all the time."""
    chance = random.Random(seed)
    return [(n / 250, chance.choice([0, 0, 0, chance.uniform(0, 4)])) for n in range(2000)]


def late_writers(server: OddServer, writes: list[tuple[float, float]]) -> None:
    for number, (at, delay) in enumerate(writes):
        moment = server.now + timedelta(milliseconds=int(at * 1000))
        server.write(f"r{number:04d}", updated=moment, delay=timedelta(seconds=delay))


END = START + timedelta(seconds=135)


async def naive(source: FhirRest, server: OddServer) -> set[str]:
    """What everybody writes first: ask for what is newer than the newest that was seen."""
    seen: set[str] = set()
    watermark = ""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        while server.now < END:
            query = {"_sort": "_lastUpdated", "_count": "20"}
            if watermark:
                query["_lastUpdated"] = f"gt{watermark}"
            answer = await client.get(f"{server.base_url}/Claim", params=query)
            for entry in answer.json()["entry"]:
                seen.add(entry["resource"]["id"])
                watermark = entry["resource"]["meta"]["lastUpdated"]
    return seen


async def ours(source: FhirRest, server: OddServer) -> set[str]:
    seen: set[str] = set()
    cursor: bytes | None = None
    while server.now < END:
        cursor, found = await sweep(source, cursor)
        seen |= set(found)
    return seen


@pytest.mark.parametrize(("reader", "misses"), [(naive, True), (ours, False)])
def test_rows_committed_late_are_missed_by_a_naive_cursor_and_not_by_ours(
    reader: Callable[[FhirRest, OddServer], Awaitable[set[str]]], misses: bool
) -> None:
    with odd_server(tick=timedelta(milliseconds=500)) as server:
        late_writers(server, hospital_day(7))
        seen = with_source(server, 20, lambda source: reader(source, server))
        missed = server.ids() - seen
        assert bool(missed) is misses, len(missed)


def test_one_long_sweep_behind_a_busy_hospital_misses_none_either() -> None:
    """The next sweep begins where this one began, not where it ended."""
    with odd_server(tick=timedelta(milliseconds=100)) as server:
        late_writers(server, busy_hour(7))
        server.now += timedelta(seconds=1)

        async def two_sweeps(source: FhirRest) -> tuple[set[str], set[str]]:
            cursor, first = await sweep(source, None)
            assert server.now > START + timedelta(seconds=8)
            server.now += timedelta(seconds=10)
            _, second = await sweep(source, cursor)
            return set(first), set(second)

        first, second = with_source(server, 20, two_sweeps)
        assert server.ids() - first  # the control
        assert server.ids() - first - second == set()


# Records that change while they are read.


def busy(server: OddServer) -> None:
    """With every request the hospital changes one old record: it moves to the end."""
    record_id = f"r{7 * len(server.requests) % 200:04d}"
    server.now += timedelta(milliseconds=10)
    server.write(record_id)


def drifted(seen: list[tuple[str, str]], server: OddServer) -> tuple[int, int]:
    """How many records were never seen, and how many were seen twice in one and the same version.

    Whatever changed after the reading ended counts by the version that could be seen.
    """
    missed = server.ids() - {record_id for record_id, _ in seen}
    return len(missed), len(seen) - len(set(seen))


def test_paging_by_offset_drifts_and_our_cursor_does_not() -> None:
    with odd_server(before=busy) as server:
        fill(server, 200)
        seen: list[tuple[str, str]] = []
        with httpx.Client(trust_env=False, timeout=60) as client:
            for offset in range(0, 220, 20):
                query = {"_sort": "_lastUpdated", "_count": "20", "_offset": str(offset)}
                entries = client.get(f"{server.base_url}/Claim", params=query).json()["entry"]
                resources = [entry["resource"] for entry in entries]
                seen += [(one["id"], one["meta"]["versionId"]) for one in resources]
        assert drifted(seen, server)[0] > 0  # the control
    with odd_server(before=busy) as server:
        fill(server, 200)

        async def read(source: FhirRest) -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            cursor: bytes | None = None
            for _ in range(PATIENCE):
                page = await source.fetch("Claim", cursor)
                cursor = page.cursor
                found += [(record.record_id, record.version) for record in page.records]
                if page.swept:
                    return found
            raise AssertionError("the sweep does not end")

        assert drifted(with_source(server, 20, read), server) == (0, 0)
        # And it came to an end, though the hospital never rested.
        assert len(server.requests) < 30


def inserting(server: OddServer) -> None:
    """With every request a record comes in at the front, as rows do that commit late.

    Pages by offset move on by one, and what stood at their border is seen twice.
    """
    server.write(f"n{len(server.requests):04d}", updated=START - timedelta(seconds=1))


def test_records_that_come_in_before_the_place_double_pages_by_offset_and_not_ours() -> None:
    with odd_server(before=inserting) as server:
        fill(server, 200)
        seen: list[tuple[str, str]] = []
        with httpx.Client(trust_env=False, timeout=60) as client:
            for offset in range(0, 240, 20):
                query = {"_sort": "_lastUpdated", "_count": "20", "_offset": str(offset)}
                entries = client.get(f"{server.base_url}/Claim", params=query).json()["entry"]
                seen += [(entry["resource"]["id"], "") for entry in entries]
        assert drifted(seen, server)[1] > 0  # the control
    with odd_server(before=inserting) as server:
        fill(server, 200)
        found = sweep_once(server)
        assert max(Counter(found).values()) == 1
        assert {record_id for record_id in server.ids() if record_id[0] == "r"} <= set(found)


def test_a_search_that_the_server_forgot_begins_anew_and_only_once() -> None:
    gone: tuple[int, dict[str, str], bytes] = (410, {}, b"")
    with odd_server() as server:
        fill(server, 60)

        def forget(odd: OddServer) -> None:
            if len(odd.requests) == 4:
                odd.script = [gone]

        server.before = forget
        seen = sweep_once(server)
        # The whole window comes once more: the inbox knows what came.
        assert set(seen) == server.ids()
        assert len(seen) > 60
    with odd_server(script=[(200, {}, b'{"resourceType": "Bundle"}'), gone, gone]) as server:
        with pytest.raises(SourceFault) as caught:
            sweep_once(server)
        assert caught.value.reason == "SOURCE_GONE"


# One moment, many records.


@pytest.mark.parametrize(
    ("count", "cap"),
    [(230, 1000), (230, 50), (50, 50), (51, 50), (49, 50), (20, 20)],
)
def test_any_number_of_records_of_one_moment_are_read_once(count: int, cap: int) -> None:
    with odd_server(cap=cap) as server:
        fill(server, 3)
        fill(server, count, step=timedelta(0))
        server.now += timedelta(seconds=1)
        for number in range(3):
            server.write(f"z{number}")
        seen = sweep_once(server)
        assert Counter(seen) == dict.fromkeys(server.ids(), 1)


@pytest.mark.parametrize("tells_total", [True, False])
@pytest.mark.parametrize(
    "odd", [{"ignores": frozenset({"_id:not"})}, {"refuses": frozenset({"_id:not"})}]
)
def test_a_server_that_cannot_show_the_rest_is_reported_not_believed(
    odd: dict[str, frozenset[str]], tells_total: bool
) -> None:
    with odd_server(cap=50, tells_total=tells_total, **odd) as server:
        fill(server, 80, step=timedelta(0))
        with pytest.raises(SourceFault) as caught:
            sweep_once(server)
        assert caught.value.reason == "SOURCE_PAGE_TOO_SMALL"
        assert caught.value.retry_after_s is None


@pytest.mark.parametrize("count", [1, 5, 120])
def test_a_server_that_cannot_exclude_ids_still_comes_to_an_end(count: int) -> None:
    with odd_server(cap=50, refuses=frozenset({"_id:not"})) as server:
        fill(server, count)
        assert Counter(sweep_once(server)) == dict.fromkeys(server.ids(), 1)


# Servers that do not do what they are asked.


@pytest.mark.parametrize(
    ("ignored", "reason"),
    [("_lastUpdated", "SOURCE_IGNORES_FILTER"), ("_sort", "SOURCE_IGNORES_SORT")],
)
def test_a_server_that_ignores_what_it_is_asked_is_found_out(ignored: str, reason: str) -> None:
    with odd_server(ignores=frozenset({ignored})) as server:
        fill(server, 60)
        if ignored == "_sort":
            server.records = dict(reversed(server.records.items()))
        with pytest.raises(SourceFault) as caught:
            sweep_once(server)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b"<html>please log in</html>"), "SOURCE_NOT_FHIR"),
        ((404, {}, b""), "SOURCE_GONE"),
        ((400, {}, b"{}"), "SOURCE_REFUSES_SEARCH"),
    ],
    ids=["html", "404", "400"],
)
def test_an_answer_that_is_no_search_is_a_fault(
    answer: tuple[int, dict[str, str], bytes], reason: str
) -> None:
    with odd_server(script=[answer]) as server, pytest.raises(SourceFault) as caught:
        sweep_once(server)
    assert caught.value.reason == reason


def test_a_record_without_time_is_handed_on_once_a_page_and_stops_nobody() -> None:
    with odd_server() as server:
        fill(server, 50)
        del server.records["r0003"].resource["meta"]["lastUpdated"]
        assert set(sweep_once(server)) == server.ids()


def test_a_page_above_the_limit_is_asked_for_in_smaller_ones() -> None:
    with odd_server() as server:
        for number in range(12):
            server.now += timedelta(seconds=1)
            server.write(f"r{number}", text="x" * 200_000)
        assert Counter(sweep_once(server)) == dict.fromkeys(server.ids(), 1)
        server.write("big", text="x" * 2_000_000)
        with pytest.raises(SourceFault) as caught:
            sweep_once(server)
        assert caught.value.reason == "SOURCE_TOO_LARGE"


# The next sweep.


def test_the_next_sweep_begins_an_overlap_before_the_newest_of_the_last() -> None:
    with odd_server() as server:
        fill(server, 60)

        async def twice(source: FhirRest) -> list[str]:
            cursor, _ = await sweep(source, None)
            _, again = await sweep(source, cursor)
            return again

        again = with_source(server, 20, twice)
        assert again == [f"r{number:04d}" for number in range(59 - OVERLAP_S, 60)]


@pytest.mark.parametrize("ahead", [1, 45])
@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("behind_s", [0, 100 * 86_400])
def test_records_from_the_future_hide_nothing_and_come_once_a_sweep(
    ahead: int, empty: bool, behind_s: int
) -> None:
    """Where one of them comes while an empty server is swept, too; or its clock is behind ours."""
    with odd_server() as server:
        fill(server, 0 if empty else 60)
        future = [f"f{number}" for number in range(ahead)]

        def write(odd: OddServer) -> None:
            if len(odd.requests) == 1:
                for number, record_id in enumerate(future):
                    moment = datetime(2099, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
                    odd.write(record_id, updated=moment, delay=odd.now - moment)

        server.before = write

        async def thrice(source: FhirRest) -> list[list[str]]:
            cursor, first = await sweep(source, None)
            cursor, second = await sweep(source, cursor)
            server.now += timedelta(days=1)
            server.write("new")
            _, third = await sweep(source, cursor)
            return [first, second, third]

        def clock() -> float:
            return server.now.timestamp() + behind_s

        found = with_source(server, 20, thrice, now_s=clock)
        assert set().union(*found) == server.ids()
        assert "new" in found[2]
        for seen in found:
            assert max(Counter(seen).values()) == 1
        assert set(future) <= set(found[2])


def test_a_record_that_commits_late_while_the_sweep_runs_is_the_next_ones() -> None:
    """With a record from the future the sweep's own end says nothing about what was seen."""
    now = [START.timestamp() + 100]
    with odd_server() as server:
        fill(server, 60)
        far = datetime(2099, 1, 1, tzinfo=UTC)
        server.write("far", updated=far, delay=server.now - far)

        async def twice(source: FhirRest) -> set[str]:
            cursor, _ = await sweep(source, None)
            # The sweep took a minute, and this came at its beginning.
            now[0] += 60
            server.now = START + timedelta(seconds=160)
            server.write("late", updated=START + timedelta(seconds=101))
            return set((await sweep(source, cursor))[1])

        assert "late" in with_source(server, 20, twice, now_s=lambda: now[0])


def test_a_cursor_is_only_bytes_and_can_be_taken_up_by_another_process() -> None:
    with odd_server() as server:
        fill(server, 70)
        seen: list[str] = []
        cursor: bytes | None = None
        for _ in range(PATIENCE):
            at = cursor
            page = with_source(server, 20, lambda source: source.fetch("Claim", at))  # noqa: B023 called at once
            cursor = page.cursor
            seen += [record.record_id for record in page.records]
            if page.swept:
                break
        assert Counter(seen) == dict.fromkeys(server.ids(), 1)


# Look-ups and reconciliation.


def test_what_is_pointed_at_comes_in_batches_and_what_is_gone_is_left_out() -> None:
    with odd_server() as server:
        fill(server, 250)
        keys = [("Claim", record_id) for record_id in server.ids()]
        found = with_source(server, 20, lambda source: source.look_up(keys))
        assert set(found) == set(keys)
        assert len(server.requests) == 3
        server.script = [(200, {}, b'{"resourceType": "Bundle"}'), (410, {}, b"")]
        assert with_source(server, 20, lambda s: s.look_up([("Claim", "gone")])) == {}


def test_reconciliation_counts_what_the_source_holds_per_day() -> None:
    with odd_server() as server:
        for key, day, amount in (("a", 1, 10.5), ("b", 1, 20), ("c", 2, 1), ("d", 9, 5)):
            resource = claim(key)
            resource["billablePeriod"] = {"end": f"2026-03-{day:02d}"}
            resource["total"]["value"] = amount
            server.now += timedelta(seconds=1)
            server.write(key, **{k: v for k, v in resource.items() if k not in ("id", "meta")})
        cancelled = {**claim("e"), "status": "cancelled"}
        server.write("e", **{k: v for k, v in cancelled.items() if k != "id"})
        first, last = date(2026, 3, 1), date(2026, 3, 2)
        found = with_source(server, 2, lambda source: source.reconcile(first, last))
        assert found == {
            first: DayTotals(bills={"Claim/a": 1050, "Claim/b": 2000}),
            last: DayTotals(bills={"Claim/c": 100}),
        }


def test_a_profiles_limits_are_its_own() -> None:
    assert msgspec.structs.replace(profile().limits, page_size=1) != profile().limits


@pytest.mark.parametrize("mode", ["outcome", "match", None])
@pytest.mark.parametrize("severity", ["fatal", "error", "warning", "information"])
def test_an_answer_that_reports_errors_ends_no_sweep(mode: str | None, severity: str) -> None:
    """Without records it looks like the end, and what it leaves out would be behind the cursor."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": severity}]}
    entry = {"resource": outcome, **({"search": {"mode": mode}} if mode else {})}
    body = msgspec.json.encode({"resourceType": "Bundle", "type": "searchset", "entry": [entry]})
    newest = msgspec.json.encode({"resourceType": "Bundle", "type": "searchset"})

    def answer(server: OddServer) -> Any:
        server.script = [(200, {}, newest), (200, {}, body)]
        return with_source(server, 20, lambda source: sweep(source, None))

    with odd_server() as server:
        if severity in ("fatal", "error"):
            with pytest.raises(SourceFault) as caught:
                answer(server)
            assert caught.value.reason == "SOURCE_SEARCH_INCOMPLETE"
        else:
            assert answer(server)[1] == []


@pytest.mark.parametrize("kind", ["document", "batch-response", "history"])
def test_a_bundle_that_answers_no_search_is_none(kind: str) -> None:
    body = msgspec.json.encode({"resourceType": "Bundle", "type": kind})
    with odd_server(script=[(200, {}, body)]) as server, pytest.raises(SourceFault) as caught:
        with_source(server, 20, lambda source: sweep(source, None))
    assert caught.value.reason == "SOURCE_NOT_FHIR"


def test_an_answer_with_a_key_twice_ends_no_sweep() -> None:
    """What stands under the first `entry` is read by nobody, and would be behind the cursor."""
    claim = msgspec.json.encode({"resourceType": "Claim", "id": "b0001"})
    once = b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":' + claim + b"}]"
    for body, reason in ((once + b',"entry":[]}', "SOURCE_KEY_REPEATED"), (once + b"}", "")):
        with odd_server() as server:
            empty = msgspec.json.encode({"resourceType": "Bundle", "type": "searchset"})
            server.script = [(200, {}, empty), (200, {}, body)]
            if not reason:
                assert sweep_once(server) == ["b0001"]  # the control
                continue
            with pytest.raises(SourceFault) as caught:
                sweep_once(server)
            assert caught.value.reason == reason
