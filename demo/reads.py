"""Sensitive reads of a run, counted two ways: at the databases, and as leaves of the logs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from demo.stack import Stack
from demo.wire import pages
from lipei.evidence.v1 import evidence_pb2
from lipei.evidence.v1.evidence_pb2_grpc import EvidenceServiceStub
from services.common.access.read_tally import tally_file
from services.common.evidence.access_read import AccessRead
from services.common.evidence.compared import Compared, compared, fetched_in
from services.common.evidence.leaf import read_of
from services.common.transport.channels import sync_channel

_LOGS = ("claims", "his_bridge", "pricing")
_PAGE = 1_000
# Workers go on asking: what is fetched a moment before its leaf is written is not a difference.
_SETTLES_S, _PAUSE_S = 60.0, 0.5


def counted(stack: Stack) -> Compared:
    """Both numbers, as soon as they agree, or as they stand after a minute.

    Raises: CallRefused; LeafRefused for a log that holds something else.
    """
    until = time.monotonic() + _SETTLES_S
    while True:
        fetched = [one for log in _LOGS for one in fetched_in(tally_file(stack.state, log))]
        found = compared(fetched, (leaf for log in _LOGS for leaf in _leaves(stack, log)))
        if not found.differing or time.monotonic() > until:
            return found
        time.sleep(_PAUSE_S)


def _leaves(stack: Stack, log: str) -> Iterator[AccessRead]:
    channel = sync_channel(stack.addresses[log], stack.identity("auditor"), log)
    with contextlib.closing(channel):
        request = evidence_pb2.ListLeavesRequest(page_size=_PAGE)
        list_leaves = EvidenceServiceStub(channel).ListLeaves
        for page in pages(list_leaves, request, what=f"listing the leaves of {log}"):
            for leaf in page.leaves:
                yield read_of(leaf.body.encode())
