"""Who is revoked: a list (CRL, RFC 5280) that the authority signed, read again when it changes.

Without a current list nobody is let in: an attacker who can only delete or hold back the list must
not thereby bring a revoked certificate back.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import grpc
from cryptography import x509

from services.common.refusals import Refused

_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_STALE = "the list of revoked certificates is not current; its operator must renew it"
_REVOKED = "the certificate was revoked; ask its operator for another"


class RevocationList:
    """The revoked certificates of every authority that we trust. Cheap to ask: one stat a call."""

    def __init__(
        self, revocation: Path, authority: Path, now_s: Callable[[], float] = time.time
    ) -> None:
        self._files = (revocation, authority)
        self._now_s = now_s
        self._lock = threading.Lock()
        self._seen: tuple[object, ...] | None = None
        self._current: dict[bytes, tuple[float, float, frozenset[int]]] = {}

    def check(self, issuer: bytes, serial: int) -> None:
        """Return when the certificate stands.

        Raises: Refused with CERTIFICATE_REVOKED; with REVOCATION_LIST_STALE when no list of its
        issuer is there, signed and between its dates.
        """
        found = self._lists().get(issuer)
        if found is None or not found[0] <= self._now_s() < found[1]:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "REVOCATION_LIST_STALE", _STALE)
        if serial in found[2]:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED", _REVOKED)

    def faults(self) -> list[str]:
        """Why callers would be refused with REVOCATION_LIST_STALE now, for the start; else none."""
        revocation, authority = self._files
        if not revocation.exists():
            return [f"the list of revoked certificates {revocation} is missing"]
        now, lists = self._now_s(), self._lists()
        if not lists:
            return [f"{revocation} holds no list signed by an authority in {authority}"]
        if not any(begin <= now < end for begin, end, _ in lists.values()):
            return [f"{revocation} is past its next update, or not yet valid; renew it"]
        return []

    def _lists(self) -> dict[bytes, tuple[float, float, frozenset[int]]]:
        try:
            seen = tuple(
                (found.st_mtime_ns, found.st_size, found.st_ino)
                for found in (file.stat() for file in self._files)
            )
        except OSError:
            return {}
        if seen != self._seen:
            with self._lock:
                if seen != self._seen:
                    self._current = _read(*self._files)
                    self._seen = seen
        return self._current


def _read(revocation: Path, authority: Path) -> dict[bytes, tuple[float, float, frozenset[int]]]:
    try:
        blocks = _BLOCK.findall(revocation.read_bytes())
        lists = [x509.load_pem_x509_crl(block) for block in blocks]
        authorities = x509.load_pem_x509_certificates(authority.read_bytes())
    except (OSError, ValueError):
        return {}
    # Two lists of one issuer: both count, and the one that ends first says how long.
    found: dict[bytes, tuple[float, float, frozenset[int]]] = {}
    for one in lists:
        end = one.next_update_utc
        if end is None or not _is_signed(one, authorities):
            continue  # without an end it could never be found stale
        issuer = one.issuer.public_bytes()
        begin_s, end_s = one.last_update_utc.timestamp(), end.timestamp()
        serials = frozenset(revoked.serial_number for revoked in one)
        if issuer in found:
            before = found[issuer]
            begin_s, end_s = max(begin_s, before[0]), min(end_s, before[1])
            serials |= before[2]
        found[issuer] = (begin_s, end_s, serials)
    return found


def _is_signed(crl: x509.CertificateRevocationList, by: Iterable[x509.Certificate]) -> bool:
    for authority in by:
        if authority.subject == crl.issuer:
            try:
                if crl.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]  # other kinds raise TypeError
                    return True
            except TypeError:
                continue
    return False
