"""Releases on their way into the database: what a bill says now and was not told before.

Decides by what the bill comes to (core.folding) and by what the insurer has of it. Works in the
caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from services.common.bulk import copy_rows
from services.common.sealing import Sealer
from services.his_bridge.core.bill import Bill
from services.his_bridge.core.consent import Consent, Need
from services.his_bridge.core.events import EventKind
from services.his_bridge.core.folded_lines import numbers_given
from services.his_bridge.core.folding import BillStatus, FoldedBill
from services.his_bridge.storage import holding, sealed
from services.his_bridge.storage.inbox import Pending
from services.his_bridge.storage.known_bills import Account, Told
from services.his_bridge.storage.tables import released_bill

DELIVERY_PENDING, DELIVERY_TAKEN = "PENDING", "TAKEN"
# Asks for the consent of a member, by token, for what a bill needs one for.
Consents = Callable[[str, Need], Consent | None]


class Releases:
    """What a batch of records has the bridge tell the insurer."""

    def __init__(
        self, sealer: Sealer, hospital: str, accounts: dict[str, Account], *, now_us: int
    ) -> None:
        self._sealer = sealer
        self._hospital = hospital
        self._accounts = accounts
        self._now_us = now_us
        self.rows: list[dict[str, Any]] = []
        # Accounts, by the ids of their bills, of which the second is now what the first was.
        self._renamed: list[tuple[str, str]] = []
        # Set once it is known whose the bills are.
        self.plain: dict[str, str] = {}  # an account's name → the source's id of it
        self.member_of: dict[str, str] = {}
        self.consent: Consents = lambda _token, _need: None

    def write(self, connection: Connection) -> None:
        """Write what was released, once it is numbered."""
        for old, new in self._renamed:
            connection.execute(
                update(released_bill)
                .where(
                    released_bill.c.hospital == self._hospital, released_bill.c.goes_on_as == old
                )
                .values(goes_on_as=new)
            )
        copy_rows(connection, released_bill, self.rows)

    def settle(
        self, root: str, together: Sequence[str], folded: FoldedBill, pending: Pending
    ) -> tuple[str, Need] | None:
        """Release what has changed; or say whose consent, by token, is lacking for it.

        `together` are the account that goes on, `root`, and all that were merged into it.
        """
        lacks = None
        self._end_merged(root, together, folded, pending, same_number=False)
        if folded.status is BillStatus.REVERSED:
            self._take_back(root, pending)
        elif folded.status is BillStatus.FINAL and folded.bill is not None:
            lacks = self._state(root, together, folded.bill, pending)
        self._end_merged(root, together, folded, pending, same_number=True)
        return lacks

    def _state(
        self, root: str, together: Sequence[str], bill: Bill, pending: Pending
    ) -> tuple[str, Need] | None:
        last = last_told(self._accounts[root])
        if last is not None and last.bill is not None and bare(last.bill) == bare(bill):
            return None
        if last is not None and last.bill and last.bill.member_token != bill.member_token:
            self._release(root, EventKind.REVERSAL, last.bill, pending)
        need = holding.need_of_bill(bill)
        if self.consent(bill.member_token, need) is None:
            return bill.member_token, need
        last = last_told(self._accounts[root])
        if last is not None and last.bill and _number(last.bill) != _number(bill):
            # The insurer knows a bill by its number: the old one would stand beside the new one.
            self._release(root, EventKind.REVERSAL, last.bill, pending)
        kind = EventKind.CORRECTION if self._is_told(root, together, bill) else EventKind.FINAL
        self._release(root, kind, bill, pending)
        return None

    def _is_told(self, root: str, together: Sequence[str], bill: Bill) -> bool:
        """Whether the insurer knows this bill, under its account or by its number under another."""
        if self._accounts[root].told:
            return True
        return any(
            told.bill is not None and _number(told.bill) == _number(bill)
            for name in together
            for told in self._accounts[name].told
        )

    def _take_back(self, root: str, pending: Pending) -> None:
        last = last_told(self._accounts[root])
        if last is not None and last.bill is not None:
            self._release(root, EventKind.REVERSAL, last.bill, pending)

    def _end_merged(
        self,
        root: str,
        together: Sequence[str],
        folded: FoldedBill,
        pending: Pending,
        *,
        same_number: bool,
    ) -> None:
        """Take back what was released under accounts that go on as another now.

        One whose bill goes on under its own number is not taken back at the insurer's: there it
        goes on as well, once the account that took it in has released it.
        """
        for name in together:
            last = None if name == root else last_told(self._accounts[name])
            if last is None or last.bill is None:
                continue
            goes_on = folded.bill is not None and _number(folded.bill) == _number(last.bill)
            if goes_on is not same_number or (goes_on and last_told(self._accounts[root]) is None):
                continue
            if not goes_on:
                self._release(name, EventKind.REVERSAL, last.bill, pending)
                continue
            old, new = self._accounts[name].bill_id, self._accounts[root].bill_id
            self._go_on(old, new)
            silent = last.claims, new
            self._release(name, EventKind.REVERSAL, last.bill, pending, silent=silent)

    def _go_on(self, old: str, new: str) -> None:
        """What went on as the bill `old` goes on as `new` now."""
        self._renamed.append((old, new))
        for row in self.rows:
            if row["goes_on_as"] == old:
                row["goes_on_as"] = new

    def _release(
        self,
        name: str,
        kind: EventKind,
        bill: Bill,
        pending: Pending,
        *,
        silent: tuple[bytes, str] | None = None,
    ) -> None:
        """`silent`: the insurer need not hear of it. The claims, and as which bill it goes on."""
        claims, goes_on_as = silent if silent is not None else (b"[]", None)
        account = self._accounts[name]
        account.releases += 1
        number = account.releases
        released = account.bill_id if number == 1 else f"{account.bill_id}.{number}"
        # A reversal is recorded whatever the person allows; to see it whole needs the consent.
        need = holding.need_of_bill(bill)
        found = self.consent(bill.member_token, need)
        member = self.member_of[bill.member_token]
        before = account.told[-1].numbers if account.told else {}
        given = numbers_given(bill.lines)
        columns = sealed.seal_released(
            self._sealer,
            self._hospital,
            released,
            member,
            bill=bill,
            external_id=self.plain.get(name, pending.external_id),
            other_numbers={charge: at for charge, at in before.items() if charge not in given},
        )
        told = Told(kind=kind, bill=bill, claims=claims, numbers={**before, **given})
        account.told.append(told)
        self.rows.append(
            {
                **columns,
                "hospital": self._hospital,
                "name": released,
                "bill_id": account.bill_id,
                "external_index": name,
                "member": member,
                "kind": str(kind),
                "day": need.last_day.isoformat(),
                "total_minor": bill.total,
                "consent_id": found.terms.consent_id if found else "",
                "received_us": pending.received_us,
                "released_us": self._now_us,
                "delivery": DELIVERY_PENDING if silent is None else DELIVERY_TAKEN,
                "claims": claims,
                "refusal_reasons": b"[]",
                "goes_on_as": goes_on_as,
            }
        )


def last_told(account: Account) -> Told | None:
    """What the insurer has of a bill; None when it has none, or none any more."""
    if not account.told or account.told[-1].kind is EventKind.REVERSAL:
        return None
    return account.told[-1]


def bare(bill: Bill) -> Bill:
    """What leaves of a bill: everything but the source's ids of its charges."""
    lines = tuple(
        msgspec.structs.replace(line, line_id="", reverses_line="") for line in bill.lines
    )
    return msgspec.structs.replace(bill, lines=lines)


def _number(bill: Bill) -> tuple[str, str]:
    return bill.provider_id, bill.bill_number
