"""What `lipei up` runs: every child of one installation, in order. Starts nothing itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from services.common.access.desks import sandbox_names
from services.common.sealing.key_sources import master_keys
from services.common.settings import (
    member_token_key_file,
    temporal_codec_key_file,
    trust_domain,
)
from services.common.state import load_or_make_key, read_addresses, record_address
from services.common.temporal import codec_keys, names
from services.common.transport.certificates import TlsRefused, load_identity
from services.common.transport.names import WITNESSES
from stack.authority import Authority, mints
from stack.child import Launch, python
from stack.kept_keys import KeysForgotten, keep_in_mind, lost_keys
from stack.probes import http_answers, service_serves, tcp_accepts
from stack.sandbox_issuer import SandboxIssuer, has_issuer
from stack.supervisor import ChildSpec
from stack.temporal_server import temporal_server

# Order of starting; stopping goes the other way.
_GROUND, _SERVICES, _WORKERS = range(3)
SERVICES = ("claims", "his_bridge", "pricing")
_ANYWHERE = "127.0.0.1:0"
_WITNESS = "services.common.evidence.witness"
_WORKER = "workflows.worker"
_BANK = "stack.sandbox_bank"
MODULES = (*(f"services.{name}.main" for name in SERVICES), _WORKER, _WITNESS, _BANK)


class NotThere(RuntimeError):
    """Something that settings say runs elsewhere does not answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """Where one installation keeps its state, what it serves, what runs elsewhere already."""

    state: Path
    hospitals: Sequence[str]
    environ: Mapping[str, str]  # on top of our own, for every child

    def children(self) -> list[ChildSpec]:
        """Every child, in the order of the table that people see.

        Raises: NoTemporal.
        """
        queues = [names.CLAIMS_QUEUE, *map(names.hospital_queue, self.hospitals)]
        ground = []
        if not self._elsewhere("TEMPORAL_ADDRESS"):
            namespace = self._setting("TEMPORAL_NAMESPACE") or "default"
            ground.append(temporal_server(self.state, stage=_GROUND, namespace=namespace))
        if not self._elsewhere("LIPEI_BANK_URL"):
            ground.append(self._bank())
        services = [self._service(name) for name in SERVICES]
        witnesses = [self._witness(name) for name in WITNESSES]
        workers = [self._worker(queue) for queue in queues]
        renewals = replace(
            self._worker(names.RENEWALS_QUEUE), wanted=wanted_file(self.state).exists
        )
        return [*ground, *services, *workers, renewals, *witnesses]

    def prepare(self) -> None:
        """Make keys and certificates, forget a dead run's addresses, record what runs elsewhere.

        Raises: NotThere when something that settings name does not answer, certificates that the
        operator brings are of no use, or keys are gone that databases of this state need.
        """
        self._refuse_lost_keys()
        self._certify()
        load_or_make_key(member_token_key_file(self.state))
        master_keys(self.state)
        codec_keys.load_or_make(temporal_codec_key_file(self.state), datetime.now(UTC))
        keep_in_mind(self.state, SERVICES)
        forget_addresses(self.state)
        if address := self._elsewhere("TEMPORAL_ADDRESS"):
            if not tcp_accepts(address, timeout_s=5.0):
                raise NotThere("TEMPORAL_ADDRESS is set and does not answer; start it or unset it")
            record_address(self.state, "temporal", address)
        if url := self._elsewhere("LIPEI_BANK_URL"):
            if not http_answers(url):
                raise NotThere("LIPEI_BANK_URL is set and does not answer; start it or unset it")
            record_address(self.state, "bank", url)

    def renew(self) -> None:
        """Mint anew what is half through its life; nothing where certificates are brought."""
        if mints(self.state, os.environ):
            Authority(self.state, trust_domain()).renew()

    def _refuse_lost_keys(self) -> None:
        """Make no key in place of a lost one: under a new one nothing could be found or opened."""
        try:
            lost = ", ".join(map(str, lost_keys(self.state, SERVICES)))
        except KeysForgotten as unread:
            raise NotThere(str(unread)) from None
        if lost:
            raise NotThere(
                f"not there: {lost}; databases of {self.state} were filled under what stood in "
                "it: put it back from its backup; to begin anew with empty databases, take a new "
                "state directory. Nothing was written"
            )

    def _certify(self) -> None:
        wanted = sandbox_names(self.hospitals)
        if mints(self.state, os.environ):
            Authority(self.state, trust_domain()).ensure(wanted)
            if has_issuer():
                SandboxIssuer(self.state)
            return
        faults = []
        for process, uri in wanted.items():
            if not process.startswith("desk-"):  # people bring their own
                try:
                    load_identity(self.state, process, uri=uri)
                except TlsRefused as refused:
                    faults.append(str(refused))
        if faults:
            raise NotThere("\n".join(faults))

    def _setting(self, variable: str) -> str:
        return self.environ.get(variable) or os.environ.get(variable, "")

    _elsewhere = _setting

    def _environ(self) -> dict[str, str]:
        """What a child gets: the state, where the code is, and what is known to run by now."""
        known = read_addresses(self.state)
        environ = {
            "LIPEI_STATE": str(self.state),
            "PYTHONPATH": os.pathsep.join(code_roots()),
            "PYTHONUNBUFFERED": "1",
        }
        if "temporal" in known:
            environ["TEMPORAL_ADDRESS"] = known["temporal"]
        if "bank" in known:
            environ["LIPEI_BANK_URL"] = known["bank"]
        return {**environ, **self.environ}

    def _module(self, module: str, *arguments: str, **environ: str) -> Launch:
        command = python(module, *arguments)
        return Launch(command=command, environ={**self._environ(), **environ})

    def _service(self, name: str) -> ChildSpec:
        variable = f"LIPEI_{name.upper()}_ADDRESS"
        bind = self._setting(variable) or _ANYWHERE

        def launch(address: str) -> Launch:
            return self._module(f"services.{name}.main", **{variable: address})

        return self._serving(name, _SERVICES, bind, launch)

    def _witness(self, name: str) -> ChildSpec:
        def launch(address: str) -> Launch:
            return self._module(_WITNESS, "--name", name, LIPEI_WITNESS_ADDRESS=address)

        return self._serving(f"witness:{name}", _WORKERS, _ANYWHERE, launch)

    def _serving(
        self, name: str, stage: int, bind: str, launch: Callable[[str], Launch]
    ) -> ChildSpec:
        served: dict[str, str] = {}

        def prepare() -> Launch:
            record_address(self.state, name, None)
            # Clients keep the address that they read once, so a restart must keep it too.
            return launch(served.get(name, bind))

        def ready(_pid: int) -> bool:
            address = read_addresses(self.state).get(name)
            if address is None or not service_serves(self.state, name, address):
                return False
            served[name] = address
            return True

        return ChildSpec(name=name, stage=stage, prepare=prepare, ready=ready)

    def _worker(self, queue: str) -> ChildSpec:
        name = f"worker:{queue}"

        def prepare() -> Launch:
            record_address(self.state, name, None)
            return self._module(_WORKER, "--queue", queue)

        def ready(pid: int) -> bool:
            return read_addresses(self.state).get(name) == str(pid)

        return ChildSpec(name=name, stage=_WORKERS, prepare=prepare, ready=ready, grace_s=12.0)

    def _bank(self) -> ChildSpec:
        def prepare() -> Launch:
            record_address(self.state, "bank", None)
            return self._module(_BANK)

        def ready(_pid: int) -> bool:
            url = read_addresses(self.state).get("bank")
            return url is not None and http_answers(url)

        return ChildSpec(name="bank", stage=_GROUND, prepare=prepare, ready=ready)


