"""What stands in a plan file on one side only: defined and not named, or named and not known.

Code sets, clauses and papers that no term names; outcome tiers that one term alone names. It is no
fault, since a contract has clauses that cut nothing, and tiers are a programme's to certify; but a
code set that nothing names refuses nothing, and nobody ever has a tier that is misspelt.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator

import msgspec

from services.claims.core.plan import General, Plan
from services.claims.core.plan_edits import RequiredPapers
from services.common.dated import Dated
from services.common.strict_yaml import Fault, YamlList, YamlMap, load

_CODE_SETS, _CLAUSES, _PAPERS = "code_sets", "clauses", "papers"
# Where terms hang on the person's outcome tier.
_WITH_TIERS = ("shares", "copays", "payees")
_NAMES_CODE_SETS = frozenset({"codes", "diagnoses", "exempt_diagnoses", "not_with"})
_WHAT = {_CODE_SETS: "code set", _CLAUSES: "clause", _PAPERS: "paper"}


def unused(plan: Plan, yaml: bytes | str, source: str) -> tuple[Fault, ...]:
    """A warning for each of them at its line, in the order of the file.

    `yaml` is what the plan was loaded from.
    """
    found = []
    tree = load(yaml, source)
    named = set(_named(plan))
    for key, what in _WHAT.items():
        defined = tree.get(key)
        if not isinstance(defined, YamlMap):
            continue
        found += [
            Fault(
                path=f"{key}.{one}",
                line=defined.lines[one],
                reason="UNUSED",
                text=f"no term names this {what}; it has no effect",
            )
            for one in defined
            if (key, one) not in named
        ]
    found += _lone_tiers(plan, tree)
    return tuple(sorted(found, key=lambda one: one.line))


def _lone_tiers(plan: Plan, tree: YamlMap) -> Iterator[Fault]:
    """Outcome tiers that one term alone names and that `names` lack, each at its term's line."""
    terms = [(key, place, one) for key in _WITH_TIERS for place, one in _terms(tree.get(key))]
    times = Counter(tier for _, _, when in terms for tier in dict.fromkeys(when["outcome_tiers"]))
    given = {one.id for one in plan.names}
    for key, place, when in terms:
        for tier in when["outcome_tiers"]:
            if tier in given or times[tier] > 1:
                continue
            known = sorted((set(times) | given) - {tier} - {one.id for one in plan.code_sets})
            near = difflib.get_close_matches(tier, known, n=1)
            yield Fault(
                path=f"{key}[{place}].when.outcome_tiers",
                line=when.lines["outcome_tiers"],
                reason="TIER_ONCE",
                text=f"no other term and no `names` know the outcome tier {tier!r}; "
                + (f"did you mean {near[0]!r}? " if near else "")
                + "where a programme certifies it, give it a name in `names`",
            )


def _terms(terms: object) -> Iterator[tuple[int, YamlMap]]:
    """The conditions that read tiers, with the place of their term."""
    for place, term in enumerate(terms if isinstance(terms, YamlList) else ()):
        when = term.get("when")
        if isinstance(when, YamlMap) and when.get("outcome_tiers"):
            yield place, when


def _named(part: msgspec.Struct) -> Iterator[tuple[str, object]]:
    """The kind and the id of everything that the terms of a part name."""
    for name in part.__struct_fields__:
        if isinstance(part, Plan) and name in (_CODE_SETS, _CLAUSES):
            continue
        for value in _values(getattr(part, name)):
            if isinstance(value, msgspec.Struct):
                yield from _named(value)
            elif isinstance(part, RequiredPapers) and name == "values":
                yield _PAPERS, value
            elif name in _NAMES_CODE_SETS:
                yield _CODE_SETS, value
            elif name == "clause" or isinstance(part, General):
                yield _CLAUSES, value


def _values(value: object) -> Iterator[object]:
    """What stands in a field: itself, or its items, of every day on which it says something."""
    if isinstance(value, Dated):
        for _, one in value.values:
            yield from _values(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from _values(one)
    else:
        yield value
