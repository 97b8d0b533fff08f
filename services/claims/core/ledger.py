"""Rules of the double-entry ledger: what one transfer may say. Knows no database, bank or clock.

An account name holds every currency apart. Five accounts exist:

- `claims:incurred`: what decisions in force have cost. Its balance is a debit.
- `claims:payable`: what is owed and not paid. Its balance is a credit.
- `claims:recoverable`: what was paid too much and is to come back. Its balance is a debit.
- `claims:written-off`: what of that was given up. Its balance is a debit.
- `bank:{paying account}`: money that left through the bank. Its balance is a credit.

| what happened | transfer | debit | credit |
|---|---|---|---|
| a decision made a claim payable | posted | claims:incurred | claims:payable |
| a payout was put on a payment file | pending | claims:payable | bank:{account} |
| the bank settled it (ACSC) | post of the pending | claims:payable | bank:{account} |
| the bank rejected it (RJCT) | void of the pending | claims:payable | bank:{account} |
| an unpaid claim was taken back | posted | claims:payable | claims:incurred |
| a paid claim was reversed | posted | claims:recoverable | claims:incurred |
| the money came back | posted | bank:{account} | claims:recoverable |
| the money was given up | posted | claims:written-off | claims:recoverable |

A pending transfer changes no posted balance. A void only takes the pending amount away, so that the
debt still stands in `claims:payable` and the next attempt is a new pending.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from services.common.money import MAX_MINOR_UNITS, currency_exponent

INCURRED = "claims:incurred"
PAYABLE = "claims:payable"
RECOVERABLE = "claims:recoverable"
WRITTEN_OFF = "claims:written-off"

_ACCOUNT = re.compile(
    r"claims:(?:incurred|payable|recoverable|written-off)|bank:[a-z0-9](?:[a-z0-9-]{0,31})",
    re.ASCII,
)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9:/._-]{1,120}", re.ASCII)


class Kind(StrEnum):
    """What a transfer does to balances."""

    POSTED = "posted"
    PENDING = "pending"
    POST = "post"
    VOID = "void"


RESOLVING = (Kind.POST, Kind.VOID)


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One amount from one account to another; being one row, it cannot be out of balance.

    `id` is made by whoever books. `key` is the idempotency key and never expires. `group` is the
    same on all legs that must be stored together. `resolves` names the pending of a post or void.
    """

    id: str
    key: str
    group: str
    kind: Kind
    debit: str
    credit: str
    amount: int
    currency: str
    resolves: str | None = None


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Debits minus credits of one account in one currency, in minor units."""

    posted: int = 0
    pending: int = 0


class LedgerRefused(ValueError):
    """The ledger did not take the transfers. Nothing of them is stored."""


class InvalidTransfers(LedgerRefused):
    """At least one transfer breaks a rule that needs no look at the books."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def bank_account(paying_account: str) -> str:
    """The ledger account of a paying account.

    >>> bank_account("main")
    'bank:main'

    Raises: InvalidTransfers when the name is not lower-case letters, digits and hyphens.
    """
    name = f"bank:{paying_account}"
    if not _ACCOUNT.fullmatch(name):
        raise InvalidTransfers([f"{paying_account!r} cannot name a paying account"])
    return name


def owe(
    *, transfer_id: str, claim_id: str, decision_id: str, amount: int, currency: str
) -> Transfer:
    """What a decision makes the insurer owe. The same decision owes once, whoever repeats it."""
    return posted(
        f"owe/{decision_id}",
        debit=INCURRED,
        credit=PAYABLE,
        transfer_id=transfer_id,
        claim_id=claim_id,
        amount=amount,
        currency=currency,
    )


def posted(
    key: str,
    *,
    debit: str,
    credit: str,
    transfer_id: str,
    claim_id: str,
    amount: int,
    currency: str,
) -> Transfer:
    """A transfer about a claim that is booked at once; `key` says what happened to what."""
    return Transfer(
        id=transfer_id,
        key=key,
        group=claim_id,
        kind=Kind.POSTED,
        debit=debit,
        credit=credit,
        amount=amount,
        currency=currency,
    )


def begin_payment(
    *, transfer_id: str, end_to_end_id: str, paying_account: str, amount: int, currency: str
) -> Transfer:
    """A payout that the bank has not confirmed. One end-to-end id begins one payment."""
    return Transfer(
        id=transfer_id,
        key=f"pay/{end_to_end_id}",
        group=end_to_end_id,
        kind=Kind.PENDING,
        debit=PAYABLE,
        credit=bank_account(paying_account),
        amount=amount,
        currency=currency,
    )


