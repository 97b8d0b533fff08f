"""A sealed value opens where it was sealed, with a known key, unaltered, and nowhere else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from services.common.sealing import CannotOpen, Sealer

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
PLACE = {"table": "payee", "column": "account", "row": "p1", "subject": "m1"}
ACCOUNT = b"6222020200112233445"


@pytest.fixture
def sealer() -> Sealer:
    return Sealer({"k1": OLD}, "k1")


def test_a_value_opens_where_it_was_sealed(sealer: Sealer) -> None:
    sealed = sealer.seal(ACCOUNT, **PLACE)
    assert ACCOUNT not in sealed
    assert sealer.open(sealed, **PLACE) == ACCOUNT
    assert sealer.seal(ACCOUNT, **PLACE) != sealed  # equal values do not show as equal


@pytest.mark.parametrize("part", sorted(PLACE))
def test_a_value_moved_elsewhere_does_not_open(sealer: Sealer, part: str) -> None:
    sealed = sealer.seal(ACCOUNT, **PLACE)
    with pytest.raises(CannotOpen):
        sealer.open(sealed, **{**PLACE, part: PLACE[part] + "2"})


def test_the_same_cipher_without_the_place_opens_anywhere() -> None:
    # What a column-type decorator does; the control for the test above.
    cipher, nonce = AESGCM(OLD), bytes(12)
    assert cipher.decrypt(nonce, cipher.encrypt(nonce, ACCOUNT, None), None) == ACCOUNT


def test_parts_of_the_place_do_not_run_into_one_another(sealer: Sealer) -> None:
    sealed = sealer.seal(ACCOUNT, table="a", column="bc", row="d", subject="e")
    with pytest.raises(CannotOpen):
        sealer.open(sealed, table="ab", column="c", row="d", subject="e")


def test_no_byte_can_be_altered(sealer: Sealer) -> None:
    sealed = sealer.seal(ACCOUNT, **PLACE)
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(CannotOpen):
            sealer.open(bytes(altered), **PLACE)


def test_no_byte_can_be_missing_or_added(sealer: Sealer) -> None:
    sealed = sealer.seal(ACCOUNT, **PLACE)
    for end in range(len(sealed)):
        with pytest.raises(CannotOpen):
            sealer.open(sealed[:end], **PLACE)
    with pytest.raises(CannotOpen):
        sealer.open(sealed + b"\x00", **PLACE)


@given(st.binary(max_size=80))
def test_foreign_bytes_do_not_open(foreign: bytes) -> None:
    with pytest.raises(CannotOpen):
        Sealer({"k1": OLD}, "k1").open(foreign, **PLACE)


def test_after_a_rotation_old_values_open_and_new_ones_need_the_new_key(sealer: Sealer) -> None:
    rotated = Sealer({"k1": OLD, "k2": NEW}, "k2")
    assert rotated.open(sealer.seal(ACCOUNT, **PLACE), **PLACE) == ACCOUNT
    with pytest.raises(CannotOpen, match="unknown key"):
        sealer.open(rotated.seal(ACCOUNT, **PLACE), **PLACE)
    # A key under another key's name opens nothing.
    with pytest.raises(CannotOpen):
        Sealer({"k1": NEW}, "k1").open(sealer.seal(ACCOUNT, **PLACE), **PLACE)


@pytest.mark.parametrize(
    ("keys", "current"),
    [
        ({"k1": OLD}, "k2"),
        ({}, "k1"),
        ({"钥": OLD}, "钥"),
        ({"": OLD}, ""),
        ({"k" * 256: OLD}, "k" * 256),
        ({"k1": b"short"}, "k1"),
    ],
)
def test_keys_that_could_not_seal_are_refused_at_once(keys: dict[str, bytes], current: str) -> None:
    with pytest.raises(ValueError, match=r"key|Key") as fault:
        Sealer(keys, current)
    assert not isinstance(fault.value, UnicodeError)
