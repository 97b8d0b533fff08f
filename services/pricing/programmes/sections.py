"""The sections of a programme file about plausibility, adherence and how a credit is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import TypeVar

from services.common.strict_yaml import Fault, YamlList, YamlMap
from services.pricing.core.programme import (
    AdherenceTerms,
    Backdating,
    Bunching,
    Contradiction,
    CreditAs,
    Digits,
    Disagreement,
    Measure,
    Plausibility,
    Then,
    Uploads,
)
from services.pricing.core.readings import Quantity
from services.pricing.programmes.file import ProgrammeFile

T = TypeVar("T")

_ATC = re.compile(r"[A-Z](?:[0-9]{2}(?:[A-Z](?:[A-Z](?:[0-9]{2})?)?)?)?", re.ASCII)
_FEATURE = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_RECORDERS = ("hospital", "partner", "member")
_MONTHS, _HOURS, _DAYS, _FILLS, _MULTIPLE = 12, 72, 366, 100, 100_000_000
_UPLOADS = _READINGS = 1_000
_CHECKS = (
    *("hba1c_against_glucose", "uploads_per_slot", "backdated", "sources", "at_the_target"),
    *("last_digit", "device_gap"),
)
_GLUCOSE = (Measure.FASTING_GLUCOSE, Measure.NON_FASTING_GLUCOSE)
# Heaps are looked for in what members control.
_HOSPITALS = (Measure.HBA1C, Measure.CLINIC_SYSTOLIC, Measure.CLINIC_DIASTOLIC)
_WINDOW_WIDE = "looks at the whole window and can only note: leave `then` out"


def plausibility_of(
    file: ProgrammeFile, entry: YamlMap, path: str, targets: Container[Measure]
) -> Plausibility | None:
    """What is looked at in readings; every check is named or left out."""
    file.unknown(entry, path, (*_CHECKS, "source"))
    before = len(file.faults)
    source = file.text(entry, path, "source")
    if not any(check in entry for check in _CHECKS):
        text = f"must name at least one of {', '.join(_CHECKS)}"
        file.faults.append(Fault(path, entry.line, "MISSING", text))

    def of(key: str, read: Callable[[ProgrammeFile, YamlMap, str], T]) -> T | None:
        return read(file, file.map(entry, path, key), f"{path}.{key}") if key in entry else None

    if "hba1c_against_glucose" in entry and not any(one in targets for one in _GLUCOSE):
        text = "needs a target of glucose; this programme judges none"
        file.fault(entry, path, "hba1c_against_glucose", "NO_TARGET", text)
    found = Plausibility(
        contradiction=of("hba1c_against_glucose", _contradiction),
        uploads=of("uploads_per_slot", _uploads),
        backdating=of("backdated", _backdating),
        disagreement=of("sources", _disagreement),
        bunching=of("at_the_target", lambda f, node, at: _bunching(f, node, at, targets)),
        digits=of("last_digit", _digits),
        gap_days=of("device_gap", _gap),
        source=source or "",
    )
    return None if len(file.faults) > before else found


def _contradiction(file: ProgrammeFile, node: YamlMap, path: str) -> Contradiction:
    file.unknown(node, path, ("tolerance", "within_months", "then"))
    return Contradiction(
        tolerance_millionths=_share(file, node, path, "tolerance"),
        within_months=file.whole(node, path, "within_months", _MONTHS) or 0,
        then=_then(file, node, path),
    )


def _uploads(file: ProgrammeFile, node: YamlMap, path: str) -> Uploads:
    file.unknown(node, path, ("most", "then"))
    return Uploads(file.whole(node, path, "most", _UPLOADS) or 0, _then(file, node, path))


def _backdating(file: ProgrammeFile, node: YamlMap, path: str) -> Backdating:
    file.unknown(node, path, ("then",))
    return Backdating(_then(file, node, path))


def _disagreement(file: ProgrammeFile, node: YamlMap, path: str) -> Disagreement:
    file.unknown(node, path, ("within_hours", "apart", "then"))
    apart = file.map(node, path, "apart")
    file.unknown(apart, f"{path}.apart", tuple(Quantity))
    if not apart:
        file.fault(node, path, "apart", "MISSING", "must name at least one quantity")
    found = {
        quantity: file.width(apart, f"{path}.apart", quantity.value, quantity) or 0
        for quantity in Quantity
        if quantity.value in apart
    }
    hours = file.whole(node, path, "within_hours", _HOURS) or 0
    return Disagreement(hours, found, _then(file, node, path))


def _bunching(
    file: ProgrammeFile, node: YamlMap, path: str, targets: Container[Measure]
) -> Bunching:
    file.unknown(node, path, ("widths", "least_readings", "honest_share", "false_alarm", "then"))
    _no_then(file, node, path)
    widths = file.map(node, path, "widths")
    at = f"{path}.widths"
    file.unknown(widths, at, [one for one in Measure if one in targets and one not in _HOSPITALS])
    if not widths:
        file.fault(node, path, "widths", "MISSING", "must name at least one measure")
    found = {
        measure: file.width(widths, at, measure.value, measure.quantity) or 0
        for measure in Measure
        if measure.value in widths
    }
    return Bunching(found, *_test_of(file, node, path))


def _digits(file: ProgrammeFile, node: YamlMap, path: str) -> Digits:
    file.unknown(node, path, ("least_readings", "honest_share", "false_alarm", "then"))
    _no_then(file, node, path)
    return Digits(*_test_of(file, node, path))


def _test_of(file: ProgrammeFile, node: YamlMap, path: str) -> tuple[int, int, int]:
    """From how many readings, against which share, with which false-alarm rate."""
    least = file.whole(node, path, "least_readings", _READINGS) or 0
    honest = _share(file, node, path, "honest_share")
    return least, honest, _share(file, node, path, "false_alarm")


def _gap(file: ProgrammeFile, node: YamlMap, path: str) -> int | None:
    file.unknown(node, path, ("days", "then"))
    _no_then(file, node, path)
    return file.whole(node, path, "days", _DAYS)


def _then(file: ProgrammeFile, node: YamlMap, path: str) -> Then:
    said = node.get("then")
    if isinstance(said, str) and said in tuple(Then):
        return Then(said)
    text = "must be note (shown, changes nothing) or hold (such a month waits for a person)"
    file.fault(node, path, "then", "CHOICE", text)
    return Then.NOTE


def _no_then(file: ProgrammeFile, node: YamlMap, path: str) -> None:
    if "then" in node:
        file.fault(node, path, "then", "ONLY_NOTES", _WINDOW_WIDE)


def _share(file: ProgrammeFile, node: YamlMap, path: str, key: str) -> int:
    """A share above 0."""
    if key not in node:
        file.fault(node, path, key, "MISSING", "must be given, a share in quotes")
        return 0
    before = len(file.faults)
    found = file.share(node, path, key) or 0
    if not found and len(file.faults) == before:
        file.fault(node, path, key, "SHARE", "must lie above 0")
    return found


def adherence_of(file: ProgrammeFile, entry: YamlMap, path: str) -> AdherenceTerms | None:
    """Which drugs count, from how many days covered, and what runs of months earn."""
    file.unknown(
        entry,
        path,
        ("drugs", "excluded", "threshold", "least_fills", "recorders", "steps", "source"),
    )
    before = len(file.faults)
    drugs = _texts(file, entry, path, "drugs", _ATC)
    excluded = _texts(file, entry, path, "excluded", _ATC) if "excluded" in entry else ()
    for code in excluded:
        if code in drugs:
            file.fault(entry, path, "excluded", "CONTRADICTS", f"{code} stands in drugs too")
    threshold = _share(file, entry, path, "threshold")
    fills = file.whole(entry, path, "least_fills", _FILLS) or 0
    recorders = _texts(file, entry, path, "recorders", re.compile("|".join(_RECORDERS)))
    promised = YamlMap({key: entry[key] for key in ("steps", "source") if key in entry})
    promised.line, promised.lines = entry.line, entry.lines
    steps = file.steps(promised, path)
    if len(file.faults) > before or steps is None:
        return None
    return AdherenceTerms(
        drugs=drugs,
        excluded=excluded,
        threshold_millionths=threshold,
        least_fills=fills,
        recorders=recorders,
        steps=steps,
        source=steps.source,
    )


def _texts(
    file: ProgrammeFile, node: YamlMap, path: str, key: str, pattern: re.Pattern[str]
) -> tuple[str, ...]:
    found = node.get(key)
    good = isinstance(found, YamlList) and found and len(set(map(str, found))) == len(found)
    if good and all(isinstance(one, str) and pattern.fullmatch(one) for one in found or ()):
        return tuple(found or ())
    file.fault(node, path, key, "TEXTS", f"must list each once, of the form {pattern.pattern}")
    return ()


def credit_as_of(file: ProgrammeFile, entry: YamlMap, path: str) -> CreditAs | None:
    """Off the premium, or as more sum insured, by which feature, in which steps, up to where."""
    before = len(file.faults)
    said = entry.get("take")
    if said not in ("premium", "sum_insured"):
        file.fault(entry, path, "take", "CHOICE", "must be premium or sum_insured")
    raises = said == "sum_insured"
    more = ("feature", "multiple_of", "at_most") if raises else ()
    file.unknown(entry, path, ("take", *more, "source"))
    source = file.text(entry, path, "source")
    if not raises:
        return None if source is None else CreditAs(source=source)
    feature = file.text(entry, path, "feature", _FEATURE)
    multiple = file.whole(entry, path, "multiple_of", _MULTIPLE)
    most = _share(file, entry, path, "at_most")
    if len(file.faults) > before or source is None or feature is None or multiple is None:
        return None
    return CreditAs(feature=feature, multiple_of=multiple, at_most_millionths=most, source=source)
