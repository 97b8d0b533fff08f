"""The keys that sign evidence: of a service's log, and of a witness."""

from __future__ import annotations

from pathlib import Path

from services.common.evidence.note import Kind, SignerKey
from services.common.settings import trust_domain
from services.common.state import load_or_make_key, write_private


def origin_of(name: str) -> str:
    """The origin of a service's log, which is its key's name as well."""
    return f"{trust_domain()}/evidence/{name}"


def log_signer(name: str, key_file: Path) -> SignerKey:
    """The key of a service's log, made if there is none; its public half stands beside it."""
    return _published(SignerKey(origin_of(name), Kind.LOG, load_or_make_key(key_file)), key_file)


def witness_signer(name: str, key_file: Path) -> SignerKey:
    """The key of a witness, made if there is none; its public half stands beside it."""
    called = f"{trust_domain()}/witness/{name}"
    return _published(SignerKey(called, Kind.WITNESS, load_or_make_key(key_file)), key_file)


def _published(signer: SignerKey, key_file: Path) -> SignerKey:
    """Put the public key beside the private one; the one before it stays for whoever looks back."""
    public, mine = key_file.with_suffix(".vkey"), signer.verifier.vkey()
    before = public.read_text("utf-8").splitlines() if public.exists() else []
    lines = [mine, *(line for line in before if line != mine)][:2]
    # Replicas share the file, and keys may lie where nothing can be written.
    if lines != before:
        write_private(public, "".join(f"{line}\n" for line in lines).encode())
    return signer
