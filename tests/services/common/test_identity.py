"""One person has one token under one key, however the number was written, and none without it."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.identity import is_member_token, member_token, normalised

KEY = bytes(range(32))
ID = "11010119900307002X"


def token(number: str, *, kind: str = "CN_ID", key: bytes = KEY, version: str = "k1") -> str:
    return member_token(kind, number, key=key, key_version=version)


@pytest.mark.parametrize(
    "written",
    [
        "11010119900307002x",
        " 11010119900307002X\n",
        "110101 1990 0307 002X",
        "110101-19900307-002X",
        "110101－19900307－002X",
        "110101–19900307—002X",
        "110101−19900307−002X",
        "１１０１０１１９９００３０７００２Ｘ",
        "11010119900307002ｘ",
        "11010119900307002Ⅹ",  # the Roman numeral
        "110101\u300019900307\u00a0002X",  # ideographic and no-break space
        "110101\u200b19900307\ufeff002X\u200e",  # nothing to be seen
        "110101·19900307/002X",
        "110101.19900307.002X",
        "(110101)19900307002X",
        "（110101）19900307002X",
    ],
)
def test_ways_of_writing_a_number_give_one_token(written: str) -> None:
    assert normalised(written) == ID
    assert token(written) == token(ID)


@pytest.mark.parametrize(
    "other", ["11010119900307002", "110101199003070021", "11010119900307002Y", "X" + ID]
)
def test_another_number_gives_another_token(other: str) -> None:
    assert token(other) != token(ID)


def test_kinds_keys_and_versions_keep_tokens_apart() -> None:
    tokens = {
        token(ID),
        token(ID, kind="PASSPORT"),
        token(ID, key=bytes(32)),
        token(ID, version="k2"),
    }
    assert len(tokens) == 4
    assert len({t.partition(".")[2] for t in tokens}) == 3  # a version alone changes no digest
    assert token(ID, kind="cn_id") == token(ID)


def test_the_token_is_the_published_construction() -> None:
    message = b"lipei member token 1\x00CN_ID\x00" + ID.encode()
    assert token(ID) == "k1." + hmac.new(KEY, message, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("kind", "number", "version"),
    [
        ("", ID, "k1"),
        ("CN_ID", "", "k1"),
        ("CN_ID", " -－\u200b", "k1"),
        ("CN_ID", ID, ""),
        ("CN_ID", ID, "K1"),
        ("CN_ID", ID, "k.1"),
        ("CN_ID", ID, "k" * 17),
        ("CN_ID", ID, "k１"),
    ],
)
def test_nothing_is_no_identity_and_a_version_has_a_form(
    kind: str, number: str, version: str
) -> None:
    with pytest.raises(ValueError, match=r"member token|identity document") as fault:
        member_token(kind, number, key=KEY, key_version=version)
    assert ID not in str(fault.value)


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(number: str) -> None:
    assert normalised(normalised(number)) == normalised(number)


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=30))
def test_every_token_has_a_tokens_form(number: str) -> None:
    assert is_member_token(token(number))


@pytest.mark.parametrize(
    "text",
    ["", ID, "k1." + "0" * 63, "k1." + "G" * 64, "K1." + "0" * 64, "k1." + "0" * 64 + "\n"],
)
def test_other_text_is_no_token(text: str) -> None:
    assert not is_member_token(text)
