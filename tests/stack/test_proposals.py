"""What a second person is shown of what they are asked to confirm."""

from __future__ import annotations

from io import StringIO

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import reason_pb2
from lipei.type.v1.money_pb2 import Money
from services.common.refusals import RpcFault
from stack.commands.claim_acts import _told, as_it_stands, say_next
from stack.commands.options import Language
from stack.commands.pended import _queue
from stack.commands.withheld import NOTHING, Withheld
from stack.decision_text import claim_table, decision_tables

NAME = "policies/p/claims/c"
FOUND = (
    pb.ProposedLine(number=2, clause="2.5", deny_reason=reason_pb2.REASON_MEDICAL_NECESSITY),
    pb.ProposedLine(number=3, clause="2.6", units="1", unit_price="12.50"),
)


def proposed(kind: str, state: str = "PAID", lines: tuple[pb.ProposedLine, ...] = ()) -> pb.Claim:
    claim = pb.Claim(
        name=NAME,
        state=pb.ClaimState.Value(f"CLAIM_STATE_{state}"),
        revision=6,
        awaits_confirmation=True,
        recoverable=Money(currency_code="CNY", minor_units=5_500_000),
    )
    claim.decision.benefit.CopyFrom(Money(currency_code="CNY", minor_units=5_525_000))
    claim.proposal.CopyFrom(
        pb.Proposal(
            kind=kind, actor="li", time=Timestamp(seconds=86_400), note="no bleeding", lines=lines
        )
    )
    return claim


def shown(claim: pb.Claim, lang: Language = Language.EN, withheld: Withheld = NOTHING) -> list[str]:
    parts = decision_tables(claim, lang, with_history=False, withheld=withheld)
    return [line for part in parts if isinstance(part, str) for line in part.splitlines()]


def test_findings_are_shown_line_by_line_with_who_and_why() -> None:
    told = shown(proposed("review", "PENDED_REVIEW", lines=FOUND))
    assert told[:5] == [
        "somebody else must confirm: a review",
        "  proposed by li, 1970-01-02 00:00:00 (UTC)",
        "  line 2 denied: medical necessity (clause 2.5)",
        "  line 3 units 1, price 12.50 (clause 2.6)",
        "  why: no bleeding",
    ]
    assert "须由另一人确认: 审核" in shown(proposed("review"), Language.ZH)


def test_the_second_person_is_told_what_it_comes_to() -> None:
    claim = proposed("reverse")
    assert not any("it comes to" in line for line in shown(claim))
    claim.proposal.amount.CopyFrom(Money(currency_code="CNY", minor_units=5_525_000))
    assert "  it comes to 55250.00 CNY" in shown(claim)
    claim.proposal.incoming.CopyFrom(
        pb.IncomingTransfer(paying_account="main", bank_reference="RF18", value_date="2026-01-05")
    )
    assert "  by the transfer RF18, 2026-01-05, main" in shown(claim)


@pytest.mark.parametrize(("withdrawn", "how"), [(False, "rejected"), (True, "withdrawn")])
def test_whoever_proposed_is_told_why_nothing_came_of_it(*, withdrawn: bool, how: str) -> None:
    claim = pb.Claim(name=NAME, state=pb.CLAIM_STATE_PAID)
    claim.refusal.CopyFrom(
        pb.ProposalRefusal(
            kind="reverse",
            withdrawn=withdrawn,
            actor="wu",
            time=Timestamp(seconds=86_400),
            note="no ground",
        )
    )
    assert shown(claim)[:3] == [
        "nothing came of what was proposed: that the claim is taken back",
        f"  {how}: wu, 1970-01-02 00:00:00 (UTC)",
        "  why: no ground",
    ]
    assert "提议未生效: 撤销赔案并追回已付款" in shown(claim, Language.ZH)
    kept = shown(claim, withheld=Withheld(frozenset({"refusal.note"})))
    assert not any("no ground" in line for line in kept)


def test_what_is_accepted_as_it_stands_says_so_unless_lines_are_withheld() -> None:
    as_it_is = "  every line as the engine has it"
    assert as_it_is in shown(proposed("review"))
    assert as_it_is not in shown(proposed("reverse"))
    kept = Withheld(frozenset({"proposal.lines", "proposal.note"}))
    told = shown(proposed("review"), withheld=kept)
    assert as_it_is not in told
    assert any(line.startswith("  lines ") for line in told)


def test_a_denied_claim_shows_by_when_the_notice_is_due() -> None:
    claim = pb.Claim(name=NAME, state=pb.CLAIM_STATE_DENIED, notice_due_day="2027-03-05")
    assert "the notice of the refusal is due by 2027-03-05" in shown(claim)
    assert "拒赔通知书最迟发出日期 2027-03-05" in shown(claim, Language.ZH)
    claim.notice_days_left = -2
    assert "the notice of the refusal is due by 2027-03-05: 2 days over" in shown(claim)
    claim.ClearField("notice_days_left")
    claim.refusal_notice.CopyFrom(
        pb.RefusalNotice(
            sent_day="2027-03-06", channel=pb.NOTICE_CHANNEL_LETTER, late=True, actor="wu"
        )
    )
    told = "the notice went out on 2027-03-06 (too late): by post or courier, recorded by wu"
    assert told in shown(claim)
    claim.ClearField("refusal_notice")
    claim.ClearField("notice_due_day")
    assert not any("notice" in line for line in shown(claim))


