"""What libraries weigh that fit or serve is paid by who fits or serves, not by every start."""

from __future__ import annotations

import subprocess
import sys

from tests.stack.typed import environ

HEAVY = ("pandas", "numpy", "scipy", "pyarrow", "duckdb", "glum", "lifelines", "matplotlib")
SERVING = ("structlog", "sqlalchemy", "grpc_health.v1.health", "grpc_reflection.v1alpha.reflection")


def loaded_by(statement: str, heavy: tuple[str, ...] = HEAVY) -> str:
    loaded = f"print([name for name in {heavy!r} if name in sys.modules])"
    code = f"import sys; {statement}; {loaded}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ(), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_services_and_commands_start_without_the_libraries_of_pricing() -> None:
    modules = "services.pricing.main, services.claims.main, services.his_bridge.main"
    assert loaded_by(f"import {modules}, stack.commands.pricing, stack.commands.up") == "[]"


def test_commands_that_call_a_service_start_without_the_libraries_of_serving() -> None:
    commands = ", ".join(f"stack.commands.{one}" for one in ("claims", "his", "identity", "up"))
    assert loaded_by(f"import stack.cli, {commands}", SERVING) == "[]"


def test_a_library_that_is_loaded_is_seen() -> None:
    """The control."""
    assert "pyarrow" in loaded_by("import services.pricing.fitting.renewal.grid")
    assert loaded_by("import services.common.grpc_edge", SERVING).count("'") == 2 * (
        len(SERVING) - 1  # no database
    )
