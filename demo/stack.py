"""Our own stack as the demo uses it: `lipei up` as a child process, addresses from its state."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from demo.consents import grant, withdraw
from demo.hospital.people import Person
from demo.processes import Child, program
from demo.scenario import PROFILES
from services.common.access.desks import TOKEN_LIFE_S, Acting, identity_at
from services.common.identity import member_token
from services.common.settings import member_token_key_file, member_token_key_version
from services.common.state import is_held, load_or_make_key, read_addresses
from services.common.temporal.names import Channel
from services.common.temporal.schedules import pull_has_ended, trigger_pull
from services.common.transport.certificates import FOLDER, Identity
from services.common.transport.channels import sync_channel

_START_S = 90.0
_TRIGGER_S = 60.0
# `lipei up` stops five layers of processes in order, each with a grace of its own.
_STOP_S = 60.0
# The demo asks for its pull itself, once plans and policies are in.
_PULL_INTERVAL_S = 3600
_MARK = ".lipei-demo"
# The law's bound on credits is the operator's to set; above the product's own 10 %, so that it
# does not bind.
CREDIT_CAP = "0.20"
_USUAL_ROLES = ("insurer_intake", "adjuster", "payments", "chief_actuary", "partner", "auditor")
_CREDIT_CAP_SOURCE = "assumed for the demo; no regulation"


class StateRefused(RuntimeError):
    """The state directory is in use, or not a demo's; nothing was touched."""


class StackRefused(RuntimeError):
    """The stack did not give what the demo asked of it."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack that was started; ready only after `wait`."""

    state: Path
    child: Child

    def wait(self) -> None:
        """Return when every part is ready.

        Raises: ChildFailed when one does not come up.
        """
        self.child.wait_until((self.state / "ready").exists, within_s=_START_S)

    @property
    def addresses(self) -> dict[str, str]:
        """Name → address of every part that runs."""
        return read_addresses(self.state)

    def identity(self, role: str, tenant_name: str = "") -> Identity:
        """Somebody of the sandbox in a role; of a hospital or a member its name.

        Raises: StackRefused when no token comes; TlsRefused without a certificate.
        """
        return sandbox_identity(self.state, Acting(role=role, tenant_name=tenant_name))

    def member_token(self, person: Person) -> str:
        """The name under which hospital and insurer know a person, by the key that they share.

        Raises: ValueError for a person without identity document.
        """
        return self._token("CN-ID", person.id_number or "")

    def _token(self, kind: str, number: str) -> str:
        key = load_or_make_key(member_token_key_file(self.state))
        return member_token(kind, number, key=key, key_version=member_token_key_version())

    def record_consents(self, hospital: str, documents: Iterable[tuple[str, str]]) -> int:
        """Let everybody with these documents, by kind and number, consent; how many acts.

        Raises: CallRefused.
        """
        return self._at_the_office(grant, hospital, documents)

    def withdraw_consents(self, hospital: str, documents: Iterable[tuple[str, str]]) -> int:
        """Let everybody with these documents withdraw the consent to claim settlement.

        How many acts; the insurer hears of them by the pull of withdrawals.

        Raises: CallRefused.
        """
        return self._at_the_office(withdraw, hospital, documents)

    def _at_the_office(
        self,
        act: Callable[[grpc.Channel, str, list[str]], int],
        hospital: str,
        documents: Iterable[tuple[str, str]],
    ) -> int:
        members = [self._token(kind, number) for kind, number in documents]
        office = self.identity("hospital_records", hospital)
        channel = sync_channel(self.addresses["his_bridge"], office, "his_bridge")
        with contextlib.closing(channel):
            return act(channel, hospital, members)

    def start_pull(self, hospital: str, channel: Channel = "bills") -> None:
        """Have the hospital's schedule pull bills or readings now, instead of at its next turn.

        Raises: TimeoutError when Temporal does not answer.
        """
        asyncio.run(asyncio.wait_for(trigger_pull(self.state, hospital, channel), _TRIGGER_S))

    def has_pulled(self, hospital: str, channel: Channel) -> bool:
        """Whether the pull that was asked for has come to its end, handing over included.

        Raises: TimeoutError when Temporal does not answer.
        """
        asked = pull_has_ended(self.state, hospital, channel)
        return asyncio.run(asyncio.wait_for(asked, _TRIGGER_S))