@pytest.mark.parametrize(
    ("kind", "what", "amount"),
    [
        ("review", "a review", "55250.00 CNY"),
        ("adjust", "a new decision", "55250.00 CNY"),
        ("reverse", "that the claim is taken back", "55250.00 CNY"),
        ("recover", "that money came back", "55000.00 CNY"),
        ("write_off", "that the rest is given up", "55000.00 CNY"),
    ],
)
def test_the_queue_says_what_is_to_be_confirmed(kind: str, what: str, amount: str) -> None:
    claim = proposed(kind)
    queue = _queue([claim], Language.EN)
    cells = [str(next(iter(column.cells))) for column in queue.columns]
    assert (cells[3], cells[5]) == (what, amount)
    claim.proposal.amount.CopyFrom(Money(currency_code="CNY", minor_units=90_000))
    said = str(next(iter(_queue([claim], Language.EN).columns[5].cells)))
    assert said == ("900.00 CNY" if kind in {"recover", "write_off"} else amount)


def test_what_cannot_be_read_says_so_in_lists() -> None:
    broken = pb.Claim(name=NAME, state=pb.CLAIM_STATE_PENDED_REVIEW, unreadable="KEY_UNKNOWN")
    made = (_queue([broken], Language.EN), claim_table([broken]))
    cells = [[str(next(iter(column.cells))) for column in table.columns] for table in made]
    assert cells[0][3] == "unreadable: KEY_UNKNOWN"
    assert cells[1][1] == "(unreadable: KEY_UNKNOWN)"


@pytest.mark.parametrize("state", ["PAID", "RECOVERY_OPEN", "PENDED_REVIEW", "CLOSED_ZERO"])
def test_the_next_command_confirms_the_revision_that_was_seen(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_next(proposed("reverse", state))
    wanted = f"next: lipei claims confirm {NAME} --revision 6   (somebody else)"
    assert capsys.readouterr().out.strip() == wanted


def test_whoever_proposed_is_told_that_nothing_changes_yet() -> None:
    told = list(as_it_stands(proposed("adjust")))
    wanted = "proposed: a new decision; nothing changes until somebody else confirms it"
    assert told[1:] == [wanted]
    effective = proposed("adjust")
    effective.awaits_confirmation = False
    assert len(list(as_it_stands(effective))) == 1


def test_what_was_proposed_says_what_it_comes_to_beside_what_is_in_force() -> None:
    claim = proposed("review", "PENDED_REVIEW")
    waits = "nothing changes until somebody else confirms it"
    assert list(as_it_stands(claim))[-1] == f"proposed: a review; {waits}"
    claim.proposal.amount.CopyFrom(Money(currency_code="CNY", minor_units=5_600_000))
    assert list(as_it_stands(claim))[-1] == f"proposed: a review, 56000.00 CNY; {waits}"


@pytest.mark.parametrize("waits", [True, False])
def test_who_comes_too_late_is_offered_what_can_be_done(*, waits: bool) -> None:
    metadata = {"state": "CLAIM_STATE_PENDED_REVIEW", "revision": "3"}
    if waits:
        metadata["proposed"] = "true"
    fault = RpcFault(grpc.StatusCode.ABORTED, "CLAIM_CHANGED", "look again", (), None, metadata)
    told = _told(NAME, fault)
    assert told is not None
    offered = [one for one in told.lines if "lipei claims" in one]
    can = ("confirm {}", "confirm {} --reject") if waits else ("review {} --accept",)
    assert offered == [f"  what can be done: lipei claims {one.format(NAME)}" for one in can]


def test_money_that_is_not_on_its_way_says_why() -> None:
    claim = pb.Claim(name=NAME, state=pb.CLAIM_STATE_PAYABLE, payout_waits="NO_PAYEE_ACCOUNT")
    assert shown(claim)[0] == "the money waits for a payee's account that a bank can pay"
    claim.payout_waits = "REFUSED:AC04"
    assert shown(claim)[0].endswith("once the account is mended (AC04)")
    assert "银行拒付，更正账户后重付 (AC04)" in shown(claim, Language.ZH)
    claim.payout_waits = ""
    assert not any("account" in line for line in shown(claim))


def test_the_history_names_who_proposed_and_who_confirmed() -> None:
    claim = pb.Claim(name=NAME, state=pb.CLAIM_STATE_APPROVED)
    claim.moves.add(actor="insurer:wu", cause="approve", proposed_by="li")
    assert "insurer:wu (proposed by li)" in _all(claim, Language.EN)
    assert "insurer:wu (提议人 li)" in _all(claim, Language.ZH)
    claim.moves[0].proposed_by = ""
    assert "insurer:wu" in _all(claim, Language.EN)
    assert "proposed by" not in _all(claim, Language.EN)


def _all(claim: pb.Claim, lang: Language) -> str:
    console = Console(width=200, record=True, file=StringIO())
    for part in decision_tables(claim, lang, with_history=True, withheld=NOTHING):
        console.print(part)
    return console.export_text()
