"""Bills on their way into the database: events appended, bills folded, what changed released.

A bill is what all records of its account make, and of all accounts that were merged into it. It is
released once it is closed and says something that was not released before; until then nothing of
it leaves. A batch's records are appended one by one, and each bill is looked at once, when all are.
Works in the caller's transaction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from services.common.bulk import copy_rows
from services.common.sealing import Sealer
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import CLOSING, BillEvent, EventKind
from services.his_bridge.core.faults import Fault
from services.his_bridge.core.folding import BillStatus, FoldedBill, fold
from services.his_bridge.core.merges import Merge
from services.his_bridge.core.outcomes import (
    BillHappened,
    BillStated,
    BillWithdrawn,
    Merged,
    MergeLevel,
    Outcome,
)
from services.his_bridge.storage import sealed, waiting
from services.his_bridge.storage.bill_holds import BillHolds
from services.his_bridge.storage.growing import adds_only, growing, takes_back
from services.his_bridge.storage.inbox import READ, Pending, SetAsideRow
from services.his_bridge.storage.known_bills import (
    Account,
    Kept,
    Merges,
    accounts_by_record,
    accounts_of,
    as_one_patients,
    load_events,
    load_told,
    token_at,
)
from services.his_bridge.storage.releases import Consents, Releases, bare
from services.his_bridge.storage.tables import bill_event, merge_event
from services.his_bridge.storage.waiting import Waits

OfBills = BillStated | BillWithdrawn | BillHappened | Merged


class Became(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one record: the inbox's state, and whose it turned out to be."""

    state: str
    member: str | None = None


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
        self._joined = Merges(MergeLevel.ACCOUNT)
        self._patients = Merges(MergeLevel.PATIENT)
        self._names: dict[str, str] = {}  # the source's id of an account → its name
        self._plain: dict[str, str] = {}  # and back
        self._member_of: dict[str, str] = {}
        self._new_events: list[dict[str, Any]] = []
        self._new_merges: list[dict[str, Any]] = []
        self._accounts: dict[str, Account] = {}
        self._folds: dict[str, FoldedBill | None] = {}
        self._by_record: dict[str, list[Kept]] = defaultdict(list)
        # Accounts to look at, with the record that touched each last.
        self._due: dict[str, Pending] = {}
        self._touched: set[str] = set()
        self._load(judged)
        kept = [one.inbox_id for account in self._accounts.values() for one in account.kept]
        self.holds = BillHolds(connection, set(kept))
        self.releases = Releases(sealer, hospital, self._accounts, now_us=now_us)

    def _load(self, judged: Sequence[tuple[Pending, OfBills]]) -> None:
        connection, sealer, hospital = self._connection, self._sealer, self._hospital
        names: set[str] = set()
        people: set[str] = set()
        records: Counter[str] = Counter()
        for pending, outcome in judged:
            if isinstance(outcome, Merged):
                ids = (outcome.into, outcome.out_of)
                if outcome.level is MergeLevel.ACCOUNT:
                    names.update(map(self._account, ids))
                else:
                    people.update(self._people(ids).values())
                continue
            names.add(self._account(_bill_id(pending, outcome)))
            if isinstance(outcome, BillHappened):
                records[pending.external_index] += 1
        said = {bill.member_token for _, o in judged if (bill := _bill_in(o)) is not None}
        those = set(self._people(said).values())
        people = self._patients.load(connection, sealer, hospital, people)
        names |= accounts_of(connection, hospital, people)
        self._patients.load(connection, sealer, hospital, people | those)
        said_of = accounts_by_record(connection, hospital, records)
        names.update(*said_of.values())
        names = self._joined.load(connection, sealer, hospital, names)
        self._plain |= self._joined.ids
        again = {record for record, number in records.items() if number > 1} | said_of.keys()
        self._accounts = growing(connection, hospital, self._that_may_grow(judged, again, said_of))
        self._read_accounts(names - self._accounts.keys())
        members = {k.member for a in self._accounts.values() for k in a.kept if k.member}
        if members - those:
            self._patients.load(connection, sealer, hospital, people | those | members)
        self._group()

    def _that_may_grow(
        self,
        judged: Sequence[tuple[Pending, OfBills]],
        again: set[str],
        said_of: dict[str, set[str]],
    ) -> dict[str, str]:
        """Accounts to which this batch adds charges and does nothing else, and whose they are."""
        whose: dict[str, set[str]] = defaultdict(set)
        other = {name for names in said_of.values() for name in names}
        for level in (self._joined, self._patients):
            other |= {name for one in level.merges.values() for name in (one.into, one.out_of)}
        for pending, outcome in judged:
            if isinstance(outcome, Merged):
                return {}
            name, bill = self._account(_bill_id(pending, outcome)), _bill_in(outcome)
            if bill is None or not adds_only(outcome) or pending.external_index in again:
                other.add(name)
            else:
                whose[name].add(self._member_of[bill.member_token])
        return {
            name: next(iter(members))
            for name, members in whose.items()
            if len(members) == 1 and not members & other and name not in other
        }

    def _read_accounts(self, names: set[str]) -> None:
        connection, sealer, hospital = self._connection, self._sealer, self._hospital
        found = load_events(connection, sealer, hospital, names)
        read = {name: found.get(name) or Account() for name in names}
        whole = self._joined.merges and names
        load_told(connection, sealer, hospital, read, whole or ())
        self._accounts |= read
        for account in read.values():
            for one in account.kept:
                self._by_record[one.event.record].append(one)

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

    def members_of(self, tokens: set[str]) -> dict[str, str]:
        """Token → opaque id; of whoever these bills are about it is known already."""
        if tokens - self._member_of.keys():
            self._people(tokens)
        return {token: self._member_of[token] for token in tokens}

    def know(self, member_of: dict[str, str], consent: Consents) -> None:
        """Whose the tokens are, and who asks for a consent."""
        self._member_of |= member_of
        self.releases.member_of, self.releases.plain = self._member_of, self._plain
        self.releases.consent = consent

    def is_erased(self, pending: Pending, outcome: OfBills) -> bool:
        """Whether what came before of the bill, or who its patient goes on as, was erased."""
        if isinstance(outcome, Merged):
            return False
        names = self._together(self._account(_bill_id(pending, outcome)))
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

    def are_told_of_another(self, pending: Pending, outcome: Outcome, token: str) -> bool:
        """Whether a bill that a record states anew was released, and was ever anybody else's."""
        if not isinstance(outcome, BillStated):
            return False
        accounts = [
            self._accounts[one] for one in self._together(self._account(pending.external_id))
        ]
        told = [one.bill for account in accounts for one in account.told]
        known = [one.event.bill for account in accounts for one in account.kept]
        others = {bill.member_token for bill in (*told, *known) if bill is not None} - {token}
        return bool(told and others)

    def add(self, pending: Pending, outcome: OfBills) -> Became:
        """Take one record in. What it changes is released when all are."""
        if isinstance(outcome, Merged):
            return self._add_merge(pending, outcome)
        name, bill = self._account(_bill_id(pending, outcome)), _bill_in(outcome)
        account = self._accounts[name]
        says_nothing_new = isinstance(outcome, BillStated) and _is_known(
            self._fold(self._joined.aliases.survivor(name)), outcome.bill
        )
        known = any(one.inbox_id == pending.inbox_id for one in account.kept)
        roots = {self._joined.aliases.survivor(name)}
        if not known:
            event = self._event(pending, outcome, name)
            others = [one for one in self._by_record[event.record] if one.event.account != name]
            if any(one.event.order > event.order for one in others):
                return Became(state="superseded")  # a newer version says: another bill's
            self._append(event, pending)
            for other in {one.event.account for one in others}:
                self._append(_taken_out(event, other), pending)
                roots.add(self._joined.aliases.survivor(other))
        if not account.grows:
            for root in sorted(roots):
                self._look_at(root, pending)
        member = self._whose(name, bill)
        state = READ
        if says_nothing_new and not known:
            state = "unchanged"
        elif isinstance(outcome, BillWithdrawn) and member is None:
            state = "filtered"  # a bill taken back before it was ever seen is none of ours
        if state == READ and bill is not None:
            self.holds.read_now.append(pending.inbox_id)
        return Became(state=state, member=member)

    def write(self) -> list[SetAsideRow]:
        """Release what has changed and write what was made; records that are for a person now."""
        survivor = self._joined.aliases.survivor
        for root, pending in {survivor(name): last for name, last in self._due.items()}.items():
            self._settle(root, pending)
        copy_rows(self._connection, bill_event, self._new_events)
        copy_rows(self._connection, merge_event, self._new_merges)
        return self._write_waiting()

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
            record=pending.external_index,
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
                "takes_back": takes_back(bill),
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
            self._look_at(root, pending)
        return Became(state=READ)

    def _look_at(self, root: str, pending: Pending) -> None:
        """Later, once all records of the batch are in; in the order of their last ones."""
        self._due.pop(root, None)
        self._due[root] = pending

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
            told = self._accounts[root].told
            events = as_one_patients(self._kept(root), self._patients)
            given = told[-1].numbers if told else {}
            self._folds[root] = fold(events, self._joined.aliases, given)
        return self._folds[root]

    def _settle(self, root: str, pending: Pending) -> None:
        """Release what a bill says now and did not before, or hold it."""
        self._touched.add(root)
        lacks = None
        folded = self._fold(root) if self._may_be_closed(root) else None
        if folded is not None and not folded.blocked:
            lacks = self.releases.settle(root, self._together(root), folded, pending)
        mine = {one.inbox_id for one in self._kept(root)}
        self.holds.hold(mine, pending, lacks, self._member_of)

    def _may_be_closed(self, root: str) -> bool:
        """Without a closing word nothing is released: a long stay is not folded at each charge."""
        return any(self._accounts[name].told for name in self._together(root)) or any(
            one.event.kind in CLOSING for one in self._kept(root)
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
        name = self._names.get(bill_id)
        if name is None:
            name = self._names[bill_id] = self._index(bill_id)
            self._plain.setdefault(name, bill_id)
        return name

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


def _bill_id(pending: Pending, outcome: OfBills) -> str:
    return outcome.bill_id if isinstance(outcome, BillHappened) else pending.external_id


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


def _is_known(before: FoldedBill | None, bill: Bill) -> bool:
    return (
        before is not None
        and before.status is BillStatus.FINAL
        and before.bill is not None
        and bare(before.bill) == bare(bill)
    )
