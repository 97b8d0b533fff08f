"""The verifier that an auditor carries away: alone, against published vectors, and refusing."""

from __future__ import annotations

import base64
import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.evidence import verify
from services.common.evidence.leaf import leaf_bytes
from services.common.evidence.merkle import leaf_hash, root_of
from services.common.evidence.note import Note, SignerKey, parsed
from services.common.evidence.proof_file import proof_file
from services.common.evidence.verify import NotVerified, ed25519_holds
from tests.services.common.evidence.attacks import WITNESS
from tests.services.common.evidence.logs import SIGNER, Kept, kept, read, reads

# RFC 8032, 7.1: public key, message, signature of tests 1, 2 and 3.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
            "1cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
            "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760"
            "984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_published_signatures_hold_and_changed_ones_do_not(
    public: str, message: str, signature: str
) -> None:
    key, said, signed = map(bytes.fromhex, (public, message, signature))
    assert ed25519_holds(key, signed, said)
    assert not ed25519_holds(key, signed, said + b"\x00")
    for place in (0, 31, 32, 63):
        bent = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
        assert not ed25519_holds(key, bent, said)
    # The same S by another spelling, which RFC 8032 refuses.
    s = int.from_bytes(signed[32:], "little") + ORDER
    assert not ed25519_holds(key, signed[:32] + s.to_bytes(32, "little"), said)
    assert not ed25519_holds(key, signed[:-1], said)
    assert not ed25519_holds(bytes([255]) * 32, signed, said)


