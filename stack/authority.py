"""The throw-away certificate authority of one state directory: mints, renews and revokes.

Made for one machine, in milliseconds. Where an operator brings certificates of its own
(LIPEI_TLS_CA_FILE, or a `ca.pem` without `ca.key` in the state directory) nothing is minted.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.common.state import write_private
from services.common.transport.certificates import AUTHORITY, FOLDER, REVOCATION
from services.common.transport.names import Kind, parse_name, server_name

AUTHORITY_KEY = "ca.key"
AUTHORITY_LIFE = timedelta(days=730)
LIFE = timedelta(days=7)
LIST_LIFE = timedelta(days=7)
_RENEW_WITH_LEFT = 0.5  # of its life
_SKEW = timedelta(minutes=5)  # clocks of one installation differ by less
_ISSUED = "issued.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """One certificate that was minted here."""

    process: str
    uri: str
    serial: str  # in hex
    not_after: str  # RFC 3339


class Authority:
    """Mints into `{state}/tls`, which is its owner's alone."""

    def __init__(self, state: Path, trust_domain: str) -> None:
        self._folder = state / FOLDER
        self._domain = trust_domain
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            self._key, self._certificate = self._opened()
            self._publish(self._revoked())

    # ------------------------------------------------------------------------------------- minting

    def ensure(self, wanted: Mapping[str, str]) -> list[str]:
        """Mint what is missing, of another name, revoked, or half through its life; who got one.

        `wanted` has process → name. The list of revoked certificates is signed anew.
        """
        with self._locked():
            revoked = self._revoked()
            self._publish(revoked)
            fresh = [
                process
                for process, uri in wanted.items()
                if not self._stands(process, uri, revoked=set(revoked))
            ]
            for process in fresh:
                self._mint(process, wanted[process], self._folder, LIFE)
        return fresh

    def renew(self) -> list[str]:
        """Mint anew what is half through its life, and sign the list; who got one.

        What is revoked stays so: only a start of the installation replaces it.
        """
        with self._locked():
            revoked = self._revoked()
            self._publish(revoked)
            mine = {one.process: one for one in self._record() if self._is_here(one.process)}
            stale = [
                one
                for one in mine.values()
                if int(one.serial, 16) not in revoked
                and not self._stands(one.process, one.uri, revoked=set())
            ]
            for one in stale:
                self._mint(one.process, one.uri, self._folder, LIFE)
        return [one.process for one in stale]

    def issue(self, process: str, uri: str, folder: Path, life: timedelta = LIFE) -> None:
        """Mint `{process}.pem` and its key into any folder, for example for another machine.

        Raises: ForeignName when the uri is no name of the trust domain.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            self._mint(process, uri, folder, life)

    # ------------------------------------------------------------------------------------ revoking

    def revoke(self, uri_or_process: str) -> list[Issued]:
        """Revoke every certificate of that name that has not expired; which they were."""
        with self._locked():
            revoked = self._revoked()
            hit = [
                one
                for one in self._record()
                if uri_or_process in (one.uri, one.process)
                and datetime.fromisoformat(one.not_after) > _now()
                and int(one.serial, 16) not in revoked
            ]
            self._publish(revoked | {int(one.serial, 16): _now() for one in hit})
        return hit

    def issued(self) -> list[tuple[Issued, bool]]:
        """Everything minted here that has not expired, oldest first, and whether it is revoked."""
        with self._locked():
            revoked = self._revoked()
            return [
                (one, int(one.serial, 16) in revoked)
                for one in self._record()
                if datetime.fromisoformat(one.not_after) > _now()
            ]

    # ------------------------------------------------------------------------------------- details

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _opened(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key_file, file = self._folder / AUTHORITY_KEY, self._folder / AUTHORITY
        if key_file.exists() and file.exists():
            key = load_pem_private_key(key_file.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
            if (
                isinstance(key, ec.EllipticCurvePrivateKey)
                and certificate.public_key() == key.public_key()
                and certificate.not_valid_after_utc - _now() > 2 * LIFE
            ):
                return key, certificate
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._self_signed(key)
        for stale in (REVOCATION, _ISSUED):  # of an authority that nobody trusts any more
            (self._folder / stale).unlink(missing_ok=True)
        write_private(key_file, _key_pem(key))
        write_private(file, certificate.public_bytes(Encoding.PEM))
        return key, certificate

    def _self_signed(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        # Authorities of two state directories must not be mistaken for each other.
        label = f"lipei {self._domain} {os.urandom(6).hex()}"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label[:64])])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - _SKEW)
            .not_valid_after(_now() + AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )

    def _mint(self, process: str, uri: str, folder: Path, life: timedelta) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(key, uri, life)
        write_private(folder / f"{process}.key", _key_pem(key))
        write_private(folder / f"{process}.pem", certificate.public_bytes(Encoding.PEM))
        if folder != self._folder:
            for name in (AUTHORITY, REVOCATION):
                write_private(folder / name, (self._folder / name).read_bytes())
        minted = Issued(
            process=process,
            uri=uri,
            serial=f"{certificate.serial_number:x}",
            not_after=certificate.not_valid_after_utc.isoformat(),
        )
        kept = [
            one for one in self._record() if datetime.fromisoformat(one.not_after) > _now() - LIFE
        ]
        text = json.dumps([asdict(one) for one in [*kept, minted]], indent=1) + "\n"
        write_private(self._folder / _ISSUED, text.encode())

    def _signed(
        self, key: ec.EllipticCurvePrivateKey, uri: str, life: timedelta
    ) -> x509.Certificate:
        name = parse_name(uri, self._domain)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        serves = {Kind.SERVICE: name.label, Kind.WITNESS: f"witness:{name.label}"}
        if name.kind in serves:
            names += [
                x509.DNSName(server_name(self._domain, serves[name.kind])),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        authority_key = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - _SKEW)
            .not_valid_after(_now() + life)
            # Critical, for the subject is empty (RFC 5280, 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), False)
            .sign(self._key, hashes.SHA256())
        )

    def _publish(self, revoked: Mapping[int, datetime]) -> None:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(_now() - _SKEW)
            .next_update(_now() + LIST_LIFE)
            .add_extension(x509.CRLNumber(time.time_ns() // 1_000), False)
        )
        for serial, since in revoked.items():
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(since)
                .build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        write_private(self._folder / REVOCATION, signed.public_bytes(Encoding.PEM))

    def _revoked(self) -> dict[int, datetime]:
        file = self._folder / REVOCATION
        if not file.exists():
            return {}
        found = x509.load_pem_x509_crl(file.read_bytes())
        return {one.serial_number: one.revocation_date_utc for one in found}

    def _record(self) -> list[Issued]:
        file = self._folder / _ISSUED
        return [Issued(**one) for one in json.loads(file.read_text())] if file.exists() else []

    def _is_here(self, process: str) -> bool:
        return (self._folder / f"{process}.pem").exists()

    def _stands(self, process: str, uri: str, *, revoked: set[int]) -> bool:
        file, key_file = self._folder / f"{process}.pem", self._folder / f"{process}.key"
        if not file.exists() or not key_file.exists():
            return False
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        try:
            certificate.verify_directly_issued_by(self._certificate)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return (
            names.value.get_values_for_type(x509.UniformResourceIdentifier) == [uri]
            and certificate.serial_number not in revoked
            and certificate.not_valid_after_utc - _now() > _RENEW_WITH_LEFT * LIFE
        )


def mints(state: Path, environ: Mapping[str, str]) -> bool:
    """Whether this state directory's authority is ours, so that `lipei up` mints."""
    folder = state / FOLDER
    own = bool(environ.get("LIPEI_TLS_CA_FILE"))
    return not own and ((folder / AUTHORITY_KEY).exists() or not (folder / AUTHORITY).exists())


def _now() -> datetime:
    return datetime.fromtimestamp(int(time.time()), UTC)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
