"""`lipei up` makes no new key where databases were filled under one that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.installation import Installation, NotThere


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
