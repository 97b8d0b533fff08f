"""A child of a process that speaks gRPC becomes another program unharmed: demo/__init__.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SCRIPT = """
import importlib, os, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "not said"))

sys.meta_path.insert(0, AtImport())
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("bench.live", "0"),
        ("demo.stack", "0"),
        ("tests.conftest", "0"),
        ("services.common.grpc_edge", "not said"),  # a server forks nothing; the control
    ],
)
def test_grpc_is_told_of_forks_before_it_is_imported(module: str, told: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, module],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == told
