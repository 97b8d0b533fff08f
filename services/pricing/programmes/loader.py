"""Programme files → programmes, or every fault of every file with its line. Knows no database."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TypeVar

from services.common.dated import Dated
from services.common.money import parse_decimal
from services.common.strict_yaml import Fault, StrictYamlError, YamlList, YamlMap, load
from services.pricing.core.programme import (
    LowGlucose,
    Measure,
    Programme,
    Programmes,
    Sourced,
    Steps,
    Target,
)
from services.pricing.core.readings import Quantity, is_plausible, places_of, plausible_text
from services.pricing.core.tariff import MILLION, scaled

T = TypeVar("T")

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_BOUND = re.compile(r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{1,2})?", re.ASCII)
_LONGEST_TEXT, _MOST_STEPS = 300, 12
_TOP = ("id", "title", "conditions", "targets", "low_glucose", "incentive")
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


class _File:
    """One file being read; what is wrong goes into `faults`."""

    def __init__(self, tree: YamlMap, faults: list[Fault]) -> None:
        self._tree = tree
        self._faults = faults

    def programme(self) -> Programme | None:
        """The programme; of use only when no fault was found."""
        tree = self._tree
        self._unknown(tree, "", _TOP)
        named = self._text(tree, "", "id", _ID)
        title = self._map(tree, "", "title")
        self._unknown(title, "title", ("zh", "en"))
        zh, en = (self._text(title, "title", key) for key in ("zh", "en"))
        conditions = self._conditions()
        targets = self._targets()
        low = self._low_glucose(targets)
        incentive = self._dated(tree, "", "incentive", self._steps)
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
        )

    def _conditions(self) -> tuple[str, ...]:
        found = self._tree.get("conditions")
        good = isinstance(found, YamlList) and found
        if not good or not all(isinstance(c, str) and _NAME.fullmatch(c) for c in found or ()):
            text = "must list at least one condition by the tariffs' names, such as hypertension"
            self._fault(self._tree, "", "conditions", "TEXTS", text)
            return ()
        return tuple(found or ())

    def _targets(self) -> dict[Measure, Dated[Sourced]]:
        node = self._map(self._tree, "", "targets")
        self._unknown(node, "targets", tuple(Measure))
        if not any(measure.value in node for measure in Measure):
            text = f"must name at least one of {', '.join(Measure)}"
            self._fault(self._tree, "", "targets", "MISSING", text)
        found: dict[Measure, Dated[Sourced]] = {}
        for measure in Measure:
            if measure.value not in node:
                continue

            def target(entry: YamlMap, path: str, measure: Measure = measure) -> Sourced | None:
                return self._target(entry, path, measure)

            dated = self._dated(node, "targets", measure.value, target)
            if dated is not None:
                found[measure] = dated
        for pair in _PAIRS:
            given = [measure for measure in pair if measure.value in node]
            if len(given) == 1:
                text = "systolic and diastolic are one reading: give both a target"
                self._fault(node, "targets", given[0].value, "PAIR_MISSING", text)
        return found

    def _target(self, entry: YamlMap, path: str, measure: Measure) -> Sourced | None:
        self._unknown(entry, path, (*_BOUNDS, "source"))
        bounds = {
            key: self._bound(entry, path, key, measure.quantity) for key in _BOUNDS if key in entry
        }
        source = self._text(entry, path, "source")
        target = Target(**bounds)
        upper = target.at_most if target.at_most is not None else target.below
        if not bounds or ("at_most" in bounds and "below" in bounds):
            text = "needs at_least, at_most or below, and not both upper bounds"
            self._faults.append(Fault(path, entry.line, "BOUNDS", text))
        elif target.at_least is not None and upper is not None and upper <= target.at_least:
            text = "the lower bound must lie below the upper one"
            self._faults.append(Fault(path, entry.line, "BOUNDS", text))
        return None if source is None else Sourced(target, source)

    def _low_glucose(self, targets: Mapping[Measure, object]) -> Dated[LowGlucose] | None:
        if "low_glucose" in self._tree:
            return self._dated(self._tree, "", "low_glucose", self._low)
        if any(measure.quantity is Quantity.GLUCOSE for measure in targets):
            text = "must be given where glucose has a target"
            self._fault(self._tree, "", "low_glucose", "MISSING", text)
        return None

    def _low(self, entry: YamlMap, path: str) -> LowGlucose | None:
        self._unknown(entry, path, ("below", "source"))
        below = self._bound(entry, path, "below", Quantity.GLUCOSE)
        source = self._text(entry, path, "source")
        return None if below is None or source is None else LowGlucose(below, source)

    def _steps(self, entry: YamlMap, path: str) -> Steps | None:
        self._unknown(entry, path, ("steps", "source"))
        node = self._map(entry, path, "steps")
        source = self._text(entry, path, "source")
        wanted = [str(number) for number in range(1, len(node) + 1)]
        if list(node) != wanted or not 1 <= len(node) <= _MOST_STEPS:
            text = f"must run 1, 2, 3 ... without a gap, at most {_MOST_STEPS}"
            self._fault(entry, path, "steps", "STEPS", text)
            return None
        shares = [self._share(node, f"{path}.steps", key) for key in node]
        known = [share for share in shares if share is not None]
        if known != sorted(known):
            text = "a longer run may not earn less"
            self._fault(entry, path, "steps", "STEPS", text)
        return None if source is None else Steps(tuple(known), source)

    def _share(self, node: YamlMap, path: str, key: str) -> int | None:
        try:
            share = parse_decimal(str(node[key]), places=6, what="a share")
            if not 0 <= share < 1:
                raise ValueError("a share lies in 0 to 1, below 1")
        except ValueError as error:
            self._fault(node, path, key, "SHARE", str(error))
            return None
        return int(share * MILLION)

    def _bound(self, entry: YamlMap, path: str, key: str, quantity: Quantity) -> int | None:
        value = entry.get(key)
        places = places_of(quantity)
        found = None
        if isinstance(value, str) and _BOUND.fullmatch(value):
            with contextlib.suppress(ValueError):
                found = scaled(value, places)
        if found is None:
            text = f"must be a decimal in quotes with exactly {places} decimal places"
            self._fault(entry, path, key, "BOUND", text)
        elif not is_plausible(quantity, found):
            text = f"must lie in {plausible_text(quantity)}, as readings do"
            self._fault(entry, path, key, "OUT_OF_BOUNDS", text)
            return None
        return found

    def _dated(
        self, node: YamlMap, path: str, key: str, read: Callable[[YamlMap, str], T | None]
    ) -> Dated[T] | None:
        entries = self._map(node, path, key)
        below = f"{path}.{key}" if path else key
        values: list[tuple[date, T | None]] = []
        for day_text in entries:
            day = self._day(entries, below, day_text)
            where = f"{below}.{day_text}"
            entry = entries[day_text]
            value: T | None = None
            if isinstance(entry, YamlMap):
                value = read(entry, where)
            elif entry is not None:
                text = "must be a mapping, or null to end it"
                self._fault(entries, below, day_text, "MAPPING", text)
            if day is not None:
                values.append((day, value))
        days = [day for day, _ in values]
        if days != sorted(set(days)):
            self._fault(node, path, key, "DATES", "the days must ascend")
            return None
        if not values:
            if key in node:
                self._fault(node, path, key, "DATES", "needs a first day with its value")
            return None
        return Dated(tuple(values))

    def _day(self, node: YamlMap, path: str, key: str) -> date | None:
        try:
            if not _DATE.fullmatch(key):
                raise ValueError
            return date.fromisoformat(key)
        except ValueError:
            text = "must be a day of the calendar, written YYYY-MM-DD"
            self._fault(node, path, key, "DATE", text)
            return None

    def _map(self, node: YamlMap, path: str, key: str) -> YamlMap:
        value = node.get(key)
        if isinstance(value, YamlMap):
            return value
        self._fault(node, path, key, "MISSING", "must be given, as a mapping of keys to values")
        empty = YamlMap()
        empty.line, empty.lines = node.lines.get(key, node.line), {}
        return empty

    def _text(
        self, node: YamlMap, path: str, key: str, pattern: re.Pattern[str] | None = None
    ) -> str | None:
        value = node.get(key)
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable():
            if pattern is None or pattern.fullmatch(value):
                return value
            text = f"must be of the form {pattern.pattern}"
        else:
            text = f"must be text of 1 to {_LONGEST_TEXT} characters on one line"
        self._fault(node, path, key, "TEXT", text)
        return None

    def _unknown(self, node: YamlMap, path: str, known: Iterable[str]) -> None:
        names = list(known)
        for key in node:
            if key not in names:
                text = f"is no key here; known are {', '.join(names)}"
                self._fault(node, path, key, "UNKNOWN_KEY", text)

    def _fault(self, node: YamlMap, path: str, key: str, reason: str, text: str) -> None:
        where = f"{path}.{key}" if path else key
        self._faults.append(Fault(where, node.lines.get(key, node.line), reason, text))
