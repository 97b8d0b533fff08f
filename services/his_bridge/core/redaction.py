"""What must not leave the hospital inside a bill: the patient's names and numbers. Pure.

The bill's shape already has no place for a name. This is the second door: texts that are allowed
to travel are compared with what the patient's own record says, and with the forms that no public
text has (safe_harbour).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

from services.his_bridge.core.bill import Bill, Coding
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Person
from services.his_bridge.core.safe_harbour import identifies


def redact(bill: Bill, person: Person) -> tuple[Bill, tuple[Fault, ...]]:
    """The bill without displays that name the patient, and faults for what cannot be dropped.

    A display is only a convenience and is emptied. A bill number or a code that holds one of the
    patient's numbers or whole names cannot be changed without becoming another one: a fault.
    """
    secrets = (*person.telling, *person.name_parts)
    blob = plain("\x00".join(_all_texts(bill)))
    if not any(secret in blob for secret in secrets) and not any(
        map(identifies, filter(None, _displays(bill)))
    ):
        return bill, ()
    faults = tuple(
        Fault(reason=Reason.PERSONAL_DATA, path=path)
        for path, text in _fixed_texts(bill)
        if any(secret in plain(text) for secret in person.telling)
    )
    lines = tuple(
        msgspec.structs.replace(line, code=_without_display(line.code, secrets))
        for line in bill.lines
    )
    diagnoses = tuple(
        msgspec.structs.replace(entry, code=_without_display(entry.code, secrets))
        for entry in bill.diagnoses
    )
    return msgspec.structs.replace(bill, lines=lines, diagnoses=diagnoses), faults


def plain(text: str) -> str:
    """A text without letter case and full-width forms, for comparison."""
    return unicodedata.normalize("NFKC", text).casefold()


def _without_display(coding: Coding, secrets: Sequence[str]) -> Coding:
    display = plain(coding.display)
    if any(secret in display for secret in secrets) or identifies(coding.display):
        return Coding(system=coding.system, code=coding.code)
    return coding


def _all_texts(bill: Bill) -> Iterable[str]:
    """As `_fixed_texts` and `_displays`, without saying where."""
    yield bill.bill_number
    yield bill.provider_id
    for diagnosis in bill.diagnoses:
        yield diagnosis.code.code
        yield diagnosis.code.display
    for line in bill.lines:
        yield line.code.code
        yield line.code.display
        if line.local_code is not None:
            yield line.local_code.code


def _displays(bill: Bill) -> Iterable[str]:
    for diagnosis in bill.diagnoses:
        yield diagnosis.code.display
    for line in bill.lines:
        yield line.code.display


def _fixed_texts(bill: Bill) -> Iterable[tuple[str, str]]:
    yield "identifier", bill.bill_number
    yield "provider", bill.provider_id
    for diagnosis in bill.diagnoses:
        yield f"diagnosis[{diagnosis.number - 1}]", diagnosis.code.code
    for index, line in enumerate(bill.lines):
        yield f"item[{index}].productOrService", line.code.code
        if line.local_code is not None:
            yield f"item[{index}].productOrService", line.local_code.code
