"""What an actuary's libraries weigh is paid by the command that fits, not by every start."""

from __future__ import annotations

import subprocess
import sys

from tests.stack.typed import environ

HEAVY = ("pandas", "numpy", "scipy", "pyarrow", "duckdb", "glum", "lifelines", "matplotlib")
_LOADED = f"print([name for name in {HEAVY!r} if name in sys.modules])"


def loaded_by(statement: str) -> str:
    code = f"import sys; {statement}; {_LOADED}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ(), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_services_and_commands_start_without_the_libraries_of_pricing() -> None:
    modules = "services.pricing.main, services.claims.main, services.his_bridge.main"
    assert loaded_by(f"import {modules}, stack.commands.pricing, stack.commands.up") == "[]"


def test_a_library_that_is_loaded_is_seen() -> None:
    """The control."""
    assert "pyarrow" in loaded_by("import services.pricing.fitting.renewal.grid")
