"""The file of banned factors → bans, or every fault with its line. Knows no tariff."""

from __future__ import annotations

import re
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from services.common.strict_yaml import Fault, StrictYamlError, YamlList, YamlMap, load
from services.pricing.core.banned import Ban
from services.pricing.core.tariff import Jurisdiction, Part, Text
from services.pricing.tariffs.shape import shape_faults

_STEP = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")
Word = Annotated[
    str, Meta(pattern=r"^[a-z0-9]{2,40}\Z", description="a word of small letters and digits")
]


class _Ban(Part, frozen=True):
    jurisdiction: Jurisdiction
    first: date
    last: date | None
    words: tuple[Word, ...]
    phrases: tuple[Text, ...]
    source: Text


class _File(Part, frozen=True):
    bans: dict[str, _Ban]


def known_bans() -> Path:
    """The list that comes with lipei; an operator may set another (LIPEI_PRICING_BANNED)."""
    return Path(str(resources.files("services.pricing.tariffs"))) / "banned_factors.yaml"


def load_bans(path: Path) -> tuple[Ban, ...]:
    """The bans in a file, in its order.

    Raises: StrictYamlError with every fault; OSError when it cannot be read.
    """
    tree = load(path.read_bytes(), path.name)
    found = [
        Fault(fault.path, _line(tree, fault.path), fault.reason, fault.text)
        for fault in shape_faults(tree, _File, "")
    ]
    if found:
        raise StrictYamlError(found, path.name, tree)
    bans = msgspec.convert(tree, _File).bans
    return tuple(
        Ban(
            name=name,
            jurisdiction=ban.jurisdiction,
            first=ban.first,
            last=ban.last,
            words=ban.words,
            phrases=ban.phrases,
            source=ban.source,
        )
        for name, ban in bans.items()
    )


def _line(tree: YamlMap, path: str) -> int:
    """The line of the deepest key of a fault's path that is there."""
    line: int = tree.line
    at: Any = tree
    for number, key in _STEP.findall(path):
        if isinstance(at, YamlList) and number and int(number) < len(at):
            line, at = at.lines[int(number)], at[int(number)]
        elif isinstance(at, YamlMap) and key in at:
            line, at = at.lines[key], at[key]
        else:
            break
    return line
