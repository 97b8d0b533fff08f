"""Verify a proof of access: this one file, Python 3.11 and nothing else, to be carried away.

    python verify.py PROOF --log-key KEY [--witness-key KEY ...] [--checkpoint FILE] [--leaf FILE]

PROOF is what `lipei evidence prove` writes (C2SP tlog-proof; the leaf stands in `extra`). A KEY is
a verifier key, "{name}+{id}+{base64}", or a file that holds it, and perhaps the one before it: get
it from the log's and the witness's operator, not from whoever hands you the proof. --checkpoint
takes the checkpoint that a witness gave you in place of the one in the proof; --leaf takes the leaf
from a file of its own.

It says "verified" and exits with 0, or says why not and exits with 1. It shares no code with what
it verifies, and its Ed25519 (RFC 8032) is written down here: slow, and for public values only.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import dataclasses
import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

HEADER = "c2sp.org/tlog-proof@v1"
LOG, WITNESS = 1, 4  # how a key signs: the type byte in its verifier key
MOST_BYTES = 1 << 20
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_VKEY = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")
_SIGNATURE = re.compile("\N{EM DASH} ([^+\\s]+) ([A-Za-z0-9+/]+=*)")


class NotVerified(Exception):
    """Why the proof proves nothing."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A verifier key."""

    name: str
    key_id: bytes
    kind: int
    public: bytes


@dataclasses.dataclass(frozen=True)
class Proof:
    """The parts of a proof file."""

    leaf: bytes | None
    index: int
    hashes: list[bytes]
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class Verified:
    """What was proved."""

    origin: str
    size: int
    index: int
    leaf: bytes
    witnesses: list[tuple[str, int]]  # name, and when it cosigned in seconds since 1970


def verified(
    proof: Proof, log_key: Key, witness_keys: list[Key], leaf: bytes | None = None
) -> Verified:
    """What the proof proves: the leaf is in the log, at a size that log and witnesses have signed.

    Every witness key must have cosigned. Raises: NotVerified.
    """
    body, signatures = _note(proof.checkpoint)
    lines = body.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not _NUMBER.fullmatch(lines[1]):
        raise NotVerified("the checkpoint is not one of the C2SP form")
    origin, size, root = lines[0], int(lines[1]), _base64(lines[2])
    if log_key.kind != LOG or origin != log_key.name:
        raise NotVerified("the checkpoint is not of the log whose key is given")
    _signed(log_key, body, signatures)
    witnesses = [(key.name, _signed(key, body, signatures)) for key in witness_keys]
    leaf = proof.leaf if leaf is None else leaf
    if leaf is None:
        raise NotVerified("the proof holds no leaf, and none is given")
    if _root(proof.index, size, _hash(b"\x00" + leaf), proof.hashes) != root:
        raise NotVerified("the proof does not lead from the leaf to the checkpoint's root")
    return Verified(origin, size, proof.index, leaf, witnesses)


