"""run.json and key files stay whole, private and single among processes that start at once."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from services.common.state import (
    forget_address,
    load_or_make_key,
    read_addresses,
    record_address,
    state_dir,
)
from tests.services.common.programs import together

CROWD = 3
RECORDER = """
import contextlib, os, sys
from pathlib import Path
from services.common import state
folder, me = Path(sys.argv[1]), os.getpid()
if sys.argv[2] == "without":
    state.locked = contextlib.nullcontext
print("ready", flush=True)
for line in sys.stdin:
    refused = 0
    for number in range(40):
        try:
            state.record_address(folder, f"{me}-{number}", f"127.0.0.1:{number}")
            if number % 2:
                state.record_address(folder, f"{me}-{number}", None)
        except OSError:  # one took the other's half-written file away
            refused += 1
    print(refused, flush=True)
"""
KEY_MAKER = """
import sys
from pathlib import Path
from services.common.state import load_or_make_key
print("ready", flush=True)
for line in sys.stdin:
    print(load_or_make_key(Path(line.strip())).hex(), flush=True)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_state_directory_is_private(tmp_path: Path) -> None:
    assert mode(state_dir(tmp_path / "a" / "state")) == 0o700


def whole_rounds(folder: Path, lock: str, *, rounds: int) -> int:
    """How many rounds of writing at once left everything there; stops when one does not."""
    with together(CROWD, RECORDER, str(folder), lock) as crowd:
        expected = {
            f"{process.pid}-{number}": f"127.0.0.1:{number}"
            for process in crowd.processes
            for number in range(0, 40, 2)
        }
        for whole in range(rounds):
            refused = crowd.do("go")
            if refused != ["0"] * CROWD or read_addresses(folder) != expected:
                return whole
    return rounds


def test_addresses_of_processes_that_write_at_once_are_all_there(tmp_path: Path) -> None:
    assert whole_rounds(tmp_path, "with", rounds=2) == 2


def test_without_the_lock_addresses_are_lost(tmp_path: Path) -> None:
    assert whole_rounds(tmp_path, "without", rounds=20) < 20


@pytest.mark.parametrize("content", ["", '{"claims": "127', "[]", "null"])
def test_a_file_cut_short_tells_nothing_and_is_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert read_addresses(tmp_path) == {}
    record_address(tmp_path, "claims", "127.0.0.1:1")
    assert read_addresses(tmp_path) == {"claims": "127.0.0.1:1"}


def test_an_address_can_be_taken_out_and_none_is_no_fault(tmp_path: Path) -> None:
    assert read_addresses(tmp_path) == {}
    record_address(tmp_path, "claims", "127.0.0.1:1")
    record_address(tmp_path, "claims", None)
    record_address(tmp_path, "claims", None)
    assert json.loads((tmp_path / "run.json").read_text()) == {}


def test_a_process_that_stops_leaves_its_successors_address(tmp_path: Path) -> None:
    record_address(tmp_path, "claims", "127.0.0.1:1")
    record_address(tmp_path, "claims", "127.0.0.1:2")
    forget_address(tmp_path, "claims", "127.0.0.1:1")
    assert read_addresses(tmp_path) == {"claims": "127.0.0.1:2"}
    forget_address(tmp_path, "claims", "127.0.0.1:2")
    assert read_addresses(tmp_path) == {}


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    keys = tmp_path / "state" / "keys"
    with together(CROWD, KEY_MAKER) as crowd:
        for round_number in range(20):
            path = keys / f"{round_number}.key"
            made = crowd.do(str(path))
            assert len(set(made)) == 1
            assert bytes.fromhex(made[0]) == load_or_make_key(path)
            assert mode(path) == 0o600
    assert mode(keys) == 0o700
    assert not list(keys.glob("*.new"))


def test_threads_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    made: list[bytes] = []
    gate = threading.Barrier(8)

    def make() -> None:
        gate.wait()
        made.append(load_or_make_key(tmp_path / "a.key"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_keys_are_fresh_and_of_the_length_asked_for(tmp_path: Path) -> None:
    assert load_or_make_key(tmp_path / "a.key") != load_or_make_key(tmp_path / "b.key")
    assert len(load_or_make_key(tmp_path / "c.key", length=16)) == 16
    with pytest.raises(ValueError, match=r"c\.key does not hold 32 bytes"):
        load_or_make_key(tmp_path / "c.key")


def test_a_key_whose_making_was_interrupted_is_made(tmp_path: Path) -> None:
    (tmp_path / "a.key.new").write_text("ab")
    assert len(load_or_make_key(tmp_path / "a.key")) == 32
    assert not (tmp_path / "a.key.new").exists()


def test_a_mounted_key_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text("00" * 32 + "\n")
    load_or_make_key(tmp_path / "a.key")
    assert os.listdir(tmp_path) == ["a.key"]  # noqa: PTH208 - names are what is compared


@pytest.mark.parametrize(
    "content", ["", "\n", "zz" * 32, "00" * 31, "00" * 33, "00" * 31 + "0", "é"]
)
def test_a_file_that_holds_no_key_is_refused_without_repeating_it(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "a.key").write_text(content)
    with pytest.raises(ValueError, match=r"^the key file a\.key does not hold 32 bytes in hex$"):
        load_or_make_key(tmp_path / "a.key")
    assert (tmp_path / "a.key").read_text() == content
