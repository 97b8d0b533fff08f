"""Which hospitals a folder of source profiles names. Reads no more of a profile than that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class NoProfiles(RuntimeError):
    """The folder of source profiles is missing or holds none."""


def hospitals_of(profiles: Path) -> Sequence[str]:
    """Ids of the hospitals, one per `{hospital}.yaml`, in order.

    Raises: NoProfiles.
    """
    found = sorted(file.stem for file in profiles.glob("*.yaml"))
    if not found:
        raise NoProfiles(f"{profiles} holds no source profile ({{hospital}}.yaml)")
    return found
