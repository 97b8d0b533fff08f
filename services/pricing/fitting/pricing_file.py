"""pricing.yaml → settings, or every fault of the file with its line. Reads no table of the book."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.common.strict_yaml import Fault, StrictYamlError, YamlMap, load
from services.pricing.fitting.book_settings import BOOK, BookSettings
from services.pricing.fitting.experience.settings import (
    OPEN_RATES,
    SIMULATED_RATES,
    STUDY,
    refuse_other_causes,
)
from services.pricing.fitting.models.evaluation_settings import EVALUATE
from services.pricing.fitting.models.settings import FIT
from services.pricing.fitting.partners.settings import PARTNERS
from services.pricing.fitting.renewal.settings import RENEWAL
from services.pricing.fitting.section import Section, SectionKind
from services.pricing.fitting.selection.settings import SELECT, TARIFF
from services.pricing.fitting.simulated.settings import SIMULATE

T = TypeVar("T")

# Every section of the file by its name, in the order in which `init` writes them.
SECTIONS: Mapping[str, SectionKind] = {
    "book": BOOK,
    "simulate": SIMULATE,
    "study": STUDY,
    "renewal": RENEWAL,
    "fit": FIT,
    "evaluate": EVALUATE,
    "partners": PARTNERS,
    "select": SELECT,
    "tariff": TARIFF,
}
FORMAT = 1
# The factor, wherever a template names it: what the book is read by, fitted by, and priced by.
_NO_COINSURANCE = (
    (
        re.compile(r"rating_factors: \[coinsurance_percent\] .*"),
        "rating_factors: []           # the services know no further columns of people",
    ),
    (re.compile(r"^    coinsurance:\n(?: {6}.*\n)+", re.MULTILINE), ""),
    (re.compile(r", coinsurance(?:_percent: '[0-9]+')?(?=[,}\]])"), ""),
)
_HEAD = """\
# Settings of one pricing project; `lipei pricing check` tells every fault with its line.
# Numbers with a point stand in quotes. What is left out has the value that is written here.
format: 1
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PricingFile:
    """The settings of one pricing folder; `folder` is where pricing.yaml stands."""

    path: Path
    sha256: str
    sections: Mapping[str, object]

    @property
    def folder(self) -> Path:
        """The folder of the project, beside which every file of it lies."""
        return self.path.parent

    def of(self, settings: type[T]) -> T:
        """The settings of this kind; those of a section that is not written are its defaults.

        Raises: StrictYamlError when the section is not written and has settings without default.
        """
        for name, kind in SECTIONS.items():
            if kind.settings is not settings:
                continue
            found = self.sections.get(name)
            if found is None:
                faults: list[Fault] = []
                found = kind.read(Section(_empty(1), name, faults))
                if faults:
                    raise StrictYamlError(faults, str(self.path))
            if isinstance(found, settings):
                return found
        raise LookupError(f"no section of pricing.yaml holds {settings.__name__}")


def read_pricing_file(path: Path) -> PricingFile:
    """The settings in a file.

    Raises: StrictYamlError with every fault of every section; OSError when it cannot be read.
    """
    return parse_pricing_file(path.read_bytes(), path)


def parse_pricing_file(content: bytes, path: Path) -> PricingFile:
    """The settings in a file's content; `path` is where it stands, or would stand.

    Raises: StrictYamlError with every fault of every section.
    """
    faults: list[Fault] = []
    try:
        tree = load(content, str(path))
    except StrictYamlError as error:
        if error.tree is None:
            raise
        faults, tree = list(error.faults), error.tree
    top = Section(tree, "", faults)
    if top.whole("format", 0, least=FORMAT, most=FORMAT) != FORMAT and "format" not in tree:
        top.fault("format", "MISSING", f"must say the format of this file: {FORMAT}")
    found = {}
    for name, kind in SECTIONS.items():
        below = top.section(name)
        if tree.get(name) is not None:
            found[name] = kind.read(below)
            below.done()
    _compare(top, found)
    top.done()
    if faults:
        # What two sections are compared by is read twice.
        raise StrictYamlError(list(dict.fromkeys(faults)), str(path), tree)
    return PricingFile(path=path, sha256=hashlib.sha256(content).hexdigest(), sections=found)


def template(*, own: bool = False, exported: bool = False) -> str:
    """pricing.yaml as `lipei pricing init` writes it: every section with its comments.

    For a book of one's `own` the trend is left open: that of a simulated one is nobody's. In one
    that the services have `exported` there is no coinsurance either, and nothing rates by it.
    """
    text = _HEAD + "".join(f"\n{kind.template}" for kind in SECTIONS.values())
    if own or exported:
        text = text.replace(SIMULATED_RATES, OPEN_RATES)
    if exported:
        for pattern, instead in _NO_COINSURANCE:
            text = pattern.sub(instead, text)
    return text


def _compare(top: Section, found: Mapping[str, object]) -> None:
    """Note what two sections do not agree on, where both are written."""
    book = found.get("book")
    if isinstance(book, BookSettings) and "study" in found:
        refuse_other_causes(top.section("study"), book.causes)


def _empty(line: int) -> YamlMap:
    made = YamlMap()
    made.line, made.lines = line, {}
    return made
