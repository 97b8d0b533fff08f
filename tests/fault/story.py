"""A running installation under load whose processes are killed; what the fault tests share."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from demo.his import His, running_his
from demo.insurer import Insurer
from demo.scenario import PLANS, PROFILES, Scenario, generated
from demo.stack import Stack, fresh_state
from tests.fault.books import Books
from tests.fault.intake import HandIn
from tests.forked_child import ForkedChild
from tests.processes import lives
from tests.services.claims.given import PLAN

ROOT = Path(__file__).parents[2]
SEED, HOSPITAL = 11, "demo-hospital"
OURS, CARELESS = "ours", "careless"
HOSPITAL_WORKER = f"worker:hospital-{HOSPITAL}"
# In turn: who decides, who pulls, who keeps, who fetches, who remembers, who pays.
PROCESSES = ("worker:claims", HOSPITAL_WORKER, "claims", "his_bridge", "temporal", "bank")
TOWARDS_THE_HOSPITAL = (HOSPITAL_WORKER, "his_bridge")
# Only so that what never comes fails; nothing is measured by it.
LONGEST_S = 180.0
# How long a bank that has paid keeps silent, unless it is killed in it.
SILENCE_S = 6.0
_LOOK_EVERY_S = 0.05
_PULL_AGAIN_S = 1.0
_STOP_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Killed:
    """One kill: when, and when the supervisor had the process's successor started and ready."""

    process: str
    at_us: int
    started_us: int
    ready_us: int


class Story:
    """One installation, its hospital and its insurer's intake."""

    def __init__(
        self,
        installation: _Installation,
        intake: HandIn,
        his: His | None,
        scenario: Scenario | None,
    ) -> None:
        self._installation = installation
        self.stack = installation.stack
        self.books = Books(self.stack.state)
        self.intake = intake
        self.scenario = scenario
        self._his = his
        resources = scenario.resources if scenario else ()
        self._claims = [one for one in resources if one["resourceType"] == "Claim"]
        self.billed = 0  # bills that the hospital's system holds by now
        self._pulled_at = 0.0

    # ---------------------------------------------------------------------------------- the load

    def hand_in(self, count: int) -> list[str]:
        """Bills straight to claims, each acknowledged; their numbers."""
        bills = self.intake.bills(count)
        self.intake.hand_in(bills)
        return [bill.bill_number for bill in bills]

    def go_on_handing_in(self, count: int) -> None:
        """Bills on their way to claims, whatever happens there meanwhile."""
        self.intake.begin(self.intake.bills(count))

    def bill_at_the_hospital(self, count: int) -> list[str]:
        """The next bills of the year stand in the hospital's system, and a pull is asked for."""
        assert self._his is not None, "this story has no hospital"
        part = self._claims[self.billed : self.billed + count]
        self._his.fill(part, lambda _count: None)
        self.billed += len(part)
        self.stack.start_pull(HOSPITAL)
        return [str(one["identifier"][0]["value"]) for one in part]

    @property
    def bills(self) -> Sequence[Mapping[str, Any]]:
        """The bills of the hospital's year, as its system holds them."""
        return self._claims

    def restate(self, bills: Sequence[Mapping[str, Any]]) -> None:
        """The hospital states bills anew, and a pull is asked for."""
        assert self._his is not None, "this story has no hospital"
        self._his.fill(bills, lambda _count: None)
        self.stack.start_pull(HOSPITAL)

    def corrections_done(self) -> int:
        """How many claims were decided anew after a correction; pulls are asked for meanwhile."""
        self.all_delivered()
        if time.monotonic() - self._pulled_at > _PULL_AGAIN_S:
            self._pulled_at = time.monotonic()
            self.stack.start_pull(HOSPITAL)
        return self.books.corrected()

    def all_delivered(self) -> bool:
        """Whether every bill in the hospital's system is answered for, set aside or held.

        While it is not, a pull is asked for once a second: one that is asked for while another is
        handing over is skipped, and here no interval asks again.
        """
        books = self.books
        answered = books.released() + books.set_aside() + books.held()
        if books.undelivered() == 0 and answered >= self.billed:
            return True
        if time.monotonic() - self._pulled_at > _PULL_AGAIN_S:
            self._pulled_at = time.monotonic()
            self.stack.start_pull(HOSPITAL)
        return False

    def at_rest(self) -> bool:
        """Whether nothing moves by itself any more."""
        delivered = self._his is None or self.all_delivered()
        return delivered and self.intake.all_acknowledged and self.books.in_flight() == 0

    @property
    def whole_year(self) -> bool:
        """Whether the hospital has billed all that its year has."""
        return self.billed == len(self._claims)

    @property
    def expected_claims(self) -> int:
        """Claims that the hospital's whole year must open."""
        return self.scenario.expected.claims if self.whole_year and self.scenario else 0

    # --------------------------------------------------------------------------------- the kills

    def kill(self, *processes: str) -> list[Killed]:
        """SIGKILL at once; return when the supervisor has every successor ready again."""
        before = {name: self._ready_pid(name) for name in processes}
        at_us = now_us()
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        started: dict[str, int] = {}
        ready: dict[str, int] = {}

        def back() -> bool:
            for name, pid in before.items():
                entry = self.account(name)
                if name not in started and entry["pid"] not in (0, pid):
                    started[name] = now_us()
                if name in started and name not in ready and entry["state"] == "ready":
                    ready[name] = now_us()
            return len(ready) == len(before)

        until(back, look_every_s=0.02)
        return [
            Killed(process=name, at_us=at_us, started_us=started[name], ready_us=ready[name])
            for name in processes
        ]

    def kill_all(self) -> None:
        """SIGKILL of the supervisor, and so of everything; return when a new one is ready."""
        self._installation.kill_and_start_again()
        self.stack = self._installation.stack
        self.intake.reach(self.stack.addresses["claims"])

    def account(self, name: str) -> dict[str, Any]:
        """What the supervisor says of a process."""
        found: dict[str, Any] = json.loads((self.stack.state / "processes.json").read_text())[name]
        return found

    def _ready_pid(self, name: str) -> int:
        until(lambda: self.account(name)["state"] == "ready")
        return int(self.account(name)["pid"])

    # ------------------------------------------------------------------------- dangerous moments

    def silence_the_bank(self) -> int:
        """From now on the bank pays the next file and keeps its sender waiting; payments so far."""
        self.misbehave(commit_then_timeout=1, hang_s=SILENCE_S)
        return self.books.executed()

    def bank_has_paid_and_said_nothing(self, paid_before: int) -> None:
        """Return while the bank, having executed a file, keeps its sender waiting."""
        until(lambda: self.books.executed() > paid_before, look_every_s=0.01)

    def taken_and_not_told(self, bill_numbers: Sequence[str]) -> bool:
        """Return while some of a pull's bills have claims and the bridge has no answer yet.

        False when the pull was faster than we looked.
        """
        assert bill_numbers, "the hospital's year has no bill left"
        seen: list[bool] = []

        def moment() -> bool:
            missed = self.all_delivered()
            hit = self.books.undelivered() > 0 and self.books.claims_of(bill_numbers) > 0
            if hit or missed:
                seen.append(hit)
            return hit or missed

        until(moment, look_every_s=0.005)
        return seen[-1]

    def misbehave(self, **faults: float) -> None:
        """Decide the fate of the bank's next files."""
        whole = {"commit_then_timeout": 0, "drop_before_commit": 0, "hang_s": 0.0, **faults}
        url = f"{self.stack.addresses['bank']}/faults"
        httpx.post(url, json=whole, trust_env=False, timeout=_STOP_S).raise_for_status()


