"""A leaf has one form, and says exactly what was read."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.evidence.access_read import AccessRead
from services.common.evidence.leaf import MOST_BYTES, LeafRefused, leaf_bytes, read_of, reader_of
from services.common.evidence.merkle import leaf_hash
from tests.services.common.evidence.logs import read

FIRST = (
    b'{"at_us":1780000000000001,"consent":"","level":3,"purpose":"claims-handling",'
    b'"record":"policies/p1/claims/c1","role":"adjuster",'
    b'"rpc":"/lipei.claims.v1.ClaimsService/GetClaim",'
    b'"uri":"spiffe://lipei.local/insurer/i1/desk/1","v":1,"who":"person-1"}'
)
# The encoding may never change under a version: these hashes stand in logs for ever.
FIRST_HASH = "17c318b4f88f79bca96e84d25d6accf17cd9370d523a2d2d4f8f455799a1c4c0"
WRITTEN = (
    b'{"at_us":1780000000000001,"consent":"","level":3,"owner":"insurer/i1",'
    b'"purpose":"claims-handling","record":"policies/p1/claims/c1","role":"adjuster",'
    b'"rpc":"/lipei.claims.v1.ClaimsService/GetClaim",'
    b'"uri":"spiffe://lipei.local/insurer/i1/desk/1","v":2,"who":"person-1"}'
)
HASH = "76fd6f35c63dce84cfa1c3a120b68fb10be272b0a196cac2fdd63425572338be"

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
    owner=TEXTS,
)


def test_its_form_is_the_documented_one() -> None:
    assert leaf_bytes(read(1, owner="insurer/i1")) == WRITTEN
    assert leaf_hash(WRITTEN).hex() == HASH


def test_a_leaf_of_the_first_version_is_read_and_says_no_owner() -> None:
    assert leaf_hash(FIRST).hex() == FIRST_HASH
    assert read_of(FIRST) == read(1)
    with pytest.raises(LeafRefused):
        read_of(FIRST.replace(b'"level":3', b'"level":3,"owner":""'))


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        ("insurer/i1/desk/1", "insurer/i1"),
        ("hospital/h/desk/1", "hospital/h"),
        ("hospital/h/integration", "hospital/h"),
        ("partner/p/desk/1", "partner/p"),
        ("member/desk/1", ""),
        ("auditor/desk/1", ""),
        ("service/settlement", ""),
        ("insurer/i1", ""),
        ("insurer//desk/1", ""),
        ("x/insurer/i1/desk/1", ""),
    ],
)
def test_a_name_tells_the_tenant_that_read(path: str, reader: str) -> None:
    assert reader_of(f"spiffe://lipei.local/{path}") == reader
    assert reader_of(path) == ""


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
        WRITTEN.replace(b'"v":2', b'"v":1'),
        WRITTEN.replace(b'"v":2', b'"v":3'),
        WRITTEN.replace(b'"v":2,', b""),
        WRITTEN.replace(b'"v":2', b'"v":true'),
        WRITTEN.replace(b'"v":2', b'"v":2.0'),
        WRITTEN.replace(b'"v":2', b'"v":[]'),
        WRITTEN.replace(b'"owner":"insurer/i1",', b""),
        FIRST.replace(b'"v":1', b'"v":2'),
        FIRST.replace(b'"v":1', b'"v":true'),
        WRITTEN.replace(b'"level":3', b'"level":3.0'),
        WRITTEN.replace(b'"level":3', b'"level":"3"'),
        WRITTEN.replace(b'"level":3', b'"level":3,"level":3'),
        WRITTEN.replace(b'"consent":""', b'"consent":null'),
        WRITTEN.replace(b'"consent":"",', b""),
        WRITTEN.replace(b'"v":2', b'"u":1,"v":2'),
        WRITTEN.replace(b"person-1", b"person\\u002d1"),
        json.dumps(json.loads(WRITTEN)).encode(),
    ],
)
def test_another_form_is_refused(bent: bytes) -> None:
    assert bent not in (WRITTEN, FIRST)
    with pytest.raises(LeafRefused):
        read_of(bent)


def test_a_boundless_leaf_is_refused() -> None:
    with pytest.raises(LeafRefused):
        leaf_bytes(dataclasses.replace(read(), record="r" * MOST_BYTES))
