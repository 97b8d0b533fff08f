"""A process's own certificate and key, and what a peer's certificate says. Mints nothing.

What is missing or unfit is said at the start, every fault at once: a service never makes itself an
identity, and never serves without one.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from services.common.settings import PREFIX, trust_domain
from services.common.transport.names import ForeignName, Name, parse_name

FOLDER = "tls"
AUTHORITY = "ca.pem"
REVOCATION = "revoked.pem"


class TlsRefused(ValueError):
    """The TLS material of a process is of no use; the text names every fault, one a line."""

    def __init__(self, process: str, faults: Sequence[str]) -> None:
        super().__init__("\n".join(f"TLS of {process}: {fault}" for fault in faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """Where a process's certificate chain, its key, the authorities and the revoked ones stand."""

    certificate: Path
    key: Path
    authority: Path
    revocation: Path


def tls_files(state: Path, process: str, environ: Mapping[str, str] | None = None) -> TlsFiles:
    """The files of LIPEI_TLS_*_FILE, where {name} stands for the process; else state/tls."""
    environ = os.environ if environ is None else environ
    folder = state / FOLDER

    def file(setting: str, default: str) -> Path:
        named = environ.get(f"{PREFIX}{setting}")
        return Path(named.replace("{name}", process)) if named else folder / default

    return TlsFiles(
        certificate=file("TLS_CERT_FILE", f"{process}.pem"),
        key=file("TLS_KEY_FILE", f"{process}.key"),
        authority=file("TLS_CA_FILE", AUTHORITY),
        revocation=file("TLS_REVOCATION_FILE", REVOCATION),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """A certificate that fits its key, its authority, its name and the present time; in PEM."""

    name: Name
    chain: bytes
    key: bytes = field(repr=False)
    authorities: bytes
    not_after: datetime
    sha256: bytes  # of the certificate in DER, which tokens are bound to (RFC 8705)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who a process is towards others: its certificate, and for a person also a token.

    `bearer` gives the token for a service, `assertion` a workload's client assertion; `purpose` is
    what the evidence of access says that it reads for.
    """

    process: str
    files: TlsFiles
    trust_domain: str
    material: Material
    bearer: Callable[[str], str] | None = None
    assertion: Callable[[str], str] | None = None
    purpose: str = ""


def load_identity(state: Path, process: str, *, uri: str | None = None) -> Identity:
    """The identity of a process from its files; with `uri`, the name that it must have.

    Raises: TlsRefused naming every fault.
    """
    files, domain = tls_files(state, process), trust_domain()
    material = load_material(files, process, domain, uri=uri)
    return Identity(process=process, files=files, trust_domain=domain, material=material)


def load_material(
    files: TlsFiles, process: str, domain: str, *, uri: str | None = None
) -> Material:
    """Read and check certificate, key and authorities.

    Raises: TlsRefused naming every fault.
    """
    now = datetime.fromtimestamp(time.time(), UTC)
    faults: list[str] = []
    chain_pem = _read(files.certificate, "certificate", faults)
    key_pem = _read(files.key, "key", faults)
    authority_pem = _read(files.authority, "file of authorities", faults)
    if key_pem:
        faults += _key_faults(files.key)
    chain = _certificates(chain_pem, files.certificate, faults)
    authorities = _certificates(authority_pem, files.authority, faults)
    name: Name | None = None
    if chain:
        faults += _leaf_faults(chain[0], files.certificate, now)
        name, said = _name_of(chain[0], domain)
        if name is None:
            faults.append(f"{files.certificate} does not name a part of {domain}: {said}")
        elif uri is not None and name.uri != uri:
            faults.append(f"{files.certificate} is of {name.uri}, and this process is {uri}")
        if authorities and not _leads_to(chain, authorities):
            faults.append(f"{files.certificate} is not signed by an authority in {files.authority}")
        if key_pem:
            faults += _pair_faults(chain[0], key_pem, files)
    if faults or name is None:
        raise TlsRefused(process, faults)
    return Material(
        name=name,
        chain=chain_pem,
        key=key_pem,
        authorities=authority_pem,
        not_after=chain[0].not_valid_after_utc,
        sha256=chain[0].fingerprint(hashes.SHA256()),
    )


def _read(path: Path, what: str, faults: list[str]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is {error.strerror}"
        faults.append(f"the {what} {path} {reason}; `lipei up` mints it, or LIPEI_TLS_* name yours")
        return b""


def _certificates(pem: bytes, path: Path, faults: list[str]) -> list[x509.Certificate]:
    if not pem:
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        faults.append(f"{path} holds no certificate in PEM")
        return []


def _key_faults(path: Path) -> Iterator[str]:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield f"the key {path} may be read by others than its owner; chmod 600 it"


def _leaf_faults(leaf: x509.Certificate, path: Path, now: datetime) -> Iterator[str]:
    if now >= leaf.not_valid_after_utc:
        yield f"{path} expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC; renew it"
    if now < leaf.not_valid_before_utc:
        yield f"{path} is valid only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"


def _pair_faults(leaf: x509.Certificate, key_pem: bytes, files: TlsFiles) -> Iterator[str]:
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        yield f"{files.key} holds no private key in PEM without password"
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        yield f"the key {files.key} is not that of {files.certificate}"


def _leads_to(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> bool:
    for place, child in enumerate(chain):
        if any(_signed(child, authority) for authority in authorities):
            return True
        if place + 1 == len(chain) or not _signed(child, chain[place + 1]):
            return False
    return False


def _signed(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _name_of(certificate: x509.Certificate, domain: str) -> tuple[Name | None, str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None, "it has no readable alternative names"
    if len(uris) != 1:  # two names would let a reader choose
        return None, "it must have one URI among its alternative names"
    try:
        return parse_name(uris[0], domain), ""
    except ForeignName as foreign:
        return None, str(foreign)


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """What a caller's certificate says; times in seconds since 1970."""

    name: Name | None  # None: no name of our trust domain
    issuer: bytes  # the issuer's name in DER
    serial: int
    not_before_s: float
    not_after_s: float
    sha256: bytes


@lru_cache(maxsize=1024)
def read_peer(pem: bytes, domain: str) -> Peer | None:
    """The peer behind a certificate that TLS has verified; None when it cannot be read.

    Reading costs a hundred times what the comparison with clock and list does, so that it is done
    once for each distinct certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        name, _ = _name_of(certificate, domain)
        return Peer(
            name=name,
            issuer=certificate.issuer.public_bytes(),
            serial=certificate.serial_number,
            not_before_s=certificate.not_valid_before_utc.timestamp(),
            not_after_s=certificate.not_valid_after_utc.timestamp(),
            sha256=certificate.fingerprint(hashes.SHA256()),
        )
    except ValueError:
        return None
