"""What build/demo/truth.json holds: what must come of the run, written before the stack starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demo.hospital.hospital import Hospital
from demo.hospital.months import Participant
from demo.hospital.truth import Expectation


def write_truth(path: Path, hospital: Hospital) -> None:
    """Write the expectation of every bill and of every programme member; amounts in fen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "seed": hospital.seed,
        "bills": [_bill(one) for one in hospital.truth],
        "participants": [_participant(one, hospital) for one in hospital.participants],
    }
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _bill(one: Expectation) -> dict[str, Any]:
    return {
        "bill_number": one.bill_number,
        "planted": one.planted.name.lower(),
        "end": one.end.value,
        "reason": one.reason,
        "benefit_minor_units": one.benefit_fen,
        "paid_minor_units": one.paid_fen,
        "refused_lines": {str(number): reason for number, reason in one.refused_lines.items()},
    }


def _participant(one: Participant, hospital: Hospital) -> dict[str, Any]:
    return {
        "person": one.person.key,
        "programme": one.programme,
        "course": hospital.record.courses[one.person.key].value,
        "months": {f"{year}-{month:02d}": result.value for (year, month), result in one.months},
        "run_months": one.run,
        "share": str(one.share),
    }
