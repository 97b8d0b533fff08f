"""A person's side of a call: the desk's certificate in a state directory, and a token for a role.

Whoever owns the state directory of a sandbox may act in every role; elsewhere the token comes from
an issuer (LIPEI_TOKEN_FILE). Knows no key that signs tokens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from services.common.access.tokens import INSTALLATION, ROLES_OF
from services.common.settings import insurer, trust_domain
from services.common.transport.certificates import Identity, load_identity
from services.common.transport.names import (
    OFFICES,
    SERVICES,
    WITNESSES,
    desk_uri,
    integration_uri,
    service_uri,
    witness_uri,
)

LABEL = "lipei"
_PARTNER = "partner"  # of the sandbox
# A token is got anew when half of its time is over.
TOKEN_LIFE_S = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Acting:
    """In which role somebody acts, for whom: a hospital, a member token, a partner, an insurer.

    Operators and auditors are the installation's own unless `kind` says of what tenant.
    """

    role: str  # small letters, for example "adjuster"
    tenant_name: str = ""
    kind: str = ""  # "insurer" or "hospital", of a tenant's operator or auditor

    @property
    def tenant(self) -> str:
        """Which kind of tenant the role belongs to, or INSTALLATION; "" for a workload's."""
        if self.role in OFFICES:
            return self.kind or INSTALLATION
        return next((kind for kind, roles in ROLES_OF.items() if self.role in roles), "")

    @property
    def process(self) -> str:
        """Whose certificate is presented."""
        match self.role, self.tenant:
            case "service", _:
                return "settlement"
            case "hospital_integration", _:
                return f"hospital-{self.tenant_name}"
            case _, "hospital":
                return f"desk-hospital-{self.tenant_name}"
            case office, tenant if tenant == INSTALLATION:
                return f"desk-{office}"
            case _, tenant:
                return f"desk-{tenant}"


def sandbox_names(hospitals: Iterable[str]) -> dict[str, str]:
    """Process → name of everything that one installation's sandbox mints a certificate for."""
    domain = trust_domain()
    names = {name: service_uri(domain, name) for name in SERVICES}
    names |= {f"witness-{label}": witness_uri(domain, label) for label in WITNESSES}
    names["desk-insurer"] = desk_uri(domain, "insurer", insurer(), label=LABEL)
    names["desk-partner"] = desk_uri(domain, "partner", _PARTNER, label=LABEL)
    names["desk-member"] = desk_uri(domain, "member", label=LABEL)
    names |= {f"desk-{office}": desk_uri(domain, office, label=LABEL) for office in OFFICES}
    for hospital in hospitals:
        names[f"hospital-{hospital}"] = integration_uri(domain, hospital)
        names[f"desk-hospital-{hospital}"] = desk_uri(domain, "hospital", hospital, label=LABEL)
    return names


def tenant_name_of(acting: Acting) -> str:
    """The tenant that the token names; the installation's own insurer and partner by default."""
    defaults: Mapping[str, str] = {"insurer": insurer(), "partner": _PARTNER}
    return acting.tenant_name or defaults.get(acting.tenant, "")


def identity_at(
    state: Path, acting: Acting, token: Callable[[Identity], str], *, purpose: str = ""
) -> Identity:
    """The identity of somebody who acts in a role; `token` gets a token for that certificate.

    Raises: TlsRefused when the certificate cannot be used.
    """
    identity = replace(load_identity(state, acting.process), purpose=purpose)
    if not acting.tenant:
        return identity
    held = _Held(lambda: token(identity))
    held.current()  # at once: inside a call a missing token would look like a missing service
    return replace(identity, bearer=lambda _service: held.current())


class _Held:
    """A token that is got anew in good time."""

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token = ""
        self._until_s = 0.0

    def current(self) -> str:
        with self._lock:
            if time.monotonic() >= self._until_s:
                self._token = self._fetch()
                self._until_s = time.monotonic() + TOKEN_LIFE_S / 2
            return self._token
