"""The Merkle tree of RFC 6962 over SHA-256. Pure: knows no storage, no signature, no leaf's form.

A complete subtree is named by (level, index): it covers the leaves from index * 2^level on, 2^level
of them; level 0 are the leaf hashes themselves. Once complete it never changes, so whoever keeps
these hashes appends and proves with a number of them that grows with the logarithm of the size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
# Beyond this no log grows, and a number from outside cannot make a loop long.
MOST_LEAVES = 1 << 62

Subtree = tuple[int, int]


class ProofRefused(ValueError):
    """The proof does not prove what it is offered for."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a leaf's bytes.

    >>> leaf_hash(b"").hex()[:16]
    '6e340b9cffb37a98'
    """
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees side by side."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def folded(hashes: Sequence[bytes]) -> bytes:
    """Hash over complete subtrees of falling size that lie side by side; of none, the empty root.

    >>> folded([]) == EMPTY_ROOT
    True
    """
    if not hashes:
        return EMPTY_ROOT
    *others, found = hashes
    for left in reversed(others):
        found = node_hash(left, found)
    return found


def subtrees(low: int, high: int) -> tuple[Subtree, ...]:
    """The complete subtrees that make up the leaves from `low` to below `high`, left to right.

    `low` must be a multiple of the largest power of two that is at most high - low.

    >>> subtrees(0, 7)
    ((2, 0), (1, 2), (0, 6))
    """
    found = []
    while low < high:
        level = (high - low).bit_length() - 1
        found.append((level, low >> level))
        low += 1 << level
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """What appending some leaves adds to a tree."""

    nodes: tuple[tuple[int, int, bytes], ...]  # level, index, hash of what became complete
    peaks: tuple[bytes, ...]  # hashes of `subtrees(0, new size)`

    @property
    def root(self) -> bytes:
        """Root of the grown tree."""
        return folded(self.peaks)


def grow(size: int, peaks: Sequence[bytes], leaf_hashes: Sequence[bytes]) -> Growth:
    """Append leaves to a tree of `size` leaves whose complete subtrees are `peaks`.

    Makes on average one node a leaf, and needs nothing of the old tree but the peaks.

    Raises: ValueError when the peaks are not those of that size.
    """
    if len(peaks) != size.bit_count():
        raise ValueError("a tree has as many peaks as its size has binary ones")
    now, nodes = list(peaks), []
    for index, found in enumerate(leaf_hashes, start=size):
        level = 0
        while index >> level & 1:
            found = node_hash(now.pop(), found)  # noqa: PLW2901 - the hash climbs
            level += 1
            nodes.append((level, index >> level, found))
        now.append(found)
    return Growth(nodes=tuple(nodes), peaks=tuple(now))


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root of the tree over these leaf hashes."""
    return grow(0, (), leaf_hashes).root


def inclusion_path(index: int, size: int) -> tuple[tuple[Subtree, ...], ...]:
    """The proof that leaf `index` is in the tree of `size`: of each node the subtrees to fold.

    Raises: ValueError when the tree has no such leaf.
    """
    if not 0 <= index < size <= MOST_LEAVES:
        raise ValueError("the tree has no such leaf")
    path, low, high = [], 0, size
    while high - low > 1:
        middle = low + _half(high - low)
        if index < middle:
            path.append(subtrees(middle, high))
            high = middle
        else:
            path.append(subtrees(low, middle))
            low = middle
    return tuple(reversed(path))


def consistency_path(old: int, new: int) -> tuple[tuple[Subtree, ...], ...]:
    """The proof that the tree of `new` begins with the tree of `old`: subtrees to fold per node.

    Raises: ValueError unless 0 < old <= new; every tree begins with the empty one.
    """
    if not 0 < old <= new <= MOST_LEAVES:
        raise ValueError("a consistency proof leads from a tree to one that is not smaller")
    path, low, high, whole = [], 0, new, True
    while old != high:
        middle = low + _half(high - low)
        if old <= middle:
            path.append(subtrees(middle, high))
            high = middle
        else:
            path.append(subtrees(low, middle))
            low, whole = middle, False
    if not whole:
        path.append(subtrees(low, high))
    return tuple(reversed(path))


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Return when the proof leads from the leaf's hash to the root (RFC 9162, 2.1.3.2).

    Raises: ProofRefused otherwise, also for a hash of another length and for a node too many.
    """
    if not 0 <= index < size <= MOST_LEAVES:
        raise ProofRefused("the index is not one of the tree's")
    _refuse_lengths([leaf, *proof])
    _, found = _climbed(index, size - 1, leaf, proof)
    if found != root:
        raise ProofRefused("the proof leads to another root")


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return when the proof leads to both roots (RFC 9162, 2.1.4.2).

    Raises: ProofRefused otherwise, also from the empty tree, which proves nothing.
    """
    if not 0 < old <= new <= MOST_LEAVES:
        raise ProofRefused("the sizes are not those of a tree and one that is not smaller")
    _refuse_lengths(proof)
    if old == new:
        if proof:
            raise ProofRefused("trees of one size need no nodes")
        if old_root != new_root:
            raise ProofRefused("trees of one size have different roots")
        return
    nodes = list(proof)
    if not old & (old - 1):  # the old tree is one complete subtree: its root begins the proof
        nodes.insert(0, old_root)
    if not nodes:
        raise ProofRefused("the proof has too few nodes")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    found_old, found_new = _climbed(place, last, nodes[0], nodes[1:])
    if found_old != old_root:
        raise ProofRefused("the proof leads to another old root")
    if found_new != new_root:
        raise ProofRefused("the proof leads to another new root")


def _climbed(place: int, last: int, start: bytes, nodes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """What the nodes lead to from a subtree at `place`: by those on its left alone, and by all.

    `last` is the place of the tree's last subtree on the same level.
    """
    of_left = of_all = start
    for node in nodes:
        if last == 0:
            raise ProofRefused("the proof has too many nodes")
        if place & 1 or place == last:
            of_left, of_all = node_hash(node, of_left), node_hash(node, of_all)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            of_all = node_hash(of_all, node)
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofRefused("the proof has too few nodes")
    return of_left, of_all


def _half(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _refuse_lengths(hashes: Sequence[bytes]) -> None:
    if any(len(found) != HASH_BYTES for found in hashes):
        raise ProofRefused(f"a hash is {HASH_BYTES} bytes long")
