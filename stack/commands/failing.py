"""A command that failed: sentences for a person and an exit code, never a stack trace."""

from __future__ import annotations


class Failed(Exception):
    """What went wrong, in sentences for a person, and the exit code: 1, or 2 for wrong use."""

    def __init__(self, *lines: str, exit_code: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = exit_code
