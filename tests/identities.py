"""Certificates and tokens for tests: one throw-away authority for the whole run, minted once."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import grpc

from services.common.access.tokens import INSTALLATION
from services.common.transport import names
from services.common.transport.certificates import (
    FOLDER,
    Identity,
    TlsFiles,
    load_material,
)
from services.common.transport.channels import sync_channel
from stack.authority import AUTHORITY_KEY, Authority
from stack.sandbox_issuer import KEY, SandboxIssuer

DOMAIN = "lipei.local"
HOSPITAL, ANOTHER = "demo-hospital", "away"
PROCESSES = {
    **{service: names.service_uri(DOMAIN, service) for service in names.SERVICES},
    **{f"witness-{label}": names.witness_uri(DOMAIN, label) for label in names.WITNESSES},
    # What stands in for a service in tests of the edge.
    "puppet": names.service_uri(DOMAIN, "pricing"),
    "integration": names.integration_uri(DOMAIN, HOSPITAL),
    "integration-another": names.integration_uri(DOMAIN, ANOTHER),
    "desk-insurer": names.desk_uri(DOMAIN, "insurer", "insurer", label="tests"),
    "desk-hospital": names.desk_uri(DOMAIN, "hospital", HOSPITAL, label="tests"),
    "desk-hospital-another": names.desk_uri(DOMAIN, "hospital", ANOTHER, label="tests"),
    "desk-member": names.desk_uri(DOMAIN, "member", label="tests"),
    "desk-partner": names.desk_uri(DOMAIN, "partner", "partner", label="tests"),
    "desk-operator": names.desk_uri(DOMAIN, "operator", label="tests"),
    "desk-auditor": names.desk_uri(DOMAIN, "auditor", label="tests"),
}
_TENANTS = {
    "desk-insurer": ("insurer", "insurer"),
    "desk-hospital": ("hospital", HOSPITAL),
    "desk-hospital-another": ("hospital", ANOTHER),
    "desk-partner": ("partner", "partner"),
    "desk-operator": (INSTALLATION, ""),
    "desk-auditor": (INSTALLATION, ""),
}
_SECRETS = (AUTHORITY_KEY, KEY)
# By which identity the tests call an rpc: process, and of a desk the role.
_CALLS: Mapping[str, tuple[str, str]] = {
    "SubmitClaim": ("integration", ""),
    "GetClaim": ("desk-insurer", "adjuster"),
    "ListClaims": ("desk-insurer", "adjuster"),
    "ExplainClaim": ("desk-insurer", "adjuster"),
    "ReplayClaim": ("desk-insurer", "senior_adjuster"),
    "ImportPolicies": ("desk-insurer", "insurer_intake"),
    "PublishPlan": ("desk-insurer", "insurer_intake"),
    "CheckBooks": ("desk-insurer", "payments"),
    "PullBills": ("integration", ""),
    "PullReadings": ("integration", ""),
    "AcknowledgeBills": ("integration", ""),
    "GetBill": ("desk-hospital", "hospital_records"),
    "ListBills": ("desk-hospital", "hospital_records"),
    "ListReadings": ("desk-hospital", "hospital_records"),
    "ListClinicalFeatures": ("desk-insurer", "actuary"),
    "ListQuarantine": ("desk-hospital", "hospital_records"),
    "GetSourceStatus": ("desk-hospital", "hospital_records"),
    "ListHeldRecords": ("desk-hospital", "hospital_records"),
    "OfferRefusedBills": ("desk-hospital", "hospital_records"),
    "GrantConsent": ("desk-hospital", "hospital_records"),
    "GrantConsents": ("desk-hospital", "hospital_records"),
    "WithdrawConsent": ("desk-hospital", "hospital_records"),
    "GetConsent": ("desk-hospital", "hospital_records"),
    "ListConsents": ("desk-hospital", "hospital_records"),
    "ListWithdrawals": ("integration", ""),
    "AcknowledgeWithdrawals": ("integration", ""),
    "WithdrawClaims": ("integration", ""),
    "QuotePremium": ("desk-insurer", "chief_actuary"),
    "RenewPolicy": ("desk-insurer", "chief_actuary"),
    "GetQuote": ("desk-insurer", "chief_actuary"),
    "RecordReadings": ("desk-partner", "partner"),
    "StreamReadings": ("desk-partner", "partner"),
    "SetPersonalTarget": ("desk-partner", "partner"),
    "ClearFlag": ("desk-insurer", "chief_actuary"),
    "RecordMedication": ("desk-partner", "partner"),
    "AssessMember": ("desk-partner", "partner"),
    "ListCoachTasks": ("desk-partner", "partner"),
}
_OTHERS = ("settlement", "")  # steps, health, reflection


@functools.cache
def session() -> Path:
    """A state directory whose authority and issuer all tests of this run share."""
    state = Path(tempfile.mkdtemp(prefix="lipei-identities-"))
    atexit.register(shutil.rmtree, state, ignore_errors=True)
    Authority(state, DOMAIN).ensure(PROCESSES)
    SandboxIssuer(state)
    return state


def equip(state: Path, *, sandbox: bool = False) -> Path:
    """Give a state directory the run's certificates and issuer's public keys.

    A `sandbox` has the secrets of authority and issuer too, as commands need them.
    """
    folder = state / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (session() / FOLDER).iterdir():
        if (sandbox or file.name not in _SECRETS) and not file.name.startswith("."):
            shutil.copy2(file, folder / file.name)
    return state


def files_of(process: str, state: Path | None = None) -> TlsFiles:
    """The files of one process in a state directory; in the run's own by default."""
    folder = (state or session()) / FOLDER
    return TlsFiles(
        certificate=folder / f"{process}.pem",
        key=folder / f"{process}.key",
        authority=folder / "ca.pem",
        revocation=folder / "revoked.pem",
    )