def read_proof(text: str) -> Proof:
    """The parts of a C2SP tlog-proof.

    Raises: NotVerified when it has another form.
    """
    head, blank, checkpoint = text.partition("\n\n")
    header, *lines = head.split("\n")
    if header != HEADER or not blank:
        raise NotVerified("not a proof of the form c2sp.org/tlog-proof@v1")
    leaf = None
    if lines and lines[0].startswith("extra "):
        leaf = _base64(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise NotVerified("the proof names no index")
    index = lines.pop(0).removeprefix("index ")
    if not _NUMBER.fullmatch(index):
        raise NotVerified("the proof's index is no number")
    return Proof(leaf, int(index), [_base64(line) for line in lines], checkpoint)


def read_key(text: str) -> Key:
    """The parts of a verifier key.

    Raises: NotVerified when it has another form, or its id is not its own.
    """
    found = _VKEY.fullmatch(text.strip())
    if found is None:
        raise NotVerified("not a verifier key: {name}+{8 hex digits}+{base64}")
    name, key_id, material = found[1], bytes.fromhex(found[2]), _base64(found[3])
    if len(material) != 33 or material[0] not in (LOG, WITNESS):
        raise NotVerified("the verifier key is of another kind than Ed25519")
    if _hash(name.encode() + b"\n" + material)[:4] != key_id:
        raise NotVerified("the verifier key's id is not its own")
    return Key(name, key_id, material[0], material[1:])


def _note(text: str) -> tuple[str, list[tuple[str, bytes]]]:
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", text):
        raise NotVerified("the checkpoint is not a signed note")
    signatures = []
    for line in lines[:-1].split("\n"):
        found = _SIGNATURE.fullmatch(line)
        if found is None:
            raise NotVerified("the checkpoint has a line that is no signature")
        signatures.append((found[1], _base64(found[2])))
    return body + "\n", signatures


def _signed(key: Key, body: str, signatures: list[tuple[str, bytes]]) -> int:
    """When this key signed, 0 for a log. Every signature under its name and id must hold."""
    times = []
    for name, value in signatures:
        if name != key.name or value[:4] != key.key_id:
            continue
        message, at_s, signature = body.encode(), 0, value[4:]
        if key.kind == WITNESS:
            at_s, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = f"cosignature/v1\ntime {at_s}\n{body}".encode()
        if not ed25519_holds(key.public, signature, message):
            raise NotVerified(f"the signature of {key.name} does not hold")
        times.append(at_s)
    if not times:
        raise NotVerified(f"the checkpoint is not signed by the key of {key.name}")
    return max(times)


def _root(index: int, size: int, leaf_hash: bytes, hashes: list[bytes]) -> bytes:
    """RFC 6962: the root that the proof leads to, from the top down and back."""
    if not 0 <= index < size:
        raise NotVerified("the index is not one of the tree's")
    sides = []  # from the root to the leaf: whether the leaf is in the left part
    while size > 1:
        half = 1 << ((size - 1).bit_length() - 1)
        sides.append(index < half)
        index, size = (index, half) if index < half else (index - half, size - half)
    if len(sides) != len(hashes) or any(len(found) != 32 for found in hashes):
        raise NotVerified("the proof has not the number of 32-byte hashes that its size asks for")
    found = leaf_hash
    for is_left, other in zip(reversed(sides), hashes, strict=True):
        found = _hash(b"\x01" + (found + other if is_left else other + found))
    return found


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _base64(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found or base64.b64encode(found).decode() != text:
        raise NotVerified("something that should be base64 is not")
    return found


# ------------------------------------------------------------------------- Ed25519, RFC 8032, 5.1

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # of -1

# x, y, z, t with x/z, y/z the point and t = xy/z
_Point = tuple[int, int, int, int]


def ed25519_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature of the message by this public key holds."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = _point(public), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= _L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    left, right = _times(s, _BASE), _sum(r, _times(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % _P == 0


def _sum(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(factor: int, point: _Point) -> _Point:
    found: _Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            found = _sum(found, point)
        point = _sum(point, point)
        factor >>= 1
    return found


def _point(encoded: bytes) -> _Point | None:
    """The point of 32 bytes; None when they are none, or another spelling of one."""
    y = int.from_bytes(encoded, "little")
    odd, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and odd):
        return None
    if x & 1 != odd:
        x = _P - x
    return (x, y, 1, x * y % _P)


_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


# ------------------------------------------------------------------------------------ command line


def main(arguments: list[str] | None = None) -> int:
    """Say what is proved, or why nothing is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof", type=Path)
    parser.add_argument("--log-key", required=True)
    parser.add_argument("--witness-key", action="append", default=[])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--leaf", type=Path)
    options = parser.parse_args(arguments)
    try:
        proof = read_proof(_content(options.proof).decode())
        if options.checkpoint is not None:
            checkpoint = _content(options.checkpoint).decode()
            proof = dataclasses.replace(proof, checkpoint=checkpoint)
        leaf = None if options.leaf is None else _content(options.leaf)
        witness_keys = [_key(word, proof) for word in options.witness_key]
        found = verified(proof, _key(options.log_key, proof), witness_keys, leaf)
    except NotVerified as reason:
        sys.stdout.write(f"NOT VERIFIED: {reason}\n")
        return 1
    except UnicodeDecodeError:
        sys.stdout.write("NOT VERIFIED: a file is not text\n")
        return 1
    except OSError as fault:
        sys.stderr.write(f"{fault.filename}: {fault.strerror}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in told(found)))
    return 0


def told(found: Verified) -> list[str]:
    """What was proved, in lines for a person."""
    lines = [f"verified: leaf {found.index} of {found.origin}, among {found.size} leaves"]
    lines += [f"cosigned by {name} at {_time(at_s)}" for name, at_s in found.witnesses]
    if not found.witnesses:
        lines.append("no witness key was given: the log alone vouches for it")
    try:
        read = json.loads(found.leaf)
        at_us = read.get("at_us")
        lines += [f"  time: {_time(at_us // 1_000_000)}"] if isinstance(at_us, int) else []
        lines += [f"  {name}: {value}" for name, value in read.items()]
    except (ValueError, AttributeError):
        lines.append(f"  {found.leaf!r}")
    return lines


def _time(at_s: int) -> str:
    """Seconds since 1970 as our tables show a time; as they are where no calendar reaches."""
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} (UTC)"
    except (ValueError, OverflowError, OSError):
        return f"{at_s} s since 1970"


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if len(content) > MOST_BYTES:
        raise NotVerified(f"{path.name} is larger than any proof")
    return content


def _key(word: str, proof: Proof) -> Key:
    """The key; of a file with a key and the one before it, the one that signed."""
    text = word if _VKEY.fullmatch(word) else _content(Path(word)).decode()
    keys = [read_key(line) for line in text.splitlines() if line]
    signers = {(name, value[:4]) for name, value in _note(proof.checkpoint)[1]}
    signed = [key for key in keys if (key.name, key.key_id) in signers]
    if not keys:
        raise NotVerified("a file of keys is empty")
    return (signed or keys)[0]


if __name__ == "__main__":
    sys.exit(main())
