"""The keys of the Temporal codec: several in one file, rotated under running processes.

One key is current and encrypts; those before it only open what they have encrypted, until Temporal
has forgotten it; a retired key is destroyed, and only its name stays.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from services.common.settings import UnknownSetting
from services.common.state import locked, write_private

FIRST_KEY_ID = "k1"  # of a key file of the old form: one key in hex, without a name
_FORMAT = "lipei codec keys 1"
_KEY_BYTES = 32


class CodecFault(ValueError):
    """A payload that cannot be opened; `reason` is stable, `key_id` the key that it names.

    The text never holds anything of the payload.
    """

    def __init__(self, reason: Reason, key_id: str = "") -> None:
        super().__init__(f"{reason}: {_SENTENCES[reason]}")
        self.reason = reason
        self.key_id = key_id


class Reason(StrEnum):
    """Why a payload cannot be opened."""

    KEY_MISSING = "CODEC_KEY_MISSING"
    KEY_RETIRED = "CODEC_KEY_RETIRED"
    NOT_ENCRYPTED = "PAYLOAD_NOT_ENCRYPTED"
    ALTERED = "PAYLOAD_ALTERED"


_SENTENCES = {
    Reason.KEY_MISSING: "a payload names a key that is not in the key file; restore the file",
    Reason.KEY_RETIRED: "a payload names a retired key; nobody can open it any more",
    Reason.NOT_ENCRYPTED: "a payload is not encrypted; somebody wrote past the codec",
    Reason.ALTERED: "a payload was altered, belongs elsewhere, or has another key's name",
}


class KeyState(StrEnum):
    """What a key may still do."""

    CURRENT = "current"
    DECRYPT_ONLY = "decrypt-only"
    RETIRED = "retired"


class CodecKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key. `key` is hex, and empty once retired.

    `superseded` is when the last payload was encrypted with it, None while it is current; `unbound`
    says that it may have encrypted payloads that name no workflow, as the codec before this did.
    """

    id: str
    state: KeyState
    made: datetime | None = None
    superseded: datetime | None = None
    retired: datetime | None = None
    unbound: bool = False
    key: str = ""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    keys: tuple[CodecKey, ...]


class CodecKeys(Protocol):
    """Where a codec finds its keys."""

    def current(self) -> CodecKey:
        """The key that encrypts now."""

    def named(self, key_id: str) -> CodecKey:
        """The key that a payload names.

        Raises: CodecFault when it is missing or retired.
        """


