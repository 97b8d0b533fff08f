"""Whatever bytes come, a record is read or its faults are named; nothing is raised or guessed."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.faults import Reason
from services.his_bridge.core.outcomes import BillStated, BillWithdrawn, KeptOut, SetAside
from services.his_bridge.dialects.fhir_r4 import ClaimReader
from services.his_bridge.dialects.fhir_r4.structs import Claim
from services.his_bridge.dialects.strict_json import (
    MAX_FAULTS,
    StrictDecoder,
    meaning_of,
    names_of,
)
from tests.services.his_bridge.records import TERMS, as_bytes, everything, judge_claim, tokens

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.just({}),
    st.just([]),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in items:
        found += places(value, (*path, key))
    return found


GOOD = everything()["Claim"]


def spoilt(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    claim = json.loads(json.dumps(GOOD))
    node = claim
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return dict(claim)


@given(st.sampled_from(places(GOOD)), SCALARS)
def test_any_value_in_any_place_is_read_or_named(path: tuple[Any, ...], value: Any) -> None:
    resources = {**everything(), "Claim": spoilt(path, value)}
    outcome = judge_claim(resources)
    assert isinstance(outcome, BillStated | BillWithdrawn | KeptOut | SetAside)
    if isinstance(outcome, BillStated):
        assert sum(line.billed for line in outcome.bill.lines) == outcome.bill.total
    if isinstance(outcome, SetAside):
        assert outcome.faults


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_read_or_named(noise: bytes, at: int) -> None:
    good = as_bytes(GOOD)
    raw = good[:at] + noise + good[at + len(noise) :]
    assert judge_claim(everything(), raw=raw) is not None
    ClaimReader(TERMS, tokens).glance(noise)


_EXPECTED = re.compile(r"Expected `([^`]*)`.* - at `\$\.([^`]*)`$", re.DOTALL)
_STEP = re.compile(r"([A-Za-z_]+)|\[(\d+)\]")
_NOTHING: dict[str, Any] = {"object": {}, "array": [], "str": ""}


def one_after_the_other(claim: Any) -> set[str]:
    """What the decoder itself calls wrong: it is asked anew after each mended place."""
    found: set[str] = set()
    while wrong := _first_wrong(claim):
        expected, path = wrong
        assert path not in found
        found.add(path)
        node, steps = claim, [name or int(index) for name, index in _STEP.findall(path)]
        for step in steps[:-1]:
            node = node[step]
        node[steps[-1]] = None if "null" in expected else _NOTHING[expected]
    return found


def _first_wrong(claim: Any) -> tuple[str, str] | None:
    try:
        msgspec.json.decode(json.dumps(claim).encode(), type=Claim)
    except msgspec.ValidationError as error:
        expected, path = _EXPECTED.findall(str(error))[0]
        return expected, path
    return None


@given(st.lists(st.tuples(st.sampled_from(places(GOOD)), SCALARS), min_size=1, max_size=12))
def test_all_wrong_types_are_named_at_once_as_the_decoder_names_each(
    spots: list[tuple[tuple[Any, ...], Any]],
) -> None:
    claim = json.loads(json.dumps(GOOD))
    for path, value in spots:
        node = claim
        for key in path[:-1]:
            node = node[key] if isinstance(node, dict | list) and _has(node, key) else None
        if isinstance(node, dict | list) and _has(node, path[-1]):
            node[path[-1]] = value if value == value else None  # noqa: PLR0124 - no NaN
    _, faults = StrictDecoder(Claim, names_of(Claim)).decode(as_bytes(claim))
    named = {fault.path for fault in faults if fault.reason is Reason.WRONG_TYPE}
    assert named == one_after_the_other(json.loads(as_bytes(claim)))


def _has(node: Any, key: Any) -> bool:
    return key in node if isinstance(node, dict) else isinstance(key, int) and key < len(node)


class _Counting:
    """Counts how often a record is decoded."""

    def __init__(self) -> None:
        self.times = 0

    def decode(self, raw: bytes) -> Claim:
        self.times += 1
        return msgspec.json.decode(raw, type=Claim)


@pytest.mark.parametrize("broken", [1, 10, 99])
def test_a_record_is_decoded_as_often_however_much_of_it_is_broken(
    broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once more, it would take a hundred times as long: a way to hold up a hospital's pull."""
    decoder, counting = StrictDecoder(Claim, names_of(Claim)), _Counting()
    monkeypatch.setattr(decoder, "_decoder", counting)
    items = [{"net": 5} if at % 2 else 5 for at in range(broken)]
    claim, faults = decoder.decode(as_bytes({**GOOD, "item": [*items, {"sequence": 7}]}))
    assert claim is not None
    assert len(claim.item) == broken + 1
    assert [fault.path for fault in faults] == [
        f"item[{at}]{'.net' if at % 2 else ''}" for at in range(broken)
    ]
    assert counting.times == 2


