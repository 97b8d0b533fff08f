"""AES-GCM sealing of single values, bound to where they stand: a swapped row does not open."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_VERSION = b"\x01"


class CannotOpen(ValueError):
    """The value was not sealed for this place, with this key, or was altered."""


class Sealer:
    """Seals with the current key and opens with any known one. Holds keys, stores nothing."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        if current not in keys:
            raise ValueError("the current sealing key is not among the keys")
        for key_id in keys:
            if not key_id.isascii() or not 1 <= len(key_id) <= 255:
                raise ValueError("a sealing key's id is 1 to 255 ASCII characters")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current

    def seal(self, plaintext: bytes, *, table: str, column: str, row: str, subject: str) -> bytes:
        """Version, key id, nonce and ciphertext; the place is authenticated, not stored."""
        key_id = self._current.encode("ascii")
        nonce = os.urandom(_NONCE_BYTES)
        place = _place(table, column, row, subject)
        sealed = self._ciphers[self._current].encrypt(nonce, plaintext, place)
        return _VERSION + bytes([len(key_id)]) + key_id + nonce + sealed

    def open(self, sealed: bytes, *, table: str, column: str, row: str, subject: str) -> bytes:
        """The plaintext.

        Raises: CannotOpen for another place, an unknown key or altered bytes.
        """
        if sealed[:1] != _VERSION or len(sealed) < 2:
            raise CannotOpen("unknown format")
        end = 2 + sealed[1]
        cipher = self._ciphers.get(sealed[2:end].decode("ascii", "replace"))
        if cipher is None:
            raise CannotOpen("unknown key")
        nonce, body = sealed[end : end + _NONCE_BYTES], sealed[end + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, body, _place(table, column, row, subject))
        except (InvalidTag, ValueError):
            raise CannotOpen("not sealed for this place") from None


def _place(*parts: str) -> bytes:
    # Length prefixes keep ("a", "bc") and ("ab", "c") apart.
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
