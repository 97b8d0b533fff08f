"""The orders of an ORU^R01 that hold readings which programmes use. Judges no value."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.his_bridge.core.terms import CodeMap, ReadingRule, SourceTerms
from services.his_bridge.dialects.hl7v2.message import Message, Segment

_NAMES_OF_LOINC = frozenset({"LN", "LOINC"})


class Order(msgspec.Struct, frozen=True):
    """One OBR with those of its OBX that a programme uses; `at` counts the OBR from 1."""

    at: int
    pid: Segment | None
    obr: Segment
    results: tuple[tuple[Segment, ReadingRule], ...]

    @property
    def number(self) -> str:
        """The laboratory's number of the order, else the clinic's; empty without one."""
        return self.obr.first(3) or self.obr.first(2)


def orders_of(message: Message, terms: SourceTerms) -> list[Order]:
    """Orders with at least one wanted result, in their order."""
    rules = {rule.code: rule for rule in terms.readings}
    found: list[Order] = []
    pid: Segment | None = None
    obr: Segment | None = None
    results: list[tuple[Segment, ReadingRule]] = []
    for segment in message.segments:
        if segment.name in ("PID", "OBR"):
            if obr is not None and results:
                found.append(Order(obr.number, pid, obr, tuple(results)))
            obr, results = None, []
            if segment.name == "PID":  # one message may tell of several patients
                pid = segment
            else:
                obr = segment
        elif segment.name == "OBX" and obr is not None:
            rule = _rule_for(segment, rules, terms.reading_maps)
            if rule is not None:
                results.append((segment, rule))
    if obr is not None and results:
        found.append(Order(obr.number, pid, obr, tuple(results)))
    return found


def _rule_for(
    obx: Segment, rules: Mapping[str, ReadingRule], maps: Mapping[str, CodeMap]
) -> ReadingRule | None:
    """By the code of LOINC, first or as the alternative, or by the map of a local one."""
    parts = [*obx.parts(obx.field(3)), "", "", "", "", "", ""]
    for code, system in ((parts[0], parts[2]), (parts[3], parts[5])):
        if system in _NAMES_OF_LOINC and code in rules:
            return rules[code]
        if system in maps and (mapped := maps[system].codes.get(code)) is not None:
            rule = rules.get(mapped.code)
            if rule is not None:
                return rule
    return None
