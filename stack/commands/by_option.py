"""What a service calls a field is what a person typed: refusals by the name of the option."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from stack.commands.calling import CallFailed, Failed
from stack.commands.printing import counted

_FIELD = re.compile(r"(\w+)(?:\[(\d+)\])?")


@contextmanager
def by_option(options: Mapping[str, str]) -> Iterator[None]:
    """Refusals of these fields as faults of their options, which is wrong use: exit code 2.

    A refusal of anything else stays as the service said it.
    """
    try:
        yield
    except CallFailed as refused:
        violations = refused.fault.violations
        found = [_FIELD.fullmatch(one.field) for one in violations]
        if not found or not all(field and field[1] in options for field in found):
            raise
        lines = [
            f"{options[field[1]]}{_which(field[2])}: {one.text} [{one.reason}]"
            for field, one in zip(found, violations, strict=True)
            if field
        ]
        raise Failed(
            *lines, f"{counted(len(lines), 'fault')}; nothing was done", exit_code=2
        ) from None


def _which(index: str | None) -> str:
    return "" if index is None else f" {int(index) + 1}"
