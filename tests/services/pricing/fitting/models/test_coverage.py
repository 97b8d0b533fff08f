"""Intervals of 95 % of relativities hold the truth as often as they promise.

Raw and indicated, of thin levels and others, after credibility, direction and bounds. Negative
control: with the errors that Poisson and Gamma claim for themselves they hold it too seldom.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby

import pytest

from tests.services.pricing.fitting.models.covered import Held, held

# Yearly claims at the base, and how much plans differ: many claims, few, hardly any.
WORLDS = {"many": (0.25, 0.25), "few": (0.1, 0.1), "hardly": (0.05, 0.4)}


def share(found: Iterable[bool]) -> float:
    one = [*found]
    return sum(one) / len(one)


def books(world: str, seeds: range) -> list[Held]:
    rate, between = WORLDS[world]
    return [one for seed in seeds for one in held(seed, rate=rate, between=between)]


def test_intervals_of_a_dozen_books_hold_the_truth() -> None:
    few = books("few", range(8))
    assert sum(one.thin for one in few) >= 30
    many = books("many", range(5))
    assert 0.90 <= share(one.raw for one in few + many) <= 0.99
    assert 0.90 <= share(one.indicated for one in few + many) <= 0.99
    assert share(one.naive for one in many) < 0.90


@pytest.mark.fault
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("world", [*WORLDS])
def test_intervals_of_two_hundred_books_hold_the_truth(world: str) -> None:
    found = books(world, range(200))
    told = sorted(found, key=_kind)
    shares = {}
    for kind, members in groupby(told, key=_kind):
        same = [*members]
        if len(same) >= 200:
            shares[kind] = (share(one.raw for one in same), share(one.indicated for one in same))
    sys.stdout.write(f"{world}: {shares}, naive {share(one.naive for one in found)}\n")
    assert {table for table, _ in shares} == {"age", "plan", "condition", "hba1c"}
    for kind, (raw, indicated) in shares.items():
        assert 0.90 <= raw <= 0.99, kind
        assert 0.90 <= indicated <= 0.99, kind
    if world == "many":
        assert share(one.naive for one in found) < 0.90


def _kind(one: Held) -> tuple[str, bool]:
    return one.table, one.thin
