"""Record histories anew: `python -m tests.histories.record [WORKFLOW ...]`, all without a name.

Overwrites the old ones of the workflows named. Runs a small hospital on the real stack with a
published test key, so that the replays can read the encrypted payloads. Recording is a command of
its own: a history that no longer replays means that running claims would break too, and is mended
in the workflow (workflow.patched), not here.

Before recording anew after such a change, move the old histories into a folder `before-{patch}`:
they are replayed too, as long as claims of that time may run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from temporalio.client import Client

from demo.his import running_his
from demo.insurer import MOVING, Insurer
from demo.scenario import PLANS, generated
from demo.stack import Stack, fresh_state, started_stack
from lipei.claims.v1.settlement_pb2 import AdjustClaimWork, AwaitPapersWork
from lipei.his_bridge.v1 import consent_pb2
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceStub
from services.common.temporal import names
from services.common.temporal.connection import connect
from services.common.temporal.schedules import trigger_pull
from services.common.transport.channels import sync_channel

HERE = Path(__file__).parent
# Published on purpose: it protects nothing but these recordings.
KEY_FILE = HERE / "published_test.key"
PEOPLE, BILLS, SEED = 20, 40, 7
_WAIT_S = 90.0
# Enough to hold each kind: paid, closed at zero, denied, pended, and one that waited its turn.
_MOST_OF_A_KIND = 6


def main() -> None:
    """Run, fetch, write."""
    os.environ["LIPEI_TEMPORAL_CODEC_KEY_FILE"] = str(KEY_FILE)
    scenario = generated(SEED, people=PEOPLE, bills=BILLS)
    with tempfile.TemporaryDirectory(prefix="lipei-record-") as folder:
        state = fresh_state(Path(folder) / "state")
        with (
            running_his(state / "his") as his,
            started_stack(state, scenario.hospital, his.base_url) as stack,
        ):
            his.fill(scenario.resources, lambda _count: None)
            stack.wait()
            with Insurer(stack.addresses["claims"], stack.identity) as insurer:
                for plan in scenario.plans:
                    insurer.publish(PLANS / f"{plan}.yaml")
                for policies in scenario.policies:
                    insurer.import_policies(policies, dry_run=False)
                stack.record_consents(scenario.hospital, scenario.consenting)
                stack.start_pull(scenario.hospital)
                _wait(insurer, scenario.expected.claims)
                name = next(claim.name for claim in insurer.claims() if claim.paid.minor_units)
            _withdraw(stack, scenario.hospital)
            asyncio.run(_fetch(state, scenario.hospital, name, frozenset(sys.argv[1:])))


def _wait(insurer: Insurer, expected: int) -> None:
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        claims = insurer.claims(anew=True)
        if len(claims) >= expected and not any(claim.state in MOVING for claim in claims):
            time.sleep(5)  # the payout run notices that nothing is left
            return
        time.sleep(0.5)
    raise TimeoutError("the small hospital did not come to rest")


def _withdraw(stack: Stack, hospital: str) -> None:
    """One person withdraws everything, so that there is something to tell the insurer."""
    office = stack.identity("hospital_records", hospital)
    bridge = sync_channel(stack.addresses["his_bridge"], office, "his_bridge")
    with contextlib.closing(bridge) as channel:
        register = ConsentServiceStub(channel)
        listing = consent_pb2.ListConsentsRequest(parent=f"hospitals/{hospital}", page_size=1)
        (first,) = register.ListConsents(listing).consents
        listing.member_token = first.member_token
        listing.page_size = 10
        for consent in register.ListConsents(listing).consents:
            request = consent_pb2.WithdrawConsentRequest(
                name=consent.name, request_id=f"record-{consent.purpose}"
            )
            register.WithdrawConsent(request)


async def _awaited(client: Client, claim: str) -> None:
    """A wait for papers that rings at once; the others wait for two years."""
    work = AwaitPapersWork(name=claim)
    work.due_time.GetCurrentTime()
    work.due_time.seconds += 1
    # Ours by its number: claims counts from 1.
    name = names.await_papers_id(claim.rpartition("/")[2], 0)
    await client.execute_workflow(names.AWAIT_PAPERS, work, id=name, task_queue=names.CLAIMS_QUEUE)


async def _adjusted(client: Client, claim: str) -> None:
    """A correction that has taken effect already, by its number: claims counts from 1."""
    work, name = AdjustClaimWork(name=claim), names.adjust_claim_id(claim.rpartition("/")[2], 0)
    await client.execute_workflow(names.ADJUST_CLAIM, work, id=name, task_queue=names.CLAIMS_QUEUE)


async def _fetch(state: Path, hospital: str, claim: str, wanted: frozenset[str]) -> None:
    client = await connect(state)
    await _awaited(client, claim)
    await _adjusted(client, claim)
    # Two runs for the readings, so that the second one goes on where the first one ended.
    await _pulled(client, state, hospital, "readings", runs=2)
    await _pulled(client, state, hospital, "withdrawals", runs=1)
    kept: dict[str, int] = {}
    for old in HERE.glob("*.json"):
        if not wanted or old.stem.rpartition("-")[0] in wanted:
            old.unlink()
    async for execution in client.list_workflows():
        kind = execution.workflow_type
        if wanted and kind not in wanted:
            continue
        number = kept.get(kind, 0)
        if number < _MOST_OF_A_KIND and execution.close_time is not None:
            await write_history(client, execution.id, execution.run_id, f"{kind}-{number}")
            kept[kind] = number + 1
    sys.stdout.write(f"{kept}\n")


async def _pulled(
    client: Client, state: Path, hospital: str, channel: names.Channel, *, runs: int
) -> None:
    schedule = client.get_schedule_handle(names.pull_schedule_id(hospital, channel))
    for run in range(runs):
        await trigger_pull(state, hospital, channel)
        until = time.monotonic() + _WAIT_S
        while True:
            info = (await schedule.describe()).info
            if len(info.recent_actions) > run and not info.running_actions:
                break
            if time.monotonic() > until:
                raise TimeoutError(f"the {channel} were not pulled")
            await asyncio.sleep(0.2)


async def write_history(client: Client, workflow_id: str, run_id: str, name: str) -> None:
    """Write one history below its name; an empty run_id is the last run."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id or None)
    history = await handle.fetch_history()
    events = json.loads(history.to_json())
    text = json.dumps({"workflow_id": workflow_id, "history": events}, indent=1, sort_keys=True)
    (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