def identity_of(process: str, state: Path | None = None) -> Identity:
    """The identity of a process, without a token."""
    files = files_of(process, state)
    material = load_material(files, process, DOMAIN)
    return Identity(process=process, files=files, trust_domain=DOMAIN, material=material)


@functools.cache
def acting(process: str, role: str, member: str = "") -> Identity:
    """A desk's identity with a token of one role; a workload's without a role."""
    identity = identity_of(process)
    if not role:
        return identity
    tenant, tenant_name = _TENANTS.get(process, ("member", member))
    token = SandboxIssuer(session()).token(
        subject="tester",
        roles=[role],
        tenant=tenant,
        tenant_name=tenant_name,
        certificate_sha256=identity.material.sha256,
        life_s=3600,
    )
    return replace(identity, bearer=lambda _service: token)


def minted(state: Path, uri: str, life: timedelta, process: str = "short") -> Identity:
    """An identity of the authority in `state` that lives as long as told."""
    Authority(state, DOMAIN).issue(process, uri, state / FOLDER, life)
    return identity_of(process, state)


class _WhenCalled:
    """A call of a channel that is made when it is first used: most stubs' calls never are."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @functools.cached_property
    def _call(self) -> Any:
        return self._make()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class Everybody(grpc.Channel):
    """One channel for tests that play everybody: each rpc is called by who may call it."""

    def __init__(self, target: str, service: str, hospital: str) -> None:
        self._target = target
        self._service = service
        self._hospital = hospital
        self._channels: dict[tuple[str, str], grpc.Channel] = {}

    def _of(self, method: str) -> grpc.Channel:
        process, role = _CALLS.get(method.rpartition("/")[2], _OTHERS)
        if self._hospital == ANOTHER and process in ("integration", "desk-hospital"):
            process += "-another"
        who = process, role
        if who not in self._channels:
            self._channels[who] = sync_channel(self._target, acting(*who), self._service)
        return self._channels[who]

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.Channel's."""
        return _WhenCalled(lambda: self._of(method).unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.Channel's."""
        return _WhenCalled(lambda: self._of(method).unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.Channel's."""
        return _WhenCalled(lambda: self._of(method).stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.Channel's."""
        return _WhenCalled(lambda: self._of(method).stream_stream(method, *args, **kwargs))

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """As grpc.Channel's."""
        raise NotImplementedError

    def unsubscribe(self, callback: Any) -> None:
        """As grpc.Channel's."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the channels of all."""
        for one in self._channels.values():
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def everybody(target: str, service: str, hospital: str = HOSPITAL) -> Everybody:
    """A channel to a service on which each rpc is called by who may call it."""
    return Everybody(target, service, hospital)