class KeyFile:
    """The keys in a file, read again when it changes: a rotation needs no restart.

    While the file is away or cannot be read, the keys read last go on, and the log says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._seen = self._mark()
        self._take(load(self._path))

    def current(self) -> CodecKey:
        """The key that encrypts now."""
        self._refresh()
        return self._current

    def named(self, key_id: str) -> CodecKey:
        """The key that a payload names.

        Raises: CodecFault when it is missing or retired.
        """
        self._refresh()
        return _found(self._keys, key_id)

    def _refresh(self) -> None:
        mark = self._mark()
        if mark == self._seen:
            return
        # Noted before reading: a file that changes meanwhile is read once more.
        self._seen = mark
        try:
            self._take(load(self._path))
        except UnknownSetting:
            from services.common.log import logger  # noqa: PLC0415 - heavy, and seldom said

            logger().error("codec_keys_unreadable")

    def _take(self, keys: Sequence[CodecKey]) -> None:
        self._keys = {key.id: key for key in keys}
        self._current = next(key for key in keys if key.state is KeyState.CURRENT)

    def _mark(self) -> tuple[int, int, int] | None:
        # A rotation replaces the file, so that it has another inode; a stat costs a microsecond.
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- a third of Path.stat's cost, on every payload
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _found(keys: Mapping[str, CodecKey], key_id: str) -> CodecKey:
    key = keys.get(key_id)
    if key is None:
        raise CodecFault(Reason.KEY_MISSING, key_id)
    if key.state is KeyState.RETIRED:
        raise CodecFault(Reason.KEY_RETIRED, key_id)
    return key


def load_or_make(path: Path, now: datetime) -> tuple[CodecKey, ...]:
    """The keys in the file; a file with one fresh key is made (0600) if there is none.

    Two processes that start at once get the same key.

    Raises: UnknownSetting when the file holds something else.
    """
    path = path.absolute()
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path.parent):
            if not path.exists():
                write_private(path, _text([_fresh(now, KeyState.CURRENT)]), durable=True)
    return load(path)


def load(path: Path) -> tuple[CodecKey, ...]:
    """The keys in the file, which may be one key in hex: that one is then called k1.

    Raises: UnknownSetting when there is no such file, or it holds anything else.
    """
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise UnknownSetting(f"the key file {path.name} cannot be read") from None
    if not text.startswith("{"):
        old = CodecKey(id=FIRST_KEY_ID, state=KeyState.CURRENT, unbound=True, key=text)
        keys: tuple[CodecKey, ...] = (old,)
    else:
        try:
            file = msgspec.json.decode(text, type=_File)
        except msgspec.DecodeError:
            raise _unusable(path) from None
        keys = file.keys if file.format == _FORMAT else ()
    if not _usable(keys):
        raise _unusable(path)
    return keys


def _usable(keys: Sequence[CodecKey]) -> bool:
    current = [key for key in keys if key.state is KeyState.CURRENT]
    names = {key.id for key in keys}
    return (
        len(current) == 1
        and len(names) == len(keys)
        and all(key.id.isascii() and key.id.isalnum() and len(key.id) <= 16 for key in keys)
        and all(_has_its_bytes(key) for key in keys)
    )


def _has_its_bytes(key: CodecKey) -> bool:
    if key.state is KeyState.RETIRED:
        return not key.key
    try:
        return len(bytes.fromhex(key.key)) == _KEY_BYTES
    except ValueError:
        return False


def _unusable(path: Path) -> UnknownSetting:
    return UnknownSetting(
        f"the key file {path.name} does not hold codec keys, one of them current, "
        f"nor one key of {_KEY_BYTES} bytes in hex"
    )


class CannotChange(ValueError):
    """A change that the keys as they are do not allow; the text says why."""


Change = Callable[[Sequence[CodecKey]], tuple[CodecKey, ...]]


def change(path: Path, by: Change) -> tuple[CodecKey, ...]:
    """Change the key file in one step; whoever reads sees the keys before or those after.

    Raises: UnknownSetting when the file does not hold keys, CannotChange, OSError.
    """
    path = path.absolute()
    with locked(path.parent):
        keys = by(load(path))
        write_private(path, _text(keys), durable=True)
    return keys


def with_fresh_key(keys: Sequence[CodecKey], now: datetime) -> tuple[CodecKey, ...]:
    """The keys and a new one that encrypts nothing yet: for handing it to other machines first."""
    return (*keys, _fresh(now, KeyState.DECRYPT_ONLY))


def with_current(keys: Sequence[CodecKey], key_id: str, now: datetime) -> tuple[CodecKey, ...]:
    """The keys with this one as the current one; the one before only opens from now on.

    Raises: CannotChange when there is no such key, or it is retired.
    """
    chosen = _changeable(keys, key_id)
    if chosen.state is KeyState.CURRENT:
        return tuple(keys)
    return tuple(
        msgspec.structs.replace(key, state=KeyState.CURRENT, superseded=None)
        if key.id == key_id
        else msgspec.structs.replace(key, state=KeyState.DECRYPT_ONLY, superseded=now)
        if key.state is KeyState.CURRENT
        else key
        for key in keys
    )


def with_use_until(
    keys: Sequence[CodecKey], used: Iterable[str], now: datetime
) -> tuple[CodecKey, ...]:
    """The keys, those among them that were found in use until now superseded now, not earlier."""
    found = frozenset(used)
    return tuple(
        msgspec.structs.replace(key, superseded=now)
        if key.id in found and key.state is KeyState.DECRYPT_ONLY
        else key
        for key in keys
    )


def without(keys: Sequence[CodecKey], key_id: str, now: datetime) -> tuple[CodecKey, ...]:
    """The keys with this one destroyed; its name stays, so that a payload of it has a reason.

    Raises: CannotChange when there is no such key, it is current, or retired before.
    """
    chosen = _changeable(keys, key_id)
    if chosen.state is KeyState.CURRENT:
        raise CannotChange(f"{key_id} is the current key; rotate first")
    gone = msgspec.structs.replace(chosen, state=KeyState.RETIRED, retired=now, key="")
    return tuple(gone if key.id == key_id else key for key in keys)


def _changeable(keys: Sequence[CodecKey], key_id: str) -> CodecKey:
    for key in keys:
        if key.id == key_id and key.state is not KeyState.RETIRED:
            return key
    raise CannotChange(f"there is no key {key_id} that is not retired")


def _fresh(now: datetime, state: KeyState) -> CodecKey:
    key = secrets.token_bytes(_KEY_BYTES)
    # Named after its content: another key never goes under the same name, whatever file was lost.
    name = "k" + hashlib.sha256(b"lipei codec key\x00" + key).hexdigest()[:8]
    return CodecKey(id=name, state=state, made=now.astimezone(UTC), key=key.hex())


def _text(keys: Sequence[CodecKey]) -> bytes:
    file = _File(format=_FORMAT, keys=tuple(keys))
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"
