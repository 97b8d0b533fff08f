"""Master keys: they wrap the subjects' keys and never stand in a database.

`MasterKeys` is the port. A key set comes from a file (`KeyFile`) or from a command that asks a
key-management service or a hardware module for it (`KeyCommand`); a module that wraps keys itself
and never shows its own implements the port.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.common.sealing.faults import CannotOpen, KeyRetired, KeyUnknown
from services.common.sealing.value import NONCE_BYTES, joined
from services.common.settings import UnknownSetting

# A source may cost a process; so long nobody asks it again for an id that it did not have.
_ASK_AGAIN_S = 10.0


class KeyState(StrEnum):
    """What a key set says of a key id."""

    CURRENT = "current"
    KNOWN = "known"  # opens what it once wrapped
    RETIRED = "retired"  # its id is known, its key is gone
    UNKNOWN = "unknown"


class MasterKeys(Protocol):
    """Wraps and unwraps subjects' keys. Safe among threads; may block."""

    def current(self) -> str:
        """Id of the key that wraps from now on."""

    def state(self, key_id: str) -> KeyState:
        """What is known of a key."""

    def wrap(self, key: bytes, place: bytes) -> tuple[str, bytes]:
        """Id of the current key, and the key wrapped under it, bound to its place."""

    def unwrap(self, key_id: str, wrapped: bytes, place: bytes) -> bytes:
        """The key.

        Raises: KeyUnknown, KeyRetired; CannotOpen for another place or altered bytes.
        """

    def refresh(self) -> None:
        """Look at the source again: it may have a new key, or have one no more."""


class KeySet:
    """Master keys in memory. A key given as None is retired: its id is known and opens nothing."""

    def __init__(self, keys: Mapping[str, bytes | None], current: str) -> None:
        if keys.get(current) is None:
            raise ValueError("the current master key is not among the keys, or is retired")
        for key_id, key in keys.items():
            if not key_id.isascii() or not key_id.isprintable() or not 1 <= len(key_id) <= 64:
                raise ValueError("a master key's id is 1 to 64 visible ASCII characters")
            if key is not None and len(key) != 32:
                raise ValueError("a master key has 32 bytes")
        self.keys = dict(keys)
        self._ciphers = {k: None if key is None else AESGCM(key) for k, key in keys.items()}
        self._current = current

    def current(self) -> str:
        """Id of the key that wraps from now on."""
        return self._current

    def state(self, key_id: str) -> KeyState:
        """What is known of a key."""
        if key_id not in self._ciphers:
            return KeyState.UNKNOWN
        if self._ciphers[key_id] is None:
            return KeyState.RETIRED
        return KeyState.CURRENT if key_id == self._current else KeyState.KNOWN

    def wrap(self, key: bytes, place: bytes) -> tuple[str, bytes]:
        """The key under the current master key, bound to its place."""
        cipher, nonce = self._ciphers[self._current], os.urandom(NONCE_BYTES)
        assert cipher is not None  # noqa: S101 - __init__ refuses a retired current key
        return self._current, nonce + cipher.encrypt(nonce, key, _bound(self._current, place))

    def unwrap(self, key_id: str, wrapped: bytes, place: bytes) -> bytes:
        """The key. Raises: KeyUnknown, KeyRetired, CannotOpen."""
        if key_id not in self._ciphers:
            raise KeyUnknown(key_id)
        cipher = self._ciphers[key_id]
        if cipher is None:
            raise KeyRetired(key_id)
        try:
            return cipher.decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(key_id, place)
            )
        except (InvalidTag, ValueError):
            raise CannotOpen from None

    def refresh(self) -> None:
        """Nothing: this set never changes."""


def _bound(key_id: str, place: bytes) -> bytes:
    return joined("lipei master key", key_id) + place


class Source(Protocol):
    """Where a key set is read from."""

    def changed(self) -> bool:
        """Whether it may say something else than it said last; cheap."""

    def read(self) -> KeySet:
        """The key set as it is now. Raises: UnknownSetting when it cannot be used."""


class RereadKeys:
    """A key set that follows its source, so that a rotation stops no service.

    It is read again when the source says that it changed, and when a key is asked for that was
    not in it. A source that fails then leaves what is known as it is.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._set = source.read()
        self._asked_s = -_ASK_AGAIN_S

    def current(self) -> str:
        """Id of the key that wraps from now on."""
        return self._now().current()

    def state(self, key_id: str) -> KeyState:
        """What is known of a key."""
        return self._having(key_id).state(key_id)

    def wrap(self, key: bytes, place: bytes) -> tuple[str, bytes]:
        """The key under the current master key, bound to its place."""
        return self._now().wrap(key, place)

    def unwrap(self, key_id: str, wrapped: bytes, place: bytes) -> bytes:
        """The key. Raises: KeyUnknown, KeyRetired, CannotOpen."""
        return self._having(key_id).unwrap(key_id, wrapped, place)

    def refresh(self) -> None:
        """Read the source again. Raises: UnknownSetting when it cannot be used."""
        with self._lock:
            self._set = self._source.read()

    def _now(self) -> KeySet:
        if self._source.changed():
            self._try_again()
        return self._set

    def _having(self, key_id: str) -> KeySet:
        now_s = time.monotonic()
        unknown = self._now().state(key_id) is KeyState.UNKNOWN
        if unknown and now_s - self._asked_s >= _ASK_AGAIN_S:
            self._asked_s = now_s
            self._try_again()
        return self._set

    def _try_again(self) -> None:
        try:
            self.refresh()
        except UnknownSetting as fault:
            from services.common.log import logger  # noqa: PLC0415 - heavy, and seldom said

            logger().error("master_keys_not_read", fault=type(fault).__name__)
