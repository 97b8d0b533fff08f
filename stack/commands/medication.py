"""`lipei medication record`: what members were handed out or took from a pill box."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import Parse, ParseError

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from stack.commands.calling import CALL_S, Failed, calling, content_of, fresh_request_id
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
    events = _parsed(content, file)
    whole = pb.RecordMedicationResponse()
    for start in range(0, len(events), _BATCH):
        request = pb.RecordMedicationRequest(
            request_id=fresh_request_id(), events=events[start : start + _BATCH]
        )
        with calling(state, "pricing", "partner") as channel:
            answer = PricingServiceStub(channel).RecordMedication(request, timeout=CALL_S)
        whole.recorded_count += answer.recorded_count
        whole.known_count += answer.known_count
    if as_json:
        print_json(whole)
    else:
        say(f"{whole.recorded_count} recorded, {whole.known_count} known")


def _parsed(content: bytes, source: str) -> list[pb.MedicationEvent]:
    """Every line that is not empty as an event.

    Raises: Failed naming every line that is none, without what stands in it.
    """
    found: list[pb.MedicationEvent] = []
    faults = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(Parse(line.decode("utf-8"), pb.MedicationEvent()))
        except (ParseError, UnicodeDecodeError):
            faults.append(f"{source}:{number}: is no lipei.pricing.v1.MedicationEvent in JSON")
    if faults:
        raise Failed(*faults)
    return found
