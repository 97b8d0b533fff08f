"""In which role a command acts: its own, or the one of --as and LIPEI_AS; and with what token."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lipei.type.v1 import access_pb2
from services.common.access.desks import TOKEN_LIFE_S, Acting, identity_at, tenant_name_of
from services.common.access.purposes import MEANINGS, purposes_of
from services.common.access.tokens import ROLES_OF
from services.common.identity import is_member_token
from services.common.settings import UnknownSetting
from services.common.transport.certificates import Identity, TlsRefused
from services.common.transport.names import OFFICES
from stack.authority import mints
from stack.commands.failing import Failed
from stack.sandbox_issuer import SandboxIssuer, has_issuer

_OF_MACHINES = ("hospital_integration", "service")
_NEED_TENANT = ("hospital_integration", "hospital_records", "member")
# Whose operators and auditors there are, besides the installation's own.
_WITH_OFFICES = ("hospital", "insurer")
_THE_PERSON = "sandbox"
_PERSON = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_WAY_OUT = "name a role by --as, for example --as adjuster or --as hospital_records:HOSPITAL"


def acting_as(text: str, hospital: str = "") -> Acting:
    """The role in "role" or "role:tenant"; a hospital's is `hospital` unless said.

    An operator or auditor is the installation's own, who names no tenant, or "auditor:insurer/ID",
    "operator:hospital/ID" and so on.

    Raises: Failed naming the roles when there is none of that name.
    """
    role, _, tenant_name = text.partition(":")
    role = role.replace("-", "_")
    roles = sorted({role for some in ROLES_OF.values() for role in some} | {*_OF_MACHINES})
    if role not in roles:
        raise Failed(f"{role} is no role; the roles: {', '.join(roles)}", exit_code=2)
    if role in OFFICES and tenant_name:
        kind, _, tenant_name = tenant_name.partition("/")
        if kind not in _WITH_OFFICES or not tenant_name:
            text = f"say of whom: --as {role}:hospital/ID, --as {role}:insurer/ID, or --as {role}"
            raise Failed(f"{text} for the installation's own", exit_code=2)
        return Acting(role=role, tenant_name=tenant_name, kind=kind)
    found = Acting(role=role, tenant_name=tenant_name or (hospital if "hospital" in role else ""))
    if role in _NEED_TENANT and not found.tenant_name:
        raise Failed(f"say of whom: --as {role}:NAME", exit_code=2)
    if role == "member" and not is_member_token(found.tenant_name):
        text = "--as member:TOKEN: is no member token; `lipei members token` makes it of a number"
        raise Failed(text, exit_code=2)
    return found


def purpose_for(acting: Acting, usual: str = "") -> str:
    """The purpose of --purpose or LIPEI_PURPOSE; without one the command's own, if it has one.

    Whether the caller's roles have it says the service: a token may carry more than one.

    Raises: Failed naming the role's when there is no such purpose.
    """
    purpose = os.environ.get("LIPEI_PURPOSE") or usual
    if purpose and purpose not in MEANINGS:
        known = purposes_of([access_pb2.Role.Value(f"ROLE_{acting.role.upper()}")])
        text = f"--purpose: is none that there is; {acting.role}'s are: {', '.join(known)}"
        raise Failed(text, exit_code=2)
    return purpose


def identity_for(state: Path, role: str, *, hospital: str = "", purpose: str = "") -> Identity:
    """Who a command is towards the services: in the role of --as or LIPEI_AS, else in its own.

    And for which purpose, by --purpose or LIPEI_PURPOSE; without one the command's own `purpose`,
    else the role's usual one.

    Raises: Failed when there is no such role, purpose, certificate or token.
    """
    acting = acting_as(os.environ.get("LIPEI_AS") or role, hospital)
    purpose = purpose_for(acting, purpose)
    try:
        return identity_at(
            state,
            acting,
            lambda identity: mint_token(state, acting, identity),
            purpose=purpose,
        )
    except (TlsRefused, UnknownSetting) as refused:
        raise Failed(*str(refused).splitlines(), _WAY_OUT) from None


def person() -> str:
    """Who acts in the sandbox: --person or LIPEI_PERSON, else the one person that it has.

    A person keeps their name in every role, so that the same one never counts as two.

    Raises: Failed for a name that cannot be a subject.
    """
    named = os.environ.get("LIPEI_PERSON", "")
    if not named:
        return _THE_PERSON
    if not _PERSON.fullmatch(named):
        text = "--person: 1 to 32 of a-z 0-9 - that begin with a letter"
        raise Failed(text, exit_code=2)
    return named


def mint_token(state: Path, acting: Acting, identity: Identity) -> str:
    """The token of LIPEI_TOKEN_FILE, else one of the sandbox's own issuer.

    Raises: Failed when there is neither.
    """
    named = os.environ.get("LIPEI_TOKEN_FILE")
    if os.environ.get("LIPEI_PERSON") and (named or not has_issuer()):
        text = "--person is for the sandbox's own tokens; yours says who you are"
        raise Failed(text, exit_code=2)
    if named:
        try:
            return Path(named).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failed(f"LIPEI_TOKEN_FILE: {type(error).__name__}") from None
    if not has_issuer() or not mints(state, os.environ):
        raise Failed("set LIPEI_TOKEN_FILE to a file with your token; there is no sandbox here")
    return SandboxIssuer(state).token(
        subject=person(),
        roles=[acting.role],
        tenant=acting.tenant,
        tenant_name=tenant_name_of(acting),
        certificate_sha256=identity.material.sha256,
        life_s=TOKEN_LIFE_S,
    )
