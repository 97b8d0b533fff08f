"""The tree against the RFC's own definition, written down as naively as it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.evidence.merkle import (
    EMPTY_ROOT,
    MOST_LEAVES,
    ProofRefused,
    Subtree,
    consistency_path,
    folded,
    grow,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

MOST = 130
# Root hashes of the trees over the first n of these leaves: RFC 6962's own test data, from
# certificate-transparency's reference implementation.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = split(len(leaves))
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*naive_inclusion(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_inclusion(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(old: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962, 2.1.2."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*naive_consistency(old, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_consistency(old - k, leaves[k:], False), naive_root(leaves[:k])]


def split(size: int) -> int:
    k = 1
    while 2 * k < size:
        k *= 2
    return k


class Kept:
    """A tree as storage keeps it: complete subtrees and peaks."""

    def __init__(self) -> None:
        self.size = 0
        self.peaks: tuple[bytes, ...] = ()
        self.nodes: dict[Subtree, bytes] = {}

    def append(self, leaves: Sequence[bytes]) -> None:
        hashes = [leaf_hash(leaf) for leaf in leaves]
        grown = grow(self.size, self.peaks, hashes)
        self.nodes |= {(0, self.size + n): found for n, found in enumerate(hashes)}
        self.nodes |= {(level, index): found for level, index, found in grown.nodes}
        self.size += len(leaves)
        self.peaks = grown.peaks

    def proof(self, path: Sequence[Sequence[Subtree]]) -> list[bytes]:
        return [folded([self.nodes[subtree] for subtree in node]) for node in path]


def leaves_of(count: int) -> list[bytes]:
    return [f"leaf {number}".encode() for number in range(count)]


def kept(count: int) -> Kept:
    tree = Kept()
    tree.append(leaves_of(count))
    return tree


def test_the_published_roots() -> None:
    assert {n: root_of([leaf_hash(leaf) for leaf in LEAVES[:n]]).hex() for n in ROOTS} == ROOTS
    assert root_of([]) == EMPTY_ROOT


@given(batches=st.lists(st.integers(0, 9), max_size=20))
def test_appending_in_batches_keeps_the_trees_own_root(batches: list[int]) -> None:
    tree, leaves = Kept(), leaves_of(sum(batches))
    for count in batches:
        tree.append(leaves[tree.size : tree.size + count])
    assert folded(tree.peaks) == naive_root(leaves)


@given(data=st.data(), size=st.integers(1, MOST))
def test_an_inclusion_proof_is_the_rfcs_and_holds(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    tree, leaves = kept(size), leaves_of(size)
    proof = tree.proof(inclusion_path(index, size))
    assert proof == naive_inclusion(index, leaves)
    verify_inclusion(index, size, leaf_hash(leaves[index]), proof, naive_root(leaves))


@given(data=st.data(), new=st.integers(1, MOST))
def test_a_consistency_proof_is_the_rfcs_and_holds(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    tree, leaves = kept(new), leaves_of(new)
    proof = tree.proof(consistency_path(old, new))
    assert proof == naive_consistency(old, leaves)
    verify_consistency(old, new, naive_root(leaves[:old]), naive_root(leaves), proof)


def bent(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    """The proof with one thing wrong."""
    place = data.draw(st.integers(0, len(proof)))
    ways = ["more", "long node"]
    if proof:
        place = min(place, len(proof) - 1)
        ways += ["less", "bit", "short"]
    way = data.draw(st.sampled_from(ways))
    found = list(proof)
    if way == "more":
        found.insert(place, data.draw(st.binary(min_size=32, max_size=32)))
    elif way == "long node":
        found.insert(place, b"")
    elif way == "less":
        del found[place]
    elif way == "bit":
        bit = data.draw(st.integers(0, 255))
        found[place] = (int.from_bytes(found[place]) ^ (1 << bit)).to_bytes(32)
    else:
        found[place] = found[place][:-1]
    return found


@given(data=st.data(), size=st.integers(1, MOST))
def test_a_bent_inclusion_proof_is_refused(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    tree, leaves = kept(size), leaves_of(size)
    proof = bent(data, tree.proof(inclusion_path(index, size)))
    with pytest.raises(ProofRefused):
        verify_inclusion(index, size, leaf_hash(leaves[index]), proof, naive_root(leaves))


@given(data=st.data(), new=st.integers(1, MOST))
def test_a_bent_consistency_proof_is_refused(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    tree, leaves = kept(new), leaves_of(new)
    proof = bent(data, tree.proof(consistency_path(old, new)))
    with pytest.raises(ProofRefused):
        verify_consistency(old, new, naive_root(leaves[:old]), naive_root(leaves), proof)


@given(data=st.data(), size=st.integers(2, MOST))
def test_a_proof_holds_for_its_own_leaf_place_and_size_only(data: st.DataObject, size: int) -> None:
    index, other = data.draw(
        st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True)
    )
    leaves = leaves_of(size)
    proof, root = kept(size).proof(inclusion_path(index, size)), naive_root(leaves)
    for place, leaf in ((other, leaves[index]), (index, leaves[other])):
        with pytest.raises(ProofRefused):
            verify_inclusion(place, size, leaf_hash(leaf), proof, root)
    with pytest.raises(ProofRefused):
        verify_inclusion(index, size, leaf_hash(leaves[index]), proof, naive_root(leaves[:-1]))


@given(data=st.data(), new=st.integers(2, MOST))
def test_a_tree_with_another_past_has_no_consistency_proof(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new - 1))
    changed = data.draw(st.integers(0, old - 1))
    before = leaves_of(new)
    after = [*before[:changed], b"something else", *before[changed + 1 :]]
    tree = Kept()
    tree.append(after)
    proof = tree.proof(consistency_path(old, new))
    with pytest.raises(ProofRefused):
        verify_consistency(old, new, naive_root(before[:old]), naive_root(after), proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (0, 0), (1, 1), (0, MOST_LEAVES + 1)])
def test_a_leaf_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion_path(index, size)
    with pytest.raises(ProofRefused):
        verify_inclusion(index, size, bytes(32), [], bytes(32))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 1), (2, 1), (-1, 1), (1, MOST_LEAVES + 1)])
def test_sizes_that_lead_nowhere_are_refused(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="leads from a tree"):
        consistency_path(old, new)
    with pytest.raises(ProofRefused):
        verify_consistency(old, new, EMPTY_ROOT, EMPTY_ROOT, [])


def test_peaks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="as many peaks"):
        grow(3, [bytes(32)], [bytes(32)])


@pytest.mark.parametrize("size", [1_000, 100_000, 1_000_000])
def test_proofs_need_few_hashes_of_a_big_tree(size: int) -> None:
    # Twice the logarithm and a bit: 20 levels, of which the right edge is folded from parts.
    most = 2 * size.bit_length()
    for index in (0, size // 2, size // 3, size - 1):
        assert sum(len(node) for node in inclusion_path(index, size)) <= most
    for old in (1, size // 3, size - 1):
        assert sum(len(node) for node in consistency_path(old, size)) <= most
