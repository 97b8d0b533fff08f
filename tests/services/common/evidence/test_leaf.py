"""A leaf has one form, and says exactly what was read."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.evidence.access_read import AccessRead
from services.common.evidence.leaf import MOST_BYTES, LeafRefused, leaf_bytes, read_of
from services.common.evidence.merkle import leaf_hash
from tests.services.common.evidence.logs import read

WRITTEN = (
    b'{"at_us":1780000000000001,"consent":"","level":3,"purpose":"claims-handling",'
    b'"record":"policies/p1/claims/c1","role":"adjuster",'
    b'"rpc":"/lipei.claims.v1.ClaimsService/GetClaim",'
    b'"uri":"spiffe://lipei.local/insurer/i1/desk/1","v":1,"who":"person-1"}'
)
# The encoding may never change under version 1: this hash stands in logs for ever.
HASH = "17c318b4f88f79bca96e84d25d6accf17cd9370d523a2d2d4f8f455799a1c4c0"

TEXTS = st.text(max_size=40)
READS = st.builds(
    AccessRead,
    who=TEXTS,
    uri=TEXTS,
    role=TEXTS,
    purpose=TEXTS,
    consent=TEXTS,
    rpc=TEXTS,
    record=TEXTS,
    level=st.integers(1, 5),
    at_us=st.integers(0, 2**62),
)


def test_its_form_is_the_documented_one() -> None:
    assert leaf_bytes(read(1)) == WRITTEN
    assert leaf_hash(WRITTEN).hex() == HASH


@given(some=READS)
def test_it_comes_back_as_it_was(some: AccessRead) -> None:
    written = leaf_bytes(some)
    assert written.isascii()
    assert read_of(written) == some


@given(some=READS, other=READS)
def test_two_reads_share_bytes_only_when_they_are_the_same(
    some: AccessRead, other: AccessRead
) -> None:
    assert (leaf_bytes(some) == leaf_bytes(other)) == (some == other)


@pytest.mark.parametrize(
    "bent",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b"{}",
        WRITTEN + b" ",
        WRITTEN.replace(b'"v":1', b'"v":2'),
        WRITTEN.replace(b'"v":1,', b""),
        WRITTEN.replace(b'"v":1', b'"v":true'),
        WRITTEN.replace(b'"level":3', b'"level":3.0'),
        WRITTEN.replace(b'"level":3', b'"level":"3"'),
        WRITTEN.replace(b'"level":3', b'"level":3,"level":3'),
        WRITTEN.replace(b'"consent":""', b'"consent":null'),
        WRITTEN.replace(b'"consent":"",', b""),
        WRITTEN.replace(b'"v":1', b'"u":1,"v":1'),
        WRITTEN.replace(b"person-1", b"person\\u002d1"),
        json.dumps(json.loads(WRITTEN)).encode(),
    ],
)
def test_another_form_is_refused(bent: bytes) -> None:
    assert bent != WRITTEN
    with pytest.raises(LeafRefused):
        read_of(bent)


def test_a_boundless_leaf_is_refused() -> None:
    with pytest.raises(LeafRefused):
        leaf_bytes(dataclasses.replace(read(), record="r" * MOST_BYTES))