def test_of_more_faults_than_anybody_reads_some_are_named() -> None:
    decoder = StrictDecoder(Claim, names_of(Claim))
    for item in ("5", '{"sequence": 1, "sequence": 1}'):
        raw = b'{"item": [' + b",".join([item.encode()] * 1_000) + b"]}"
        claim, faults = decoder.decode(raw)
        assert claim is None
        assert len(faults) == MAX_FAULTS


HALVES = ("\\ud83d", "\\udc00", "cut off \\ud83d\\u0041", "\\uD83D\\uD83D\\uDE00")


@pytest.mark.parametrize("half", HALVES)
def test_half_a_character_is_named_where_it_stands(half: str) -> None:
    spot = '"resourceType": "Claim"'
    whole = json.dumps(GOOD)
    assert spot in whole
    for part, path in (
        (f'"note": [{{"text": "{half}"}}]', "?[0].text"),
        (f'"language": "{half}", "x{half}": 1', "?"),
        (f'"created": "{half}"', "created"),
    ):
        kept = {key: value for key, value in GOOD.items() if key != "created"}
        raw = json.dumps(kept).replace(spot, f"{spot}, {part}").encode()
        outcome = judge_claim(everything(), raw=raw)
        assert isinstance(outcome, SetAside)
        assert {(fault.reason, fault.path) for fault in outcome.faults} == {
            (Reason.TEXT_MALFORMED, path)
        }
    # A whole pair is a character, and half of one after a backslash is letters.
    pair = whole.replace(spot, f'{spot}, "note": [{{"text": "\\ud83d\\ude00 \\\\ud83d"}}]')
    assert isinstance(judge_claim(everything(), raw=pair.encode()), BillStated)


@pytest.mark.parametrize(
    "other",
    [
        b'{ "a" : [1.50, "\\u8aa0"],\n "b": {"c": null, "d": "\\/"} }',
        '{"b": {"d": "/", "c": null}, "a": [1.50, "誠"]}'.encode(),
    ],
)
def test_one_record_written_in_two_ways_means_the_same(other: bytes) -> None:
    one = '{"a":[1.50,"誠"],"b":{"c":null,"d":"/"}}'.encode()
    assert meaning_of(other) == meaning_of(one)


@pytest.mark.parametrize(
    "other",
    [b'{"a": 1.5}', b'{"a": "1.50"}', b'{"a": 1.50, "a": 1.50}', b'{"a": [1.50]}', b'{"a": NaN}'],
)
def test_what_differs_in_a_value_or_a_key_means_something_else(other: bytes) -> None:
    assert meaning_of(other) != meaning_of(b'{"a": 1.50}')


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 9000, b'"\\ud800"'])
def test_bytes_that_are_no_json_mean_themselves(raw: bytes) -> None:
    assert meaning_of(raw) in (raw, b'"\xed\xa0\x80"', b'"\\ud800"')
