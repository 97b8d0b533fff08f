"""From the codes a hospital writes to the codes that plans speak. Guesses nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import Coding
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Concept, LocalCoding
from services.his_bridge.core.terms import CodeMap, CodeRules, SourceTerms

MAX_DISPLAY = 300


class Side(StrEnum):
    """What codes are of."""

    SERVICES = "services"
    DIAGNOSES = "diagnoses"
    READINGS = "readings"


class Unmapped(msgspec.Struct, frozen=True, kw_only=True):
    """A code that nothing translates, and what hangs on it in minor units; 0 when nothing does."""

    side: Side
    system: str
    code: str
    amount: int = 0


class StoredMap(msgspec.Struct, frozen=True, kw_only=True):
    """A map that was loaded while the bridge ran: local code → standard code."""

    side: Side
    from_system: str
    to_system: str
    codes: Mapping[str, str]


def with_maps(terms: SourceTerms, maps: Iterable[StoredMap]) -> SourceTerms:
    """The terms with loaded maps beside the profile's own; where both know a code, the loaded one.

    A map of services or diagnoses to a system that the profile does not accept stays unused.
    """
    lines, diagnoses = dict(terms.line_codes.maps), dict(terms.diagnosis_codes.maps)
    readings = dict(terms.reading_maps)
    for loaded in maps:
        table = {
            local: Coding(system=loaded.to_system, code=standard)
            for local, standard in loaded.codes.items()
        }
        if loaded.side is Side.READINGS:
            _add(readings, loaded.from_system, table)
        elif loaded.side is Side.SERVICES and loaded.to_system in terms.line_codes.accepted:
            _add(lines, loaded.from_system, table)
        elif loaded.side is Side.DIAGNOSES and loaded.to_system in terms.diagnosis_codes.accepted:
            _add(diagnoses, loaded.from_system, table)
    return msgspec.structs.replace(
        terms,
        line_codes=msgspec.structs.replace(terms.line_codes, maps=lines),
        diagnosis_codes=msgspec.structs.replace(terms.diagnosis_codes, maps=diagnoses),
        reading_maps=readings,
    )


def _add(maps: dict[str, CodeMap], system: str, table: Mapping[str, Coding]) -> None:
    known = maps.get(system, CodeMap(codes={}))
    maps[system] = CodeMap(codes={**known.codes, **table})


def unmapped(concept: Concept, rules: CodeRules, side: Side, amount: int) -> Unmapped | None:
    """The code that a map would have to know: of a system with a map, else the first one."""
    if not concept.codings:
        return None
    wanted = next((c for c in concept.codings if c.system in rules.maps), concept.codings[0])
    return Unmapped(side=side, system=wanted.system, code=wanted.code, amount=amount)


def to_standard(concept: Concept, rules: CodeRules) -> tuple[Coding, Coding | None] | Fault:
    """The standard code of a concept, and the hospital's own code when it is another.

    The first coding of an accepted system counts; without one, the first that a map knows. A local
    code travels without its display, which is the hospital's own text and may name anybody.
    """
    mapped: tuple[Coding, LocalCoding] | None = None
    knows_a_map = False
    for coding in concept.codings:
        if coding.system in rules.accepted:
            local = next((c for c in concept.codings if c.system not in rules.accepted), None)
            return _accepted(coding, rules), _bare(local)
        code_map = rules.maps.get(coding.system)
        if code_map is None:
            continue
        knows_a_map = True
        target = code_map.codes.get(coding.code)
        if target is not None and mapped is None:
            mapped = (target, coding)
    if mapped is not None:
        return mapped[0], _bare(mapped[1])
    if not concept.codings:
        return Fault(reason=Reason.CODE_MISSING, path=concept.path)
    reason = Reason.CODE_NOT_MAPPED if knows_a_map else Reason.CODE_SYSTEM_UNKNOWN
    return Fault(reason=reason, path=concept.path)


def as_local(concept: Concept | None) -> Coding | None:
    """The first code of a concept as a local code; None without any."""
    return _bare(concept.codings[0]) if concept is not None and concept.codings else None


def _accepted(coding: LocalCoding, rules: CodeRules) -> Coding:
    display = coding.display if rules.accepted[coding.system] else ""
    if len(display) > MAX_DISPLAY or not display.isprintable():
        display = ""
    return Coding(system=coding.system, code=coding.code, display=display)


def _bare(coding: LocalCoding | None) -> Coding | None:
    return None if coding is None else Coding(system=coding.system, code=coding.code)
