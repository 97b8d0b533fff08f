"""`lipei up`: the whole stack on this machine until a signal to stop."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.common.settings import PREFIX, UnknownSetting, refuse_unknown
from services.common.state import read_addresses, state_dir
from services.his_bridge.profiles.loader import ProfileError, load_profiles
from stack.commands.failing import Failed, unusable
from stack.commands.options import DEFAULT_STATE, State, profiles_in
from stack.commands.printing import console, print_table, rows, table
from stack.forkserver import ForkServer
from stack.installation import MODULES, Installation, NotThere, forget_addresses
from stack.supervisor import (
    AlreadyRunning,
    CannotStart,
    ChildState,
    Supervisor,
    only_one,
)
from stack.temporal_server import NoTemporal

_RENEW_EVERY_S = 600.0
_FAILURES = (AlreadyRunning, CannotStart, ProfileError, NotThere, NoTemporal)

Url = Annotated[str, typer.Option(metavar="URL", help="Database; SQLite in the state when absent.")]


def up(
    state: State = DEFAULT_STATE,
    profiles: Annotated[
        Path | None,
        typer.Option(help="Folder of source profiles (YAML); else what `his add` has added."),
    ] = None,
    database_url_claims: Url = "",
    database_url_his_bridge: Url = "",
    database_url_pricing: Url = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but faults.")] = False,
) -> None:
    """Start everything in order, print addresses, restart what falls; Ctrl-C stops all."""
    given = {
        "HIS_BRIDGE_PROFILES": str(profiles.absolute()) if profiles else "",
        "CLAIMS_DATABASE_URL": database_url_claims,
        "HIS_BRIDGE_DATABASE_URL": database_url_his_bridge,
        "PRICING_DATABASE_URL": database_url_pricing,
    }
    environ = {PREFIX + name: value for name, value in given.items() if value}
    try:
        refuse_unknown()
    except UnknownSetting as error:
        raise Failed(*str(error).splitlines(), exit_code=2) from None
    os.umask(0o077)  # whatever is written from here on is its owner's alone
    try:
        folder = _private(state_dir(state))
    except OSError as error:
        raise unusable(state, error) from None
    forks = ForkServer(MODULES)  # now: we have no thread, no lock and no key yet
    try:
        with contextlib.closing(forks), only_one(folder):
            _run(folder, environ, forks, quiet=quiet)
    except _FAILURES as error:
        raise Failed(*str(error).splitlines()) from None


def _run(state: Path, environ: Mapping[str, str], forks: ForkServer, *, quiet: bool) -> None:
    whole = {**os.environ, **environ}
    named = whole.get("LIPEI_HIS_BRIDGE_PROFILES")
    added = profiles_in(state)
    if not named and any(added.glob("*.yaml")):
        named = str(added.absolute())
        environ = {**environ, "LIPEI_HIS_BRIDGE_PROFILES": named}
    hospitals = tuple(load_profiles(Path(named), whole)) if named else ()
    installation = Installation(state=state, hospitals=hospitals, environ=environ)
    children = installation.children()
    installation.prepare()
    screen = _Screen(console(quiet=quiet), state, [child.name for child in children])
    supervisor = Supervisor(children, state, on_change=screen.changed, forks=forks)
    try:
        with screen.live(), _renewing(installation, screen):
            supervisor.run(screen.is_up)
    finally:
        forget_addresses(state)
    screen.say("all stopped")


@contextlib.contextmanager
def _renewing(installation: Installation, screen: _Screen) -> Iterator[None]:
    """Certificates and the list of revoked ones are renewed long before their end."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(_RENEW_EVERY_S):
            try:
                installation.renew()
            except (OSError, ValueError) as fault:  # a full disk; there is time to try again
                screen.say(f"certificates were not renewed: {type(fault).__name__}")

    thread = threading.Thread(target=work, name="renewing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _private(state: Path) -> Path:
    """The directory, for its owner alone.

    Raises: Failed when others may read it and it holds more than ours: we don't lock a stranger's.
    """
    if not stat.S_IMODE(state.stat().st_mode) & 0o077:
        return state
    if any(state.iterdir()) and not (state / "run.json").exists():
        raise Failed(
            f"{state} is readable by others and holds something else already; "
            "name a directory of its own with --state, or chmod 700 this one"
        )
    state.chmod(0o700)
    return state


class _Screen:
    """What a person sees. Prints nothing when quiet."""

    def __init__(self, out: Console, state: Path, names: list[str]) -> None:
        self._out = out
        self._state = state
        self._states = dict.fromkeys(names, ChildState.WAITING)
        self._status = out.status("starting", spinner="line")
        self._up_since: float | None = None

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Keep a line at the bottom that tells where things stand; nothing on a pipe."""
        with self._status if self._out.is_terminal else contextlib.nullcontext():
            yield

    def say(self, text: str) -> None:
        """Print one line."""
        self._out.print(text, markup=False, soft_wrap=True)

    def changed(self, name: str, state: ChildState) -> None:
        """Tell a move of one child."""
        self._states[name] = state
        if state in (ChildState.PAUSING, ChildState.GIVEN_UP):
            log = self._state / "logs" / f"{name}.log"
            what = "starts again soon" if state is ChildState.PAUSING else "given up"
            self.say(f"{name} ended; {what}; its log: {log}")
        self._status.update(self._line())

    def is_up(self) -> None:
        """Print where everything is."""
        self._up_since = time.time()
        made = table("part", "address")
        addresses = read_addresses(self._state)
        parts = sorted(addresses.items(), key=lambda part: part[0].startswith("worker:"))
        rows(made, ((n, f"process {at}" if n.startswith("worker:") else at) for n, at in parts))
        print_table(made, self._out)
        if "temporal_ui" in addresses:
            self.say(f"Temporal UI: {addresses['temporal_ui']}")
        self.say(f"State: {self._state}")
        self.say("Ready. Ctrl-C stops all.")
        self._status.update(self._line())

    def _line(self) -> str:
        of_state: dict[ChildState, list[str]] = {state: [] for state in ChildState}
        for name, state in self._states.items():
            of_state[state].append(name)
        if of_state[ChildState.STOPPED]:
            left = [name for name in self._states if name not in of_state[ChildState.STOPPED]]
            return f"stopping; left: {', '.join(left) or 'none'}"
        since = time.strftime(" since %H:%M:%S", time.localtime(self._up_since))
        head = "running" + since if self._up_since else "starting"
        needed = [name for name in self._states if name not in of_state[ChildState.IDLE]]
        missing = [name for name in needed if name not in of_state[ChildState.READY]]
        count = f"{len(of_state[ChildState.READY])} of {len(needed)} ready"
        return f"{head}: {count}" + (f"; not yet: {', '.join(missing)}" if missing else "")
