"""Which key files of an installation must be there, because something was made under them.

A database elsewhere shows nothing in the state directory: so what keys were there at a start stays
written beside them, in a file without any secret.
"""

from __future__ import annotations

import json
from pathlib import Path

from services.common.settings import (
    evidence_pseudonym_key_file,
    key_file,
    master_key_command,
    master_key_file,
    member_token_key_file,
)
from services.common.state import write_private

KEPT = "kept_keys.json"
_TOKEN, _MASTER = "member_token", "master_keys"


class KeysForgotten(RuntimeError):
    """The file that says which keys there were cannot be read."""


def lost_keys(state: Path, services: tuple[str, ...]) -> list[Path]:
    """Key files that were there when databases were filled under them, and are gone.

    Raises: KeysForgotten.
    """
    files = _files(state, services)
    needed = _known(state)
    # What signed before left its public half beside it.
    signed = {name for name, file in files.items() if name not in needed and _public(file).exists()}
    # State of before this was written down.
    ran = signed or any((state / f"{service}.db").exists() for service in services)
    needed |= signed | ({_TOKEN, _MASTER} if ran else set())
    return [file for name, file in files.items() if name in needed and not file.exists()]


def keep_in_mind(state: Path, services: tuple[str, ...]) -> None:
    """Write down which key files are there, so that none of them is ever made anew.

    Raises: KeysForgotten.
    """
    known = _known(state)
    there = {name for name, file in _files(state, services).items() if file.exists()}
    if not there <= known:
        content = json.dumps(sorted(there | known), indent=1) + "\n"
        write_private(state / KEPT, content.encode(), durable=True)


def _known(state: Path) -> set[str]:
    try:
        found = json.loads((state / KEPT).read_text())
    except FileNotFoundError:
        return set()
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise KeysForgotten(f"{state / KEPT} is no list of names; put it back from its backup")
    return set(found)


def _files(state: Path, services: tuple[str, ...]) -> dict[str, Path]:
    """By name: where each key stands as settings are now. One that a command tells has no file."""
    files = {_TOKEN: member_token_key_file(state)}
    if not master_key_command():
        files[_MASTER] = master_key_file(state)
    files["evidence_pseudonym"] = evidence_pseudonym_key_file(state)
    for name in services:
        variable = f"{name.upper()}_EVIDENCE_KEY_FILE"
        files[f"{name}_evidence"] = key_file(state, variable, f"{name}_evidence.key")
    return files


def _public(file: Path) -> Path:
    return file.with_suffix(".vkey")
