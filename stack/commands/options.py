"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STATE = Path(".lipei")

State = Annotated[
    Path,
    typer.Option("--state", envvar="LIPEI_STATE", help="The state directory of the installation."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Hospital = Annotated[str, typer.Argument(metavar="HOSPITAL", help="The hospital's id.")]
RequestId = Annotated[
    str, typer.Option("--request-id", help="Id of this request; a fresh one when absent.")
]


def profiles_in(state: Path) -> Path:
    """Where `lipei his add` puts source profiles, for `lipei up` to find them."""
    return state / "profiles"


class Language(StrEnum):
    """Languages of sentences."""

    ZH = "zh"
    EN = "en"
    BOTH = "both"


Lang = Annotated[Language, typer.Option("--lang", help="Language of the sentences.")]


def spoken(lang: Language) -> tuple[str, ...]:
    """The languages to print, Chinese first."""
    return ("zh", "en") if lang is Language.BOTH else (lang.value,)
