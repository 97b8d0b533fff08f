"""What a service withholds, a command shows as withheld: never as zero, empty or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import pytest
from rich.table import Table

from lipei.claims.v1 import claims_pb2, claims_pb2_grpc, decision_pb2
from lipei.his_bridge.v1 import his_bridge_pb2, his_bridge_pb2_grpc
from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from lipei.type.v1 import access_pb2
from services.common.access.withheld import withheld_entry, withheld_in
from stack.commands.options import Language
from stack.commands.printing import plain
from stack.commands.quote import show_quote
from stack.commands.withheld import WITHHELD, Withheld, ask, pages
from stack.decision_text import claim_table, decision_tables
from tests.callers import caller, guard_for
from tests.services.common.access.answering import listening, run

A = TypeVar("A")


def answered(role: int, call: Callable[[grpc.Channel], A]) -> A:
    """What a blocking call of a caller with this role gives, over a real socket."""

    async def serve() -> A:
        async with listening(guard_for(caller(role))) as address:
            return await asyncio.to_thread(blocking, address)

    def blocking(address: str) -> A:
        with grpc.insecure_channel(address) as channel:
            return call(channel)

    found: A = run(serve())
    return found


def get_claim(channel: grpc.Channel) -> tuple[claims_pb2.GetClaimResponse, Withheld]:
    stub = claims_pb2_grpc.ClaimsServiceStub(channel)
    answer, withheld = ask(stub.GetClaim, claims_pb2.GetClaimRequest(name="policies/p/claims/c"))
    answer.claim.erased, answer.claim.unreadable = False, ""  # the handler fills in every field
    return answer, withheld


def get_quote(channel: grpc.Channel) -> tuple[pricing_pb2.GetQuoteResponse, Withheld]:
    stub = pricing_pb2_grpc.PricingServiceStub(channel)
    return ask(stub.GetQuote, pricing_pb2.GetQuoteRequest(name="policies/p/quotes/q"))


def cells(made: Table) -> dict[str, list[str]]:
    return {str(column.header): [str(cell) for cell in column.cells] for column in made.columns}


def test_a_claim_s_lines_are_withheld_from_whoever_pays() -> None:
    answer, held_back = answered(access_pb2.ROLE_PAYMENTS, get_claim)
    withheld = held_back.below("claim")
    parts = list(decision_tables(answer.claim, Language.EN, with_history=True, withheld=withheld))
    head = parts[0]
    assert isinstance(head, Table)
    assert cells(head)["bill"] == [WITHHELD]
    assert cells(head)["claim"] == ["a-name"]
    assert f"lines {WITHHELD}" in parts
    assert cells(claim_table([answer.claim], withheld))["bill"] == [WITHHELD]
    shown = withheld.marked(plain(answer.claim))
    assert shown["bill_number"] == shown["member"] == shown["decision"]["lines"] == WITHHELD
    assert shown["name"] == "a-name"


def test_nothing_is_withheld_from_an_adjuster() -> None:
    # The control: the same calls and the same tables.
    answer, held_back = answered(access_pb2.ROLE_ADJUSTER, get_claim)
    withheld = held_back.below("claim")
    # The inputs hold what is above an adjuster's clearance, and so does their hash.
    assert withheld.paths == {"decision.input_hash"}
    parts = list(decision_tables(answer.claim, Language.EN, with_history=True, withheld=withheld))
    assert isinstance(parts[0], Table)
    assert cells(parts[0])["bill"] == ["a-bill_number"]
    assert not any(isinstance(part, str) and WITHHELD in part for part in parts)
    shown = withheld.marked(plain(answer.claim))
    assert shown["decision"].pop("input_hash") == WITHHELD
    assert WITHHELD not in repr(shown)


def test_what_a_withdrawn_claim_waited_for_is_over() -> None:
    pends = [decision_pb2.Pend(line=1, awaits="bill.care_type", clause="1.1")]
    claim = claims_pb2.Claim(decision=decision_pb2.Decision(pends=pends))
    for state, waits in (
        (claims_pb2.CLAIM_STATE_PENDED_INFO, True),
        (claims_pb2.CLAIM_STATE_WITHDRAWN, False),
    ):
        claim.state = state
        parts = decision_tables(claim, Language.EN, with_history=False, sections=())
        told = [part for part in parts if isinstance(part, str)]
        assert any("waits for" in part for part in told) is waits


@pytest.mark.parametrize(
    ("role", "is_withheld"),
    [(access_pb2.ROLE_ACTUARY, True), (access_pb2.ROLE_CHIEF_ACTUARY, False)],
)
def test_a_premium_s_steps_are_withheld_from_an_actuary(
    role: int, is_withheld: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, held_back = answered(role, get_quote)
    show_quote(answer.quote, Language.EN, held_back.below("quote"))
    said = capsys.readouterr().out.splitlines()
    for line in (
        f"steps {WITHHELD}",
        f"months {WITHHELD}",
        f"longest run {WITHHELD}, earns {WITHHELD}",
    ):
        assert (line in said) is is_withheld
    assert said[-1].endswith(f"sum of the differences {WITHHELD}") is is_withheld


def test_an_operator_counts_the_quarantine_and_learns_no_record() -> None:
    def listed(channel: grpc.Channel) -> Any:
        stub = his_bridge_pb2_grpc.HisBridgeServiceStub(channel)
        return ask(stub.ListQuarantine, his_bridge_pb2.ListQuarantineRequest(parent="hospitals/h"))

    answer, withheld = answered(access_pb2.ROLE_OPERATOR, listed)
    (record,) = withheld.marked(plain(answer))["records"]
    assert record["name"] == record["source_record"] == record["total"] == WITHHELD
    assert record["stage"] == "a-stage"


def test_what_is_absent_anyway_is_not_called_withheld() -> None:
    undecided = claims_pb2.Claim(name="policies/p/claims/c")
    decided = claims_pb2.Claim(decision=decision_pb2.Decision())
    withheld = Withheld(frozenset({"claims.decision.lines"}))
    answer = claims_pb2.ListClaimsResponse(claims=[undecided, decided])
    first, second = withheld.marked(plain(answer))["claims"]
    assert "decision" not in first
    assert second["decision"]["lines"] == WITHHELD


def test_more_paths_than_have_room_are_counted() -> None:
    paths = [f"records.some_field_{number}" for number in range(200)]
    key, said = withheld_entry(paths)
    assert len(said) < 1_100
    told = withheld_in([(key, said)])
    assert told < set(paths)
    assert said.endswith(f",+{len(paths) - len(told)}")
    assert withheld_in([("other", "a")]) == withheld_in(None) == frozenset()


class Paged:
    """An rpc of three pages, the second of which withholds something."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.withheld: tuple[str, ...] = ()

    def with_call(
        self, request: claims_pb2.ListClaimsRequest, *, timeout: float
    ) -> tuple[claims_pb2.ListClaimsResponse, Any]:
        assert timeout > 0
        self.asked.append(request.page_token)
        number = len(self.asked)
        answer = claims_pb2.ListClaimsResponse(next_page_token=["two", "three", ""][number - 1])
        answer.claims.add(name=f"c{number}")
        self.withheld = ("claims.bill_number",) if number == 2 else ()
        return answer, self

    def trailing_metadata(self) -> Any:
        return (withheld_entry(self.withheld),) if self.withheld else ()


def test_every_page_of_a_list_is_asked_for_once_with_what_it_withholds() -> None:
    listing: Any = Paged()
    request = claims_pb2.ListClaimsRequest(parent="policies/-", page_token="one")
    found = [(page.claims[0].name, set(kept.paths)) for page, kept in pages(listing, request)]
    assert found == [("c1", set()), ("c2", {"claims.bill_number"}), ("c3", set())]
    assert listing.asked == ["one", "two", "three"]
