"""Two guards are taken out, and the removal itself cannot rot unseen; `make fault` removes all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.guards import CODEC, GUARDS, ROW_BINDING, Change, Guard
from tests.fault.removal import (
    ROOT,
    CannotJudge,
    CannotRemove,
    changed,
    copy_of_project,
    failures,
    held_by,
    remove,
)

TWO = (CODEC, ROW_BINDING)


@pytest.mark.timeout(600)  # three runs of pytest, each with an interpreter of its own
def test_without_either_of_two_guards_a_test_fails(tmp_path: Path) -> None:
    with copy_of_project(tmp_path) as root:
        for guard in TWO:
            assert remove(root, guard).failed
        # The control: with both guards, which are back, the same tests pass.
        assert failures(root, held_by(TWO)) == ()


PROMISED = {
    "role check",
    "mask",
    "tenant filter",
    "expiry check",
    "revocation check",
    "token binding",
    "codec",
    "sealing",
    "row binding",
    "consent check",
    "leaf",
    "log allow-list",
}


def test_every_guard_that_is_promised_is_removed() -> None:
    assert {guard.name for guard in GUARDS} >= PROMISED


def test_every_removal_fits_the_source_as_it_is() -> None:
    for guard in GUARDS:
        for change in guard.changes:
            text = (ROOT / change.path).read_text(encoding="utf-8")
            assert changed(text, change) != text
        assert all((ROOT / test.partition("::")[0]).is_file() for test in guard.tests)
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("not there", "", "stands 0 times"),
        ("pass", "", "stands 2 times"),
        ("if True:", "if True", "expected ':'"),
    ],
)
def test_a_removal_that_does_not_fit_is_refused(old: str, new: str, says: str) -> None:
    text = "if True:\n    pass\nelse:\n    pass\n"
    with pytest.raises(CannotRemove, match=says):
        changed(text, Change(path="x.py", old=old, new=new))


def test_a_guard_that_nothing_holds_and_a_run_that_breaks_off_are_told(tmp_path: Path) -> None:
    held_by_nothing = Guard(
        name="none",
        removed="a comment",
        changes=(Change(path="tests/one.py", old="# guard", new=""),),
        tests=("tests/one.py",),
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "one.py").write_text("# guard\ndef test_it(): pass\n", encoding="utf-8")
    assert remove(tmp_path, held_by_nothing).failed == ()
    (tmp_path / "tests" / "two.py").write_text("import nothing_there\n", encoding="utf-8")
    with pytest.raises(CannotJudge):
        failures(tmp_path, ["tests/two.py"])
