"""`lipei up` makes no new key where databases were filled under one that is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stack.installation import SERVICES, Installation, NotThere
from stack.kept_keys import KEPT


def test_a_lost_key_is_asked_back_and_not_made_anew(tmp_path: Path) -> None:
    installation = Installation(state=tmp_path, hospitals=["h"], environ={})
    database, keys = tmp_path / "claims.db", tmp_path / "keys"
    database.touch()
    with pytest.raises(NotThere) as refused:
        installation.prepare()
    assert f"{keys / 'member_token.key'}, {keys / 'master_keys.json'}" in str(refused.value)
    assert list(tmp_path.iterdir()) == [database]
    # The control: in an empty state they are made, and then good for the databases.
    database.unlink()
    installation.prepare()
    database.touch()
    installation.prepare()
    # A log's key that was never made is not lost; one whose public half is there is.
    (keys / "claims_evidence.vkey").touch()
    with pytest.raises(NotThere, match=r"not there: [^,]*claims_evidence\.key;"):
        installation.prepare()
    (keys / "claims_evidence.vkey").unlink()
    (keys / "master_keys.json").unlink()
    with pytest.raises(NotThere, match=r"not there: [^,]*master_keys\.json;"):
        installation.prepare()
    assert not (keys / "master_keys.json").exists()


def test_a_key_of_databases_elsewhere_is_not_made_anew(tmp_path: Path) -> None:
    """A database on a server leaves nothing in the state directory that tells of it."""
    elsewhere = {
        f"LIPEI_{service.upper()}_DATABASE_URL": f"postgresql://db/{service}"
        for service in SERVICES
    }
    installation = Installation(state=tmp_path, hospitals=["h"], environ=elsewhere)
    keys = tmp_path / "keys"
    installation.prepare()
    # Services make these; the next start knows them.
    for name in ("evidence_pseudonym", "claims_evidence"):
        (keys / f"{name}.key").write_text("ab" * 32)
    installation.prepare()
    for name in (
        "member_token.key",
        "master_keys.json",
        "evidence_pseudonym.key",
        "claims_evidence.key",
    ):
        kept = (keys / name).read_bytes()
        (keys / name).unlink()
        there = sorted(tmp_path.rglob("*"))
        with pytest.raises(NotThere) as refused:
            installation.prepare()
        assert str(keys / name) in str(refused.value)
        assert sorted(tmp_path.rglob("*")) == there
        (keys / name).write_bytes(kept)
        installation.prepare()  # the control: put back it is taken
    shutil.rmtree(keys)
    with pytest.raises(NotThere) as refused:
        installation.prepare()
    assert f"{keys / 'member_token.key'}, {keys / 'master_keys.json'}" in str(refused.value)
    assert not keys.exists()


def test_a_state_of_before_that_signed_is_known_by_its_public_keys(tmp_path: Path) -> None:
    installation = Installation(state=tmp_path, hospitals=["h"], environ={})
    keys = tmp_path / "keys"
    keys.mkdir()
    for suffix in ("key", "vkey"):
        (keys / f"pricing_evidence.{suffix}").touch()
    with pytest.raises(NotThere, match=r"member_token\.key, [^,]*master_keys\.json;"):
        installation.prepare()


def test_what_nobody_can_read_forgets_no_key(tmp_path: Path) -> None:
    (tmp_path / KEPT).write_text("[")
    with pytest.raises(NotThere, match=KEPT):
        Installation(state=tmp_path, hospitals=["h"], environ={}).prepare()
