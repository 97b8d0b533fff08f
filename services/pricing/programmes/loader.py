"""Programme files → programmes, or every fault of every file with its line. Knows no database."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TypeVar

from services.common.dated import Dated
from services.common.strict_yaml import Fault, StrictYamlError, YamlList, YamlMap, load
from services.pricing.core.programme import (
    LowGlucose,
    Measure,
    Programme,
    Programmes,
    Sourced,
    Target,
)
from services.pricing.core.readings import Quantity
from services.pricing.programmes.file import ProgrammeFile
from services.pricing.programmes.sections import adherence_of, credit_as_of, plausibility_of

T = TypeVar("T")

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_TOP = (
    *("id", "title", "conditions", "targets", "low_glucose", "incentive"),
    *("plausibility", "adherence", "credit_as"),
)
_BOUNDS = ("at_least", "at_most", "below")
# Blood pressure is one reading of two values; a target for one of them alone judges nothing.
_PAIRS = (
    (Measure.HOME_SYSTOLIC, Measure.HOME_DIASTOLIC),
    (Measure.CLINIC_SYSTOLIC, Measure.CLINIC_DIASTOLIC),
)


class ProgrammeRefused(ValueError):
    """At least one programme file cannot be used; the text names every fault, file and line."""


def example_programmes() -> Path:
    """The folder of the programmes that come with the service."""
    return Path(str(resources.files("services.pricing.programmes")))


def load_programmes(folder: Path) -> Programmes:
    """Every `*.yaml` of a folder. One bad file refuses them all.

    Raises: ProgrammeRefused with the faults of all files, also when there is none to load.
    """
    texts: list[str] = []
    found: dict[str, Programme] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            programme = parse_programme(path.read_bytes(), path.name)
        except StrictYamlError as error:
            texts.append(str(error))
            continue
        except OSError as error:
            texts.append(f"{path.name}: cannot be read: {error.strerror}")
            continue
        if programme.id in found:
            texts.append(f"{path.name}: programme {programme.id} stands in another file too")
        found[programme.id] = programme
    if not found and not texts:
        text = "holds no programme (*.yaml); set LIPEI_PRICING_PROGRAMMES to the folder of yours"
        texts.append(f"{folder.name}: {text}")
    if texts:
        raise ProgrammeRefused("\n".join(texts))
    return Programmes(found.values())


def parse_programme(content: bytes, source: str) -> Programme:
    """One file's programme.

    Raises: StrictYamlError with every fault of the file, each with its path and line.
    """
    faults: list[Fault] = []
    try:
        tree = load(content, source)
    except StrictYamlError as error:
        if error.tree is None:
            raise
        faults, tree = list(error.faults), error.tree
    file = _File(tree, faults)
    programme = file.programme()
    if faults or programme is None:
        raise StrictYamlError(faults, source, tree)
    return programme


class _File(ProgrammeFile):
    """One file being read; what is wrong goes into `faults`."""

    def programme(self) -> Programme | None:
        """The programme; of use only when no fault was found."""
        tree = self.tree
        self.unknown(tree, "", _TOP)
        named = self.text(tree, "", "id", _ID)
        title = self.map(tree, "", "title")
        self.unknown(title, "title", ("zh", "en"))
        zh, en = (self.text(title, "title", key) for key in ("zh", "en"))
        conditions = self._conditions()
        targets = self._targets()
        low = self._low_glucose(targets)
        incentive = self.dated(tree, "", "incentive", self.steps)
        measures = frozenset(targets)
        plausibility = self._optional(
            "plausibility", lambda entry, path: plausibility_of(self, entry, path, measures)
        )
        adherence = self._optional("adherence", lambda entry, path: adherence_of(self, entry, path))
        credit_as = self._optional("credit_as", lambda entry, path: credit_as_of(self, entry, path))
        if incentive is None or named is None or zh is None or en is None:
            return None
        return Programme(
            id=named,
            title_zh=zh,
            title_en=en,
            conditions=conditions,
            targets=targets,
            low_glucose=low,
            incentive=incentive,
            plausibility=plausibility,
            adherence=adherence,
            credit_as=credit_as,
        )

    def _optional(self, key: str, read: Callable[[YamlMap, str], T | None]) -> Dated[T] | None:
        if key not in self.tree:
            return None
        return self.dated(self.tree, "", key, read)

    def _conditions(self) -> tuple[str, ...]:
        found = self.tree.get("conditions")
        good = isinstance(found, YamlList) and found
        if not good or not all(isinstance(c, str) and _NAME.fullmatch(c) for c in found or ()):
            text = "must list at least one condition by the tariffs' names, such as hypertension"
            self.fault(self.tree, "", "conditions", "TEXTS", text)
            return ()
        return tuple(found or ())

    def _targets(self) -> dict[Measure, Dated[Sourced]]:
        node = self.map(self.tree, "", "targets")
        self.unknown(node, "targets", tuple(Measure))
        if not any(measure.value in node for measure in Measure):
            text = f"must name at least one of {', '.join(Measure)}"
            self.fault(self.tree, "", "targets", "MISSING", text)
        found: dict[Measure, Dated[Sourced]] = {}
        for measure in Measure:
            if measure.value not in node:
                continue

            def target(entry: YamlMap, path: str, measure: Measure = measure) -> Sourced | None:
                return self._target(entry, path, measure)

            dated = self.dated(node, "targets", measure.value, target)
            if dated is not None:
                found[measure] = dated
        for pair in _PAIRS:
            given = [measure for measure in pair if measure.value in node]
            if len(given) == 1:
                text = "systolic and diastolic are one reading: give both a target"
                self.fault(node, "targets", given[0].value, "PAIR_MISSING", text)
        return found

    def _target(self, entry: YamlMap, path: str, measure: Measure) -> Sourced | None:
        self.unknown(entry, path, (*_BOUNDS, "source"))
        bounds = {
            key: self.bound(entry, path, key, measure.quantity) for key in _BOUNDS if key in entry
        }
        source = self.text(entry, path, "source")
        target = Target(**bounds)
        upper = target.at_most if target.at_most is not None else target.below
        if not bounds or ("at_most" in bounds and "below" in bounds):
            text = "needs at_least, at_most or below, and not both upper bounds"
            self.faults.append(Fault(path, entry.line, "BOUNDS", text))
        elif target.at_least is not None and upper is not None and upper <= target.at_least:
            text = "the lower bound must lie below the upper one"
            self.faults.append(Fault(path, entry.line, "BOUNDS", text))
        return None if source is None else Sourced(target, source)

    def _low_glucose(self, targets: Mapping[Measure, object]) -> Dated[LowGlucose] | None:
        if "low_glucose" in self.tree:
            return self.dated(self.tree, "", "low_glucose", self._low)
        if any(measure.quantity is Quantity.GLUCOSE for measure in targets):
            text = "must be given where glucose has a target"
            self.fault(self.tree, "", "low_glucose", "MISSING", text)
        return None

    def _low(self, entry: YamlMap, path: str) -> LowGlucose | None:
        self.unknown(entry, path, ("below", "source"))
        below = self.bound(entry, path, "below", Quantity.GLUCOSE)
        source = self.text(entry, path, "source")
        return None if below is None or source is None else LowGlucose(below, source)
