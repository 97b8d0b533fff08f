"""Circles among a plan's terms are told once each, by a short way, and cost what they name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.claims.plans.cycles import MOST_NAMES, cycles, told_way


@pytest.mark.parametrize(
    ("edges", "ways"),
    [
        ({}, []),
        ({"a": "b", "b": "c", "c": ""}, []),
        ({"a": "bc", "b": "d", "c": "d", "d": ""}, []),  # two ways to one end are no circle
        ({"a": "z"}, []),
        ({"a": "a"}, ["aa"]),
        ({"a": "b", "b": "a"}, ["aba"]),
        ({"a": "bd", "b": "c", "c": "d", "d": "a"}, ["ada"]),  # the shortest of two
        ({"x": "a", "a": "b", "b": "a", "c": "cb"}, ["aba", "cc"]),  # whoever leads in is not in it
        ({"a": "b", "b": "a", "c": "d", "d": "c"}, ["aba", "cdc"]),
    ],
)
def test_each_knot_is_told_once_by_its_shortest_way(edges: dict[str, str], ways: list[str]) -> None:
    assert ["".join(way) for way in cycles(edges)] == ways


class _Counted(dict[int, Sequence[int]]):
    """Counts how often anybody looks where a node leads."""

    looked = 0

    def __getitem__(self, key: int) -> Sequence[int]:
        self.looked += 1
        return super().__getitem__(key)


def test_a_long_circle_costs_as_much_as_it_names() -> None:
    size = 3_000
    ring = _Counted({n: [(n + 1) % size] for n in range(size)})
    (way,) = cycles(ring)
    assert way == [*range(size), 0]
    assert ring.looked <= 4 * size


def test_of_a_long_way_the_first_names_and_the_last_are_told() -> None:
    short = [str(n) for n in range(MOST_NAMES)]
    assert told_way(short, " > ") == "0 > 1 > 2 > 3 > 4 > 5 > 6 > 7 > 8 > 9"
    long = [str(n) for n in range(MOST_NAMES + 5)]
    assert told_way(long, " > ") == "0 > 1 > 2 > 3 > 4 > 5 > 6 > 7 > 8 > (5 more) > 14"
