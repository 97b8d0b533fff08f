"""`lipei up` over the same children, with a guard taken out: the canary's negative control.

`python -m tests.canary.installation --state FOLDER --profiles FOLDER --without codec`
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from pathlib import Path

from services.common.state import state_dir
from services.his_bridge.profiles.loader import load_profiles
from stack.child import Launch
from stack.forkserver import ForkServer
from stack.installation import MODULES, Installation, forget_addresses
from stack.supervisor import ChildSpec, Supervisor, only_one
from tests.canary.without import GUARDS

OURS = ("services.", "workflows.")


def main() -> None:
    """Run until a signal to stop."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--profiles", type=Path, required=True)
    parser.add_argument("--without", choices=sorted(GUARDS), required=True)
    options = parser.parse_args()
    state = state_dir(options.state)
    environ = {"LIPEI_HIS_BRIDGE_PROFILES": str(options.profiles)}
    hospitals = tuple(load_profiles(options.profiles, os.environ))
    installation = Installation(state=state, hospitals=hospitals, environ=environ)
    children = [_without(spec, options.without) for spec in installation.children()]
    with contextlib.closing(ForkServer(MODULES)) as forks, only_one(state):
        installation.prepare()
        try:
            Supervisor(children, state, forks=forks).run()
        finally:
            forget_addresses(state)


def _without(spec: ChildSpec, guard: str) -> ChildSpec:
    def prepare() -> Launch:
        launch = spec.prepare()
        command = list(launch.command)
        for place, word in enumerate(command):
            if word.startswith(OURS):
                command[place : place + 1] = ["tests.canary.without", guard, word]
                break
        return dataclasses.replace(launch, command=command)

    return dataclasses.replace(spec, prepare=prepare)


if __name__ == "__main__":
    main()
