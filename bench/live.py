"""The real stack as the live measures use it: `lipei up` with its own Temporal server and bank."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from bench import bills
from bench.processes import memory_mib, processes_of
from bench.rows import Report, Sizes
from demo.his import His, running_his
from demo.insurer import Insurer
from demo.processes import Child
from demo.scenario import ROOT, Scenario, generated
from demo.stack import Stack, fresh_state, started_stack
from services.common.identity import member_token
from services.common.settings import member_token_key_file, member_token_key_version
from services.common.state import load_or_make_key

HOSPITAL = "demo-hospital"
PEOPLE, SEED = 50, 20250101
# Nobody listens there: a stack whose hospital is never asked needs no hospital.
_NO_HIS = "http://127.0.0.1:9/fhir"


@dataclass(frozen=True, kw_only=True)
class Live:
    """A stack that is ready, with everybody insured; `take` hands out unused people."""

    stack: Stack
    processes: dict[str, int]
    his: His | None
    his_bills: int
    floor_worker: Child
    token: bills.Token
    take: Callable[[int], range]

    @property
    def target(self) -> Callable[[str], str]:
        """Name → address of a part of the stack."""
        return self.stack.addresses.__getitem__


@contextmanager
def live_stack(report: Report, sizes: Sizes, *, hospital: bool, claims: bool) -> Iterator[Live]:
    """A stack, ready; with `hospital` a filled FHIR server, with `claims` people to take.

    Notes every process's memory, idle and after all that was measured. Everything is stopped at the
    end, whatever happens.
    """
    state = fresh_state(report.out / "state")
    with ExitStack() as parts:
        his = parts.enter_context(running_his(state / "his")) if hospital else None
        url = his.base_url if his else _NO_HIS
        stack = parts.enter_context(started_stack(state, HOSPITAL, url))
        year = generated(SEED, people=PEOPLE, bills=sizes.bills) if his else None
        his_bills = _filled(his, year) if his and year else 0
        stack.wait()
        if year:
            stack.record_consents(HOSPITAL, year.consenting)
        processes = processes_of(state, stack.child.pid)
        for name, pid in processes.items():
            report.processes[name] = {"rss_mib_idle": round(memory_mib(pid)[0], 1)}
        command = [sys.executable, "-m", "bench.floor", "--target", stack.addresses["temporal"]]
        worker = Child("the floor's worker", command, log=state / "logs" / "floor.log", cwd=ROOT)
        parts.enter_context(worker)
        if claims:
            _insure(stack, sizes.claims)
        key = load_or_make_key(member_token_key_file(state))
        yield Live(
            stack=stack,
            processes=processes,
            his=his,
            his_bills=his_bills,
            floor_worker=worker,
            token=partial(member_token, key=key, key_version=member_token_key_version()),
            take=_taker(),
        )
        for name, pid in processes.items():
            now, peak = memory_mib(pid)
            report.processes[name] |= {"rss_mib_loaded": round(now, 1), "peak_mib": round(peak, 1)}


def _filled(his: His, year: Scenario) -> int:
    """Fill the hospital; how many Claims it then holds."""
    his.fill(year.resources, lambda _more: None)
    return his.count("Claim")


def _insure(stack: Stack, people: int) -> None:
    with Insurer(stack.addresses["claims"], stack.identity) as insurer:
        insurer.publish(bills.PLAN)
        for some in bills.policies(people):
            insurer.import_policies(some, dry_run=False)


def _taker() -> Callable[[int], range]:
    taken = 0

    def take(count: int) -> range:
        nonlocal taken
        taken += count
        return range(taken - count, taken)

    return take
