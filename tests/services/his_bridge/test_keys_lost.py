"""A key file that is gone or swapped is refused before anything is written; nothing goes astray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from services.common.database import Database
from services.common.sealing.known_keys import token_key
from services.common.sealing.members import member
from services.common.state import KeyReplaced
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.messages_hl7 import TOKEN, write_profile
from tests.services.his_bridge.running import Bridge, environ_for


def refused(state: Path, environ: dict[str, str]) -> str:
    with pytest.raises(RuntimeError) as found:
        Bridge(state, environ)
    return str(found.value)


def test_a_lost_or_swapped_key_file_is_not_replaced(tmp_path: Path, database_url: str) -> None:
    state, profiles = tmp_path / "state", tmp_path / "profiles"
    write_profile(profiles)
    token, master = tmp_path / "token.key", tmp_path / "master.json"
    environ = environ_for(state, profiles, database_url) | {
        "LIPEI_MEMBER_TOKEN_KEY_FILE": str(token),
        "LIPEI_MASTER_KEY_FILE": str(master),
    }
    bridge = Bridge(state, environ)
    bridge.consented([TOKEN])
    assert bridge.stop() == 0
    signing = state / "keys" / "his_bridge_evidence.key"
    for file, words in (
        (token, "members are known"),
        (master, "is sealed under"),
        (signing, "evidence is signed by"),
    ):
        kept = file.read_bytes()
        file.unlink()
        said = refused(state, environ)
        assert file.name in said
        assert words in said
        assert "Traceback" not in said
        assert not file.exists()
        file.write_bytes(kept)
    kept = token.read_bytes()
    token.write_text("ab" * 32)
    assert "token.key holds another key" in refused(state, environ)
    token.write_bytes(kept)
    # The control: with the keys that it was filled under it starts.
    assert Bridge(state, environ).stop() == 0


def test_before_the_first_member_the_key_may_be_replaced(
    sqlite_database: str, tmp_path: Path
) -> None:
    database = Database(sqlite_database)
    keys = subject_keys(database)
    file = tmp_path / "token.key"
    first = token_key(database, keys, file, "k1", members=select(member.c.id))
    file.write_text("ab" * 32)
    again = token_key(database, keys, file, "k1", members=select(member.c.id))
    assert again == bytes.fromhex("ab" * 32) != first
    database.close()


@pytest.fixture
def filled(sqlite_database: str) -> Iterator[Database]:
    database = with_tables(sqlite_database, "services.his_bridge")
    with database.writing() as connection:
        row = {"id": "a" * 32, "token_index": "b" * 64, "created_us": 1}
        connection.execute(insert(member), row)
    yield database
    database.close()


def test_a_lost_key_is_not_made_anew_under_another_version(
    filled: Database, tmp_path: Path
) -> None:
    keys, file = subject_keys(filled), tmp_path / "token.key"
    members = select(member.c.id)
    file.write_text("ab" * 32)
    token_key(filled, keys, file, "k1", members=members)
    file.unlink()
    with pytest.raises(KeyReplaced, match="is not there"):
        token_key(filled, keys, file, "k2", members=members)
    assert not file.exists()
    # The control: the operator's own new one is taken, and the old one stays known as k1.
    file.write_text("cd" * 32)
    assert token_key(filled, keys, file, "k2", members=members) == bytes.fromhex("cd" * 32)
    with pytest.raises(KeyReplaced, match="holds another key"):
        token_key(filled, keys, file, "k1", members=members)


def test_a_swapped_key_that_was_pinned_is_put_right_by_the_operator(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, file = subject_keys(filled), tmp_path / "token.key"
    members = select(member.c.id)
    file.write_text("ab" * 32)  # swapped before the first start that knew of fingerprints
    token_key(filled, keys, file, "k1", members=members)
    file.write_text("cd" * 32)
    monkeypatch.setenv("LIPEI_KEYS_PINNED_ANEW", "evidence_pseudonym")
    with pytest.raises(KeyReplaced, match="holds another key"):
        token_key(filled, keys, file, "k1", members=members)
    monkeypatch.setenv("LIPEI_KEYS_PINNED_ANEW", "evidence_pseudonym, member_token")
    assert token_key(filled, keys, file, "k1", members=members) == bytes.fromhex("cd" * 32)
    monkeypatch.delenv("LIPEI_KEYS_PINNED_ANEW")
    assert token_key(filled, keys, file, "k1", members=members) == bytes.fromhex("cd" * 32)
    file.write_text("ab" * 32)
    with pytest.raises(KeyReplaced, match="holds another key"):
        token_key(filled, keys, file, "k1", members=members)
