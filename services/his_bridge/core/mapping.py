"""From the codes a hospital writes to the codes that plans speak. Guesses nothing. Pure."""

from __future__ import annotations

from services.his_bridge.core.bill import Coding
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Concept, LocalCoding
from services.his_bridge.core.terms import CodeRules

MAX_DISPLAY = 300


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
