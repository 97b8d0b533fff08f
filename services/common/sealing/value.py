"""One sealed value: AES-GCM, bound to where it stands. Knows keys, but no table of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.common.sealing.faults import CannotOpen

NONCE_BYTES, TAG_BYTES = 12, 16
_VERSION = 2
_HEADER_BYTES = 3
LAST_GENERATION = 0xFFFF


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands and whom it is about; authenticated, not stored."""

    table: str
    column: str
    row: str
    subject: str

    def encoded(self) -> bytes:
        """The parts in one form that no other parts have."""
        return _column(self.table, self.column) + _part(self.row) + _part(self.subject)


def joined(*parts: str) -> bytes:
    """Texts as bytes; length prefixes keep ("a", "bc") and ("ab", "c") apart."""
    return b"".join(map(_part, parts))


def _part(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded


# A database has few columns, and every value that is sealed or opened asks for one.
_column = lru_cache(maxsize=256)(joined)


def sealed_value(plaintext: bytes, place: Place, cipher: AESGCM, generation: int) -> bytes:
    """Version, key id (the generation of the subject's key), nonce and ciphertext."""
    header = bytes([_VERSION]) + generation.to_bytes(2, "big")
    nonce = os.urandom(NONCE_BYTES)
    return header + nonce + cipher.encrypt(nonce, plaintext, header + place.encoded())


def generation_of(sealed: bytes) -> int:
    """Which of its subject's keys the value was sealed under.

    Raises: CannotOpen when this is no sealed value.
    """
    if len(sealed) < _HEADER_BYTES + NONCE_BYTES + TAG_BYTES or sealed[0] != _VERSION:
        raise CannotOpen
    return int.from_bytes(sealed[1:_HEADER_BYTES], "big")


def opened_value(sealed: bytes, place: Place, cipher: AESGCM) -> bytes:
    """The plaintext.

    Raises: CannotOpen for another place or key, and for altered bytes.
    """
    generation_of(sealed)
    header, body = sealed[:_HEADER_BYTES], memoryview(sealed)[_HEADER_BYTES:]
    try:
        return cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], header + place.encoded())
    except InvalidTag:
        raise CannotOpen from None
