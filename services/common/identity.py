"""The pseudonym under which hospital and insurer speak of the same person. Stores nothing."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata

_NOISE = re.compile(r"[\s\-\u2010-\u2015\u2212.·/()]+")
_VERSION = re.compile(r"[a-z0-9]{1,16}", re.ASCII)
_TOKEN = re.compile(r"[a-z0-9]{1,16}\.[0-9a-f]{64}", re.ASCII)


def normalised(number: str) -> str:
    """A document number without spaces, hyphens, brackets, full-width forms and letter case.

    >>> normalised(" 11010１19900307－002x")
    '11010119900307002X'
    """
    if number.isascii() and number.isalnum():  # as most are written: nothing of it is noise
        return number.upper()
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", number).upper())
    # Zero-width characters (Cf) come along with copied text and cannot be seen.
    kept = "".join(c for c in _NOISE.sub("", plain) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", kept)


def member_token(kind: str, number: str, *, key: bytes, key_version: str) -> str:
    """Pseudonym "{key version}.{HMAC-SHA256 in hex}" of an identity document.

    The key is shared by one insurer with its hospitals; without it a token tells nothing, and two
    insurers' tokens of one person do not match.

    Raises: ValueError when the kind or the number is empty, or for a key version that is not 1 to
    16 small letters and digits.
    """
    if not _VERSION.fullmatch(key_version):
        raise ValueError("a member token's key version is 1 to 16 of a-z 0-9")
    plain = normalised(number)
    if not kind or not plain:
        raise ValueError("an identity document needs a kind and a number")
    message = b"lipei member token 1\x00" + kind.upper().encode() + b"\x00" + plain.encode()
    return f"{key_version}.{hmac.new(key, message, hashlib.sha256).hexdigest()}"


def is_member_token(text: str) -> bool:
    """Whether the text has a token's form; says nothing about whose it is."""
    return _TOKEN.fullmatch(text) is not None
