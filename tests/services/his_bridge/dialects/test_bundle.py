"""A page is cut into its records byte for byte, and one bad record takes no other along."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.dialects.fhir_r4 import NotABundle, frame
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
