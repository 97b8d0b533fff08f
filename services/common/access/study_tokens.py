"""What claims hands out of a study and takes back: sealed, and good for that study alone.

Page tokens hold ids of the database, and by whom the study is told of; a grant names those people
to pricing, for a while. Whoever lacks the study's key can neither read nor make them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable

import grpc
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from services.common.refusals import Refused, Violation, invalid

# People a call to pricing may name, and so a grant.
NAMED_AT_ONCE = 100_000
# Outlives the longest call of an export, which is ten minutes.
_GRANT_NS = 15 * 60 * 1_000_000_000


class _Grant(msgspec.Struct, frozen=True):
    people: str
    until_ns: int


class StudySeal:
    """Seals under the key of studies. `study` says whose and which: tenant, id and day."""

    def __init__(self, key: bytes, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._cipher = AESSIV(hmac.digest(key, b"lipei study seal 1", hashlib.sha512))

    def page_token(self, study: str, position: str) -> str:
        """A token that tells nothing; the same for the same position."""
        sealed = self._cipher.encrypt(position.encode(), [b"page", study.encode()])
        return base64.urlsafe_b64encode(sealed).decode()

    def position(self, study: str, token: str) -> str:
        """The position in a page token of this study; "" for the empty token.

        Raises: Refused (INVALID_ARGUMENT) for any other text.
        """
        if not token:
            return ""
        try:
            sealed = base64.urlsafe_b64decode(token.encode())
            return self._cipher.decrypt(sealed, [b"page", study.encode()]).decode()
        except (InvalidTag, binascii.Error, ValueError):
            text = "not a page token of this study under this key; start again without one"
            raise invalid([Violation("page_token", "FOREIGN_PAGE_TOKEN", text)]) from None

    def grant(self, study: str, people: bytes) -> bytes:
        """That these people, whose names are one after the other, may be told of for a while."""
        until_ns = self._clock_ns() + _GRANT_NS
        said = _Grant(people=hashlib.sha256(people).hexdigest(), until_ns=until_ns)
        return self._cipher.encrypt(msgspec.json.encode(said), [b"grant", study.encode()])

    def check_grant(self, study: str, people: bytes, grant: bytes) -> None:
        """Raises: Refused (PERMISSION_DENIED) unless just these people are granted, and still."""
        try:
            opened = self._cipher.decrypt(grant, [b"grant", study.encode()])
        except (InvalidTag, ValueError):
            opened = msgspec.json.encode(_Grant(people="", until_ns=0))
        said = msgspec.json.decode(opened, type=_Grant)
        if said.people != hashlib.sha256(people).hexdigest() or said.until_ns < self._clock_ns():
            text = (
                "claims has not granted these people for this study, or the grant is over, or the "
                "two services' clocks are far apart or their study_pseudonym.key files two; ask "
                "claims again"
            )
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "STUDY_NOT_GRANTED", text)
