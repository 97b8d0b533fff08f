"""Claims starts under no other token key than the one under which its people are known."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from services.claims.main import ClaimsSettings, run
from services.claims.storage.tables import person
from services.common.process import now_us
from services.common.sealing import SubjectKeys
from services.common.sealing.key_sources import master_keys
from services.common.sealing.known_keys import token_key
from services.common.state import KeyReplaced
from tests.identities import equip
from tests.schemas import with_tables


def test_a_lost_token_key_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LIPEI_")]:
        monkeypatch.delenv(name)
    state, token = equip(tmp_path / "state"), tmp_path / "token.key"
    monkeypatch.setenv("LIPEI_STATE", str(state))
    monkeypatch.setenv("LIPEI_MEMBER_TOKEN_KEY_FILE", str(token))

    def refused() -> str:
        with pytest.raises(KeyReplaced) as found:
            asyncio.run(run(ClaimsSettings()))
        return str(found.value)

    database = with_tables(f"sqlite:///{state / 'claims.db'}", "services.claims")
    with database.writing() as connection:
        connection.execute(insert(person), {"id": "a" * 32, "token_index": "b" * 64})
    assert "token.key is not there, and this database's members are known under" in refused()
    assert not token.exists()
    # The control: put back from its backup it is taken, and known from then on.
    token.write_text("cd" * 32)
    keys = SubjectKeys(master_keys(state), now_us=now_us)
    keys.prepare(database)
    members = select(person.c.id)
    assert token_key(database, keys, token, "k1", members=members) == bytes.fromhex("cd" * 32)
    token.write_text("ab" * 32)
    assert "token.key holds another key" in refused()
    database.close()