def wanted_file(state: Path) -> Path:
    """The file whose presence says that books are renewed here, so that a worker of theirs runs."""
    return state / "renewals.wanted"


def forget_addresses(state: Path) -> None:
    """Take every address out of run.json: nothing runs here."""
    for name in read_addresses(state):
        record_address(state, name, None)


def code_roots() -> list[str]:
    """Folders from which this process took its code, so that children run the same."""
    roots = [Path(__file__).parents[1]]
    wire = importlib.util.find_spec("lipei.claims.v1.claims_pb2")
    if wire is not None and wire.origin is not None:
        roots.append(Path(wire.origin).parents[3])
    more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return list(dict.fromkeys([*map(str, roots), *filter(None, more)]))


def module_lines(module: str, *words: str) -> Iterator[str]:
    """The lines that one of our modules says, as they come; ends with it, and it with us."""
    with subprocess.Popen(  # noqa: S603 -- our own command line, no shell
        python(module, *words),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(code_roots())},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        try:
            yield from running.stdout or ()
        finally:
            running.kill()


def run_module(module: str, *words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of our modules to its end, and keep what it says on standard output.

    It reads what it is `told` on standard input.

    For what needs the Temporal SDK: a process of its own spares every other command 0.4 s of
    importing it.
    """
    return subprocess.run(  # noqa: S603 -- our own command line, no shell
        python(module, *words),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(code_roots())},
        input=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
