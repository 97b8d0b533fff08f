"""Signed notes of C2SP (signed-note, tlog-cosignature/v1): text, and lines that sign it by Ed25519.

Reads only what the specification allows, whoever wrote it. Knows no log: what a note says is for
others, and nobody reads the text of a note before a key that they know has signed it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, replace
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

MOST_BYTES = 64 << 10
MOST_SIGNATURES = 64  # the specification asks for at least 16
_DASH = "\N{EM DASH} "
_ID_BYTES, _SIGNATURE_BYTES, _TIME_BYTES = 4, 64, 8
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


class NoteRefused(ValueError):
    """No note, or none that the key asked about has signed."""


class Kind(IntEnum):
    """How a key signs: the type byte of the specification."""

    LOG = 1  # Ed25519 over the text
    WITNESS = 4  # Ed25519 over a time and the text: cosignature/v1


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """As it stands in the note."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and who signed it; says nothing about whether the signatures hold."""

    text: str  # with its final newline
    signatures: tuple[Signature, ...]

    def written(self) -> str:
        """The note as it is kept and sent."""
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)

    def signed(self, signature: Signature) -> Note:
        """The note with this signature, in place of an earlier one of the same key."""
        others = (
            other
            for other in self.signatures
            if (other.name, other.key_id) != (signature.name, signature.key_id)
        )
        return replace(self, signatures=(*others, signature))


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierKey:
    """A public key with its name; as text a `vkey`, "{name}+{key id}+{base64}"."""

    name: str
    kind: Kind
    public: bytes

    def __post_init__(self) -> None:
        _refuse_name(self.name)

    @property
    def key_id(self) -> bytes:
        """Four bytes that find the key; they prove nothing."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(named).digest()[:_ID_BYTES]

    def vkey(self) -> str:
        """The key as text."""
        material = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def signed_at(self, note: Note) -> int:
        """When this key signed the note, in seconds since 1970; 0 for a log, which states no time.

        Raises: NoteRefused when it did not, or when a signature under its name does not hold.
        """
        times = [
            self._time_of(signature, note.text)
            for signature in note.signatures
            if (signature.name, signature.key_id) == (self.name, self.key_id)
        ]
        if not times:
            raise NoteRefused("the note is not signed by the key that is known")
        return max(times)

    def _time_of(self, signature: Signature, text: str) -> int:
        value, at_s = signature.value, 0
        message = text.encode()
        if self.kind is Kind.WITNESS:
            at_s = int.from_bytes(value[:_TIME_BYTES], "big")
            value, message = value[_TIME_BYTES:], _cosigned(text, at_s)
        if len(value) != _SIGNATURE_BYTES or at_s >= 1 << 63:
            raise NoteRefused("a signature of the known key has another form")
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(value, message)
        except (InvalidSignature, ValueError):
            raise NoteRefused("a signature of the known key does not hold") from None
        return at_s


class SignerKey:
    """A private key with its name. Signs, and never shows what it signs with."""

    def __init__(self, name: str, kind: Kind, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes_raw()
        self.verifier = VerifierKey(name=name, kind=kind, public=public)

    def sign(self, text: str, *, at_s: int = 0) -> Signature:
        """A signature of the text; a witness's states the time in seconds since 1970."""
        message, stated = text.encode(), b""
        if self.verifier.kind is Kind.WITNESS:
            message, stated = _cosigned(text, at_s), at_s.to_bytes(_TIME_BYTES, "big")
        value = stated + self._private.sign(message)
        return Signature(self.verifier.name, self.verifier.key_id, value)


def verifier_key(text: str) -> VerifierKey:
    """The key of a vkey.

    Raises: NoteRefused for another form, a key id that is not the key's, or another kind of key.
    """
    found = _VKEY.fullmatch(text.strip("\n"))
    if found is None:
        raise NoteRefused("not a verifier key: {name}+{8 hex digits}+{base64}")
    name, key_id, material = found.groups()
    kind, public = _material(material)
    key = VerifierKey(name=name, kind=kind, public=public)
    if key.key_id.hex() != key_id:
        raise NoteRefused("the verifier key's id is not that of its name and key")
    return key


def _material(material: str) -> tuple[Kind, bytes]:
    """Kind and public key in the last part of a vkey.

    Raises: NoteRefused for a kind that is not ours, and for another length.
    """
    binary = decoded(material)
    if len(binary) != 1 + 32 or binary[0] not in list(Kind):
        raise NoteRefused("the verifier key is of another kind than Ed25519")
    return Kind(binary[0]), binary[1:]


def parsed(written: str | bytes) -> Note:
    """The note in these bytes, with every signature line, none of them verified.

    Raises: NoteRefused for anything that the specification does not call a note.
    """
    text = _characters(written)
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not body or not lines.endswith("\n"):
        raise NoteRefused("a note is text, an empty line and signature lines")
    signatures = [_signature(line) for line in lines[:-1].split("\n")]
    if len(signatures) > MOST_SIGNATURES:
        raise NoteRefused(f"a note has at most {MOST_SIGNATURES} signatures")
    return Note(body + "\n", tuple(signatures))


def _characters(written: str | bytes) -> str:
    try:
        binary = written.encode() if isinstance(written, str) else written
        text = binary.decode()
    except UnicodeError:
        raise NoteRefused("a note is UTF-8") from None
    if len(binary) > MOST_BYTES:
        raise NoteRefused(f"a note has at most {MOST_BYTES} bytes")
    if any(character < " " and character != "\n" for character in text):
        raise NoteRefused("a note has no control characters but newlines")
    return text


def _signature(line: str) -> Signature:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2:
        raise NoteRefused("a signature line is a dash, a name and base64")
    name, encoded = parts
    _refuse_name(name)
    binary = decoded(encoded)
    if len(binary) <= _ID_BYTES:
        raise NoteRefused("a signature has a key id and a value")
    return Signature(name, binary[:_ID_BYTES], binary[_ID_BYTES:])


def decoded(encoded: str) -> bytes:
    """The bytes of standard base64 in its one canonical form.

    Raises: NoteRefused for any other text.
    """
    try:
        binary = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        binary = b""
    if not binary or base64.b64encode(binary).decode() != encoded:
        raise NoteRefused("not base64")
    return binary


def _refuse_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise NoteRefused("a key's name is not empty and has no spaces and no plus")


def _cosigned(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()
