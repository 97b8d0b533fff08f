"""Bills on their way into the database: events appended, bills folded, what changed released.

A bill is what all records of its account make, and of all accounts that were merged into it. It is
released once it is closed and says something that was not released before; until then nothing of
it leaves. Works in the caller's transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, insert

from services.common.sealing import Sealer
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.consent import Consent, Need
from services.his_bridge.core.events import CLOSING, BillEvent, EventKind
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.folded_lines import numbers_given
from services.his_bridge.core.folding import BillStatus, FoldedBill, fold
from services.his_bridge.core.merges import Merge
from services.his_bridge.core.outcomes import (
    BillHappened,
    BillStated,
    BillWithdrawn,
    Merged,
    MergeLevel,
)
from services.his_bridge.storage import holding, sealed, waiting
from services.his_bridge.storage.holding import Held
from services.his_bridge.storage.inbox import READ, Pending, SetAsideRow
from services.his_bridge.storage.known_bills import (
    Account,
    Kept,
    Merges,
    Told,
    accounts_of,
    as_one_patients,
    held_among,
    load_events,
    load_told,
    readable_among,
    token_at,
)
from services.his_bridge.storage.tables import bill_event, merge_event, released_bill
from services.his_bridge.storage.waiting import Waits

DELIVERY_PENDING = "PENDING"
OfBills = BillStated | BillWithdrawn | BillHappened | Merged
# Asks for the consent of a member, by token, for what a bill needs one for.
Consents = Callable[[str, Need], Consent | None]


class Became(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one record: the inbox's state, and whose it turned out to be.

    With `lacks` the bill that it makes is held, by this record, until that person's consent, by
    token, covers it.
    """

    state: str
    member: str | None = None
    lacks: tuple[str, Need] | None = None


