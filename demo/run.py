"""One run of the demo, from an empty state to checked results, on real servers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import bank, screen
from demo.bridge import Bridge
from demo.comparison import compare
from demo.his import running_his
from demo.insurer import MOVING, UNDECIDED, Insurer
from demo.processes import Child, ChildFailed
from demo.progress import Reporter, Snapshot
from demo.results import Results, checks, summary
from demo.scenario import PLANS, Scenario
from demo.stack import Stack, fresh_state, started_stack

_POLL_S = 1.0
# Nothing moved for so long: something hangs, and waiting longer helps nobody.
_STALL_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where a run keeps its state and leaves its results."""

    state: Path
    out: Path


def play(scenario: Scenario, folders: Folders, reporter: Reporter, *, keep: bool) -> Results:
    """Fill a hospital, start the stack, let bills become money, and show what came of it.

    Writes summary.json. Everything that was started is stopped before this returns or raises; with
    `keep` only when the person says so by Ctrl-C.

    Raises: ChildFailed, CallRefused, LoadRefused, StateRefused.
    """
    begun = time.monotonic()
    state = fresh_state(folders.state)
    reporter.say(scenario.title)
    with (
        running_his(state / "his") as his,
        started_stack(state, scenario.hospital, his.base_url) as stack,
    ):
        # The stack comes up while the hospital is being filled.
        title = "Filling the hospital's FHIR server"
        with reporter.bar(title, len(scenario.resources)) as done:
            his.fill(scenario.resources, done)
        stack.wait()
        reporter.say("Temporal, the services, the workers and the sandbox bank are ready")
        results = _settle(scenario, stack, his.child, reporter, begun)
        folders.out.mkdir(parents=True, exist_ok=True)
        _write(folders.out / "summary.json", results)
        with Insurer(stack.addresses["claims"]) as insurer:
            hints = _hints(stack, folders, keep=keep)
            screen.show(results, insurer, reporter, hints=hints)
        if keep:
            _wait_for_ctrl_c(stack, reporter)
    return results


def _settle(
    scenario: Scenario, stack: Stack, his: Child, reporter: Reporter, begun: float
) -> Results:
    addresses = stack.addresses
    with (
        Insurer(addresses["claims"]) as insurer,
        Bridge(addresses["his_bridge"], scenario.hospital) as bridge,
    ):
        _set_terms(scenario, insurer, reporter)
        stack.start_pull(scenario.hospital)
        parts = (stack.child, his)
        _follow(scenario, parts, reporter, insurer, bridge)
        claims, quarantine = insurer.claims(anew=True), bridge.quarantine()
        refusals, hospital = bridge.refusals(), scenario.generated
        return Results(
            scenario=scenario,
            pulled=bridge.pulled(),
            claims=claims,
            books=insurer.books(),
            quarantine=quarantine,
            refusals=refusals,
            bank_book=bank.book(addresses["bank"]),
            elapsed_s=time.monotonic() - begun,
            seen={one.bill.bill_number: one.receive_time for one in bridge.bills()},
            comparison=compare(hospital.truth, claims, quarantine, refusals) if hospital else None,
        )


def _set_terms(scenario: Scenario, insurer: Insurer, reporter: Reporter) -> None:
    """Plans first, then policies, each batch checked by a dry run."""
    for plan in scenario.plans:
        version = insurer.publish(PLANS / f"{plan}.yaml")
        reporter.say(f"Published plan {version[: len(plan) + 20]}…")
    for policies in scenario.policies:
        trial = insurer.import_policies(policies, dry_run=True)
        done = insurer.import_policies(policies, dry_run=False)
        people = sum(len(policy.members) for policy in policies)
        reporter.say(
            f"Policies from {min(policy.start_date for policy in policies)}: the dry run found "
            f"{len(trial.faults)} faults; imported {done.created} with {people} people"
        )


def _follow(
    scenario: Scenario,
    parts: Sequence[Child],
    reporter: Reporter,
    insurer: Insurer,
    bridge: Bridge,
) -> None:
    """Return when every bill is answered for and every claim rests.

    Raises: ChildFailed when a part ends, or nothing moves any more.
    """
    expected = scenario.expected
    last, moved = None, time.monotonic()
    with reporter.board(expected.bills) as board:
        while True:
            for part in parts:
                part.must_run()
            pulled, claims = bridge.pulled(), insurer.claims()
            undecided = sum(claim.state in UNDECIDED for claim in claims)
            moving = sum(claim.state in MOVING for claim in claims)
            now = Snapshot(
                bills=pulled.bills,
                quarantined=pulled.quarantined,
                claims=len(claims),
                decided=len(claims) - undecided,
                owed=sum(claim.decision.benefit.minor_units > 0 for claim in claims),
                paid=sum(claim.HasField("pay_time") for claim in claims),
            )
            board(now)
            if pulled.bills >= expected.bills and not pulled.pending and not moving:
                return
            state = (now, pulled.pending, moving)
            if state != last:
                last, moved = state, time.monotonic()
            elif time.monotonic() - moved > _STALL_S:
                raise ChildFailed(
                    f"Nothing moved for {_STALL_S:.0f} s: {pulled.bills} of {expected.bills} bills "
                    f"pulled and {moving} claims are on their way.\n"
                    f"Logs of every part: {parts[0].log.parent}\n"
                    + "\n".join(part.tail() for part in parts)
                )
            time.sleep(_POLL_S)


def _hints(stack: Stack, folders: Folders, *, keep: bool) -> list[str]:
    """Where to look next; with `keep` at what is running."""
    state = _from_here(folders.state)
    files = [f"numbers: {_from_here(folders.out / 'summary.json')}", f"logs: {state / 'logs'}"]
    if not keep:
        return [*files, "to look inside, keep the stack running: make demo ARGS=--keep"]
    return [
        *files,
        f"every workflow in Temporal's UI: {stack.addresses.get('temporal_ui', 'not running')}",
        f".venv/bin/lipei claims explain --state {state} {{claim}}",
        f".venv/bin/lipei claims replay --state {state} {{claim}}",
    ]


def _from_here(path: Path) -> Path:
    """The path as a person in the current folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _write(path: Path, results: Results) -> None:
    text = json.dumps(summary(results), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _wait_for_ctrl_c(stack: Stack, reporter: Reporter) -> None:
    reporter.say("The stack goes on running; Ctrl-C stops it.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stack.child.must_run()
            time.sleep(_POLL_S)


def failures(results: Results) -> list[str]:
    """Sentences about the checks that do not hold."""
    return [f"{check.name}: {check.found}" for check in checks(results) if not check.holds]
