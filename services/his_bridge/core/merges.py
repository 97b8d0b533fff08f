"""Which account or patient goes on as which other: what the hospital merged. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from services.his_bridge.core.faults import Reason

# When the source made something: microseconds since 1970, then what tells two things of one moment
# apart, made of content alone, so that the order of arrival decides nothing.
Order = tuple[int, str]


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """One word of the source that `out_of` goes on as `into`; ids are opaque."""

    record: str
    into: str
    out_of: str
    order: Order


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Into what an account was merged, and when."""

    into: str
    order: Order


class Aliases(msgspec.Struct, frozen=True, kw_only=True):
    """What all merges together say. `refused` tells by record why a merge changes nothing."""

    joined: Mapping[str, Joined]
    refused: Mapping[str, Reason]

    def steps(self, name: str) -> Iterator[Joined]:
        """What a name was merged into, one step after the other."""
        while (step := self.joined.get(name)) is not None:
            yield step
            name = step.into

    def survivor(self, name: str) -> str:
        """Under which id a name goes on: its own, unless it was merged into another."""
        for step in self.steps(name):
            name = step.into
        return name

    def is_within(self, name: str, other: str, order: Order) -> bool:
        """Whether at this time `name` was `other`, or had been merged into it."""
        if name == other:
            return True
        for step in self.steps(name):
            if step.order > order:
                return False
            if step.into == other:
                return True
        return False


NO_ALIASES = Aliases(joined={}, refused={})


def aliases_of(merges: Iterable[Merge]) -> Aliases:
    """The effect of all merges that were ever told, by the time that the source gives them.

    A merge that would close a circle changes nothing, and neither does a second one of an id that
    went on as another already; the earlier ones stand. To undo a merge is not supported.

    >>> merges = [
    ...     Merge(record=r, into=b, out_of=a, order=(n, ""))
    ...     for n, (r, a, b) in enumerate([("r1", "a", "b"), ("r2", "b", "c"), ("r3", "c", "a")])
    ... ]
    >>> found = aliases_of(reversed(merges))
    >>> found.survivor("a"), {record: str(reason) for record, reason in found.refused.items()}
    ('c', {'r3': 'MERGE_CIRCULAR'})
    """
    joined: dict[str, Joined] = {}
    refused: dict[str, Reason] = {}
    found = Aliases(joined=joined, refused=refused)
    for merge in sorted(merges, key=lambda m: (m.order, m.record, m.out_of, m.into)):
        is_one_already = found.survivor(merge.into) == found.survivor(merge.out_of)
        if merge.out_of not in joined:
            if is_one_already:
                refused[merge.record] = Reason.MERGE_CIRCULAR
            else:
                joined[merge.out_of] = Joined(into=merge.into, order=merge.order)
        elif not is_one_already:
            refused[merge.record] = Reason.MERGED_BEFORE
    return found
