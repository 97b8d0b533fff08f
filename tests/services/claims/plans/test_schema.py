"""The published JSON Schemas: today's, true of every file here, and as strict as can be.

What a loader refuses for its form alone the schema refuses too, and it refuses nothing that the
loader takes: both ways over files that differ from good ones in one place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from services.claims.plans.case_reader import read_case_file
from services.claims.plans.loader import load_plan_file, read_plan
from services.claims.plans.reader import Faults, Mapping
from services.claims.plans.schema import case_schema, plan_schema
from services.common.strict_yaml import StrictYamlError, YamlList, YamlMap, load
from tests.services.claims.core.bills import CASES, PLANS

ROOT = Path(__file__).parents[4]
PLAN_FILES = [*sorted(PLANS.glob("*.yaml")), *sorted((CASES / "plans").glob("*.yaml"))]
CASE_FILES = sorted(CASES.glob("*.yaml"))
PLAN, CASE = plan_schema(), case_schema()
_FORMATS = jsonschema.Draft202012Validator.FORMAT_CHECKER
PLAN_VALID = jsonschema.Draft202012Validator(PLAN, format_checker=_FORMATS)
CASE_VALID = jsonschema.Draft202012Validator(CASE, format_checker=_FORMATS)
# Reasons that look at one value and nothing else.
OF_FORM = {
    *("UNKNOWN_KEY", "MISSING_KEY", "NOT_TEXT", "NOT_AN_ID", "NOT_A_BOOLEAN", "NOT_DATED"),
    *("NOT_A_WHOLE_NUMBER", "NOT_AN_AMOUNT", "NOT_A_DATE", "IMPOSSIBLE_DATE", "NOT_A_MAPPING"),
    *("NOT_A_LIST", "UNKNOWN_WORD", "NEGATIVE", "UNKNOWN_CODE_SYSTEM", "UNKNOWN_CURRENCY"),
    *("NOT_A_TIME", "IMPOSSIBLE_TIME", "SHARE_OUT_OF_RANGE", "UNKNOWN_FORMAT", "WRONG_UNIT"),
}
# What may be left out unless something else is there or not there; no schema of ours says so.
CONDITIONAL = re.compile(
    r"\.(period|diagnoses|given|member|members|policy|day|from|to|together|sections)"
    r" (left out|= \[\])"
)
WRONG: tuple[Any, ...] = (1.5, True, "", "no such word!", -1, None, [], {"zz": 1}, "2025-02-30", 7)


@pytest.mark.parametrize(("name", "schema"), [("plan", PLAN), ("cases", CASE)])
def test_the_published_schemas_are_today_s(name: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    published = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    assert published == schema, "write it anew: lipei plan schema > docs/schemas/plan.schema.json"


@pytest.mark.parametrize(
    "path", [*PLAN_FILES, *CASE_FILES], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_file_is_valid_and_names_its_schema(path: Path) -> None:
    valid = PLAN_VALID if path in PLAN_FILES else CASE_VALID
    valid.validate(_seen(load(path.read_bytes(), path.name)))
    named = re.search(
        r"^# yaml-language-server: \$schema=(\S+)$", path.read_text("utf-8"), re.MULTILINE
    )
    assert named is not None
    name = "plan" if path in PLAN_FILES else "cases"
    assert (path.parent / named[1]).resolve() == ROOT / "docs" / "schemas" / f"{name}.schema.json"


def _seen(tree: Any) -> Any:
    """A strict tree as JSON has it; a long CSV block stays text."""
    return json.loads(json.dumps(tree))


# --- one place changed, loader and schema asked ---


@pytest.mark.parametrize("path", PLAN_FILES, ids=lambda path: path.stem)
def test_loader_and_schema_agree_about_plans_with_one_fault(path: Path) -> None:
    tree = _seen(load(path.read_bytes(), path.name))
    _agree(tree, read_plan, PLAN_VALID, least=120)


@pytest.mark.parametrize("path", CASE_FILES, ids=lambda path: path.stem)
def test_loader_and_schema_agree_about_cases_with_one_fault(path: Path) -> None:
    tree = _seen(load(path.read_bytes(), path.name))
    plan = next(load_plan_file(one) for one in PLAN_FILES if one.stem == tree["plan"])
    tree["cases"] = tree["cases"][::16]
    _agree(tree, lambda top: read_case_file(plan, top), CASE_VALID, least=12)


def _agree(
    tree: Any,
    read: Callable[[Mapping], object],
    valid: jsonschema.Draft202012Validator,
    *,
    least: int,
) -> None:
    refused = 0
    for place, wrong in _wrong(tree):
        reasons = _reasons(wrong, read)
        if CONDITIONAL.search(place):
            continue
        if reasons & OF_FORM:
            assert not valid.is_valid(wrong), f"{place}: the loader says {reasons}"
            refused += 1
        elif not reasons:
            assert valid.is_valid(wrong), f"{place}: the loader takes it"
    assert refused >= least


def _reasons(tree: Any, read: Callable[[Mapping], object]) -> set[str]:
    faults = Faults("wrong.yaml")
    read(Mapping(faults, _with_lines(tree)))
    try:
        faults.check()
    except StrictYamlError as error:
        return {fault.reason for fault in error.faults}
    return set()


def _with_lines(tree: Any) -> Any:
    if isinstance(tree, dict):
        made = YamlMap((key, _with_lines(value)) for key, value in tree.items())
        made.line, made.lines = 1, dict.fromkeys(made, 1)
        return made
    if isinstance(tree, list):
        items = YamlList(_with_lines(value) for value in tree)
        items.line, items.lines = 1, [1] * len(items)
        return items
    return tree


def _wrong(tree: Any) -> Iterator[tuple[str, Any]]:
    """The tree with one place changed; of places that are alike only the first."""
    seen: set[str] = set()
    for place, (holder, key) in _places(tree, ""):
        alike = re.sub(r"\d+", "0", place)
        if alike in seen:
            continue
        seen.add(alike)
        before = holder[key]
        # Of ten wrong values each place gets two; all places together get all.
        for value in WRONG[len(seen) % 5 :: 5]:
            holder[key] = value
            yield f"{place} = {value!r}", tree
        holder[key] = before
        if isinstance(holder, dict):
            holder["zzz"] = 1
            yield f"{place} and an unknown key", tree
            del holder["zzz"]
            del holder[key]
            yield f"{place} left out", tree
            holder[key] = before


def _places(tree: Any, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        place = f"{path}.{key}"
        yield place, (tree, key)
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key], place)
