"""Keys of logs and witnesses: made once, published beside themselves, changed without an alarm."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.common.evidence.note import Kind
from services.common.evidence.signers import log_signer, origin_of, witness_signer
from services.common.evidence.witness import keys_in
from services.common.settings import UnknownSetting


def test_a_key_is_made_once_private_and_its_public_half_stands_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "claims_evidence.key"
    made = log_signer("claims", file).verifier
    assert log_signer("claims", file).verifier == made
    assert (made.name, made.kind) == (origin_of("claims"), Kind.LOG)
    assert keys_in(file.with_suffix(".vkey")) == [made]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_new_key_stands_before_the_old_one_and_a_third_pushes_it_out(tmp_path: Path) -> None:
    file = tmp_path / "witness_hospital.key"
    made = []
    for number in range(3):
        file.write_text(f"{number:064x}\n")
        made.append(witness_signer("hospital", file).verifier)
        assert keys_in(file.with_suffix(".vkey")) == made[-1:-3:-1]
    assert {key.kind for key in made} == {Kind.WITNESS}


def test_public_keys_may_be_missing_but_not_malformed(tmp_path: Path) -> None:
    file = tmp_path / "claims_evidence.vkey"
    assert keys_in(file) == []
    for content in (b"nonsense", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(UnknownSetting, match="no verifier keys"):
            keys_in(file)
