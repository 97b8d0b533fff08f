"""`lipei medication record`: what members were handed out or took from a pill box."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from stack.commands.calling import CALL_S, calling, content_of, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import print_json, say
from stack.commands.recording_lines import record_lines

app = typer.Typer(no_args_is_help=True, help="Medication: fills and pill boxes.")


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

    Goes in batches of 1,000 events, each recorded whole or not at all; every fault of every line is
    told at once. Where a line is no such JSON, nothing is recorded.
    """
    content = sys.stdin.buffer.read() if file == "-" else content_of(Path(file))

    def call(events: Sequence[pb.MedicationEvent], judge: bool) -> pb.RecordMedicationResponse:
        request = pb.RecordMedicationRequest(
            request_id=fresh_request_id(), events=events, validate_only=judge
        )
        with calling(state, "pricing", "partner") as channel:
            return PricingServiceStub(channel).RecordMedication(request, timeout=CALL_S)

    whole = pb.RecordMedicationResponse()
    for answer in record_lines(content, file, pb.MedicationEvent, call):
        whole.recorded_count += answer.recorded_count
        whole.known_count += answer.known_count
    if as_json:
        print_json(whole)
    else:
        say(f"{whole.recorded_count} recorded, {whole.known_count} known")
