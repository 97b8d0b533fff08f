"""Whatever bytes come, a record is read or its faults are named; nothing is raised or guessed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.outcomes import BillStated, BillWithdrawn, KeptOut, SetAside
from services.his_bridge.dialects.fhir_r4 import ClaimReader
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
