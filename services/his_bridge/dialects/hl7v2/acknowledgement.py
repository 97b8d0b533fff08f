"""The answer to a message: MSH with sender and receiver exchanged, MSA, and an ERR for each reason.

Nothing of the message comes back but what its own sender needs to know it again: MSH fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from services.his_bridge.dialects.hl7v2.message import Delimiters, Header
from services.his_bridge.dialects.hl7v2.refusals import Denial, may_mend

_USUAL = Header(Delimiters("|", "^", "~", "\\", "&"), ("MSH", "|", "^~\\&"))
# A trigger event. Whatever else stands there may be anything, a person's name too.
_EVENT = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
# Before 2.5 an ERR has one field: where, and what.
_NEW_ERR = 2.5
_ALWAYS, _NEVER, _ON_ERROR, _ON_SUCCESS = "AL", "NE", "ER", "SU"


class Mode(Enum):
    """Which acknowledgement a sender asked for, by MSH-15 and MSH-16."""

    ORIGINAL = "A"
    ENHANCED = "C"


def mode_of(header: Header) -> Mode:
    """Without MSH-15 and MSH-16, or with "never" and "always", it is the original mode."""
    accept, application = header.part(15), header.part(16)
    if accept in ("", _NEVER) and application in ("", _ALWAYS):
        return Mode.ORIGINAL
    return Mode.ENHANCED


def is_wanted(header: Header | None, denials: Sequence[Denial]) -> bool:
    """Whether the sender wants to be answered; in the original mode always."""
    if header is None or mode_of(header) is Mode.ORIGINAL:
        return True
    accept = header.part(15)
    return accept in (_ALWAYS, _ON_ERROR if denials else _ON_SUCCESS)


def acknowledgement(
    header: Header | None,
    denials: Sequence[Denial],
    *,
    charset: str,
    control_id: str,
    now: datetime,
) -> bytes:
    """The answer in the message's charset and delimiters: accepted when nothing stands against it.

    Without a header the answer names no message; the sender knows by the order of the answers.
    """
    header = header or _USUAL
    d = header.delimiters
    separator = d.field
    mode = mode_of(header).value
    letter = "A" if not denials else "E" if may_mend(denials) else "R"
    version = header.field(12)
    named = header.part(9, 2)
    event = named if _EVENT.fullmatch(named) else ""
    kind = d.component.join(["ACK", event]) if event else "ACK"
    if event and _number(version) >= _NEW_ERR:
        kind += f"{d.component}ACK"
    fields = [
        header.fields[2],
        header.field(5),
        header.field(6),
        header.field(3),
        header.field(4),
        now.strftime("%Y%m%d%H%M%S%z"),
        "",
        kind,
        control_id,
        header.field(11) or "P",
        version or "2.5.1",
    ]
    charset_named = header.field(18)
    if charset_named:
        fields += ["", "", "", "", "", charset_named]
    lines = ["MSH" + separator + separator.join(fields)]
    lines.append(separator.join(["MSA", f"{mode}{letter}", header.field(10)]))
    if denials and _number(version) < _NEW_ERR:
        lines[-1] += separator + denials[0].refusal
    lines += [_err(denial, d, version) for denial in denials]
    return ("\r".join(lines) + "\r").encode(charset, "surrogateescape")


def _err(denial: Denial, d: Delimiters, version: str) -> str:
    place, terms = denial.place, denial.terms
    where = [place.segment, "1", str(place.field)] if place.field else [place.segment, "1"]
    if not place.segment:
        where = []
    if _number(version) < _NEW_ERR:
        code = d.subcomponent.join([terms.code, terms.code_text])
        padded = [*where, "", "", ""][:3]
        return d.field.join(["ERR", d.component.join([*padded, code])])
    return d.field.join(
        [
            "ERR",
            "",
            d.component.join(where),
            d.component.join([terms.code, terms.code_text, "HL70357"]),
            "E",
            denial.refusal,
            "",
            "",
            terms.text,
        ]
    )


def _number(version: str) -> float:
    """2.5 of "2.5.1"; what is no version counts as a new one."""
    head = ".".join(version.split(".")[:2])
    try:
        return float(head)
    except ValueError:
        return _NEW_ERR
