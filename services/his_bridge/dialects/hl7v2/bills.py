"""HL7 v2's charges, updates and merges behind the dialects' port: what each says of a bill.

A DFT adds its charges to the bill of its account or visit, or is a bill of its own; an update adds
what it knows of diagnoses and days; a closing message ends what was added; a merge says which two
numbers are one. The patient becomes a token here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from services.his_bridge.core import hl7v2_terms as kinds
from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.bill import Bill, CareType
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Fault, Reason, in_order
from services.his_bridge.core.hl7v2_terms import BillBy, TotalFrom
from services.his_bridge.core.intake import Held, part_of_bill
from services.his_bridge.core.outcomes import (
    BillHappened,
    KeptOut,
    Merged,
    MergeLevel,
    Outcome,
    SetAside,
)
from services.his_bridge.core.parsed import ParsedBill, ParsedLine, Person
from services.his_bridge.dialects.hl7v2.admission import (
    KIND,
    Hl7Reading,
    bill_id_of,
    is_kept_out,
    merge_at,
    merge_field,
    merges_of,
    says_anything,
    type_of,
)
from services.his_bridge.dialects.hl7v2.charges import NET_PLACES, Diagnoses, read_lines
from services.his_bridge.dialects.hl7v2.message import Message, Segment
from services.his_bridge.dialects.hl7v2.person import identity_of, read_person
from services.his_bridge.dialects.hl7v2.refusals import Refusal, Refused
from services.his_bridge.dialects.hl7v2.values import Findings, moment_of, path_of
from services.his_bridge.dialects.port import Glance, Key, Tokens
from services.his_bridge.dialects.pseudonym import pseudonym

_REASONS: Mapping[Refusal, Reason] = {
    Refusal.NOT_IN_CHARSET: Reason.NOT_IN_CHARSET,
    Refusal.CHARSET_CONTRADICTED: Reason.CHARSET_CONTRADICTED,
}
# What tells whose a message is: identifiers, account, and where older senders write the number.
_WHOSE = (3, 18, 19)


class MessageReader:
    """Reads all messages that say something of bills."""

    kind = KIND

    def __init__(self, reading: Hl7Reading, tokens: Tokens) -> None:
        self.reading = reading
        self._tokens = tokens
        self._zone = ZoneInfo(reading.terms.zone)

    def glance(self, raw: bytes) -> Glance:
        """Decode the message; what says nothing of a bill, or of other times, is to be kept out."""
        try:
            message = self.reading.message(raw)
        except Refused as refused:
            return Glance(decoded=unread(refused), keep_out=False, needs=frozenset())
        return Glance(decoded=message, keep_out=self._is_out(message), needs=frozenset())

    def read_supporting(self, kind: str, raw: bytes) -> Any:
        """Nothing: a message says all that it means."""
        raise LookupError(kind)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        """What happened to a bill, a merge, or every fault."""
        message = glance.decoded
        if not isinstance(message, Message):
            return SetAside(faults=message)
        if glance.keep_out:
            return KeptOut()
        named = type_of(message)
        if named in kinds.MERGES:
            return self._merge(record_id, message, named)
        findings = Findings(self.reading.coder)
        bill_id = self._bill_id(message, findings)
        self._look_for_others(message, findings)
        if named in self.reading.own.takes_back:
            return _happened(bill_id, EventKind.REVERSAL, None, findings)
        if named in kinds.CHARGES:
            return self._charged(message, bill_id, findings)
        closes = named in self.reading.own.closes
        kind = EventKind.FINAL if closes else EventKind.LATE
        if closes and message.first("PV1") is None and message.first("DG1") is None:
            return _happened(bill_id, kind, None, findings)
        return self._stated(message, bill_id, kind, (), findings)

    def _is_out(self, message: Message) -> bool:
        own, named = self.reading.own, type_of(message)
        if is_kept_out(named, own) or named not in kinds.SUPPORTED or named in kinds.RESULTS:
            return True
        if named in kinds.UPDATES and not says_anything(message, named, own):
            return True
        if named in kinds.CHARGES:
            charges = message.all("FT1")
            if not any(self._is_charge(one) for one in charges):
                return True  # payments alone
            terms = self.reading.terms
            if terms.first_day is None and terms.last_day is None:
                return False
            day = self._last_day(charges)
            return day is not None and not terms.in_period(day)
        return False

    def _is_charge(self, segment: Segment) -> bool:
        kind = self.reading.own.transaction_types.get(segment.first(6))
        return kind is not kinds.ChargeKind.LEAVE_OUT

    def _last_day(self, charges: Sequence[Segment]) -> Any:
        zone = self.reading.terms.zone
        moments = [moment_of(one.first(4), zone) for one in charges]
        known = [moment for moment in moments if moment is not None]
        return max(known).astimezone(self._zone).date() if known else None

    def _bill_id(self, message: Message, findings: Findings) -> str | None:
        """The bill's number, which may travel; of a message's own bill the control id."""
        written = bill_id_of(message, self.reading.own)
        segment = message.first("PV1" if self.reading.own.bill is BillBy.VISIT else "PID")
        path = {BillBy.MESSAGE: "MSH.10", BillBy.VISIT: "PV1[1].19", BillBy.ACCOUNT: "PID[1].18"}[
            self.reading.own.bill
        ]
        text = findings.plain(segment, written, 0) if segment is not None else written
        return findings.short(text, path, ascii_only=True)

    def _look_for_others(self, message: Message, findings: Findings) -> None:
        """Name a second patient, account or visit: all charges would be the first one's."""
        patients = message.all("PID")
        for pid in patients[1:]:
            if any(pid.repetitions(at) != patients[0].repetitions(at) for at in _WHOSE):
                findings.add(Reason.MESSAGE_UNSUPPORTED, f"PID[{pid.number}]")
        if self.reading.own.bill is BillBy.VISIT:
            visits = message.all("PV1")
            for pv1 in visits[1:]:
                if pv1.first(19) != visits[0].first(19):
                    findings.add(Reason.MESSAGE_UNSUPPORTED, f"PV1[{pv1.number}].19")

    def _charged(self, message: Message, bill_id: str | None, findings: Findings) -> Outcome:
        own = self.reading.own
        kind = EventKind.FINAL if own.bill is BillBy.MESSAGE else EventKind.LATE
        return self._stated(message, bill_id, kind, message.all("FT1"), findings)

    def _stated(
        self,
        message: Message,
        bill_id: str | None,
        kind: EventKind,
        charges: Sequence[Segment],
        findings: Findings,
    ) -> Outcome:
        """The bill, or what is added to it: its lines, or without charges all but its lines."""
        terms, own = self.reading.terms, self.reading.own
        diagnoses = Diagnoses(message.all("DG1"), findings, terms, own)
        lines = read_lines(charges, diagnoses, findings, terms, own)
        if charges and not lines and not findings.faults:
            return KeptOut()
        total, states_total = self._stated_total(message, findings)
        start, end = self._times(message, charges, findings)
        pid = message.first("PID")
        person = None
        if pid is None:
            findings.add(Reason.IDENTITY_MISSING, "PID")
        else:
            person = read_person(pid, findings, terms)
        person, token = pseudonym(person, "PID[1].3", self._tokens)
        parsed = ParsedBill(
            bill_number=bill_id,
            provider_id=self._provider(message, findings),
            tier=terms.tier,
            care_type=self._care_type(message, findings),
            start=start,
            end=end,
            diagnoses=diagnoses.all(),
            lines=lines,
            total=total,
            total_path="PV1[1].47",
            states_total=states_total,
            person=person,
            social_insurance=None,
            faults=tuple(findings.faults),
            emergency=self._emergency(message, findings),
        )
        try:
            bill, stated = part_of_bill(parsed, token, terms)
        except Held as held:
            return SetAside(
                faults=held.faults,
                total=_minor(self._sum(lines, total), terms.currency),
                unmapped=held.unmapped,
            )
        return _happened(bill_id, kind, bill, findings, stated)

    def _stated_total(self, message: Message, findings: Findings) -> tuple[Decimal | None, bool]:
        """PV1-47 where the profile says that it is the bill's; HL7's charges state no total."""
        terms, own = self.reading.terms, self.reading.own
        pv1 = message.first("PV1")
        ends = own.bill is BillBy.MESSAGE or type_of(message) in own.closes
        if own.total_from is not TotalFrom.VISIT or not ends or pv1 is None:
            return None, False
        total = findings.money(pv1, 47, terms.currency, places=NET_PLACES)
        return total, pv1.states(47)

    @staticmethod
    def _sum(lines: Sequence[ParsedLine], total: Decimal | None) -> Decimal | None:
        """About how much waits when the record is set aside; None when that cannot be told."""
        nets = [line.net for line in lines if line.net is not None]
        return total if total is not None or len(nets) < len(lines) else sum(nets, Decimal(0))

    def _times(
        self, message: Message, charges: Sequence[Segment], findings: Findings
    ) -> tuple[datetime | None, datetime | None]:
        """Begin and end: the visit's (PV1-44, PV1-45), else of the charges, else of diagnoses."""
        zone = self.reading.terms.zone
        pv1 = message.first("PV1")
        start = findings.moment(pv1, 44, zone) if pv1 is not None else None
        end = findings.moment(pv1, 45, zone, day_ends=True) if pv1 is not None else None
        known = len(findings.faults)
        others, field = (charges, 4) if charges else (message.all("DG1"), 5)
        if start is None:
            found = [findings.moment(one, field, zone) for one in others]
            start = min((moment for moment in found if moment is not None), default=None)
        if end is None:
            found = [moment_of(one.first(field), zone, day_ends=True) for one in charges]
            end = max((moment for moment in found if moment is not None), default=start)
        if start is None or end is None:
            if len(findings.faults) == known and not findings.faults:
                path = path_of(others[0], field) if others else "PV1[1].44"
                findings.add(Reason.TIME_MISSING, path)
            return None, None
        if end < start:
            if pv1 is not None and pv1.first(45):
                findings.add(Reason.END_BEFORE_START, path_of(pv1, 45))
            end = start
        return start, end

    def _provider(self, message: Message, findings: Findings) -> str | None:
        """The profile's, or the sending facility where the profile says so."""
        terms = self.reading.terms
        if terms.provider_id is not None:
            return terms.provider_id
        if terms.provider_system == "MSH-4":
            return findings.short(message.header.part(4), "MSH.4", ascii_only=True)
        findings.add(Reason.PROVIDER_UNKNOWN, "MSH.4")
        return None

    def _care_type(self, message: Message, findings: Findings) -> CareType | None:
        pv1 = message.first("PV1")
        named = findings.text(pv1, 2) if pv1 is not None else ""
        found = self.reading.own.patient_classes.get(named, self.reading.terms.care_type_default)
        if found is None:
            findings.add(Reason.CARE_TYPE_UNKNOWN, "PV1[1].2")
        return found

    def _emergency(self, message: Message, findings: Findings) -> bool | None:
        """Whether PV1-4 says that the stay began as an emergency; None where it is silent."""
        pv1 = message.first("PV1")
        admitted = findings.text(pv1, 4) if pv1 is not None else ""
        return admitted in self.reading.own.emergency_admissions if admitted else None

    def _merge(self, record_id: str, message: Message, named: str) -> Outcome:
        pairs, at = merges_of(message), merge_at(record_id)
        if at >= len(pairs):
            return KeptOut()
        pid, merge = pairs[at]
        findings = Findings(self.reading.coder)
        if named == "ADT^A40":
            return self._merged_patients(pid, merge, findings)
        into_field, out_field = merge_field(named)
        into, out_of = findings.text(pid, into_field), findings.text(merge, out_field)
        findings.short(into, path_of(pid, into_field), ascii_only=True)
        findings.short(out_of, path_of(merge, out_field), ascii_only=True)
        if findings.faults:
            return SetAside(faults=tuple(findings.faults))
        return Merged(level=MergeLevel.ACCOUNT, into=into, out_of=out_of)

    def _merged_patients(self, pid: Segment, merge: Segment, findings: Findings) -> Outcome:
        """Whose documents differ are two members until now; other numbers name nobody here."""
        tokens = []
        faults: list[Fault] = []
        for segment, field in ((pid, 3), (merge, 1)):
            identity, own = identity_of(segment, field, findings, self.reading.terms)
            if identity is None and not own:
                return KeptOut()
            faults += own
            person, token = pseudonym(
                Person(identity=identity, faults=own), path_of(segment, field), self._tokens
            )
            faults += person.faults if person is not None and token is None else ()
            tokens.append(token)
        if findings.faults or faults:
            return SetAside(faults=in_order([*findings.faults, *faults]))
        into, out_of = tokens
        if into is None or out_of is None or into == out_of:
            return KeptOut()
        return Merged(level=MergeLevel.PATIENT, into=into, out_of=out_of)


def unread(refused: Refused) -> tuple[Fault, ...]:
    """Why bytes that were kept are no message, for the quarantine."""
    return tuple(
        Fault(reason=_REASONS.get(one.refusal, Reason.NOT_HL7), path=one.place.segment or "MSH")
        for one in refused.denials
    )


def _happened(
    bill_id: str | None,
    kind: EventKind,
    bill: Bill | None,
    findings: Findings,
    stated_total: int | None = None,
) -> Outcome:
    if bill_id is None or findings.faults:
        return SetAside(faults=tuple(findings.faults))
    day = None if bill is None else bill.end.astimezone(ZoneInfo(bill.zone)).date()
    return BillHappened(bill_id=bill_id, kind=kind, bill=bill, day=day, stated_total=stated_total)


def _minor(total: Decimal | None, currency: str) -> int | None:
    if total is None:
        return None
    found = to_minor(total, currency, "")
    return None if isinstance(found, Fault) else found
