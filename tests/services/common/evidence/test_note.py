"""Notes, checkpoints and cosignatures as C2SP specifies them; anything else is refused."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.common.evidence.checkpoint import (
    Checkpoint,
    CheckpointRefused,
    checkpoint_of,
    opened,
)
from services.common.evidence.merkle import EMPTY_ROOT
from services.common.evidence.note import (
    MOST_BYTES,
    MOST_SIGNATURES,
    Kind,
    Note,
    NoteRefused,
    SignerKey,
    parsed,
    verifier_key,
)

# Key and note published with Go's package golang.org/x/mod/sumdb/note.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot"
    "pRZb6KE6RyyBwJnAM=\n"
)
# The checkpoint that the C2SP specifications print; nobody published its key's private half.
SOFA = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501 - printed as it is
LOG = SignerKey("example.com/log", Kind.LOG, bytes(32))
WITNESS = SignerKey("witness.example.com/w1", Kind.WITNESS, bytes([7]) * 32)
NOW_S = 1_679_315_147
CHECKPOINT = Checkpoint(origin="example.com/log", size=7, root=bytes(range(32)))


def signed(text: str, signer: SignerKey = LOG) -> str:
    return Note(text, (signer.sign(text),)).written()


def test_the_published_note_is_read_verified_and_made_again() -> None:
    key, note = verifier_key(NEUMANN), parsed(f"{TEXT}\n{LINE}")
    key.signed_at(note)
    signer = SignerKey("PeterNeumann", Kind.LOG, NEUMANN_SEED)
    assert signer.verifier.vkey() == NEUMANN
    assert Note(TEXT, (signer.sign(TEXT),)).written() == f"{TEXT}\n{LINE}"


def test_the_printed_checkpoint_is_read() -> None:
    note = parsed(SOFA)
    found = checkpoint_of(note.text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.text() == note.text
    log, witness = note.signatures
    assert (log.key_id.hex(), len(log.value)) == ("033de0ae", 64)
    assert int.from_bytes(witness.value[:8], "big") == NOW_S  # as the specification says
    assert len(witness.value) == 8 + 64
    assert note.written() == SOFA


def test_a_cosignature_is_what_the_specification_says() -> None:
    text = CHECKPOINT.text()
    note = parsed(signed(text)).signed(WITNESS.sign(text, at_s=NOW_S))
    (_, cosignature) = note.signatures
    private = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
    message = f"cosignature/v1\ntime {NOW_S}\n{text}".encode()
    assert cosignature.value == NOW_S.to_bytes(8, "big") + private.sign(message)
    named = b"witness.example.com/w1\n\x04" + private.public_key().public_bytes_raw()
    assert cosignature.key_id == hashlib.sha256(named).digest()[:4]
    assert WITNESS.verifier.signed_at(note) == NOW_S
    assert verifier_key(WITNESS.verifier.vkey()) == WITNESS.verifier


def test_a_newer_cosignature_replaces_the_older_and_keeps_the_others() -> None:
    text = CHECKPOINT.text()
    note = parsed(signed(text))
    for at_s in (NOW_S, NOW_S + 60):
        note = note.signed(WITNESS.sign(text, at_s=at_s))
    assert [found.name for found in note.signatures] == [
        LOG.verifier.name,
        WITNESS.verifier.name,
    ]
    assert WITNESS.verifier.signed_at(parsed(note.written())) == NOW_S + 60


def test_a_checkpoint_opens_under_its_logs_key_only() -> None:
    written = signed(CHECKPOINT.text())
    assert opened(written, [LOG.verifier])[0] == CHECKPOINT
    namesake = SignerKey("example.com/log", Kind.LOG, bytes([1]) * 32)
    for keys in ([], [namesake.verifier], [WITNESS.verifier]):
        with pytest.raises(NoteRefused):
            opened(written, keys)
    changed = SignerKey("example.com/log", Kind.LOG, bytes([1]) * 32)
    assert opened(written, [changed.verifier, LOG.verifier])[0] == CHECKPOINT


def test_a_key_that_signs_for_another_origin_is_refused() -> None:
    other = Checkpoint(origin="example.com/other", size=1, root=bytes(32))
    with pytest.raises(CheckpointRefused, match="another log"):
        opened(signed(other.text()), [LOG.verifier])


def test_a_witness_key_does_not_pass_for_the_logs() -> None:
    # The same bytes as a key of the other kind have another id.
    as_witness = SignerKey("example.com/log", Kind.WITNESS, bytes(32))
    text = CHECKPOINT.text()
    note = Note(text, (as_witness.sign(text, at_s=NOW_S),)).written()
    with pytest.raises(NoteRefused):
        opened(note, [LOG.verifier])


@given(data=st.data())
def test_a_changed_character_never_passes(data: st.DataObject) -> None:
    written = signed(CHECKPOINT.text())
    place = data.draw(st.integers(0, len(written) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda found: found != written[place]))
    with pytest.raises(NoteRefused):
        opened(written[:place] + other + written[place + 1 :], [LOG.verifier])


@given(written=st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_anything_else_is_refused_and_nothing_else_happens(written: bytes | str) -> None:
    with pytest.raises(NoteRefused):
        opened(written, [LOG.verifier])


ROOT = base64.b64encode(bytes(range(32))).decode()
EMPTY = base64.b64encode(EMPTY_ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"log\n7\n{ROOT}",  # the last line does not end
        "log\n7\n",
        f"\n7\n{ROOT}\n",
        f"log\n\n{ROOT}\n",
        f"log\n07\n{ROOT}\n",
        f"log\n+7\n{ROOT}\n",
        f"log\n-7\n{ROOT}\n",
        f"log\n７\n{ROOT}\n",
        f"log\n7.0\n{ROOT}\n",
        f"log\n 7\n{ROOT}\n",
        f"log\n9223372036854775808\n{ROOT}\n",
        f"log\n{'9' * 5000}\n{ROOT}\n",
        f"log\n0\n{ROOT}\n",  # no leaves and yet a root
        f"log\n7\n{ROOT[:-4]}\n",
        f"log\n7\n{ROOT[:-1]}\n",
        f"log\n7\n{ROOT[:-2]}9=\n",  # the same bytes by another spelling
        f"log\n7\n {ROOT}\n",
        f"log\n7\n{base64.urlsafe_b64encode(bytes([255]) * 32).decode()}\n",
        f"log\n7\n{ROOT}\n\nmore\n",
    ],
)
def test_a_checkpoint_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        checkpoint_of(text)


def test_the_empty_log_and_extension_lines_are_read() -> None:
    assert checkpoint_of(f"log\n0\n{EMPTY}\n").size == 0
    assert checkpoint_of(f"log\n7\n{ROOT}\nmore\n").size == 7


BODY = "a\n\n"


@pytest.mark.parametrize(
    "written",
    [
        "a\n" + LINE,
        "\n" + LINE,
        BODY,
        BODY + LINE[:-1],
        BODY + LINE.replace("—", "-"),
        BODY + LINE.replace("— ", "—"),
        BODY + LINE.replace("PeterNeumann", ""),
        BODY + LINE.replace("PeterNeumann", "Peter Neumann"),
        BODY + LINE.replace("PeterNeumann", "Peter\u2003Neumann"),
        BODY + LINE.replace("PeterNeumann", "Peter+Neumann"),
        BODY + LINE.replace("=", ""),
        BODY + "— a AAAAAA==\n",  # a key id and no signature
        BODY + LINE + "more\n",
        "a\t\n\n" + LINE,
        "a\r\n\n" + LINE,
        b"\xff\n\n" + LINE.encode(),
        "\ud800\n\n" + LINE,
        BODY + LINE * (MOST_SIGNATURES + 1),
        "a" * MOST_BYTES + "\n\n" + LINE,
    ],
)
def test_what_the_specification_does_not_call_a_note_is_refused(written: str | bytes) -> None:
    with pytest.raises(NoteRefused):
        parsed(written)


def test_the_last_empty_line_ends_the_text_and_sixteen_signatures_are_read() -> None:
    note = parsed("a\n\nb\n\n" + LINE * 16)
    assert (note.text, len(note.signatures)) == ("a\n\nb\n", 16)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        NEUMANN.replace("PeterNeumann", "PeterNewmann"),  # another name has another id
        NEUMANN.replace("c74f20a3", "c74f20a4"),
        NEUMANN.replace("c74f20a3", "C74F20A3"),
        NEUMANN.replace("+ARp", "+ARq"),
        NEUMANN[:-4],
        "a b" + NEUMANN.removeprefix("PeterNeumann"),
    ],
)
def test_a_verifier_key_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        verifier_key(text)


def test_one_bad_signature_of_a_known_key_spoils_the_note() -> None:
    text = CHECKPOINT.text()
    note = parsed(signed(text))
    (good,) = note.signatures
    bad = LOG.sign(text + "more\n")
    for both in ((good, bad), (bad, good)):
        with pytest.raises(NoteRefused, match="does not hold"):
            opened(Note(text, both).written(), [LOG.verifier])