@settings(max_examples=10)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200))
def test_it_agrees_with_the_other_implementation(seed: bytes, message: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    assert ed25519_holds(public, private.sign(message), message)


SIZE, INDEX = 21, 13


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with kept(f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.db'}") as found:
        found.append(reads(SIZE))
        found.sign()
        yield found


def proof_of(log: Kept, index: int = INDEX, signer: SignerKey = WITNESS) -> str:
    with log.proofs() as proofs:
        checkpoint = proofs.checkpoint()
        assert checkpoint is not None
        hashes = proofs.inclusion(index, checkpoint.size)
    note = parsed(checkpoint.note)
    cosigned = note.signed(signer.sign(note.text, at_s=1_780_000_000))
    return proof_file(leaf_bytes(read(index)), index, hashes, cosigned)


def judged(text: str, *, witness: SignerKey | None = WITNESS) -> verify.Verified:
    keys = [] if witness is None else [verify.read_key(witness.verifier.vkey())]
    return verify.verified(verify.read_proof(text), verify.read_key(SIGNER.verifier.vkey()), keys)


def test_every_leaf_verifies(log: Kept) -> None:
    for index in range(SIZE):
        found = judged(proof_of(log, index))
        assert found.leaf == leaf_bytes(read(index))
        assert (found.origin, found.size, found.index) == (SIGNER.verifier.name, SIZE, index)
        assert found.witnesses == [(WITNESS.verifier.name, 1_780_000_000)]


def refused(text: str, *, witness: SignerKey | None = WITNESS) -> str:
    with pytest.raises(NotVerified) as reason:
        judged(text, witness=witness)
    return str(reason.value)


def test_what_is_bent_is_refused(log: Kept) -> None:
    good = proof_of(log)
    lines = good.split("\n")
    other = base64.b64encode(leaf_bytes(read(INDEX + 1))).decode()
    assert "does not lead" in refused(good.replace(lines[1], f"extra {other}"))
    assert "does not lead" in refused(good.replace(f"index {INDEX}", f"index {INDEX - 1}"))
    assert "not one of the tree's" in refused(good.replace(f"index {INDEX}", f"index {SIZE}"))
    assert "number of 32-byte" in refused(good.replace(lines[3] + "\n", ""))
    assert "number of 32-byte" in refused(good.replace(lines[3], "AAAA"))
    assert "does not hold" in refused(good.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n"))
    assert "no leaf" in refused(good.replace(lines[1] + "\n", ""))
    assert "no number" in refused(good.replace(f"index {INDEX}", f"index 0{INDEX}"))
    assert "no index" in refused(good.replace(f"index {INDEX}", ""))
    assert "not a proof" in refused(good.replace("tlog-proof@v1", "tlog-proof@v2"))
    assert "base64" in refused(good.replace(lines[3], "!"))
    assert "no signature" in refused(good + "more\n")
    stranger = SignerKey(WITNESS.verifier.name, WITNESS.verifier.kind, bytes([8]) * 32)
    assert "is not signed by" in refused(proof_of(log, signer=stranger))


def test_a_log_alone_is_told_apart(log: Kept) -> None:
    assert judged(proof_of(log), witness=None).witnesses == []
    assert "no witness key" in "\n".join(verify.told(judged(proof_of(log), witness=None)))


def test_a_rebuilt_log_does_not_pass_a_witnesss_checkpoint(log: Kept) -> None:
    # What the checkpoint of a witness is for: the log signs another tree of the same size.
    kept_note = verify.read_proof(proof_of(log)).checkpoint
    forged = [leaf_bytes(read(number, purpose="made-up")) for number in range(SIZE)]
    root = root_of([leaf_hash(leaf) for leaf in forged])
    body = f"{SIGNER.verifier.name}\n{SIZE}\n{base64.b64encode(root).decode()}\n"
    proof = proof_file(forged[0], 0, [bytes(32)] * 5, Note(body, (SIGNER.sign(body),)))
    found = dataclasses.replace(verify.read_proof(proof), checkpoint=kept_note)
    with pytest.raises(NotVerified, match="does not lead"):
        verify.verified(found, verify.read_key(SIGNER.verifier.vkey()), [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b+c",
        "log+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "log+0000000+AQ==",
    ],
)
def test_a_key_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(NotVerified):
        verify.read_key(text)


def test_it_runs_alone(log: Kept, tmp_path: Path) -> None:
    """In an empty folder, by a Python that sees no installed package and none of ours."""
    program = tmp_path / "verify_evidence.py"
    shutil.copy(verify.__file__, program)
    (tmp_path / "a.tlog-proof").write_text(proof_of(log))
    (tmp_path / "log.vkey").write_text(SIGNER.verifier.vkey() + "\n")
    (tmp_path / "leaf").write_bytes(leaf_bytes(read(INDEX)))
    checkpoint = verify.read_proof(proof_of(log)).checkpoint
    (tmp_path / "checkpoint").write_text(checkpoint)

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-I", "-S", str(program), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    keys = ("--log-key", "log.vkey", "--witness-key", WITNESS.verifier.vkey())
    code, said = run("a.tlog-proof", *keys)
    assert code == 0, said
    assert f"verified: leaf {INDEX} of {SIGNER.verifier.name}, among {SIZE} leaves" in said
    assert "who: person-3" in said
    assert run("a.tlog-proof", *keys, "--checkpoint", "checkpoint", "--leaf", "leaf")[0] == 0
    (tmp_path / "leaf").write_bytes(leaf_bytes(read(INDEX + 1)))
    code, said = run("a.tlog-proof", *keys, "--leaf", "leaf")
    assert (code, said.split(":")[0]) == (1, "NOT VERIFIED")
    stranger = SignerKey(SIGNER.verifier.name, SIGNER.verifier.kind, bytes([9]) * 32)
    both = f"{stranger.verifier.vkey()}\n{SIGNER.verifier.vkey()}\n"
    (tmp_path / "log.vkey").write_text(both)  # a new key, and the one before it
    assert run("a.tlog-proof", *keys)[0] == 0
    (tmp_path / "log.vkey").write_text(stranger.verifier.vkey())
    assert run("a.tlog-proof", *keys)[0] == 1
    (tmp_path / "log.vkey").write_text("")
    assert run("a.tlog-proof", *keys)[0] == 1
    assert run("none", *keys)[0] == 2
    (tmp_path / "a.tlog-proof").write_bytes(b"\xff")
    assert run("a.tlog-proof", *keys)[0] == 1