class Bills:
    """The bills that a batch of records touches."""

    def __init__(
        self,
        connection: Connection,
        sealer: Sealer,
        hospital: str,
        judged: Sequence[tuple[Pending, OfBills]],
        *,
        now_us: int,
    ) -> None:
        self._connection = connection
        self._sealer = sealer
        self._hospital = hospital
        self._now_us = now_us
        self._record_of = {
            pending.external_id: self._index(pending.external_id) for pending, _ in judged
        }
        self._joined = Merges(MergeLevel.ACCOUNT)
        self._patients = Merges(MergeLevel.PATIENT)
        self._plain: dict[str, str] = {}  # an account's name → the source's id of it
        self._member_of: dict[str, str] = {}
        self._consent: Consents = lambda _token, _need: None
        self._load(judged)
        self._new_events: list[dict[str, Any]] = []
        self._new_merges: list[dict[str, Any]] = []
        self.released: list[dict[str, Any]] = []
        self._touched: set[str] = set()
        # By account that goes on: the record in whose name its bill is held.
        self._holds: dict[str, int] = {}
        self._read_now: list[int] = []
        # Records read before that hold a bill now, and such as do so no more.
        self.also_held: dict[int, Held] = {}
        self.let_go: list[int] = []

    def _load(self, judged: Sequence[tuple[Pending, OfBills]]) -> None:
        connection, hospital = self._connection, self._hospital
        names: set[str] = set()
        records: set[str] = set()
        people: set[str] = set()
        for pending, outcome in judged:
            if isinstance(outcome, Merged):
                ids = (outcome.into, outcome.out_of)
                if outcome.level is MergeLevel.ACCOUNT:
                    names.update(map(self._account, ids))
                else:
                    people.update(self._people(ids).values())
                continue
            names.add(self._account(self._bill_id(pending, outcome)))
            if isinstance(outcome, BillHappened):
                records.add(self._record_of[pending.external_id])
        people = self._patients.load(connection, self._sealer, hospital, people)
        names |= accounts_of(connection, hospital, records, people)
        names = self._joined.load(connection, self._sealer, hospital, names)
        self._plain |= self._joined.ids
        self._accounts = load_events(connection, self._sealer, hospital, names)
        for name in names:
            self._accounts.setdefault(name, Account())
        load_told(connection, self._sealer, hospital, self._accounts)
        kept = [one for account in self._accounts.values() for one in account.kept]
        members = {one.member for one in kept if one.member is not None}
        said = {bill.member_token for _, o in judged if (bill := _bill_in(o)) is not None}
        members |= set(self._people(said).values())
        self._patients.load(connection, self._sealer, hospital, {*people, *members})
        self._held = held_among(connection, sorted({one.inbox_id for one in kept}))
        self._by_record: dict[str, list[Kept]] = defaultdict(list)
        for one in kept:
            self._by_record[one.event.record].append(one)
        self._folds: dict[str, FoldedBill | None] = {}
        self._group()

    def _group(self) -> None:
        """By account that goes on, all that are part of it."""
        self._groups: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._accounts):
            self._groups[self._joined.aliases.survivor(name)].append(name)
        self._folds.clear()

    def tokens(self) -> set[str]:
        """Tokens of all people whom these bills are, or were, about."""
        known = set(self._member_of) | set(self._patients.ids.values())
        for account in self._accounts.values():
            bills = [one.event.bill for one in account.kept] + [told.bill for told in account.told]
            known |= {bill.member_token for bill in bills if bill is not None}
        return known

    def know(self, member_of: dict[str, str], consent: Consents) -> None:
        """Whose the tokens are, and who asks for a consent."""
        self._member_of |= member_of
        self._consent = consent

    def is_erased(self, pending: Pending, outcome: OfBills) -> bool:
        """Whether what came before of the bill, or who its patient goes on as, was erased."""
        if isinstance(outcome, Merged):
            return False
        names = self._together(self._account(self._bill_id(pending, outcome)))
        if any(self._accounts[name].erased for name in names):
            return True
        bill = _bill_in(outcome)
        patient = None if bill is None else self._member_of.get(bill.member_token)
        return patient is not None and any(
            step.into not in self._patients.ids
            for step in self._patients.aliases.steps(patient)
            if step.order[0] <= pending.updated_us
        )

    def who_go_on(self, people: Iterable[str]) -> set[str]:
        """Tokens of those as whom these people, or any of the bills', go on after merges."""
        self._patients.load(self._connection, self._sealer, self._hospital, people)
        return set(self._patients.ids.values())

    def goes_on_as(self) -> dict[str, tuple[str, str]]:
        """Member → member and token of who goes on, of everybody whom a new merge concerns."""
        if not any(row["level"] == str(MergeLevel.PATIENT) for row in self._new_merges):
            return {}
        aliases, ids = self._patients.aliases, self._patients.ids
        survivors = {name: aliases.survivor(name) for name in aliases.joined}
        return {name: (one, ids[one]) for name, one in survivors.items() if one in ids}

    def survivor_token(self, token: str) -> str:
        """The token under which a patient goes on in the end, whenever the merge was."""
        patient = self._member_of.get(token)
        if patient is None:
            return token
        return self._patients.ids.get(self._patients.aliases.survivor(patient), token)

    def token_at(self, token: str, at_us: int) -> str:
        """The token under which a patient goes on at this time of the source's."""
        patient = self._member_of.get(token)
        return token if patient is None else token_at(self._patients, patient, at_us, token)

    def add(self, pending: Pending, outcome: OfBills) -> Became:
        """Take one record in, and release what it changes."""
        if isinstance(outcome, Merged):
            return self._add_merge(pending, outcome)
        name = self._account(self._bill_id(pending, outcome))
        record = self._record_of[pending.external_id]
        says_nothing_new = isinstance(outcome, BillStated) and _is_known(
            self._fold(self._joined.aliases.survivor(name)), outcome.bill
        )
        known = any(one.inbox_id == pending.inbox_id for one in self._accounts[name].kept)
        roots = {self._joined.aliases.survivor(name)}
        if not known:
            event = self._event(pending, outcome, name)
            others = [one for one in self._by_record[record] if one.event.account != name]
            if any(one.event.order > event.order for one in others):
                return Became(state="superseded")  # a newer version says: another bill's
            self._append(event, pending)
            for other in {one.event.account for one in others}:
                self._append(_taken_out(event, other), pending)
                roots.add(self._joined.aliases.survivor(other))
        lacks = [self._settle(root, pending) for root in sorted(roots)]
        member = self._whose(name, _bill_in(outcome))
        state = READ
        if says_nothing_new and not known:
            state = "unchanged"
        elif isinstance(outcome, BillWithdrawn) and member is None:
            state = "filtered"  # a bill taken back before it was ever seen is none of ours
        if state == READ and _bill_in(outcome) is not None:
            self._read_now.append(pending.inbox_id)
        return Became(
            state=state, member=member, lacks=next((one for one in lacks if one is not None), None)
        )

    def write(self) -> list[SetAsideRow]:
        """Write what was made; the records that are for a person now."""
        if self._new_events:
            self._connection.execute(insert(bill_event), self._new_events)
        if self._new_merges:
            self._connection.execute(insert(merge_event), self._new_merges)
        return self._write_waiting()

    def write_released(self) -> None:
        """Write what was released, once it is numbered."""
        if self.released:
            self._connection.execute(insert(released_bill), self.released)

    # What happened.

    def _event(
        self, pending: Pending, outcome: BillStated | BillWithdrawn | BillHappened, name: str
    ) -> BillEvent:
        kind, reverses, total = EventKind.FINAL, None, None
        if isinstance(outcome, BillWithdrawn):
            kind = EventKind.REVERSAL
        elif isinstance(outcome, BillHappened):
            kind, total = outcome.kind, outcome.stated_total
            if outcome.reverses is not None:
                of_kind = pending.external_id.partition("/")[0]
                reverses = self._index(f"{of_kind}/{outcome.reverses}")
        return BillEvent(
            record=self._record_of[pending.external_id],
            account=name,
            kind=kind,
            order=(pending.updated_us, pending.rank),
            bill=_bill_in(outcome),
            reverses=reverses,
            stated_total=total,
        )

    def _append(self, event: BillEvent, pending: Pending) -> None:
        account = self._accounts[event.account]
        account.events += 1
        bill = event.bill
        member = None if bill is None else self._member_of[bill.member_token]
        kept = Kept(event=event, inbox_id=pending.inbox_id, member=member)
        account.kept.append(kept)
        self._by_record[event.record].append(kept)
        self._folds.pop(self._joined.aliases.survivor(event.account), None)
        place = f"{self._hospital}/{account.bill_id}/{account.events}"
        body = None
        if bill is not None and member is not None:
            body = sealed.seal_event(self._sealer, place, member, bill)
        self._new_events.append(
            {
                "hospital": self._hospital,
                "bill_id": account.bill_id,
                "number": account.events,
                "external_index": event.account,
                "record_index": event.record,
                "member": member,
                "kind": str(event.kind),
                "updated_us": event.order[0],
                "rank": event.order[1],
                "inbox_id": pending.inbox_id,
                "reverses_index": event.reverses,
                "stated_total": event.stated_total,
                "body": body,
                "at_us": self._now_us,
            }
        )

    def _add_merge(self, pending: Pending, outcome: Merged) -> Became:
        if outcome.level is MergeLevel.ACCOUNT:
            merges = self._joined
            into, out_of = (self._account(one) for one in (outcome.into, outcome.out_of))
        else:
            merges = self._patients
            into, out_of = (self._member_of[one] for one in (outcome.into, outcome.out_of))
        merge = Merge(
            record=str(pending.inbox_id),
            into=into,
            out_of=out_of,
            order=(pending.updated_us, pending.rank),
        )
        if pending.inbox_id not in merges.merges:
            merges.add(pending.inbox_id, merge, outcome.into)
            row = merges.row(self._sealer, self._hospital, pending.inbox_id, now_us=self._now_us)
            self._new_merges.append(row)
            self._group()
        for root in sorted(self._merged_roots()):
            self._settle(root, pending)
        return Became(state=READ)

    def _merged_roots(self) -> set[str]:
        """Accounts that go on, of all that a merge of accounts or patients may have changed."""
        joined = self._joined.merges.values()
        names = {name for merge in joined for name in (merge.into, merge.out_of)}
        people = {m for one in self._patients.merges.values() for m in (one.into, one.out_of)}
        names |= {
            name
            for name, account in self._accounts.items()
            if any(one.member in people for one in account.kept)
        }
        return {self._joined.aliases.survivor(name) for name in names & self._accounts.keys()}

    # What it comes to.

    def _fold(self, root: str) -> FoldedBill | None:
        if root not in self._folds:
            given: dict[str, int] = {}
            for told in self._accounts[root].told:
                if told.bill is not None:
                    given |= numbers_given(told.bill.lines)
            events = as_one_patients(self._kept(root), self._patients)
            self._folds[root] = fold(events, self._joined.aliases, given)
        return self._folds[root]

    def _settle(self, root: str, pending: Pending) -> tuple[str, Need] | None:
        """Release what a bill says now and did not before.

        What it lacks a consent for, if this record is one of the bill's and holds it meanwhile.
        """
        self._touched.add(root)
        lacks = None
        folded = self._fold(root) if self._may_be_closed(root) else None
        if folded is not None and not folded.blocked:
            self._end_merged(root, folded, pending, same_number=False)
            if folded.status is BillStatus.REVERSED:
                self._take_back(root, pending)
            elif folded.status is BillStatus.FINAL and folded.bill is not None:
                lacks = self._state(root, folded.bill, pending)
            self._end_merged(root, folded, pending, same_number=True)
        return self._hold(root, pending, lacks)

    def _may_be_closed(self, root: str) -> bool:
        """Without a closing word nothing is released: a long stay is not folded at each charge."""
        return any(self._accounts[name].told for name in self._together(root)) or any(
            one.event.kind in CLOSING for one in self._kept(root)
        )

    def _state(self, root: str, bill: Bill, pending: Pending) -> tuple[str, Need] | None:
        last = _last(self._accounts[root])
        if last is not None and last.bill is not None and _bare(last.bill) == _bare(bill):
            return None
        if last is not None and last.bill and last.bill.member_token != bill.member_token:
            self._release(root, EventKind.REVERSAL, last.bill, pending)
        need = holding.need_of_bill(bill)
        if self._consent(bill.member_token, need) is None:
            return bill.member_token, need
        kind = EventKind.CORRECTION if self._is_told(root, bill) else EventKind.FINAL
        self._release(root, kind, bill, pending)
        return None

    def _is_told(self, root: str, bill: Bill) -> bool:
        """Whether the insurer knows this bill, under its account or by its number under another."""
        if self._accounts[root].told:
            return True
        return any(
            told.bill is not None and _number(told.bill) == _number(bill)
            for name in self._together(root)
            for told in self._accounts[name].told
        )

    def _take_back(self, root: str, pending: Pending) -> None:
        last = _last(self._accounts[root])
        if last is not None and last.bill is not None:
            self._release(root, EventKind.REVERSAL, last.bill, pending)

    def _end_merged(
        self, root: str, folded: FoldedBill, pending: Pending, *, same_number: bool
    ) -> None:
        """Take back what was released under accounts that go on as another now.

        One whose bill goes on under its own number is not taken back at the insurer's: there it
        goes on as well, once the account that took it in has released it.
        """
        for name in self._together(root):
            last = None if name == root else _last(self._accounts[name])
            if last is None or last.bill is None:
                continue
            goes_on = folded.bill is not None and _number(folded.bill) == _number(last.bill)
            if goes_on is not same_number or (goes_on and _last(self._accounts[root]) is None):
                continue
            claims = last.claims if goes_on else None
            self._release(name, EventKind.REVERSAL, last.bill, pending, claims=claims)

    def _hold(
        self, root: str, pending: Pending, lacks: tuple[str, Need] | None
    ) -> tuple[str, Need] | None:
        """Hold a bill by one of its records, so that a consent lets that one be read again."""
        mine = {one.inbox_id for one in self._kept(root)}
        before = mine & self._held
        if root in self._holds:
            before.add(self._holds.pop(root))
        before.discard(pending.inbox_id)
        self._held -= before
        if lacks is None or pending.inbox_id in mine:
            self._let_go(before)
            if lacks is not None:
                self._holds[root] = pending.inbox_id
            return lacks
        by = self._readable(mine, before)
        self._let_go(before)
        if by is None:
            return None
        self._holds[root] = by
        token, need = lacks
        self.also_held[by] = Held(inbox_id=by, member=self._member_of[token], need=need)
        return None

    def _readable(self, inbox_ids: set[int], holding_it: set[int]) -> int | None:
        """One of a bill's records that was read, now or before, and can be read again.

        Else one that holds the bill, or did until this batch. None when all wait to be read again
        anyway, or for a person: whoever reads one then looks at the bill anew.
        """
        now = [one for one in self._read_now if one in inbox_ids]
        found = now[-1:] or readable_among(self._connection, sorted(inbox_ids))[:1]
        held = holding_it | (inbox_ids & set(self.let_go))
        return found[0] if found else max(held, default=None)

    def _let_go(self, inbox_ids: set[int]) -> None:
        for inbox_id in sorted(inbox_ids):
            if self.also_held.pop(inbox_id, None) is None:
                self.let_go.append(inbox_id)

    def _release(
        self,
        name: str,
        kind: EventKind,
        bill: Bill,
        pending: Pending,
        *,
        claims: bytes | None = None,
    ) -> None:
        """`claims` are those of a bill that the insurer need not be told about."""
        account = self._accounts[name]
        number = len(account.told) + 1
        released = account.bill_id if number == 1 else f"{account.bill_id}.{number}"
        # A reversal is recorded whatever the person allows; who looks at it needs the consent.
        found = self._consent(bill.member_token, holding.need_of_bill(bill))
        member = self._member_of[bill.member_token]
        columns = sealed.seal_released(
            self._sealer,
            self._hospital,
            released,
            member,
            bill=bill,
            external_id=self._plain.get(name, pending.external_id),
        )
        account.told.append(Told(kind=kind, bill=bill, claims=claims or b"[]"))
        self.released.append(
            {
                **columns,
                "hospital": self._hospital,
                "name": released,
                "bill_id": account.bill_id,
                "external_index": name,
                "member": member,
                "kind": str(kind),
                "day": bill.end.astimezone(ZoneInfo(bill.zone)).date().isoformat(),
                "total_minor": bill.total,
                "consent_id": found.terms.consent_id if found else "",
                "received_us": pending.received_us,
                "released_us": self._now_us,
                "delivery": DELIVERY_PENDING if claims is None else "TAKEN",
                "claims": claims or b"[]",
                "refusal_reasons": b"[]",
            }
        )

    # What cannot count yet.

    def _write_waiting(self) -> list[SetAsideRow]:
        merges = [
            *self._joined.merges.values(),
            *self._patients.merges.values(),
        ]
        names = {name for root in self._touched for name in self._together(root)}
        names |= {merge.out_of for merge in merges}
        return waiting.bring_up_to_date(
            self._connection,
            self._hospital,
            names,
            {**self._aside(), **self._refused()},
            now_us=self._now_us,
        )

    def _aside(self) -> dict[int, Waits]:
        found: dict[int, Waits] = {}
        for root in self._touched:
            folded = self._fold(root)
            newest: dict[str, Kept] = {}
            for one in self._kept(root):
                known = newest.get(one.event.record)
                if known is None or known.event.order < one.event.order:
                    newest[one.event.record] = one
            for record, faults in (folded.aside if folded else {}).items():
                event = newest[record].event
                total = event.bill.total if event.bill is not None else None
                found[newest[record].inbox_id] = Waits(
                    account=event.account,
                    faults=faults,
                    total=total if event.stated_total is None else event.stated_total,
                )
        return found

    def _refused(self) -> dict[int, Waits]:
        return {
            int(record): Waits(
                account=merges.merges[int(record)].out_of,
                faults=(Fault(reason=reason, path="merge"),),
            )
            for merges in (self._joined, self._patients)
            for record, reason in merges.aliases.refused.items()
        }

    # Names.

    def _index(self, external_id: str) -> str:
        return sealed.external_index(self._sealer, self._hospital, external_id)

    def _account(self, bill_id: str) -> str:
        name = self._index(bill_id)
        self._plain.setdefault(name, bill_id)
        return name

    def _bill_id(self, pending: Pending, outcome: OfBills) -> str:
        return outcome.bill_id if isinstance(outcome, BillHappened) else pending.external_id

    def _people(self, tokens: Iterable[str]) -> dict[str, str]:
        found = sealed.members_of(
            self._connection, self._sealer, self._hospital, tokens, self._now_us
        )
        self._member_of |= found
        return found

    def _together(self, name: str) -> list[str]:
        """The account that this one goes on as, and all that were merged into it."""
        return self._groups[self._joined.aliases.survivor(name)]

    def _kept(self, root: str) -> list[Kept]:
        return [one for name in self._together(root) for one in self._accounts[name].kept]

    def _whose(self, name: str, bill: Bill | None) -> str | None:
        """Whose a record is: the patient's whom it names, else whom its bill is about."""
        if bill is not None:
            return self._member_of[bill.member_token]
        people = [
            one.member
            for other in self._together(name)
            for one in self._accounts[other].kept
            if one.member is not None
        ]
        return people[-1] if people else None


def _bill_in(outcome: OfBills) -> Bill | None:
    return outcome.bill if isinstance(outcome, BillStated | BillHappened) else None


def _taken_out(event: BillEvent, account: str) -> BillEvent:
    """What a record's newer version says to the account that it does not belong to."""
    return BillEvent(
        record=event.record,
        account=account,
        kind=EventKind.REVERSAL,
        order=event.order,
        reverses=event.record,
    )


def _last(account: Account) -> Told | None:
    """What the insurer has of a bill; None when it has none, or none any more."""
    if not account.told or account.told[-1].kind is EventKind.REVERSAL:
        return None
    return account.told[-1]


def _number(bill: Bill) -> tuple[str, str]:
    return bill.provider_id, bill.bill_number


def _is_known(before: FoldedBill | None, bill: Bill) -> bool:
    return (
        before is not None
        and before.status is BillStatus.FINAL
        and before.bill is not None
        and _bare(before.bill) == _bare(bill)
    )


def _bare(bill: Bill) -> Bill:
    """What leaves of a bill: everything but the source's ids of its charges."""
    lines = tuple(
        msgspec.structs.replace(line, line_id="", reverses_line="") for line in bill.lines
    )
    return msgspec.structs.replace(bill, lines=lines)
