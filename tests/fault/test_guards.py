"""Every guard is taken out in turn, and some test fails: the table is `build/fault/guards.json`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.guards import GUARDS
from tests.fault.removal import copy_of_project, failures, held_by, remove, report


@pytest.mark.fault
@pytest.mark.timeout(3600)
def test_without_any_one_guard_some_test_fails(tmp_path: Path) -> None:
    with copy_of_project(tmp_path) as root:
        # The control: with all guards in place the same tests pass.
        assert failures(root, held_by(GUARDS)) == ()
        removals = [remove(root, guard) for guard in GUARDS]
    report(removals)
    assert [one.guard.name for one in removals if not one.failed] == []
