"""A page is cut into its records byte for byte, and one bad record takes no other along."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.dialects.fhir_r4 import KeyRepeated, NotABundle, frame
from services.his_bridge.dialects.fhir_r4.bundle import moment_of


def record(key: str, **more: Any) -> dict[str, Any]:
    meta = {"versionId": "1", "lastUpdated": "2026-03-01T08:00:00.123Z"}
    return {"resourceType": "Claim", "id": key, "meta": meta, **more}


def page(*records: str, **more: Any) -> bytes:
    entries = ",".join(f'{{"fullUrl": "x", "resource": {one}}}' for one in records)
    rest = "".join(f', "{key}": {json.dumps(value)}' for key, value in more.items())
    return f'{{"resourceType": "Bundle", "entry": [{entries}]{rest}}}'.encode()


def test_records_come_out_byte_for_byte() -> None:
    texts = [json.dumps(record("a"), indent=3), json.dumps(record("b"))]
    framed = frame(page(*texts), "Claim")
    assert [entry.raw for entry in framed.entries] == [text.encode() for text in texts]
    assert [(e.record_id, e.version) for e in framed.entries] == [("a", "1"), ("b", "1")]
    assert framed.entries[0].updated == datetime(2026, 3, 1, 8, 0, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    "bad",
    [
        b'{"resourceType": "Claim", "id": "x", "total": NaN}',
        b'{"resourceType": "Claim", "id": "x", "total": -Infinity, "t": "}]\\"{"}',
        b'{"resourceType": "Claim", "id": "x", "text": "\xff"}',
        b'{"resourceType": "Claim", "id": "x", "n": 01}',
        b'{"resourceType": "Claim", "id": "x", "note": [{"text": "\\ud83d"}]}',
        b'{"resourceType": "Claim", "id": "\\udc00", "\\ud83d": {}}',
        b'{"id": "x"}',
        b'{"resourceType": ["Claim"]}',
    ],
)
def test_a_record_that_cannot_be_read_stays_alone_and_is_not_lost(bad: bytes) -> None:
    content = page(json.dumps(record("a")), "@@", json.dumps(record("b"))).replace(b"@@", bad)
    first, middle, last = frame(content, "Claim").entries
    assert [first.record_id, last.record_id] == ["a", "b"]
    assert middle.raw == bad


def test_a_record_without_a_proper_id_is_told_apart_by_its_bytes() -> None:
    first, second = '{"resourceType": "Claim", "id": 5}', '{"resourceType": "Claim", "id": "a b"}'
    entries = frame(page(first, second), "Claim").entries
    assert len({entry.record_id for entry in entries}) == 2
    assert all(entry.record_id.startswith("sha256-") for entry in entries)
    again = frame(page(second, first), "Claim").entries
    assert {e.record_id for e in again} == {e.record_id for e in entries}


def test_warnings_and_included_records_are_left_out() -> None:
    entries = [
        {"resource": record("a"), "search": {"mode": "match"}},
        {"resource": {"resourceType": "Patient", "id": "p"}, "search": {"mode": "include"}},
        {"resource": record("b"), "search": {"mode": "include"}},
        {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}},
    ]
    content = json.dumps({"resourceType": "Bundle", "entry": entries}).encode()
    assert [entry.record_id for entry in frame(content, "Claim").entries] == ["a"]


def test_a_next_link_says_more_and_its_absence_says_nothing() -> None:
    text = json.dumps(record("a"))
    assert frame(page(text, link=[{"relation": "next", "url": "x"}]), "Claim").says_more
    assert not frame(page(text, link=[{"relation": "self", "url": "x"}]), "Claim").says_more


@pytest.mark.parametrize(
    "content",
    [b"<html>log in</html>", b"", b"[]", b'{"resourceType": "OperationOutcome"}', b"{", b'"x"'],
)
def test_another_answer_is_refused(content: bytes) -> None:
    with pytest.raises(NotABundle):
        frame(content, "Claim")


A, B = json.dumps(record("a")), json.dumps(record("b"))


@pytest.mark.parametrize(
    "content",
    [
        f'{{"resourceType": "Bundle", "entry": [{{"resource": {A}}}], "entry": []}}',
        f'{{"resourceType": "Bundle", "entry": [{{"resource": {A}}}], "\\u0065ntry": []}}',
        f'{{"resourceType": "Bundle", "entry": [{{"resource": {A}, "resource": {A}}}]}}',
        f'{{"resourceType": "Bundle", "entry": [{{"resource": {A}, "resource": 5}}]}}',
        '{"resourceType": "Bundle", "total": 7, "total": 0}',
        '{"resourceType": "Bundle", "link": [{"relation": "next", "relation": "self"}]}',
        page(A)
        .decode()
        .replace('"fullUrl": "x"', '"search": {"mode": "match", "mode": "outcome"}'),
        f'{{"resourceType": "OperationOutcome", "resourceType": "Bundle", "x": {A}}}',
    ],
    ids=["entry", "escaped", "resource", "number", "total", "relation", "mode", "type"],
)
def test_a_key_twice_outside_the_records_is_refused(content: str) -> None:
    """Of two the last is read, in silence: a bill in the first one would be lost without a word."""
    with pytest.raises(KeyRepeated):
        frame(content.encode(), "Claim")


def test_keys_may_stand_in_several_objects_and_in_texts() -> None:
    """The control: the same bytes in a text, twice the same record, a record that is none."""
    inside = json.dumps({**record("c"), "note": f'"entry": [{A}], "entry": [', "x": json.loads(A)})
    content = page(A, A, "5", inside, '"entry"', B, id=f'"resource": {A}', entries=[{}, {}])
    assert [e.record_id for e in frame(content, "Claim").entries if e.record_id in "abc"] == [
        *("a", "a", "c", "b")
    ]


def test_a_record_that_says_two_kinds_is_not_passed_over() -> None:
    two = A[:-1] + ', "resourceType": "Patient"}'
    other = '{"resourceType": "Patient", "id": "p", "name": 1, "name": 2}'
    entries = frame(page(two, other, B), "Claim").entries
    assert [(entry.kind, entry.record_id) for entry in entries] == [("Claim", "a"), ("Claim", "b")]


def test_an_empty_page_is_a_page() -> None:
    assert frame(b'{"resourceType": "Bundle", "total": 0}', "Claim").entries == ()


@pytest.mark.parametrize(
    "text", ["2026-03-01", "2026-13-01T00:00:00Z", "", None, "٢026-03-01T00:00:00Z"]
)
def test_what_is_no_instant_is_no_time(text: str | None) -> None:
    assert moment_of(text) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page_or_refused(content: bytes) -> None:
    try:
        frame(b'{"resourceType":"Bundle","entry":[{"resource":' + content, "Claim")
    except NotABundle:
        return