def sandbox_identity(state: Path, acting: Acting) -> Identity:
    """Somebody of the sandbox on a state directory, with a token that only `lipei` can sign.

    Raises: StackRefused when no token comes; TlsRefused without a certificate.
    """
    return identity_at(state, acting, lambda _identity: _tokens_of(state).of(acting))


class _Tokens:
    """Tokens of one sandbox, got for all its desks at once.

    Starting `lipei` costs half a second of CPU, which a run would else pay for each role.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._held: dict[Acting, str] = {}
        self._until_s = 0.0

    def of(self, acting: Acting) -> str:
        """A token with at least half of its life left."""
        with self._lock:
            if acting not in self._held or time.monotonic() >= self._until_s:
                wanted = list(dict.fromkeys([acting, *self._held, *self._desks()]))
                said = [f"{one.role}:{one.tenant_name}".rstrip(":") for one in wanted]
                tokens = _asked("token", *said, state=self._state).splitlines()
                self._held = dict(zip(wanted, tokens, strict=True))
                self._until_s = time.monotonic() + TOKEN_LIFE_S / 2
            return self._held[acting]

    def _desks(self) -> list[Acting]:
        prefix = "desk-hospital-"
        found = (self._state / FOLDER).glob(f"{prefix}*.pem")
        hospitals = [file.stem.removeprefix(prefix) for file in found]
        return [
            *(Acting(role=role) for role in _USUAL_ROLES),
            *(Acting(role="hospital_records", tenant_name=hospital) for hospital in hospitals),
        ]


@functools.cache
def _tokens_of(state: Path) -> _Tokens:
    return _Tokens(state)


def mint(state: Path) -> Path:
    """Give a state directory certificates and an issuer; for what runs without `lipei up`.

    Raises: StackRefused.
    """
    _asked("mint", "--hospital=demo-hospital", state=state)
    return state


def _asked(what: str, *how: str, state: Path) -> str:
    done = subprocess.run(  # noqa: S603 -- our own command line, no shell
        [program("lipei"), "identity", what, *how, "--state", str(state)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackRefused(f"lipei identity {what}: {done.stderr.strip()}")
    return done.stdout.strip()


def fresh_state(state: Path) -> Path:
    """An empty state directory; what an earlier demo left there is removed.

    Raises: StateRefused when the directory holds anything else, or lipei runs on it.
    """
    state = state.absolute()
    if is_held(state):
        text = "stop it by Ctrl-C where it was started, or choose another --state and --out"
        raise StateRefused(f"lipei is up on {state}; {text}")
    if state.exists():
        if any(state.iterdir()) and not (state / _MARK).exists():
            raise StateRefused(f"{state} is not empty and not a demo's; choose another --state")
        shutil.rmtree(state)
    state.mkdir(mode=0o700, parents=True)
    (state / _MARK).touch()
    return state


@contextmanager
def started_stack(state: Path, hospital: str, his_url: str) -> Iterator[Stack]:
    """The stack with one hospital's bridge, starting; stopped at the end, whatever happens."""
    profiles = state / "profiles"
    profiles.mkdir()
    shutil.copy(PROFILES / f"{hospital}.yaml", profiles)
    variable = hospital.upper().replace("-", "_")
    child = Child(
        "lipei up",
        [program("lipei"), "up", "--state", str(state), "--profiles", str(profiles)],
        log=state / "logs" / "up.log",
        cwd=state,
        environ={
            f"LIPEI_HIS_BRIDGE_BASE_URL_{variable}": his_url,
            "LIPEI_COUNT_READS": "true",
            "LIPEI_PULL_INTERVAL_S": str(_PULL_INTERVAL_S),
            "LIPEI_PRICING_CREDIT_CAP": CREDIT_CAP,
            "LIPEI_PRICING_CREDIT_CAP_SOURCE": _CREDIT_CAP_SOURCE,
            # A year of typed readings is loaded at once, each with the time of its receipt.
            "LIPEI_PRICING_BACKFILL": "true",
        },
        grace_s=_STOP_S,
    )
    with child:
        yield Stack(state=state, child=child)
