"""A command that failed: sentences for a person and an exit code, never a stack trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Failed(Exception):
    """What went wrong, in sentences for a person, and the exit code: 1, or 2 for wrong use."""

    def __init__(self, *lines: str, exit_code: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = exit_code


@contextmanager
def using(state: Path) -> Iterator[None]:
    """What cannot be made, read or written while the block runs is a fault of the state directory.

    Raises: Failed for it.
    """
    try:
        yield
    except OSError as error:
        raise unusable(state, error) from None


def unusable(state: Path, error: OSError) -> Failed:
    """What a command says of a state directory that cannot be made or written."""
    why = error.strerror or type(error).__name__
    text = f"the state directory {state.absolute()} cannot be used: {why}; name another by --state"
    return Failed(f"{text} or LIPEI_STATE", exit_code=2)
