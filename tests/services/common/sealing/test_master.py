"""Master keys: several at once, from a file or a command, rotated under running services."""

from __future__ import annotations

import json
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from services.common.sealing import CannotOpen, KeyRetired, KeySet, KeyUnknown
from services.common.sealing.key_sources import KeyCommand, KeyFile, master_keys, parsed, written
from services.common.sealing.master import KeyState, RereadKeys
from services.common.settings import UnknownSetting

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
KEY, PLACE = b"k" * 32, b"place"


def test_a_key_opens_under_the_master_key_that_wrapped_it() -> None:
    key_id, wrapped = KeySet({"m1": OLD}, "m1").wrap(KEY, PLACE)
    assert key_id == "m1"
    assert KEY not in wrapped
    both = KeySet({"m1": OLD, "m2": NEW}, "m2")
    assert both.unwrap("m1", wrapped, PLACE) == KEY
    assert both.wrap(KEY, PLACE)[0] == "m2"


def test_a_missing_a_retired_and_a_wrong_master_key_are_told_apart() -> None:
    _, wrapped = KeySet({"m1": OLD}, "m1").wrap(KEY, PLACE)
    with pytest.raises(KeyUnknown) as unknown:
        KeySet({"m2": NEW}, "m2").unwrap("m1", wrapped, PLACE)
    assert (unknown.value.reason, unknown.value.metadata) == ("KEY_UNKNOWN", {"key_id": "m1"})
    with pytest.raises(KeyRetired) as retired:
        KeySet({"m1": None, "m2": NEW}, "m2").unwrap("m1", wrapped, PLACE)
    assert (retired.value.reason, retired.value.metadata) == ("KEY_RETIRED", {"key_id": "m1"})
    with pytest.raises(CannotOpen):
        KeySet({"m1": NEW}, "m1").unwrap("m1", wrapped, PLACE)


def test_a_wrapped_key_is_bound_to_its_place_and_its_master_key() -> None:
    keys = KeySet({"m1": OLD, "m2": OLD}, "m1")
    _, wrapped = keys.wrap(KEY, PLACE)
    with pytest.raises(CannotOpen):
        keys.unwrap("m1", wrapped, b"elsewhere")
    with pytest.raises(CannotOpen):
        keys.unwrap("m2", wrapped, PLACE)
    for end in range(len(wrapped)):
        with pytest.raises(CannotOpen):
            keys.unwrap("m1", wrapped[:end], PLACE)


@pytest.mark.parametrize(
    ("keys", "current"),
    [
        ({"m1": OLD}, "m2"),
        ({}, "m1"),
        ({"m1": None}, "m1"),
        ({"钥": OLD}, "钥"),
        ({"": OLD}, ""),
        ({"m\n": OLD}, "m\n"),
        ({"m" * 65: OLD}, "m" * 65),
        ({"m1": b"short"}, "m1"),
    ],
)
def test_keys_that_could_not_wrap_are_refused_at_once(
    keys: dict[str, bytes | None], current: str
) -> None:
    with pytest.raises(ValueError, match="master key"):
        KeySet(keys, current)


def said(**changes: Any) -> bytes:
    tree: dict[str, Any] = {"current": "m1", "keys": [{"id": "m1", "key": OLD.hex()}]}
    return json.dumps({**tree, **changes}).encode()


def test_a_key_set_reads_back_as_it_was_written() -> None:
    keys = KeySet({"m0": None, "m1": OLD, "m2": NEW}, "m2")
    again = parsed(written(keys), "it")
    assert (again.keys, again.current()) == (keys.keys, "m2")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"current": "m1"}',
        b"{" * 100_000,
        said() + b"{}",
        said(current="m2"),
        said(keys=[]),
        said(more=1),
        said(keys=[{"id": "m1", "key": OLD.hex()}, {"id": "m1", "key": NEW.hex()}]),
        said(keys=[{"id": "m1", "key": OLD.hex()[:-2]}]),
        said(keys=[{"id": "m1", "key": "z" * 64}]),
        said(keys=[{"id": "m1", "key": OLD.hex(), "retired": True}]),
        said(keys=[{"id": "m1", "retired": True}]),
        said(keys=[{"id": "m1"}]),
        b'{"current": "m1", "current": "m2", "keys": []}',
    ],
)
def test_a_key_set_that_cannot_be_used_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(UnknownSetting) as refused:
        parsed(content, "the master key file")
    assert str(refused.value).startswith("the master key file: ")
    assert OLD.hex()[:-2] not in str(refused.value)


