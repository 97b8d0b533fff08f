"""A file of keys: rotated under readers, never half written, and nothing else is taken for keys."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.common.settings import UnknownSetting
from services.common.temporal import codec_keys
from services.common.temporal.codec_keys import CannotChange, CodecFault, KeyFile, KeyState
from tests.services.common.programs import together

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "temporal_codec.key"


def rotate(file: Path, now: datetime) -> str:
    """The id of the new current key."""

    def changed(old: Sequence[codec_keys.CodecKey]) -> tuple[codec_keys.CodecKey, ...]:
        wider = codec_keys.with_fresh_key(old, now)
        return codec_keys.with_current(wider, wider[-1].id, now)

    return codec_keys.change(file, changed)[-1].id


def test_a_first_file_holds_one_current_key_for_its_owner_alone(file: Path) -> None:
    (key,) = codec_keys.load_or_make(file, NOON)
    assert key.state is KeyState.CURRENT
    assert key.made == NOON
    assert not key.unbound
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert codec_keys.load_or_make(file, LATER) == (key,)


def test_two_fresh_keys_never_share_a_name(tmp_path: Path) -> None:
    made = [codec_keys.load_or_make(tmp_path / f"{n}" / "a.key", NOON)[0] for n in range(20)]
    assert len({key.id for key in made}) == 20


def test_a_file_of_the_old_form_is_key_k1_and_becomes_one_of_several(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("ab" * 32 + "\n")
    (old,) = codec_keys.load(file)
    assert (old.id, old.key, old.state, old.unbound) == ("k1", "ab" * 32, KeyState.CURRENT, True)
    new = rotate(file, NOON)
    first, second = codec_keys.load(file)
    assert (first.id, first.state, first.superseded) == ("k1", KeyState.DECRYPT_ONLY, NOON)
    assert (second.id, second.state, second.made) == (new, KeyState.CURRENT, NOON)
    assert first.unbound
    assert not second.unbound


def test_a_reader_takes_a_rotation_up_without_a_restart(file: Path) -> None:
    codec_keys.load_or_make(file, NOON)
    reader = KeyFile(file)
    before = reader.current()
    new = rotate(file, LATER)
    assert reader.current().id == new
    assert reader.named(before.id).key == before.key


def test_an_added_key_waits_until_it_is_made_current(file: Path) -> None:
    (first,) = codec_keys.load_or_make(file, NOON)
    reader = KeyFile(file)
    _, added = codec_keys.change(file, lambda old: codec_keys.with_fresh_key(old, NOON))
    assert reader.current().id == first.id
    assert reader.named(added.id).state is KeyState.DECRYPT_ONLY
    codec_keys.change(file, lambda old: codec_keys.with_current(old, added.id, LATER))
    assert reader.current().id == added.id


def test_a_retired_key_is_destroyed_and_named_as_such(file: Path) -> None:
    (first,) = codec_keys.load_or_make(file, NOON)
    reader = KeyFile(file)
    rotate(file, NOON)
    codec_keys.change(file, lambda old: codec_keys.without(old, first.id, LATER))
    assert first.key not in file.read_text()
    with pytest.raises(CodecFault) as refused:
        reader.named(first.id)
    assert refused.value.reason == "CODEC_KEY_RETIRED"
    with pytest.raises(CodecFault) as missing:
        reader.named("k9")
    assert missing.value.reason == "CODEC_KEY_MISSING"


def test_the_current_key_an_unknown_one_and_a_retired_one_cannot_be_retired(file: Path) -> None:
    (first,) = codec_keys.load_or_make(file, NOON)
    keys = codec_keys.load(file)
    with pytest.raises(CannotChange, match="current"):
        codec_keys.without(keys, first.id, NOON)
    with pytest.raises(CannotChange, match="no key k9"):
        codec_keys.without(keys, "k9", NOON)
    rotate(file, NOON)
    gone = codec_keys.change(file, lambda old: codec_keys.without(old, first.id, NOON))
    for change in (codec_keys.without, codec_keys.with_current):
        with pytest.raises(CannotChange, match="no key"):
            change(gone, first.id, NOON)


def test_a_key_found_in_use_counts_as_used_until_then(file: Path) -> None:
    (first,) = codec_keys.load_or_make(file, NOON)
    second = rotate(file, NOON)
    keys = codec_keys.with_use_until(codec_keys.load(file), {first.id, second, "k9"}, LATER)
    assert [key.superseded for key in keys] == [LATER, None]


def test_a_reader_goes_on_while_the_file_is_away_or_broken(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = codec_keys.load_or_make(file, NOON)
    reader = KeyFile(file)
    text = file.read_text()
    file.unlink()
    assert reader.current() == first
    file.write_text("{")
    assert reader.named(first.id) == first
    file.write_text(text)
    assert rotate(file, LATER) == reader.current().id


def broken(**changes: object) -> str:
    key = {"id": "k2", "state": "current", "key": "ab" * 32, **changes}
    return json.dumps({"format": "lipei codec keys 1", "keys": [key]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab",
        "g" * 64,
        "{",
        "[]",
        "{}",
        broken()[:-1],
        broken(key="ab"),
        broken(key=""),
        broken(state="decrypt-only"),  # nothing could encrypt
        broken(state="old"),
        broken(state="retired", key=""),
        broken(id="張"),
        broken(id=""),
        broken(id="k" * 17),
        broken(colour="red"),
        broken().replace("keys 1", "keys 2"),
        json.dumps({**json.loads(broken()), "keys": json.loads(broken())["keys"] * 2}),
    ],
)
def test_nothing_else_is_taken_for_keys(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UnknownSetting, match="does not hold codec keys") as refused:
        KeyFile(file)
    assert "ab" * 8 not in str(refused.value)


def test_a_file_that_is_not_there_is_no_key_file(file: Path) -> None:
    with pytest.raises(UnknownSetting, match="cannot be read"):
        KeyFile(file)


STARTING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from services.common.temporal import codec_keys
print("ready", flush=True)
for line in sys.stdin:
    print(codec_keys.load_or_make(Path(line.strip()), datetime.now(UTC))[0].key, flush=True)
"""


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    with together(4, STARTING) as processes:
        for number in range(10):
            made = processes.do(str(tmp_path / f"{number}" / "a.key"))
            assert len(set(made)) == 1
