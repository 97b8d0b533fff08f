"""The sandbox's token issuer: signs short-lived tokens with the key in the state directory.

It stands in for an identity provider on one machine, where whoever owns the state directory may act
in every role. Elsewhere LIPEI_TOKEN_ISSUER and LIPEI_TOKEN_KEYS_FILE name the real one.
"""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from services.common.access.tokens import INSTALLATION, TOKEN_TYPE, audience_of
from services.common.settings import token_issuer, token_keys_file
from services.common.state import write_private
from services.common.transport.certificates import FOLDER
from services.common.transport.names import WITNESSES

KEY = "issuer.key"
LIFE_S = 600
# By the names in certificates' files: `witness-{label}` serves what a witness keeps.
AUDIENCES = ("claims", "his_bridge", "pricing", *(f"witness-{label}" for label in WITNESSES))


class SandboxIssuer:
    """Issues tokens of one state directory; makes its key pair when there is none."""

    def __init__(self, state: Path) -> None:
        file = state / FOLDER / KEY
        if not file.exists():
            key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
            key.ensure_kid()
            write_private(file, json.dumps(key.as_dict(private=True)).encode())
        self._key = ECKey.import_key(json.loads(file.read_bytes()))
        public = json.dumps({"keys": [self._key.as_dict(private=False)]}, indent=1) + "\n"
        keys_file = token_keys_file(state)
        own = state / FOLDER in keys_file.parents
        if own and (not keys_file.exists() or keys_file.read_text() != public):
            write_private(keys_file, public.encode())

    def token(
        self,
        *,
        subject: str,
        roles: Sequence[str],
        tenant: str,
        tenant_name: str,
        certificate_sha256: bytes,
        life_s: int = LIFE_S,
    ) -> str:
        """A token for the sandbox's services, bound to the certificate with that SHA-256.

        `tenant` is one of TENANTS, or INSTALLATION: then the token names none.
        """
        now = int(time.time())
        thumbprint = base64.urlsafe_b64encode(certificate_sha256).rstrip(b"=").decode()
        claims: dict[str, Any] = {
            "iss": token_issuer(),
            "aud": [audience_of(service) for service in AUDIENCES],
            "sub": subject,
            "iat": now,
            "exp": now + life_s,
            "jti": uuid.uuid4().hex,
            "roles": list(roles),
            "cnf": {"x5t#S256": thumbprint},
        }
        if tenant != INSTALLATION:
            claims[tenant] = tenant_name
        header = {"alg": "ES256", "kid": self._key.kid, "typ": TOKEN_TYPE}
        return jwt.encode(header, claims, self._key, algorithms=["ES256"])


def has_issuer() -> bool:
    """Whether the sandbox issues its tokens itself: no other issuer is named."""
    return "LIPEI_TOKEN_ISSUER" not in os.environ
