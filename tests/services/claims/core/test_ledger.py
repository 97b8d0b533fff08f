"""The ledger's rules, one by one, and the balances that follow from them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.claims.core.ledger import (
    INCURRED,
    PAYABLE,
    Balance,
    InvalidTransfers,
    Kind,
    Transfer,
    balances,
    bank_account,
    begin_payment,
    check,
    faults_of,
    owe,
    request_hash,
    resolution,
    resolution_faults,
)
from services.common.money import MAX_MINOR_UNITS

OWED = owe(transfer_id="t1", claim_id="c1", decision_id="d1", amount=1_200, currency="CNY")
PENDING = begin_payment(
    transfer_id="t2", end_to_end_id="E1", paying_account="main", amount=1_200, currency="CNY"
)


def changed(transfer: Transfer, **values: object) -> Transfer:
    return msgspec.structs.replace(transfer, **values)


@pytest.mark.parametrize(
    "transfer", [OWED, PENDING, resolution(PENDING, Kind.POST, transfer_id="t3")]
)
def test_what_the_builders_make_breaks_no_rule(transfer: Transfer) -> None:
    assert faults_of(transfer) == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 10**15 + 1}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 12.0}, "amount"),
        ({"currency": "XXX"}, "currency"),
        ({"currency": ""}, "currency"),
        ({"debit": "claims:paid"}, "debit account"),
        ({"credit": "bank:"}, "credit account"),
        ({"credit": "bank:Main"}, "credit account"),
        ({"credit": INCURRED}, "same account"),
        ({"id": ""}, "id"),
        ({"id": "a b"}, "id"),
        ({"key": "k" * 121}, "key"),
        ({"group": "g" * 65}, "group"),
        ({"resolves": "t9"}, "post or void"),
        ({"kind": Kind.POST}, "post or void"),
    ],
)
def test_every_rule_refuses(values: dict[str, object], says: str) -> None:
    faults = faults_of(changed(OWED, **values))
    assert any(says in fault for fault in faults)


def test_all_faults_of_all_transfers_are_named_at_once() -> None:
    with pytest.raises(InvalidTransfers) as refused:
        check([changed(OWED, amount=0, currency="XXX"), changed(PENDING, amount=-1)])
    assert len(refused.value.faults) == 3


@pytest.mark.parametrize("same", ["id", "key"])
def test_a_batch_names_each_id_and_key_once(same: str) -> None:
    twin = changed(PENDING, **{same: getattr(OWED, same)})
    with pytest.raises(InvalidTransfers, match="stands 2 times"):
        check([OWED, twin])


def test_a_batch_resolves_a_pending_once() -> None:
    post = resolution(PENDING, Kind.POST, transfer_id="t3")
    void = resolution(PENDING, Kind.VOID, transfer_id="t4")
    with pytest.raises(InvalidTransfers, match="resolved pending"):
        check([post, void])


@pytest.mark.parametrize(
    "values",
    [{"amount": 1_199}, {"currency": "USD"}, {"debit": INCURRED}, {"credit": "bank:other"}],
)
def test_a_resolution_mirrors_its_pending(values: dict[str, object]) -> None:
    post = resolution(PENDING, Kind.POST, transfer_id="t3")
    assert resolution_faults(PENDING, post, resolved_by=None) == []
    assert len(resolution_faults(PENDING, changed(post, **values), resolved_by=None)) == 1


def test_a_resolution_names_the_pending_that_it_resolves() -> None:
    post = resolution(PENDING, Kind.POST, transfer_id="t3")
    faults = resolution_faults(PENDING, changed(post, resolves="t9"), resolved_by=None)
    assert faults == [f"it does not name {PENDING.id}"]


@pytest.mark.parametrize("amount", [1, MAX_MINOR_UNITS])
def test_the_least_and_the_largest_amount_are_booked(amount: int) -> None:
    assert faults_of(changed(OWED, amount=amount)) == []
    assert len(faults_of(changed(OWED, amount=MAX_MINOR_UNITS + amount))) == 1


def test_only_a_pending_can_be_resolved_and_only_by_a_post_or_void() -> None:
    with pytest.raises(InvalidTransfers, match="not pending"):
        resolution(OWED, Kind.POST, transfer_id="t3")
    with pytest.raises(InvalidTransfers, match="resolves nothing"):
        resolution(PENDING, Kind.POSTED, transfer_id="t3")


def test_a_posted_pending_cannot_be_voided() -> None:
    post = resolution(PENDING, Kind.POST, transfer_id="t3")
    void = resolution(PENDING, Kind.VOID, transfer_id="t4")
    assert resolution_faults(PENDING, void, resolved_by=post) != []
    assert resolution_faults(PENDING, changed(post, id="t5"), resolved_by=post) == []


def test_the_request_hash_follows_the_content_and_not_the_id() -> None:
    assert request_hash(changed(OWED, id="other")) == request_hash(OWED)
    for values in ({"amount": 1}, {"currency": "USD"}, {"group": "g"}, {"debit": "bank:main"}):
        assert request_hash(changed(OWED, **values)) != request_hash(OWED)


def test_a_name_that_is_no_account_is_refused() -> None:
    assert bank_account("main") == "bank:main"
    for name in ("", "Main", "a" * 40, "a b", "-a"):
        with pytest.raises(InvalidTransfers):
            bank_account(name)


def test_a_claim_that_is_paid_leaves_the_cost_and_the_bank() -> None:
    before = balances([OWED, PENDING])
    assert before[PAYABLE, "CNY"] == Balance(posted=-1_200, pending=1_200)
    assert before["bank:main", "CNY"] == Balance(posted=0, pending=-1_200)
    after = balances([OWED, PENDING, resolution(PENDING, Kind.POST, transfer_id="t3")])
    assert after == {
        (INCURRED, "CNY"): Balance(posted=1_200),
        (PAYABLE, "CNY"): Balance(),
        ("bank:main", "CNY"): Balance(posted=-1_200),
    }


def test_a_rejected_payment_leaves_the_debt() -> None:
    after = balances([OWED, PENDING, resolution(PENDING, Kind.VOID, transfer_id="t3")])
    assert after[PAYABLE, "CNY"] == Balance(posted=-1_200)
    assert after["bank:main", "CNY"] == Balance()


@given(
    st.lists(
        st.tuples(st.integers(1, 10**15), st.sampled_from(["CNY", "USD"]), st.sampled_from("opcv"))
    )
)
def test_any_books_balance_in_every_currency(
    moves: list[tuple[int, str, str]],
) -> None:
    transfers: list[Transfer] = []
    for n, (amount, currency, what) in enumerate(moves):
        if what == "o":
            transfers.append(changed(OWED, id=f"o{n}", amount=amount, currency=currency))
            continue
        pending = changed(PENDING, id=f"p{n}", amount=amount, currency=currency)
        transfers.append(pending)
        if what in "cv":
            kind = Kind.POST if what == "c" else Kind.VOID
            transfers.append(resolution(pending, kind, transfer_id=f"r{n}"))
    found = balances(transfers)
    for currency in ("CNY", "USD"):
        held = [balance for (_, at), balance in found.items() if at == currency]
        assert sum(balance.posted for balance in held) == 0
        assert sum(balance.pending for balance in held) == 0
    still_open = sum(amount for amount, _, what in moves if what == "p")
    assert -sum(b.pending for (name, _), b in found.items() if name == "bank:main") == still_open