def test_the_first_start_makes_a_private_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIPEI_MASTER_KEY_FILE", raising=False)
    monkeypatch.delenv("LIPEI_MASTER_KEY_COMMAND", raising=False)
    made: list[RereadKeys] = []
    starters = [
        threading.Thread(target=lambda: made.append(master_keys(tmp_path))) for _ in range(6)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    file = tmp_path / "keys" / "master_keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    _, wrapped = made[0].wrap(KEY, PLACE)
    assert [keys.unwrap("m1", wrapped, PLACE) for keys in made] == [KEY] * 6


def test_a_running_service_follows_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    running, operator = RereadKeys(KeyFile(file)), KeyFile(file)
    _, wrapped = running.wrap(KEY, PLACE)
    assert operator.add() == "m2"
    assert running.current() == "m2"  # and no restart
    key_id, again = running.wrap(KEY, PLACE)
    assert (key_id, running.unwrap("m1", wrapped, PLACE)) == ("m2", KEY)
    operator.retire("m1")
    assert running.state("m1") is KeyState.RETIRED
    with pytest.raises(KeyRetired):
        running.unwrap("m1", wrapped, PLACE)
    assert running.unwrap("m2", again, PLACE) == KEY
    assert OLD.hex() not in file.read_text()
    assert operator.add() == "m3"


def test_a_file_that_is_damaged_meanwhile_stops_nobody(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    running = RereadKeys(KeyFile(file))
    _, wrapped = running.wrap(KEY, PLACE)
    for damage in (b"{", b""):
        file.write_bytes(damage)
        assert running.unwrap("m1", wrapped, PLACE) == KEY
    file.unlink()
    assert running.unwrap("m1", wrapped, PLACE) == KEY
    with pytest.raises(UnknownSetting, match=r"keys\.json"):
        running.refresh()


def test_the_current_key_and_an_unknown_one_cannot_be_retired(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    for key_id in ("m1", "m9"):
        with pytest.raises(UnknownSetting):
            file.retire(key_id)
    assert file.read().state("m1") is KeyState.CURRENT


def test_a_command_hands_the_keys_over(tmp_path: Path) -> None:
    kept = tmp_path / "kept by somebody else"
    kept.write_bytes(written(KeySet({"m7": OLD}, "m7")))
    command = f"{sys.executable} -c 'print(open(\"{kept}\").read())'"
    keys = RereadKeys(KeyCommand(command))
    key_id, wrapped = keys.wrap(KEY, PLACE)
    assert (key_id, keys.unwrap("m7", wrapped, PLACE)) == ("m7", KEY)
    with pytest.raises(KeyUnknown):
        keys.unwrap("m8", wrapped, PLACE)
    # Whoever keeps them rotates: the next step of a rotation reads it, and so does a new id.
    kept.write_bytes(written(KeySet({"m7": OLD, "m9": NEW}, "m9")))
    keys.refresh()
    assert (keys.current(), keys.unwrap("m7", wrapped, PLACE)) == ("m9", KEY)


def test_a_key_that_was_made_meanwhile_is_found_when_it_is_needed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(written(KeySet({"m7": OLD}, "m7")))
    keys = RereadKeys(KeyCommand(f"{sys.executable} -c 'print(open(\"{kept}\").read())'"))
    newer = KeySet({"m7": OLD, "m8": NEW}, "m8")
    _, wrapped = newer.wrap(KEY, PLACE)
    kept.write_bytes(written(newer))
    assert keys.unwrap("m8", wrapped, PLACE) == KEY


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("/nowhere/at-all", "cannot be run"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", "ended with 3"),
        (f"{sys.executable} -c 'print(0)'", "Expected"),
    ],
)
def test_a_command_that_fails_is_told_in_a_sentence(command: str, fault: str) -> None:
    with pytest.raises(UnknownSetting, match=fault) as told:
        RereadKeys(KeyCommand(command))
    assert "LIPEI_MASTER_KEY_COMMAND" in str(told.value)


def test_the_settings_choose_the_command_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(written(KeySet({"hsm-1": NEW}, "hsm-1")))
    monkeypatch.setenv(
        "LIPEI_MASTER_KEY_COMMAND", f"{sys.executable} -c 'print(open(\"{kept}\").read())'"
    )
    assert master_keys(tmp_path).current() == "hsm-1"
    assert not (tmp_path / "keys").exists()