def resolution(pending: Transfer, kind: Kind, *, transfer_id: str) -> Transfer:
    """The post or void of a pending: the same accounts, amount and currency.

    Raises: InvalidTransfers when `pending` is not pending or `kind` resolves nothing.
    """
    made = msgspec.structs.replace(
        pending, id=transfer_id, key=f"{kind}/{pending.id}", kind=kind, resolves=pending.id
    )
    faults = resolution_faults(pending, made, resolved_by=None)
    if faults:
        raise InvalidTransfers(faults)
    return made


def request_hash(transfer: Transfer) -> str:
    """Hash of what the transfer asks for: everything but its own id.

    A repeat that minted another id is the same request; another amount is another request.
    """
    asked = msgspec.structs.replace(transfer, id="")
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.astuple(asked))).hexdigest()


def check(transfers: Sequence[Transfer]) -> None:
    """Refuse transfers that break a rule, naming every fault.

    Raises: InvalidTransfers.
    """
    found = [
        f"transfer {index} ({transfer.key!r}): {fault}"
        for index, transfer in enumerate(transfers)
        for fault in faults_of(transfer)
    ]
    for what, values in (
        ("id", [transfer.id for transfer in transfers]),
        ("key", [transfer.key for transfer in transfers]),
        ("resolved pending", [t.resolves for t in transfers if t.resolves is not None]),
    ):
        found += [
            f"{what} {value!r} stands {n} times" for value, n in Counter(values).items() if n > 1
        ]
    if found:
        raise InvalidTransfers(found)


def faults_of(transfer: Transfer) -> list[str]:
    """Every rule that a transfer breaks by itself; empty when it may be stored."""
    faults = []
    if not _ID.fullmatch(transfer.id):
        faults.append("the id is not 1 to 64 of A-Z a-z 0-9 _ -")
    if not _KEY.fullmatch(transfer.key):
        faults.append("the key is not 1 to 120 of A-Z a-z 0-9 : / . _ -")
    if not _ID.fullmatch(transfer.group):
        faults.append("the group is not 1 to 64 of A-Z a-z 0-9 _ -")
    for side, account in (("debit", transfer.debit), ("credit", transfer.credit)):
        if not _ACCOUNT.fullmatch(account):
            faults.append(f"the {side} account {account!r} does not exist")
    if transfer.debit == transfer.credit:
        faults.append("debit and credit are the same account")
    # bool is an int to isinstance, and True yuan is nobody's amount.
    if type(transfer.amount) is not int or not 0 < transfer.amount <= MAX_MINOR_UNITS:
        faults.append(f"the amount {transfer.amount!r} is not 1 to {MAX_MINOR_UNITS} minor units")
    if not _known_currency(transfer.currency):
        faults.append(f"the currency {transfer.currency!r} is unknown")
    if (transfer.kind in RESOLVING) != (transfer.resolves is not None):
        faults.append("exactly a post or void names the pending that it resolves")
    return faults


def resolution_faults(
    pending: Transfer, resolving: Transfer, *, resolved_by: Transfer | None
) -> list[str]:
    """Why a post or void does not fit the pending that it names; empty when it does.

    `resolved_by` is the post or void that the books already hold for the pending.
    """
    faults = []
    if resolving.kind not in RESOLVING:
        faults.append(f"a {resolving.kind} transfer resolves nothing")
    if pending.kind is not Kind.PENDING:
        faults.append(f"transfer {pending.id} is not pending")
    if resolving.resolves != pending.id:
        faults.append(f"it does not name {pending.id}")
    faults += [
        f"its {what} is not the pending's"
        for what in ("debit", "credit", "amount", "currency")
        if getattr(resolving, what) != getattr(pending, what)
    ]
    if resolved_by is not None and resolved_by.key != resolving.key:
        faults.append(f"{pending.id} is resolved already by a {resolved_by.kind}")
    return faults


def balances(transfers: Iterable[Transfer]) -> Mapping[tuple[str, str], Balance]:
    """(account, currency) → balance after all transfers; what `trial_balance` must agree with."""
    posted: Counter[tuple[str, str]] = Counter()
    pending: Counter[tuple[str, str]] = Counter()
    for transfer in transfers:
        for account, sign in ((transfer.debit, 1), (transfer.credit, -1)):
            at, amount = (account, transfer.currency), sign * transfer.amount
            if transfer.kind in (Kind.POSTED, Kind.POST):
                posted[at] += amount
            if transfer.kind is Kind.PENDING:
                pending[at] += amount
            if transfer.kind in RESOLVING:
                pending[at] -= amount
    return {
        at: Balance(posted=posted[at], pending=pending[at]) for at in posted.keys() | pending.keys()
    }


def _known_currency(currency: str) -> bool:
    try:
        currency_exponent(currency)
    except KeyError:
        return False
    return True
