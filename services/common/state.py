"""The state directory of one installation: addresses, key files, private to its owner."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.settings import UnknownSetting

_RUN = "run.json"
UP_LOCK = "up.lock"  # whoever supervises the installation holds it


class KeyReplaced(UnknownSetting):
    """A key file is gone, or holds another key than before; the text says which and what to do."""

    def __init__(self, file: Path, what: str, whose: str, place: str = "database") -> None:
        super().__init__(
            f"the key file {file.name} {what}, and this {place}'s {whose} the key that it held: "
            "put that back from its backup; nothing was written"
        )


def state_dir(path: Path) -> Path:
    """The directory, made private (0700) if it did not exist."""
    path = path.absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the directory's lock, among processes too."""
    with (state / ".run.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_held(state: Path) -> bool:
    """Whether a supervisor runs on this state directory: the kernel drops a dead one's lock."""
    try:
        handle = os.open(state / UP_LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def read_addresses(state: Path) -> dict[str, str]:
    """Name → address of what runs here; empty when nothing does, or nobody can tell any more."""
    try:
        found = json.loads((state / _RUN).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # cut short by a power failure
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): str(address) for name, address in found.items()}


def record_address(state: Path, name: str, address: str | None) -> None:
    """Write one address into run.json, or take it out with None. Safe among processes."""
    state_dir(state)
    with locked(state):
        addresses = read_addresses(state)
        if address is None:
            addresses.pop(name, None)
        else:
            addresses[name] = address
        _write(state, addresses)


def forget_address(state: Path, name: str, address: str) -> None:
    """Take an address out of run.json, unless a successor has recorded its own by now."""
    state_dir(state)
    with locked(state):
        addresses = read_addresses(state)
        if addresses.get(name) == address:
            del addresses[name]
            _write(state, addresses)


def _write(state: Path, addresses: dict[str, str]) -> None:
    fresh = state / f"{_RUN}.new"
    fresh.write_text(json.dumps(addresses, indent=1, sort_keys=True) + "\n")
    fresh.replace(state / _RUN)


def write_private(file: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file (0600) whole or not at all: another process may read it at any moment.

    When `durable`, it is on the disk when this returns.
    """
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
        if durable:
            out.flush()
            os.fsync(out.fileno())
    fresh.replace(file)
    if durable:
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_or_make_key(path: Path, *, length: int = 32) -> bytes:
    """The key in the file, made with fresh randomness (0600) if the file does not exist.

    Two processes that start at once get the same key. An existing file may be read-only, in a
    directory where nothing can be written.

    Raises: UnknownSetting when the file holds something else than `length` bytes in hex.
    """
    path = path.absolute()
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path.parent):
            if not path.exists():
                _make_key(path, length)
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != length:
        raise UnknownSetting(f"the key file {path.name} does not hold {length} bytes in hex")
    return key


def _make_key(path: Path, length: int) -> None:
    # On the disk before its first use: what a lost key has sealed is lost as well.
    write_private(path, f"{secrets.token_hex(length)}\n".encode(), durable=True)
