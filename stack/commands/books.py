"""`lipei books`: whether the money adds up, on one screen."""

from __future__ import annotations

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from stack.commands.calling import Failed, calling
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import money, print_json, print_table, rows, say, table, word

_CALL_S = 120.0  # it reads every decision


def books(state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Check the books: trial balance, conservation, payouts. Changes nothing; exit 1 on a fault."""
    with calling(state, "claims", "payments") as channel:
        request = pb.CheckBooksRequest()
        answer = ClaimsServiceStub(channel).CheckBooks(request, timeout=_CALL_S)
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    faults = [
        f"{text}: {value}"
        for text, value in (
            ("the ledger does not sum to zero, minor units", answer.ledger_sum_minor_units),
            ("decisions that do not add up", answer.conservation_violations),
            ("paid claims whose payouts differ from their benefit", answer.payout_mismatches),
        )
        if value
    ]
    if faults:
        raise Failed(*faults)


def _show(answer: pb.CheckBooksResponse) -> None:
    balances = table("account", "posted", "pending", right=("posted", "pending"))
    print_table(
        rows(balances, ((b.account, money(b.posted), money(b.pending)) for b in answer.balances))
    )
    states = table("claims", "count", right=("count",))
    counts = ((word(pb.ClaimState, c.state), str(c.count)) for c in answer.claims)
    print_table(rows(states, counts))
    paid = ", ".join(map(money, answer.paid)) or "nothing"
    say(f"payouts confirmed by the bank: {answer.paid_count}, {paid}")
    say(
        f"ledger sum {answer.ledger_sum_minor_units}, "
        f"decisions that do not add up {answer.conservation_violations}, "
        f"payouts that differ {answer.payout_mismatches}"
    )
