"""Recorded histories replay under today's workflows, in the sandbox, with a published key."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from services.common.temporal import names
from services.common.temporal.codec_keys import KeyFile
from services.common.temporal.converter import data_converter
from tests.histories.clear_text import telling
from tests.workflows.hasty import HastySettleClaim
from workflows.adjust_claim import AdjustClaim
from workflows.await_papers import AwaitPapers
from workflows.pull_bills import PullBills
from workflows.pull_readings import PullReadings
from workflows.relay_withdrawals import RelayWithdrawals
from workflows.renew_book import RenewBook
from workflows.run_payouts import RunPayouts
from workflows.settle_claim import SettleClaim

HISTORIES = Path(__file__).parents[1] / "histories"
# Folders hold what was recorded before a change of the story; there is none yet.
RECORDED = sorted(HISTORIES.rglob("*.json"))
KEY_FILE = HISTORIES / "published_test.key"
WORKFLOWS: list[type[Any]] = [
    *(SettleClaim, RunPayouts, AwaitPapers, AdjustClaim),
    *(PullBills, PullReadings, RelayWithdrawals, RenewBook),
]


def name_of(path: Path) -> str:
    return path.relative_to(HISTORIES).with_suffix("").as_posix()


def steps_in(path: Path) -> list[str]:
    """The activities of a history in order; each leaves a marker with its type."""
    history = json.loads(path.read_text())["history"]
    told = [
        json.loads(base64.b64decode(payload["data"]))
        for payload in _payloads(history)
        if base64.b64decode(payload["metadata"]["encoding"]) == b"json/plain"
    ]
    return [note["activity_type"] for note in told if "activity_type" in note]


def replayed(path: Path, *workflows: type[Any]) -> None:
    recorded = json.loads(path.read_text())
    history = WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"])
    asyncio.run(_replay(history, workflows))


async def _replay(history: WorkflowHistory, workflows: Sequence[type[Any]]) -> None:
    # Payloads are bound to their namespace, which a history does not tell.
    replayer = Replayer(
        workflows=workflows, data_converter=data_converter(KeyFile(KEY_FILE)), namespace="default"
    )
    await replayer.replay_workflow(history)


def test_every_workflow_has_a_recorded_history() -> None:
    recorded = {path.name.rpartition("-")[0] for path in RECORDED}
    assert recorded == {
        names.SETTLE_CLAIM,
        names.RUN_PAYOUTS,
        names.AWAIT_PAPERS,
        names.ADJUST_CLAIM,
        names.PULL_BILLS,
        names.PULL_READINGS,
        names.RELAY_WITHDRAWALS,
        names.RENEW_BOOK,
    }


@pytest.mark.parametrize("path", RECORDED, ids=name_of)
def test_a_recorded_history_replays(path: Path) -> None:
    replayed(path, *WORKFLOWS)


def test_a_claim_takes_one_step() -> None:
    claims = [path for path in RECORDED if path.name.startswith(names.SETTLE_CLAIM)]
    assert claims
    for path in claims:
        assert steps_in(path) == ["AdjudicateClaim"]


def test_a_changed_story_does_not_replay() -> None:
    with pytest.raises(NondeterminismError):
        replayed(HISTORIES / "SettleClaim-0.json", HastySettleClaim)


@pytest.mark.parametrize("path", RECORDED, ids=name_of)
def test_a_history_holds_nothing_in_clear_but_what_is_listed(path: Path) -> None:
    recorded = json.loads(path.read_text())
    assert list(_payloads(recorded["history"]))
    assert telling([recorded["history"], {"workflowId": recorded["workflow_id"]}]) == []


def planted(**event: Any) -> Any:
    """A recorded history with one more event."""
    history = json.loads((HISTORIES / "SettleClaim-0.json").read_text())["history"]
    history["events"].append(event)
    return history


def clear(encoding: bytes, data: bytes) -> dict[str, Any]:
    metadata = {"encoding": base64.b64encode(encoding).decode()}
    return {"metadata": metadata, "data": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    "event",
    [
        {"workflowId": "claims/zhangsan"},
        {"workflowId": "claims/110101199003070020"},
        {"id": "policies/p-1/claims/1"},
        {"message": "cannot pay 6222020200112233445"},
        {"failure": {"stackTrace": "File story.py"}},
        {"taskId": "13812345678"},
        {"updateId": "a request of mine"},
        {"identity": "张三@ward"},
        {"newField": "E11.9"},
        {"memo": {"fields": {"name": clear(b"json/plain", b'"x"')}}},
        {"input": {"payloads": [clear(b"binary/protobuf", b"x")]}},
        {"searchAttributes": {"indexedFields": {"Member": clear(b"json/plain", b'"x"')}}},
        {"markerRecordedEventAttributes": {"d": clear(b"json/plain", b'{"activity_id": "4 4"}')}},
        {"markerRecordedEventAttributes": {"d": clear(b"json/plain", b'{"name": 1}')}},
    ],
)
def test_the_list_lets_nothing_else_stand_in_clear(event: dict[str, Any]) -> None:
    assert len(telling(planted(**event))) == 1


def _payloads(node: Any) -> Any:
    if isinstance(node, dict):
        if "metadata" in node and "data" in node:
            yield node
        for key, child in node.items():
            if key != "searchAttributes":
                yield from _payloads(child)
    if isinstance(node, list):
        for child in node:
            yield from _payloads(child)
