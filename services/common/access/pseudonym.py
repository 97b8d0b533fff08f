"""What stands for a member token in the evidence of access, and for people in a study."""

from __future__ import annotations

import hashlib
import hmac

_PSEUDONYM_BYTES = 16


def pseudonym(member_token: str, key: bytes) -> str:
    """What stands for a member token in evidence: HMAC-SHA256, 128 bits in hex.

    Whoever has the key and the token finds the person's leaves; a leaf alone leads to nobody.
    """
    message = b"lipei evidence pseudonym 1\x00" + member_token.encode()
    return hmac.digest(key, message, hashlib.sha256)[:_PSEUDONYM_BYTES].hex()


def study_name(kind: str, of: str, key: bytes, *, tenant: str, study: str) -> str:
    """What stands for a person, policy, claim or reading in one study: HMAC-SHA256, 128 bits.

    Services that share the key give a member token the same name, so that what each tells of a
    person joins; two studies, or two tenants, share no name.

    >>> study_name("person", "k1.ab", b"k", tenant="insurer/a", study="1")[:8]
    'ad1a34cd'
    """
    message = f"lipei study name 1\x00{kind}\x00{tenant}\x00{study}\x00{of}".encode()
    return hmac.digest(key, message, hashlib.sha256)[:_PSEUDONYM_BYTES].hex()
