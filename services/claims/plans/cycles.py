"""Terms of a plan that lead back to themselves: each knot of them once, by a short way around.

It takes time in proportion to the terms and what they name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

NodeT = TypeVar("NodeT", bound=Hashable)

# So many names of a way are told: more help nobody to find it.
MOST_NAMES = 10


def cycles(edges: Mapping[NodeT, Sequence[NodeT]]) -> list[list[NodeT]]:
    """For each knot of nodes that reach each other, the shortest way from its first to itself.

    A way begins and ends with the node that stands first in `edges`; what names no key leads
    nowhere.
    """
    knots = _knots(edges)
    first: dict[int, NodeT] = {}
    for node in edges:
        first.setdefault(knots[node], node)
    ways = (_way_around(edges, knots, start) for start in first.values())
    return [way for way in ways if way]


def told_way(names: Sequence[str], joint: str) -> str:
    """A way in words, of a long one the first names and the last."""
    if len(names) <= MOST_NAMES:
        return joint.join(names)
    left_off = len(names) - MOST_NAMES
    shown = (*names[: MOST_NAMES - 1], f"({left_off} more)", names[-1])
    return joint.join(shown)


def _way_around(
    edges: Mapping[NodeT, Sequence[NodeT]], knots: Mapping[NodeT, int], start: NodeT
) -> list[NodeT]:
    came_from: dict[NodeT, NodeT] = {}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for there in edges[here]:
            if there == start:
                way = [start, here]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if knots.get(there) == knots[start] and there not in came_from:
                came_from[there] = here
                waiting.append(there)
    return []


def _knots(edges: Mapping[NodeT, Sequence[NodeT]]) -> dict[NodeT, int]:
    """The number of each node's strongly connected component (Kosaraju's two passes)."""
    backwards: dict[NodeT, list[NodeT]] = {node: [] for node in edges}
    for node, targets in edges.items():
        for target in targets:
            if target in backwards:
                backwards[target].append(node)
    knots: dict[NodeT, int] = {}
    for number, node in enumerate(reversed(_by_end(edges))):
        if node in knots:
            continue
        waiting = [node]
        knots[node] = number
        while waiting:
            for source in backwards[waiting.pop()]:
                if source not in knots:
                    knots[source] = number
                    waiting.append(source)
    return knots


def _by_end(edges: Mapping[NodeT, Sequence[NodeT]]) -> list[NodeT]:
    """The nodes in the order in which a walk into the depth leaves them."""
    ended: list[NodeT] = []
    seen: set[NodeT] = set()
    for root in edges:
        if root in seen:
            continue
        seen.add(root)
        walk: list[tuple[NodeT, Iterator[NodeT]]] = [(root, iter(edges[root]))]
        while walk:
            node, rest = walk[-1]
            for target in rest:
                if target in edges and target not in seen:
                    seen.add(target)
                    walk.append((target, iter(edges[target])))
                    break
            else:
                ended.append(node)
                walk.pop()
    return ended
