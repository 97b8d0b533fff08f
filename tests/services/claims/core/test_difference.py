"""Outcomes added up: what is in which sum, and which claims and people move most."""

from __future__ import annotations

import msgspec

from services.claims.core.decision import Bearer
from services.claims.core.difference import MOST_THAT_MOVE, Difference
from services.claims.core.reasons import Reason
from services.claims.core.what_if import Cannot, Cause, Change, Moved, Outcome

INSURER = (Bearer.INSURER, Reason.BENEFIT)
PATIENT = (Bearer.PATIENT, Reason.DEDUCTIBLE)


def _moved(key: tuple[Bearer, Reason], before: int, after: int) -> Moved:
    return Moved(bearer=key[0], reason=key[1], before=before, after=after)


def _outcome(
    seq: int,
    before: int,
    after: int,
    change: Change = Change.UP,
    *,
    pended: tuple[bool, bool] = (False, False),
) -> Outcome:
    return Outcome(
        seq=seq,
        before=before,
        after=after,
        change=change,
        shares=(
            _moved(INSURER, before, after),
            _moved(PATIENT, 1_000 - before, 1_000 - after),
        ),
        pended_before=pended[0],
        pended_after=pended[1],
        proposed_before=10 * pended[0],
        proposed_after=10 * pended[1],
    )


def _cannot(seq: int, before: int, *causes: Cannot) -> Outcome:
    return Outcome(
        seq=seq, before=before, after=0, change=Change.UNDECIDABLE, shares=(), cannot=causes
    )


NO_TERMS = Cannot(cause=Cause.NO_TERMS)
CLAUSE_9, CLAUSE_8 = (Cannot(cause=Cause.UNKNOWN_CLAUSE, about=one) for one in ("9", "8"))


def test_what_the_engine_alone_moves_is_summed_apart_and_stays_in_the_total() -> None:
    told = Difference()
    told.add(_outcome(1, 400, 300, Change.DOWN), "ann")
    told.add(msgspec.structs.replace(_outcome(2, 500, 700), todays=650), "ben")
    assert (told.total.claims, told.total.before, told.total.after) == (2, 900, 1_000)
    assert (told.by_engine.claims, told.by_engine.before, told.by_engine.after) == (1, 500, 650)


def test_claims_add_up_by_change_and_by_bearer_and_reason() -> None:
    told = Difference()
    told.add(_outcome(1, 0, 1_000, Change.NEWLY_PAID), "ann")
    told.add(_outcome(2, 400, 300, Change.DOWN, pended=(False, True)), "ben")
    told.add(_outcome(3, 100, 200, pended=(True, False)), "ann")
    told.add(_outcome(4, 500, 600, pended=(True, True)), "cat")
    assert (told.total.claims, told.total.before, told.total.after) == (4, 1_000, 2_100)
    assert (told.members, told.done) == (3, 4)
    assert (told.pended_before, told.pended_after) == (2, 2)
    # What a side pays while it waits: 100 and 500 now, 300 and 600 then; beside it, proposals.
    assert (told.paid_first.before, told.paid_first.after) == (600, 900)
    assert (told.proposed.before, told.proposed.after) == (20, 20)
    sums = [(change, of.claims, of.before, of.after) for change, of in told.changes()]
    assert sums == [
        (Change.UP, 2, 600, 800),
        (Change.DOWN, 1, 400, 300),
        (Change.NEWLY_PAID, 1, 0, 1_000),
    ]
    shares = [
        (key, of.before, of.after, of.claims_before, of.claims_after) for key, of in told.shares()
    ]
    # In order of precedence; the first claim had no benefit before and has no deductible after.
    assert shares == [(PATIENT, 3_000, 1_900, 4, 3), (INSURER, 1_000, 2_100, 3, 4)]


def test_what_a_plan_cannot_decide_stands_apart_and_says_why() -> None:
    told = Difference()
    told.add(_outcome(1, 100, 200), "ann")
    told.add(_cannot(2, 300, CLAUSE_9), "ben")
    told.add(_cannot(3, 50, CLAUSE_9, NO_TERMS), "ben")
    told.add(_cannot(4, 50, CLAUSE_8), "ben")
    assert (told.total.claims, told.undecidable.claims, told.done) == (1, 3, 4)
    assert (told.undecidable.before, told.undecidable.after) == (400, 0)
    assert (told.total.before, told.members) == (100, 1)
    assert told.causes() == [(CLAUSE_9, 2), (NO_TERMS, 1), (CLAUSE_8, 1)]
    assert [one.seq for one in told.claims_that_move()] == [1]


def test_the_claims_that_move_most_are_told_the_most_first_and_of_equals_the_first() -> None:
    told = Difference()
    # The further from 12 the more it moves, up or down; 12 does not move, and of two alike the
    # first received goes before.
    for seq in range(25):
        told.add(_outcome(seq, 500, 500 + 10 * (seq - 12)), f"p{seq}")
    far = sorted((seq for seq in range(25) if seq != 12), key=lambda seq: (-abs(seq - 12), seq))
    assert [one.seq for one in told.claims_that_move()] == far[:MOST_THAT_MOVE]
    assert [one for one, _ in told.members_that_move()] == [
        f"p{seq}"
        for seq in sorted(far, key=lambda seq: (-abs(seq - 12), f"p{seq}"))[:MOST_THAT_MOVE]
    ]


def test_a_larger_move_takes_a_smaller_ones_place_whenever_it_comes() -> None:
    told = Difference()
    for seq in range(MOST_THAT_MOVE + 1):
        told.add(_outcome(seq, 0, 100 + seq), "ann")
    assert [one.seq for one in told.claims_that_move()] == list(range(MOST_THAT_MOVE, 0, -1))


def test_a_person_whose_claims_cancel_out_does_not_move() -> None:
    told = Difference()
    told.add(_outcome(1, 100, 300), "ann")
    told.add(_outcome(2, 300, 100), "ann")
    told.add(_outcome(3, 100, 90), "ben")
    ((who, moved),) = told.members_that_move()
    assert (who, moved.claims, moved.before, moved.after) == ("ben", 1, 100, 90)


def test_a_move_between_the_smallest_and_the_next_takes_the_smallest_ones_place() -> None:
    told = Difference()
    for seq in range(MOST_THAT_MOVE):
        told.add(_outcome(seq, 0, 200 + seq if seq else 100), "ann")
    told.add(_outcome(MOST_THAT_MOVE, 0, 150), "ann")
    assert [one.seq for one in told.claims_that_move()][-2:] == [1, MOST_THAT_MOVE]
