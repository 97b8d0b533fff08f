"""`lipei medication record`: what members were handed out or took from a pill box."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from stack.commands.calling import (
    CALL_S,
    CallFailed,
    Failed,
    calling,
    content_of,
    fresh_request_id,
)
from stack.commands.json_lines import by_line, messages_of
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import print_json, say

app = typer.Typer(no_args_is_help=True, help="Medication: fills and pill boxes.")

_BATCH = 1_000


@app.callback()
def medication() -> None:
    """Medication: fills and pill boxes."""


@app.command()
def record(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help='One event a line as JSON; "-" reads stdin.')
    ],
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Record lines of lipei.pricing.v1.MedicationEvent as JSON. Twice the same changes nothing.

    Goes in batches of 1,000 events, each recorded whole or not at all.
    """
    content = sys.stdin.buffer.read() if file == "-" else content_of(Path(file))
    events = messages_of(content, file, pb.MedicationEvent)
    whole = pb.RecordMedicationResponse()
    for start in range(0, len(events), _BATCH):
        batch = events[start : start + _BATCH]
        request = pb.RecordMedicationRequest(
            request_id=fresh_request_id(), events=[event for _, event in batch]
        )
        try:
            with calling(state, "pricing", "partner") as channel:
                answer = PricingServiceStub(channel).RecordMedication(request, timeout=CALL_S)
        except CallFailed as failed:
            told = f"the {start} events before were recorded, none from here on"
            raise Failed(*by_line(failed, batch), *([told] if start else [])) from None
        whole.recorded_count += answer.recorded_count
        whole.known_count += answer.known_count
    if as_json:
        print_json(whole)
    else:
        say(f"{whole.recorded_count} recorded, {whole.known_count} known")
