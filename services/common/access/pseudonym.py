"""What stands for a member token in the evidence of access."""

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
