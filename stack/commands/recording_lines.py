"""Lines of JSON recorded in batches: every fault of every line at once, from here and the service.

Where one line is at fault here, the others are only judged; where a batch is refused, so are those
after it. Knows no message but by its lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from stack.commands.calling import CallFailed, Failed
from stack.commands.json_lines import by_line, read_lines

M = TypeVar("M", bound=Message)
R = TypeVar("R")
Call = Callable[[Sequence[M], bool], R]

_BATCH = 1_000


def record_lines(content: bytes, source: str, kind: type[M], call: Call[M, R]) -> list[R]:
    """What the service answered to each batch of 1,000 lines.

    `call` records messages, or with True only has them judged.

    Raises: Failed with all faults, and how much was recorded.
    """
    batches = whole_lines(content, source, kind, call)
    answers: list[R] = []
    for number, batch in enumerate(batches):
        try:
            answers.append(call([message for _, message in batch], False))
        except CallFailed as failed:
            told = by_line(failed, batch)
            if _of_the_content(failed):
                told += _judged(batches[number + 1 :], call)
            before = sum(map(len, batches[:number]))
            if before:
                told.append(f"the {before} lines before were recorded, none from here on")
            raise Failed(*told) from None
    return answers


def whole_lines(
    content: bytes, source: str, kind: type[M], call: Call[M, R]
) -> list[list[tuple[int, M]]]:
    """Batches of 1,000 numbered lines, each of which can be read.

    Raises: Failed with all faults of the lines, also those that the service finds, else.
    """
    lines, faults = read_lines(content, source, kind)
    batches = in_batches(lines)
    if faults:
        raise Failed(*faults, *_judged(batches, call))
    return batches


def in_batches(lines: list[tuple[int, M]]) -> list[list[tuple[int, M]]]:
    """As many lines at once as the service takes."""
    return [lines[start : start + _BATCH] for start in range(0, len(lines), _BATCH)]


def _judged(batches: Iterable[Sequence[tuple[int, M]]], call: Call[M, R]) -> list[str]:
    """What the service finds wrong with batches that are not recorded."""
    told = []
    for batch in batches:
        try:
            call([message for _, message in batch], True)
        except CallFailed as failed:
            told += by_line(failed, batch)
            if not _of_the_content(failed):
                break
        except Failed as failed:  # nothing runs: the lines' own faults are told all the same
            return [f"the other lines were not judged: {failed.lines[0]}"]
    return told


def _of_the_content(failed: CallFailed) -> bool:
    """Whether the messages are at fault, and not whoever should have taken them."""
    return failed.fault.code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
    )
