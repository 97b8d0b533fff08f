"""Where a master key set comes from: a private file, or a command that asks whoever keeps it.

Both say the same JSON: {"current": "m2", "keys": [{"id": "m1", "key": "{64 hex}"}, {"id": "m2",
"key": "{64 hex}"}, {"id": "m0", "retired": true}]}.
"""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from services.common.sealing.master import KeySet, KeyState, RereadKeys
from services.common.settings import (
    UnknownSetting,
    master_key_command,
    master_key_file,
)
from services.common.state import locked, write_private

_FIRST = "m1"
_COMMAND_S = 20.0
_LARGEST_BYTES = 1 << 20


class _Key(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    key: str = ""
    retired: bool = False


class _Keys(msgspec.Struct, forbid_unknown_fields=True):
    current: str
    keys: list[_Key]


def master_keys(state: Path) -> RereadKeys:
    """The installation's master keys: from the command of the settings, else from the file.

    A file that does not exist is made with one fresh key (0600).

    Raises: UnknownSetting when they cannot be used.
    """
    command = master_key_command()
    if command:
        return RereadKeys(KeyCommand(command))
    return RereadKeys(KeyFile(master_key_file(state)))


def parsed(content: bytes, what: str) -> KeySet:
    """The key set in its JSON.

    Raises: UnknownSetting that says what is wrong; never what stands there.
    """
    try:
        if len(content) > _LARGEST_BYTES:
            raise ValueError("is too long")
        read = msgspec.convert(json.loads(content, object_pairs_hook=_unique), _Keys)
        ids = [key.id for key in read.keys]
        if len(set(ids)) < len(ids):
            raise ValueError("names a key twice")
        if any(key.retired == bool(key.key) for key in read.keys):
            raise ValueError('a key has either its 64 hex digits or "retired": true')
        keys = {key.id: None if key.retired else _from_hex(key.key) for key in read.keys}
        return KeySet(keys, read.current)
    except msgspec.ValidationError as fault:
        raise UnknownSetting(f"{what}: {fault}") from None
    except json.JSONDecodeError:
        raise UnknownSetting(f"{what}: is no JSON") from None
    except (ValueError, RecursionError) as fault:
        raise UnknownSetting(f"{what}: {fault}") from None


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("a key is 64 hex digits") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def written(keys: KeySet) -> bytes:
    """The JSON of a key set."""
    entries = [
        _Key(key_id, retired=True) if key is None else _Key(key_id, key.hex())
        for key_id, key in keys.keys.items()
    ]
    return msgspec.json.format(msgspec.json.encode(_Keys(keys.current(), entries))) + b"\n"


class KeyFile:
    """A key set in a file that only its owner reads; made at the first start."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._seen: tuple[int, int, int] | None = None
        if not self._path.exists():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self._path.parent):
                if not self._path.exists():
                    self._write(KeySet({_FIRST: secrets.token_bytes(32)}, _FIRST))

    def changed(self) -> bool:
        """Whether the file was replaced or written since it was read."""
        try:
            return self._seen != self._stamp()
        except OSError:
            return False  # what was read still holds

    def read(self) -> KeySet:
        """The key set. Raises: UnknownSetting."""
        try:
            stamp = self._stamp()
            content = self._path.read_bytes()
        except OSError as fault:
            text = f"the master key file {self._path.name}: {fault.strerror or 'cannot be read'}"
            raise UnknownSetting(text) from None
        found = parsed(content, f"the master key file {self._path.name}")
        self._seen = stamp
        return found

    def add(self) -> str:
        """Add a fresh key and make it the current one; its id."""
        made = secrets.token_bytes(32)

        def change(old: KeySet) -> KeySet:
            key_id = _next_id(old)
            return KeySet({**old.keys, key_id: made}, key_id)

        return self._change(change).current()

    def retire(self, key_id: str) -> None:
        """Forget a key, and remember that there was one.

        Raises: UnknownSetting for the current key and for one that is not there.
        """

        def change(old: KeySet) -> KeySet:
            if old.state(key_id) is KeyState.CURRENT:
                raise UnknownSetting("the current key cannot be retired; rotate first")
            if old.state(key_id) is KeyState.UNKNOWN:
                raise UnknownSetting("no master key has this id")
            return KeySet({**old.keys, key_id: None}, old.current())

        self._change(change)

    def _change(self, change: Callable[[KeySet], KeySet]) -> KeySet:
        with locked(self._path.parent):
            changed = change(self.read())
            self._write(changed)
        return changed

    def _write(self, keys: KeySet) -> None:
        write_private(self._path, written(keys), durable=True)

    def _stamp(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size


def _next_id(keys: KeySet) -> str:
    number = len(keys.keys) + 1
    while f"m{number}" in keys.keys:
        number += 1
    return f"m{number}"


class KeyCommand:
    """A key set that a command prints: an adapter to a key-management service or a token.

    Run without a shell. Keys go through a pipe into memory and never onto a disk of ours.
    """

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def changed(self) -> bool:
        """Nobody can tell without running it; `refresh` does."""
        return False

    def read(self) -> KeySet:
        """Run the command. Raises: UnknownSetting."""
        what = "the command of LIPEI_MASTER_KEY_COMMAND"
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command, no shell
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_COMMAND_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as fault:
            raise UnknownSetting(f"{what} cannot be run: {type(fault).__name__}") from None
        if done.returncode != 0:
            raise UnknownSetting(f"{what} ended with {done.returncode}")
        return parsed(done.stdout, what)
