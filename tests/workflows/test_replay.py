"""Recorded histories replay under today's workflows, in the sandbox, with a published key."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from services.common.temporal import names
from services.common.temporal.connection import CODEC_KEY_ID
from services.common.temporal.converter import data_converter
from tests.workflows.hasty import HastySettleClaim
from workflows.pull_bills import PullBills
from workflows.pull_readings import PullReadings
from workflows.relay_withdrawals import RelayWithdrawals
from workflows.run_payouts import RunPayouts
from workflows.settle_claim import SettleClaim

HISTORIES = Path(__file__).parents[1] / "histories"
# Folders hold what was recorded before a change of the story.
RECORDED = sorted(HISTORIES.rglob("*.json"))
NOW = sorted(HISTORIES.glob("*.json"))
KEY = bytes.fromhex((HISTORIES / "published_test.key").read_text().strip())
# What the SDK notes in clear: of a local activity names and times, of a patch its name.
MARKER = {
    "activation_index",
    "activity_id",
    "activity_type",
    "attempt",
    "backoff",
    "complete_time",
    "deprecated",
    "id",
    "original_schedule_time",
    "seq",
}
WORKFLOWS: list[type[Any]] = [SettleClaim, RunPayouts, PullBills, PullReadings, RelayWithdrawals]


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
    converter = data_converter({CODEC_KEY_ID: KEY}, CODEC_KEY_ID)
    await Replayer(workflows=workflows, data_converter=converter).replay_workflow(history)


def test_every_workflow_has_a_recorded_history() -> None:
    recorded = {path.name.rpartition("-")[0] for path in NOW}
    assert recorded == {
        names.SETTLE_CLAIM,
        names.RUN_PAYOUTS,
        names.PULL_BILLS,
        names.PULL_READINGS,
        names.RELAY_WITHDRAWALS,
    }


@pytest.mark.parametrize("path", RECORDED, ids=name_of)
def test_a_recorded_history_replays(path: Path) -> None:
    replayed(path, *WORKFLOWS)


def test_claims_of_both_stories_are_replayed() -> None:
    """A claim takes one step now; one that was begun with three goes on with three."""
    before = [path for path in RECORDED if path.parent.name == "before-one-step"]
    assert before
    for path in before:
        assert steps_in(path) == ["RegisterClaim", "AdjudicateClaim", "ReleasePayment"]
    claims = [path for path in NOW if path.name.startswith(names.SETTLE_CLAIM)]
    assert claims
    for path in claims:
        assert steps_in(path) == ["AdjudicateClaim"]


def test_a_changed_story_does_not_replay() -> None:
    with pytest.raises(NondeterminismError):
        replayed(HISTORIES / "SettleClaim-0.json", HastySettleClaim)


@pytest.mark.parametrize("path", RECORDED, ids=name_of)
def test_a_history_holds_no_readable_payload_and_no_telling_id(path: Path) -> None:
    recorded = json.loads(path.read_text())
    assert re.fullmatch(
        r"(claims/[0-9a-f]{32}|payouts/main|pull-(bills|readings|withdrawals)/.+)",
        recorded["workflow_id"],
    )
    payloads = list(_payloads(recorded["history"]))
    assert payloads
    for payload in payloads:
        encoding = base64.b64decode(payload["metadata"]["encoding"])
        if encoding == b"json/plain":
            assert json.loads(base64.b64decode(payload["data"])).keys() <= MARKER
            continue
        assert encoding == b"binary/lipei-aes-gcm"
        for telling in (b"policies/", b"hospitals/", b"CNY", b"CLAIM_STATE"):
            assert telling not in base64.b64decode(payload["data"])


def _payloads(node: Any) -> Any:
    if isinstance(node, dict):
        if "metadata" in node and "data" in node:
            yield node
        for key, child in node.items():
            if key == "searchAttributes":  # never encrypted: only Temporal's own may stand there
                assert all(name.startswith("Temporal") for name in child["indexedFields"])
            else:
                yield from _payloads(child)
    if isinstance(node, list):
        for child in node:
            yield from _payloads(child)
