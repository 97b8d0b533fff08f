"""A sealed value opens where it was sealed, with its key, unaltered, and nowhere else."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from services.common.sealing import CannotOpen
from services.common.sealing.value import Place, generation_of, opened_value, sealed_value

CIPHER, OTHER = AESGCM(bytes(range(32))), AESGCM(bytes(range(32, 64)))
PLACE = Place(table="payee", column="account", row="p1", subject="m1")
ACCOUNT = b"6222020200112233445"
PARTS = [field.name for field in fields(Place)]
texts = st.text(st.characters(codec="utf-8"), max_size=8)
places = st.builds(Place, texts, texts, texts, texts)


def test_a_value_opens_where_it_was_sealed() -> None:
    sealed = sealed_value(ACCOUNT, PLACE, CIPHER, 7)
    assert ACCOUNT not in sealed
    assert generation_of(sealed) == 7
    assert opened_value(sealed, PLACE, CIPHER) == ACCOUNT
    assert sealed_value(ACCOUNT, PLACE, CIPHER, 7) != sealed  # equal values do not show as equal


@pytest.mark.parametrize("part", PARTS)
def test_a_value_moved_elsewhere_does_not_open(part: str) -> None:
    sealed = sealed_value(ACCOUNT, PLACE, CIPHER, 1)
    with pytest.raises(CannotOpen):
        opened_value(sealed, replace(PLACE, **{part: getattr(PLACE, part) + "2"}), CIPHER)


def test_the_same_cipher_without_the_place_opens_anywhere() -> None:
    # What a column-type decorator does; the control for the test above.
    nonce = bytes(12)
    assert CIPHER.decrypt(nonce, CIPHER.encrypt(nonce, ACCOUNT, None), None) == ACCOUNT


def test_a_sealer_without_the_row_lets_a_swap_open() -> None:
    # The control for the row's part alone: everything else is bound.
    blind = replace(PLACE, row="")
    sealed = sealed_value(ACCOUNT, blind, CIPHER, 1)
    assert opened_value(sealed, replace(replace(PLACE, row="p2"), row=""), CIPHER) == ACCOUNT


@given(places, places)
def test_two_places_are_the_same_only_if_all_their_parts_are(one: Place, other: Place) -> None:
    assert (one.encoded() == other.encoded()) == (one == other)


def test_parts_of_the_place_do_not_run_into_one_another() -> None:
    sealed = sealed_value(ACCOUNT, Place("a", "bc", "d", "e"), CIPHER, 1)
    with pytest.raises(CannotOpen):
        opened_value(sealed, Place("ab", "c", "d", "e"), CIPHER)


@given(st.binary(max_size=60), st.integers(0), st.integers(0, 7))
def test_no_bit_can_be_altered(plain: bytes, place: int, bit: int) -> None:
    altered = bytearray(sealed_value(plain, PLACE, CIPHER, 1))
    altered[place % len(altered)] ^= 1 << bit
    with pytest.raises(CannotOpen):
        opened_value(bytes(altered), PLACE, CIPHER)


def test_no_byte_can_be_missing_or_added() -> None:
    sealed = sealed_value(ACCOUNT, PLACE, CIPHER, 1)
    for end in range(len(sealed)):
        with pytest.raises(CannotOpen):
            opened_value(sealed[:end], PLACE, CIPHER)
    with pytest.raises(CannotOpen):
        opened_value(sealed + b"\x00", PLACE, CIPHER)


@given(st.binary(max_size=80))
def test_foreign_bytes_do_not_open(foreign: bytes) -> None:
    with pytest.raises(CannotOpen):
        opened_value(foreign, PLACE, CIPHER)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(CannotOpen):
        opened_value(sealed_value(ACCOUNT, PLACE, CIPHER, 1), PLACE, OTHER)


def test_what_does_not_open_says_nothing_of_the_value() -> None:
    with pytest.raises(CannotOpen) as told:
        opened_value(sealed_value(ACCOUNT, PLACE, CIPHER, 1), replace(PLACE, row="p2"), CIPHER)
    said = f"{told.value} {told.value.text} {told.value.metadata}"
    assert "p1" not in said
    assert "m1" not in said
    assert ACCOUNT.decode() not in said
