"""Mutants of cores: nearly all are killed; why each survivor may live is written down."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from services.common.strict_yaml import load
from tests.fault.targets import ROOT, TARGETS, Target


def argued(target: Target) -> dict[str, str]:
    """Why each mutant that survives may: its name and the argument."""
    groups = load(target.survivors.read_bytes(), target.survivors.name)["survivors"]
    listed = [(name, group["why"]) for group in groups for name in group["mutants"]]
    assert len(dict(listed)) == len(listed), "a survivor is listed twice"
    return dict(listed)


@pytest.mark.fault
@pytest.mark.timeout(3600)  # about 20 minutes on two cores
@pytest.mark.parametrize("name", TARGETS)
def test_every_mistake_in_a_core_is_found_or_argued(name: str) -> None:
    target = TARGETS[name]
    command = [sys.executable, "-m", "tests.fault.mutation", "--target", name]
    run = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    found = json.loads(target.summary.read_text(encoding="utf-8"))
    assert found["broken"] == [], "fails with the code as it is, and so judges nothing"
    survived, listed = set(found["survivors"]), set(argued(target))
    assert survived - listed == set(), "no test can tell these; write one, or say why not"
    assert listed - survived == set(), "these are killed by now; strike them off the table"
    assert found["killed"] >= target.least_killed * found["mutants"]
