"""FT1 and DG1 as lines and diagnoses, as written. Adds nothing up and maps no code."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from services.his_bridge.core.faults import Reason
from services.his_bridge.core.hl7v2_terms import (
    ChargeKind,
    CreditNames,
    ExtendedAmount,
    Hl7v2Terms,
)
from services.his_bridge.core.parsed import Concept, LocalCoding, ParsedDiagnosis, ParsedLine
from services.his_bridge.core.terms import Principal, SourceTerms
from services.his_bridge.dialects.hl7v2.message import Segment
from services.his_bridge.dialects.hl7v2.values import Findings, path_of

QUANTITY_PLACES = 4
UNIT_PRICE_PLACES = 6
NET_PLACES = 6  # finer than a coin is a fault of the balance, with its own reason
_ONCE = Decimal(1)  # a charge without quantity happened once
_DELETED = "D"  # DG1-21: the sender takes the diagnosis out of its list


class Diagnoses:
    """The diagnoses of one message: those of DG1, then those that only a charge names."""

    def __init__(
        self, segments: Sequence[Segment], findings: Findings, terms: SourceTerms, own: Hl7v2Terms
    ) -> None:
        self._findings = findings
        self._own = own
        self._first_is_principal = terms.principal is Principal.FIRST
        self._found: list[ParsedDiagnosis] = []
        self._numbers: dict[tuple[str, str], int] = {}
        # What charges have written in FT1-19: most of a message's write the same.
        self._named: dict[str, tuple[int, ...]] = {}
        for segment in segments:
            if findings.text(segment, 21) != _DELETED:
                self._add_segment(segment)

    def numbers_of(self, charge: Segment) -> tuple[int, ...]:
        """The numbers of the diagnoses that a charge names in FT1-19."""
        written_all = charge.field(19)
        if not written_all:
            return ()
        named = self._named.get(written_all)
        if named is not None:
            return named
        numbers: list[int] = []
        faults = len(self._findings.faults)
        for written in charge.repetitions(19):
            codings = self._findings.codings(charge, written, 19, self._own.diagnosis_system)
            if codings:
                numbers.append(self._number_of(codings, charge, 19))
        found = tuple(dict.fromkeys(numbers))
        if len(self._findings.faults) == faults:  # each charge names its own faults
            self._named[written_all] = found
        return found

    def all(self) -> tuple[ParsedDiagnosis, ...]:
        """All of them, numbered from 1."""
        found = tuple(self._found)
        if found and self._first_is_principal and not any(one.principal for one in found):
            return (msgspec.structs.replace(found[0], principal=True), *found[1:])
        return found

    def _add_segment(self, segment: Segment) -> None:
        findings, own = self._findings, self._own
        # Until 2.3 the coding system stood beside the code, in DG1-2.
        method = findings.text(segment, 2)
        usual = own.systems.get(method, method) or own.diagnosis_system
        concept = findings.concept(segment, 3, usual)
        if not concept.codings:
            findings.add(Reason.CODE_MISSING, path_of(segment, 3))
            return
        number = self._number_of(concept.codings, segment, 3)
        if findings.text(segment, 15) == "1":
            at = number - 1
            self._found[at] = msgspec.structs.replace(self._found[at], principal=True)

    def _number_of(self, codings: Sequence[LocalCoding], segment: Segment, field: int) -> int:
        keys = [(coding.system, coding.code) for coding in codings]
        known = next((self._numbers[key] for key in keys if key in self._numbers), 0)
        if not known:
            known = len(self._found) + 1
            concept = Concept(codings=tuple(codings), path=path_of(segment, field))
            self._found.append(ParsedDiagnosis(number=known, principal=False, concept=concept))
        for key in keys:
            self._numbers.setdefault(key, known)
        return known


def read_lines(
    charges: Sequence[Segment],
    diagnoses: Diagnoses,
    findings: Findings,
    terms: SourceTerms,
    own: Hl7v2Terms,
) -> tuple[ParsedLine, ...]:
    """The lines of all charges and credits in their order; payments are none."""
    lines: list[ParsedLine] = []
    for segment in charges:
        named = findings.text(segment, 6)
        kind = own.transaction_types.get(named)
        if kind is None:
            findings.add(Reason.TRANSACTION_TYPE_UNKNOWN, path_of(segment, 6))
        elif kind is not ChargeKind.LEAVE_OUT:
            number = len(lines) + 1
            lines.append(_line(segment, number, kind, diagnoses, findings, terms, own))
    return tuple(lines)


def _line(
    segment: Segment,
    number: int,
    kind: ChargeKind,
    diagnoses: Diagnoses,
    findings: Findings,
    terms: SourceTerms,
    own: Hl7v2Terms,
) -> ParsedLine:
    quantity: Decimal | None = _ONCE
    written = findings.text(segment, 10)
    if written:
        quantity = findings.decimal(segment, 10, written, places=QUANTITY_PLACES)
    net = findings.money(segment, 11, terms.currency, places=NET_PLACES)
    price = findings.money(segment, 12, terms.currency, places=UNIT_PRICE_PLACES)
    if own.extended_amount is ExtendedAmount.UNIT_PRICE:
        net, price = None, net if price is None else price
    line_id = findings.text(segment, 2)
    reverses = ""
    if kind is ChargeKind.CREDIT or (quantity is not None and quantity < 0):
        line_id, reverses = _names(segment, line_id, findings, own)
        quantity = None if quantity is None or not reverses else -abs(quantity)
        price = None if price is None else abs(price)
        net = None if net is None else -abs(net)
    else:
        net = _not_negative(segment, 11, net, findings)
        price = _not_negative(segment, 12, price, findings)
    if quantity is not None and not quantity:
        findings.add(Reason.QUANTITY_NOT_POSITIVE, path_of(segment, 10))
        quantity = None
    return ParsedLine(
        path=f"FT1[{segment.number}]",
        number=number,
        concept=_code_of(segment, findings, own),
        quantity=quantity,
        unit_price=price,
        net=net,
        states_amount=segment.states(11) or segment.states(12),
        service_time=findings.moment(segment, 4, terms.zone),
        diagnosis_numbers=diagnoses.numbers_of(segment),
        line_id=line_id,
        reverses_line=reverses,
    )


def _names(segment: Segment, line_id: str, findings: Findings, own: Hl7v2Terms) -> tuple[str, str]:
    """A credit's own id, and that of the charge which it takes back.

    However the source writes it: sources put the sign at the type, the quantity, the amount or
    all of them.
    """
    if own.credit_names is CreditNames.TRANSACTION_ID:
        field, line_id, reverses = 2, "", line_id
    else:
        field, reverses = 31, findings.text(segment, 31)
    if not reverses:
        findings.add(Reason.CREDIT_WITHOUT_CHARGE, path_of(segment, field))
    return line_id, reverses


def _code_of(segment: Segment, findings: Findings, own: Hl7v2Terms) -> Concept:
    """What was charged: the transaction's code, then the procedure's, then the drug's."""
    codings: tuple[LocalCoding, ...] = ()
    for field in (7, 25, 29):
        if segment.field(field) and segment.states(field):
            written = segment.repetitions(field)[0]
            codings += findings.codings(segment, written, field, own.line_system)
    return Concept(codings=codings, path=path_of(segment, 7))


def _not_negative(
    segment: Segment, field: int, amount: Decimal | None, findings: Findings
) -> Decimal | None:
    if amount is not None and amount < 0:
        findings.add(Reason.NEGATIVE_AMOUNT, path_of(segment, field))
        return None
    return amount