@contextmanager
def story(
    state: Path,
    *,
    people: int,
    year: tuple[int, int] | None = None,
    payer: str = OURS,
) -> Iterator[Story]:
    """An installation that is up, with plans, policies and a hospital that has no bill yet.

    `people` hand their bills in themselves; `year` is the hospital's (people, bills), if any.
    """
    scenario = generated(SEED, people=year[0], bills=year[1]) if year else None
    state = fresh_state(state)
    with ExitStack() as held:
        his = held.enter_context(running_his(state / "his")) if scenario else None
        installation = held.enter_context(_Installation(state, scenario, his, payer))
        if his is not None and scenario is not None:
            told_before = [r for r in scenario.resources if r["resourceType"] != "Claim"]
            his.fill(told_before, lambda _count: None)
        stack = installation.stack
        stack.wait()
        if scenario is not None:
            stack.record_consents(HOSPITAL, scenario.consenting)
        intake = HandIn(state, stack.addresses["claims"], people, stack.identity("insurer_intake"))
        held.callback(intake.close)
        with Insurer(stack.addresses["claims"], stack.identity) as insurer:
            for plan in {PLAN, *(scenario.plans if scenario else ())}:
                insurer.publish(PLANS / f"{plan}.yaml")
            for policies in (*(scenario.policies if scenario else ()), intake.policies()):
                insurer.import_policies(policies, dry_run=False)
        yield Story(installation, intake, his, scenario)


class _Installation:
    """The supervisor's process, and how to start it again on the same state."""

    def __init__(self, state: Path, scenario: Scenario | None, his: His | None, payer: str) -> None:
        self._words = ["--state", str(state), "--payer", payer]
        self._environ = {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}",
            "LIPEI_PULL_INTERVAL_S": "3600",  # pulls are asked for
            # So that hundreds are between received and decided at a kill, not eight.
            "LIPEI_CLAIMS_MAX_IN_FLIGHT": "512",
        }
        if his is not None and scenario is not None:
            profiles = state / "profiles"
            profiles.mkdir()
            profile = f"{scenario.hospital}.yaml"
            (profiles / profile).write_bytes((PROFILES / profile).read_bytes())
            variable = scenario.hospital.upper().replace("-", "_")
            self._environ[f"LIPEI_HIS_BRIDGE_BASE_URL_{variable}"] = his.base_url
            self._words += ["--profiles", str(profiles)]
        self._state = state
        self._child = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._child.stop()

    @property
    def stack(self) -> Stack:
        """As the demo's tools know it."""
        return Stack(state=self._state, child=self._child)

    def kill_and_start_again(self) -> None:
        """SIGKILL of the supervisor, whose children the kernel ends; then a new one, ready."""
        children = json.loads((self._state / "processes.json").read_text()).values()
        pids = [int(entry["pid"]) for entry in children]
        self._child._process.kill()
        until(lambda: not self._child.running and not any(map(lives, pids)), look_every_s=0.02)
        self._child = self._started()
        mine = f"{self._child._process.pid}\n"
        ready = self._state / "ready"  # the killed one's, until its successor takes it away
        until(lambda: ready.exists() and ready.read_text() == mine)

    def _started(self) -> ForkedChild:
        return ForkedChild(
            "the installation",
            ["tests.fault.installation", *self._words],
            log=self._state / "logs" / "up.log",
            cwd=ROOT,
            environ=self._environ,
            grace_s=_STOP_S,
        )


def until(
    holds: Callable[[], bool], *, look_every_s: float = _LOOK_EVERY_S, longest_s: float = LONGEST_S
) -> None:
    """Wait for a state of things.

    Raises: TimeoutError when it does not come.
    """
    end = time.monotonic() + longest_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it did not come to that")
        time.sleep(look_every_s)


def now_us() -> int:
    """Microseconds since 1970, by the clock that the processes write."""
    return time.time_ns() // 1_000
