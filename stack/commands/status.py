"""`lipei status`: what runs on a state directory and whether it answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from services.common.evidence.kept_log import ALARMS
from services.common.state import is_held
from services.common.temporal import names
from services.common.transport.certificates import tls_files
from services.common.transport.standing import SAID, standing
from stack.commands.calling import Failed, addresses, not_running
from stack.commands.evidence_watch import WITNESS
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import print_json, print_table, rows, table
from stack.installation import SERVICES
from stack.probes import http_answers, service_serves, tcp_accepts
from stack.supervisor import PROCESSES_FILE, READY_FILE

_WORKER = "worker:"
_LISTENER = "mllp:"  # a hospital's, within the bridge
_SETTLEMENT = "settlement"  # whom the claims worker acts as
# The worker of renewals calls no service.
_WITHOUT_CERTIFICATE = ("temporal", "temporal_ui", "bank", names.RENEWALS_QUEUE)


def status(state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Show what runs here and whether it answers; exit 1 when something does not."""
    known = addresses(state)
    # A `lipei up` that was killed leaves its files.
    held = is_held(state)
    processes = _processes(state) if held else {}
    found = []
    for name in dict.fromkeys([*processes, *known]):
        address = known.get(name, "")
        account = processes.get(name, {})
        found.append(
            {
                "name": name,
                "address": "" if name.startswith(_WORKER) else address,
                "answers": bool(address) and _probe(state, name)(address),
                "state": account.get("state", ""),
                "pid": account.get("pid", 0),
                "restarts": account.get("restarts", 0),
                "last_word": account.get("last_word", ""),
                "certificate": _standing(state, name),
            }
        )
    if not held and not any(part["answers"] for part in found):
        raise not_running(state)
    ready = held and (state / READY_FILE).exists()
    alarms = sorted(str(file.relative_to(state)) for file in state.glob(f"witness-*/*.{ALARMS}"))
    if as_json:
        print_json({"ready": ready, "parts": found, "alarms": alarms})
    else:
        last = ("last word",)
        heads = ("part", "address", "answers", "certificate", "process", "pid", "restarts")
        made = table(*heads, *last, prose=last)
        print_table(rows(made, (_row(part) for part in found)))
    refused = [(part["name"], part["certificate"]) for part in found if part["certificate"]]
    silent = [str(part["name"]) for part in found if not part["answers"]]
    faults = [f"ALARM of a witness: {file}; `lipei evidence watch` says more" for file in alarms]
    if silent:
        faults.append(f"no answer from: {', '.join(silent)}; logs are in {state / 'logs'}")
    faults += [f"{name}: {SAID.get(reason, reason)} [{reason}]" for name, reason in refused]
    if faults:
        raise Failed(*faults)


def _row(part: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        part["name"],
        part["address"],
        "yes" if part["answers"] else "no",
        part["certificate"].removeprefix("CERTIFICATE_").lower(),
        part["state"],
        str(part["pid"] or ""),
        str(part["restarts"]),
        part["last_word"],
    )


def _standing(state: Path, name: str) -> str:
    """Why a part's own certificate would be refused; empty for a good one, or for none at all."""
    process = name.removeprefix(_WORKER)
    if process == "claims" and name != process:
        process = _SETTLEMENT
    process = process.replace(":", "-")
    if process in _WITHOUT_CERTIFICATE or name.startswith(_LISTENER):
        return ""
    return standing(tls_files(state, process))


def _processes(state: Path) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads((state / PROCESSES_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _probe(state: Path, name: str) -> Callable[[str], bool]:
    if name in SERVICES or name.startswith(WITNESS):
        return partial(service_serves, state, name)
    if name.startswith(_WORKER):
        return _lives
    if name == "temporal" or name.startswith(_LISTENER):
        return tcp_accepts
    return http_answers


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return False
    return True
