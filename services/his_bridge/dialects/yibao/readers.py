"""Interface messages behind the dialects' port. The patient becomes a token here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.balance import to_minor
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.faults import Fault, Reason, in_order
from services.his_bridge.core.intake import Held, part_of_bill
from services.his_bridge.core.outcomes import BillHappened, KeptOut, Outcome, SetAside
from services.his_bridge.core.parsed import ParsedBill, Person
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.dialects.port import Glance, Key, Tokens
from services.his_bridge.dialects.pseudonym import pseudonym
from services.his_bridge.dialects.yibao.message import (
    CANCELLATIONS,
    FEE_CANCELLATION,
    FEES,
    SETTLEMENT_LIST,
    SETTLEMENTS,
    UNSUPPORTED,
    Message,
    decoded,
    settlement_id,
)
from services.his_bridge.dialects.yibao.parsing import KIND, Parsing
from services.his_bridge.dialects.yibao.people import Found, People

_ALL_FEES = "0000"
# Charges of a stay that began before the profile's period belong to a bill within it.
_LONGEST_STAY = timedelta(days=366)


class MessageReader:
    """Reads messages as what happened to bills."""

    kind = KIND

    def __init__(self, own: YibaoTerms, terms: SourceTerms, tokens: Tokens) -> None:
        self._own = own
        self._terms = terms
        self._tokens = tokens
        self._zone = ZoneInfo(terms.zone)
        self._people = People(own, terms)

    def glance(self, raw: bytes) -> Glance:
        """Decode the message; what changes no bill, failed, or is outside the period stays out."""
        message = decoded(raw)
        if not message.readable or not message.is_read:
            return Glance(decoded=message, keep_out=message.readable, needs=frozenset())
        parsing = Parsing(message, self._own, self._terms)
        return Glance(
            decoded=message,
            keep_out=self._outside(message, parsing),
            needs=self._people.needs(parsing),
        )

    def read_supporting(self, kind: str, raw: bytes) -> Found:
        """A row of the hospital's table of persons."""
        return self._people.read(raw)

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Found]) -> Outcome:
        """What happened to the bill, or every fault of the message."""
        message: Message = glance.decoded
        if not message.readable:
            return SetAside(faults=message.faults)
        if not message.is_read:
            return KeptOut()
        parsing = Parsing(message, self._own, self._terms)
        if message.infno in UNSUPPORTED:
            return self._aside(parsing, Reason.MESSAGE_UNSUPPORTED, "infno")
        if message.infno in CANCELLATIONS:
            return self._cancelled(parsing)
        if message.infno == FEE_CANCELLATION:
            return self._fees_cancelled(parsing)
        person = self._people.of(parsing, support)
        if message.infno in FEES:
            return self._part(parsing, EventKind.LATE, parsing.fees, person)
        if message.infno == SETTLEMENT_LIST:
            return self._part(parsing, EventKind.LATE, parsing.settlement_list, person)
        return self._settled(parsing, person)

    def _outside(self, message: Message, parsing: Parsing) -> bool:
        moment = parsing.last_moment()
        if moment is None or message.infno not in (*FEES, *SETTLEMENTS):
            return False
        day = moment.astimezone(self._zone).date()
        if message.infno in SETTLEMENTS:
            return not self._terms.in_period(day)
        first, last = self._terms.first_day, self._terms.last_day
        too_early = first is not None and day < first - _LONGEST_STAY
        return too_early or (last is not None and day > last)

    def _settled(self, parsing: Parsing, person: Person) -> Outcome:
        if not parsing.answer.states("setl_id"):
            # Without its number nobody could ever take it back.
            return self._aside(parsing, Reason.REFERENCE_MISSING, parsing.answer.at("setl_id"))
        if parsing.node.text("mid_setl_flag") == "1":
            parsing.node.add(Reason.MESSAGE_UNSUPPORTED, "mid_setl_flag")
        return self._part(parsing, EventKind.FINAL, parsing.settlement, person)

    def _part(
        self,
        parsing: Parsing,
        kind: EventKind,
        read: Callable[[Person], ParsedBill],
        person: Person,
    ) -> Outcome:
        bill_id = parsing.bill_id()
        who, token = pseudonym(person, parsing.node.at("psn_no"), self._tokens)
        parsed = read(person)
        try:
            bill, total = part_of_bill(
                msgspec.structs.replace(parsed, person=who), token, self._terms
            )
        except Held as held:
            minor = None
            if parsed.total is not None:
                minor = to_minor(parsed.total, self._terms.currency, "total")
            return SetAside(
                faults=held.faults,
                total=None if isinstance(minor, Fault) else minor,
                unmapped=held.unmapped,
            )
        if bill_id is None:
            return SetAside(faults=in_order(parsing.findings.faults))
        return BillHappened(
            bill_id=bill_id,
            kind=kind,
            bill=bill,
            day=bill.end.astimezone(self._zone).date(),
            stated_total=total if kind is EventKind.FINAL else None,
        )

    def _cancelled(self, parsing: Parsing) -> Outcome:
        bill_id = parsing.bill_id()
        setl_id = parsing.required(parsing.node, "setl_id")
        faults = in_order(parsing.findings.faults)
        if faults or bill_id is None or setl_id is None:
            return SetAside(faults=faults)
        return BillHappened(
            bill_id=bill_id,
            kind=EventKind.REVERSAL,
            bill=None,
            reverses=settlement_id(setl_id),
            day=self._day(parsing),
        )

    def _fees_cancelled(self, parsing: Parsing) -> Outcome:
        bill_id = parsing.bill_id()
        if parsing.node.text("feedetl_sn") != _ALL_FEES:
            # It names a charge and not how much of it: the fold will tell that the bill is off.
            parsing.node.add(Reason.MESSAGE_UNSUPPORTED, "feedetl_sn")
        faults = in_order(parsing.findings.faults)
        if faults or bill_id is None:
            return SetAside(faults=faults)
        return BillHappened(
            bill_id=bill_id, kind=EventKind.REVERSAL, bill=None, day=self._day(parsing)
        )

    def _aside(self, parsing: Parsing, reason: Reason, path: str) -> Outcome:
        parsing.findings.add(reason, path)
        return SetAside(faults=in_order(parsing.findings.faults))

    def _day(self, parsing: Parsing) -> date | None:
        moment = parsing.last_moment()
        return None if moment is None else moment.astimezone(self._zone).date()
