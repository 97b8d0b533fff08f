"""`lipei up` over the same children, for tests: with a bank that is as bad as banks can be.

`python -m tests.fault.installation --state FOLDER [--profiles FOLDER] [--payer careless]`

The bank takes orders to fail and executes duplicates, so that only the payer stands between a kill
and a double payment. `--payer careless` is the control: claims with a payer that does not ask.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from services.common.state import state_dir
from services.his_bridge.profiles.loader import load_profiles
from stack.child import Launch
from stack.forkserver import ForkServer
from stack.installation import MODULES, Installation, forget_addresses
from stack.supervisor import ChildSpec, Supervisor, only_one
from tests.fault.story import CARELESS, OURS

BAD_BANK = ("--control", "--dumb")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until a signal to stop."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--profiles", type=Path)
    parser.add_argument("--payer", choices=[OURS, CARELESS], default=OURS)
    options = parser.parse_args(arguments)
    state = state_dir(options.state)
    environ = {}
    hospitals: tuple[str, ...] = ()
    if options.profiles:
        environ["LIPEI_HIS_BRIDGE_PROFILES"] = str(options.profiles)
        hospitals = tuple(load_profiles(options.profiles, os.environ))
    installation = Installation(state=state, hospitals=hospitals, environ=environ)
    children = [
        _changed(spec, careless=options.payer == CARELESS) for spec in installation.children()
    ]
    with contextlib.closing(ForkServer(MODULES)) as forks, only_one(state):
        installation.prepare()
        try:
            Supervisor(children, state, forks=forks).run()
        finally:
            forget_addresses(state)


def _changed(spec: ChildSpec, *, careless: bool) -> ChildSpec:
    if spec.name == "bank":
        return dataclasses.replace(
            spec, prepare=_with(spec.prepare, lambda words: [*words, *BAD_BANK])
        )
    if spec.name == "claims" and careless:
        return dataclasses.replace(spec, prepare=_with(spec.prepare, _careless))
    return spec


def _careless(command: Sequence[str]) -> list[str]:
    return ["tests.fault.careless" if w == "services.claims.main" else w for w in command]


def _with(
    prepare: Callable[[], Launch], change: Callable[[Sequence[str]], Sequence[str]]
) -> Callable[[], Launch]:
    def changed() -> Launch:
        launch = prepare()
        return dataclasses.replace(launch, command=change(launch.command))

    return changed


if __name__ == "__main__":
    main()
