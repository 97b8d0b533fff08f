"""AES-GCM over every payload, so that Temporal's database and UI hold no readable content."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

_ENCODING = b"binary/lipei-aes-gcm"
_NONCE_BYTES = 12


class EncryptingCodec(PayloadCodec):
    """Encrypts with the current key; decrypts with the key whose id the payload names."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        if current not in keys:
            raise ValueError("the current codec key is not among the keys")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current

    async def encode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Each payload whole, metadata included, as one encrypted payload."""
        cipher, key_id = self._ciphers[self._current], self._current.encode()
        encrypted = []
        for payload in payloads:
            nonce = os.urandom(_NONCE_BYTES)
            data = nonce + cipher.encrypt(nonce, payload.SerializeToString(), key_id)
            metadata = {"encoding": _ENCODING, "key-id": key_id}
            encrypted.append(Payload(metadata=metadata, data=data))
        return encrypted

    async def decode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """The payloads as they were.

        Raises: ValueError for a payload that is not encrypted, names an unknown key or was altered;
        clear text in a history means that somebody wrote past the codec.
        """
        return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != _ENCODING:
            raise ValueError("a payload is not encrypted")
        key_id = payload.metadata.get("key-id", b"")
        cipher = self._ciphers.get(key_id.decode("ascii", "replace"))
        if cipher is None:
            raise ValueError("a payload names an unknown key")
        nonce, body = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, body, key_id))
        except (InvalidTag, ValueError):
            raise ValueError("a payload was altered, or encrypted with another key") from None
