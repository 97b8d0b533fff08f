"""A pricing folder on the command line: its file, its run cards, and what to do next."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from services.common.strict_yaml import StrictYamlError
from services.pricing.fitting import run_card
from services.pricing.fitting.pricing_file import PricingFile, read_pricing_file
from stack.commands.failing import Failed
from stack.commands.printing import say

T = TypeVar("T")

NAME = "pricing.yaml"
PricingPath = Annotated[
    Path,
    typer.Option("--file", "-f", help="The pricing.yaml; what it makes lies beside it."),
]
DEFAULT = Path(NAME)
# What they write tells of single people: files are 0600, their folders 0700. A book, a study and a
# renewal have a row each; a cell of one claim has that claim's amount, and so do the fit, the
# workbook and the report that show it; a step of a survival curve is the day of somebody's claim.
# A tariff and its memo are made to be filed, and keep the rights that new files have.
_OF_PEOPLE = frozenset({"export-book", "study", "fit", "evaluate", "select", "report", "renew"})


def opened(path: Path) -> PricingFile:
    """The settings of a pricing folder.

    Raises: Failed with every fault of the file, or that there is none.
    """
    path = path / NAME if path.is_dir() else path
    try:
        return read_pricing_file(path)
    except StrictYamlError as error:
        raise Failed(*str(error).splitlines(), exit_code=2) from None
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}; `lipei pricing init FOLDER` makes one"
        raise Failed(text, exit_code=2) from None


def settings_of(file: PricingFile, kind: type[T]) -> T:
    """The settings of one kind.

    Raises: Failed when their section is not written and has settings without default.
    """
    try:
        return file.of(kind)
    except StrictYamlError as error:
        raise Failed(*str(error).splitlines(), exit_code=2) from None


@dataclass(kw_only=True, slots=True)
class Running:
    """A command at work; what it writes goes into `outputs` for the run card."""

    outputs: list[Path] = field(default_factory=list)
    synthetic: bool = False


@contextlib.contextmanager
def running(
    file: PricingFile,
    command: str,
    *,
    arguments: Sequence[str] = (),
    seed: int | None = None,
    inputs: Iterable[Path] = (),
) -> Iterator[Running]:
    """A run of a command, which leaves its run card when it has not failed.

    `arguments` are what `rerun` types after the command: the resolved values that matter.
    """
    started = run_card.Started(
        command=command,
        arguments=tuple(arguments),
        seed=seed,
        settings_sha256=file.sha256,
        inputs=run_card.digests(file.folder, inputs),
        at=datetime.now(UTC),
    )
    work = Running()
    with for_the_owner() if command in _OF_PEOPLE else contextlib.nullcontext():
        yield work
        card = run_card.finish(
            file.folder,
            started,
            outputs=work.outputs,
            synthetic=work.synthetic,
            ended=datetime.now(UTC),
        )
        if command in _OF_PEOPLE:
            _close_to_others((*work.outputs, card))
    say(f"run card: {card}")


@contextlib.contextmanager
def for_the_owner() -> Iterator[None]:
    """What is made meanwhile nobody else may read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _close_to_others(files: Iterable[Path]) -> None:
    """Also where a file or folder of an earlier run, open to others, was there already."""
    for one in files:
        one.chmod(0o600)
        one.parent.chmod(0o700)


def say_next(*commands: str) -> None:
    """Say which commands come next."""
    say("next: " + ", or ".join(f"`{command}`" for command in commands))
