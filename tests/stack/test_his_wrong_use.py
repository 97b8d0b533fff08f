"""Every `lipei his` command typed wrongly: told what is wrong by the names that were typed.

No field of a request is named, no exit code says that something was done, nothing goes on for ever.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.services.his_bridge.running import Bridge
from tests.stack.test_cli_his_offer import ID, bridge, refused
from tests.stack.typed import lipei

__all__ = ["bridge"]  # a fixture

NOBODY = "0" * 32
DATE = "must be a date of the calendar, written YYYY-MM-DD"
# What is typed behind `lipei his`, the exit code, and what the first line says.
TYPED: list[tuple[str, int, str]] = [
    *(
        (f"{command} nowhere", 1, f'no hospital "nowhere" here; the hospitals: another, {ID}')
        for command in (
            *("test", "pull", "status", "quarantine", "refused", "unmapped", "held", "features"),
            *("replay", "offer", "reconcile"),
        )
    ),
    *(
        (f"{command} ''", 2, "HOSPITAL is empty: name a hospital by its id")
        for command in ("status", "quarantine", "pull", "offer", "reconcile", "features")
    ),
    (f"reconcile {ID} --from 2026-03-31 --to 2026-03-01", 2, "--to 2026-03-01 lies before --from"),
    (f"reconcile {ID} --from 2026-02-30 --to 2026-03-01", 2, f"--from: {DATE}"),
    (f"reconcile {ID} --from 2026-02-01 --to 1.3.2026", 2, f"--to: {DATE}"),
    (f"reconcile {ID} --from 20260201 --to 2026-03-01", 2, f"--from: {DATE}"),
    (f"reconcile {ID} --from 2026-03-01", 2, "--to is missing: --from alone names no days"),
    (f"reconcile {ID} --to 2026-03-01", 2, "--from is missing: --to alone names no days"),
    (f"replay {ID} abc", 2, f"RECORD 1: must read hospitals/{ID}/quarantine/"),
    (f"replay {ID} --stage mapp", 2, "--stage: must be one of: parse, identity, map"),
    (f"replay {ID} --all --request-id 'a b'", 2, "--request-id: must be 1 to 64"),
    (f"replay {ID} {NOBODY}", 1, "his_bridge: no such record that can be replayed"),
    (f"offer {ID} --since 2026-13-01", 2, f"--since: {DATE}"),
    (f"offer {ID} --reason 'a b'", 2, "--reason: must be 1 to 200 printable characters"),
    (f"offer {ID} --request-id 'a b'", 2, "--request-id: must be 1 to 64"),
    (f"offer {ID} --bill {NOBODY} --since 2026-01-01", 2, "--since: only belongs to an offer"),
    (f"offer {ID} --bill hospitals/other/bills/{NOBODY}", 2, "--bill 1: must read hospitals/"),
    (f"offer {ID} --bill {NOBODY}", 1, "his_bridge: no such bill"),
]
# Wrong use that the command line itself knows.
OPTIONS = [
    *((f"replay {ID} --max {number}") for number in ("0", "-1", "many")),
    f"reconcile {ID} --step 0",
    f"status {ID} --jsn",
    f"pull {ID} --reading",
    f"held {ID} extra",
]


def words_of(text: str) -> list[str]:

    return shlex.split(text)


def test_each_command_that_is_typed_wrongly_says_what_was_wrong(bridge: Bridge) -> None:
    state = ("--state", bridge.state)
    before = refused(bridge)
    wrong = {}
    for text, code, said in TYPED:
        typed = lipei("his", *words_of(text), *state)
        if (typed.code, typed.err.startswith(said), typed.out) != (code, True, ""):
            wrong[text] = (typed.code, typed.err, typed.out)
        told = [one for one in ("_day", "max_records", "bills[", "Traceback") if one in typed.err]
        assert not told, text
    for text in OPTIONS:
        typed = lipei("his", *words_of(text), *state)
        if (typed.code, typed.out) != (2, ""):
            wrong[text] = (typed.code, typed.err, typed.out)
    assert not wrong
    assert refused(bridge) == before
    # The control: typed rightly they do what they say.
    assert lipei("his", "replay", ID, "--max", "1", *state).code == 0
    assert lipei("his", "offer", ID, "--since", "2026-01-01", "--dry-run", *state).code == 0
    days = ("--from", "2026-03-01", "--to", "2026-03-02")
    assert lipei("his", "reconcile", ID, *days, *state).code in (0, 1)


@pytest.mark.parametrize("command", ["test", "pull", "status", "replay", "offer", "reconcile"])
def test_without_a_bridge_every_command_says_what_to_start(tmp_path: Path, command: str) -> None:
    typed = lipei("his", command, ID, "--state", tmp_path)
    assert typed.code == 1
    assert typed.said == [f"nothing is running here ({tmp_path}); start with `lipei up`"]


def test_a_state_that_may_not_be_read_is_no_state_in_which_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    for command in ("status", "pull"):
        typed = lipei("his", command, ID, "--state", tmp_path)
        assert typed.code == 2
        (said,) = typed.said
        assert said.startswith(f"the state directory {tmp_path} cannot be used: Is a directory; ")


def test_a_state_that_cannot_be_made_is_named_and_no_trace_is_shown(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, and no folder")
    profile = Path(__file__).parents[2] / "services/his_bridge/profiles/demo-hospital.yaml"
    for words in (("his", "add", profile), ("up",)):
        typed = lipei(*words, "--state", taken / "state")
        assert typed.code == 2
        assert typed.said[-1].startswith(f"the state directory {taken / 'state'} cannot be used: ")
        assert typed.said[-1].endswith("; name another by --state or LIPEI_STATE")
