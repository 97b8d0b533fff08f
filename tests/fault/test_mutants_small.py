"""A few mutants: a real mistake is found, an equivalent one is not; `make fault` judges all."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fault.mutants import mutants_of, mutated
from tests.fault.targets import CLAIMS, ROOT, TARGETS
from tests.fault.test_mutants import argued

# Where the fixed limit equals the price there is nothing to cut, whichever of the two is written.
EQUIVALENT = "amounts._limit_price: limit < price -> limit <= price"


def test_a_mistake_is_found_and_what_is_no_mistake_is_not(tmp_path: Path) -> None:
    summary = tmp_path / "mutants.json"
    command = [sys.executable, "-m", "tests.fault.mutation", "amounts._limit_price"]
    options = ["--cases", "synthea-usd", "--summary", str(summary)]
    subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True)
    found = json.loads(summary.read_text(encoding="utf-8"))
    assert found["broken"] == []
    assert EQUIVALENT in found["survivors"]
    assert found["killed"] >= 5


@pytest.mark.parametrize("name", TARGETS)
def test_there_are_enough_mutants_and_each_has_a_name_of_its_own(name: str) -> None:
    mutants = TARGETS[name].mutants()
    assert len(mutants) >= TARGETS[name].least
    names = Counter(one.name for one in mutants)
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", TARGETS)
def test_every_survivor_that_is_listed_is_a_mutant_of_today(name: str) -> None:
    target = TARGETS[name]
    assert set(argued(target)) - {one.name for one in target.mutants()} == set()


def test_a_mutant_differs_from_the_code_in_one_place() -> None:
    path = CLAIMS.folder / "amounts.py"
    source = path.read_text(encoding="utf-8")
    before = ast.unparse(ast.parse(source)).splitlines()
    for mutant in mutants_of(path, "services.claims.core.amounts")[::10]:
        after = ast.unparse(mutated(source, mutant)).splitlines()
        changed = [pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]
        assert changed, mutant.name
        assert len(after) == len(before)
        assert len(changed) == 1, mutant.name
