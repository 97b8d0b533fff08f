"""Certificates of what is measured in this process, without a stack: minted once for a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from demo.stack import mint


@cache
def identities(folder: Path) -> Path:
    """The state directory below the run's folder that holds them.

    Raises: StackRefused.
    """
    return mint(folder / "identities")
