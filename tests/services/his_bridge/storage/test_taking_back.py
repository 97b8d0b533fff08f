"""What was handed out can be taken back without a consent, bare; both databases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from lipei.type.v1 import bill_pb2
from services.common.database import Database, migrate
from services.his_bridge import messages
from services.his_bridge.core.consent import Scope, Terms
from services.his_bridge.core.outcomes import BillStated
from services.his_bridge.storage import holding, lists, showing, taking_back, withheld
from services.his_bridge.storage.erasure import ReversalNotTold, erase
from services.his_bridge.storage.offers import LONGEST_US, PAUSE_US, offer_due
from tests.services.common.sealing.keys import sealer, subject_keys
from tests.services.his_bridge.consenting import INSURER, record, take_back, terms
from tests.services.his_bridge.core.folding_cases import TOKENS, bill_of
from tests.services.his_bridge.storage.hospital import (
    NOW,
    Hospital,
    Said,
    final,
    late,
    march,
    merge,
)

LI = TOKENS["li"]
ANOTHER = "insurers/another"
FINAL: Said = final("F", "09:00", {"C1": "100.00"}, diagnoses=["E11.9"])
REVERSAL: Said = {"id": "X", "at": "12:00", "says": "REVERSAL"}


@pytest.fixture
def hospital(database_url: str) -> Iterator[Hospital]:
    """A hospital whose one patient has consented."""
    database = Database(database_url, threads=2)
    subject_keys(database)
    yield Hospital(database)
    database.close()


def consented(hospital: Hospital, **changes: Any) -> Terms:
    given = terms(LI, **changes)
    record(hospital.database, hospital.name, [given])
    return given


def handed_out(
    hospital: Hospital, recipient: str = INSURER, now_us: int = NOW
) -> list[bill_pb2.Bill]:
    """What the insurer's worker is given to hand over, as the servicer gives it."""
    with hospital.database.writing() as connection:
        holding.one_at_a_time(connection, hospital.name, reads=True)
        shown = taking_back.hand_out(
            *(connection, hospital.name, recipient),
            lambda: showing.bills_after(
                connection, sealer(connection), hospital.name, recipient, 0, 100, "PENDING", now_us
            ),
            to_answer=True,
        )
        return [messages.released_bill(one).bill for one in shown]


def said(bills: list[bill_pb2.Bill]) -> list[tuple[str, bool]]:
    """Kind, and whether it is whole."""
    return [
        (bill_pb2.BillKind.Name(one.kind).removeprefix("BILL_KIND_"), bool(one.lines))
        for one in bills
    ]


def answered(
    hospital: Hospital, bills: list[bill_pb2.Bill], *refused: str, now_us: int = NOW
) -> None:
    answers = [
        lists.Answer(
            bill=one.name.rpartition("/")[2],
            delivery="REFUSED" if refused else "TAKEN",
            claims=() if refused else ("policies/p/claims/c",),
            refusal_reasons=refused,
        )
        for one in bills
    ]
    with hospital.database.writing() as connection:
        lists.acknowledge(connection, hospital.name, "", answers, recipient=INSURER, now_us=now_us)


def stands(hospital: Hospital) -> list[tuple[str, str]]:
    return [(row.kind, row.delivery) for row, _ in hospital.released()]


@pytest.mark.parametrize("ends", ["withdrawn", "run out", "before the answer"])
def test_what_was_handed_out_is_taken_back_bare_once_no_consent_covers_it(
    hospital: Hospital, ends: str
) -> None:
    given = consented(hospital, until_us=NOW + 1 if ends == "run out" else None)
    hospital.arrive(FINAL)
    whole = handed_out(hospital)
    if ends != "before the answer":
        answered(hospital, whole)
    now_us = NOW + 1
    if ends != "run out":
        take_back(hospital.database, hospital.name, given, NOW)
    assert handed_out(hospital, now_us=now_us) == []
    hospital.arrive(REVERSAL, now_us=now_us)
    (bare,) = handed_out(hospital, now_us=now_us)
    assert bare == bill_pb2.Bill(
        name=f"{whole[0].name}.2",
        bill_number="NO-A",
        provider_id="H1",
        kind=bill_pb2.BILL_KIND_REVERSAL,
    )
    # Killed before it had handed it over, the worker is given it again.
    assert handed_out(hospital, now_us=now_us) == [bare]
    answered(hospital, [bare])
    assert handed_out(hospital, now_us=now_us) == []
    assert stands(hospital)[-1] == ("REVERSAL", "TAKEN")


def test_nothing_of_the_care_is_in_the_bytes_of_a_bare_reversal(hospital: Hospital) -> None:
    given = consented(hospital)
    hospital.arrive(FINAL)
    (whole,) = handed_out(hospital)
    answered(hospital, [whole])
    needles = [
        LI.encode(),
        b"E11.9",
        whole.time_zone.encode(),
        whole.lines[0].code.SerializeToString(),
        whole.total.SerializeToString(),
        whole.start_time.SerializeToString(),
        whole.consent.encode(),
    ]
    content = whole.SerializeToString()
    assert [one for one in needles if len(one) < 5 or one not in content] == []  # the control
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(REVERSAL)
    (bare,) = handed_out(hospital)
    assert not [one for one in needles if one in bare.SerializeToString()]


def test_while_a_consent_covers_it_a_reversal_is_whole(hospital: Hospital) -> None:
    consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(REVERSAL)
    assert said(handed_out(hospital)) == [("REVERSAL", True)]


@pytest.mark.parametrize("how", ["never asked for", "refused", "to another insurer"])
def test_of_a_bill_that_the_insurer_never_got_no_reversal_leaves(
    hospital: Hospital, how: str
) -> None:
    given = consented(hospital)
    theirs = terms(LI, recipient=ANOTHER)
    if how == "to another insurer":
        record(hospital.database, hospital.name, [theirs])
    hospital.arrive(FINAL)
    if how == "refused":
        answered(hospital, handed_out(hospital), "UNKNOWN_MEMBER")
    if how == "to another insurer":
        assert said(handed_out(hospital, ANOTHER)) == [("FINAL", True)]
        take_back(hospital.database, hospital.name, theirs, NOW)
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(REVERSAL)
    assert hospital.told() == [("FINAL", 10000), ("REVERSAL", 10000)]
    assert handed_out(hospital) == []
    with hospital.database.reading() as connection:
        key, name = sealer(connection), hospital.released()[-1][0].name
        with pytest.raises(showing.NoActiveConsent):
            showing.bill_named(connection, key, hospital.name, INSURER, name, NOW)
        counts = withheld.counts(connection, hospital.name, INSURER, NOW)
        assert counts == {"WITHHELD": 2}
    if how == "to another insurer":  # the control: who has it is told
        assert said(handed_out(hospital, ANOTHER)) == [("REVERSAL", False)]


def test_a_bare_reversal_is_neither_withheld_nor_hidden(hospital: Hospital) -> None:
    given = consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(REVERSAL)
    with hospital.database.reading() as connection:
        key = sealer(connection)
        counts = withheld.counts(connection, hospital.name, INSURER, NOW)
        found = withheld.withheld_after(connection, key, hospital.name, INSURER, 0, 9, NOW)
        name = hospital.released()[-1][0].name
        (shown,) = showing.bill_named(connection, key, hospital.name, INSURER, name, NOW)
    # What the insurer took has left: it is shown no more, and no consent would have it leave again.
    assert counts == {"TAKEN": 1, "PENDING": 1}
    assert [one.place for one in found] == [f"bills/{hospital.released()[0][0].name}"]
    assert shown.consent_id is None


def test_a_correction_is_held_and_never_follows_the_reversal(hospital: Hospital) -> None:
    """A consent that comes later would have it open claims for a bill that was taken back."""
    given = consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(late("L", "10:00", {"C2": "50.00"}))  # released, not yet handed out
    take_back(hospital.database, hospital.name, given, NOW)
    assert handed_out(hospital) == []  # it would carry new data
    hospital.arrive(REVERSAL)
    assert said(handed_out(hospital)) == [("REVERSAL", False)]
    consented(hospital)
    (whole,) = again = handed_out(hospital)
    assert said(again) == [("REVERSAL", True)]
    answered(hospital, [whole])
    assert stands(hospital) == [
        ("FINAL", "TAKEN"),
        ("CORRECTION", "REFUSED"),
        ("REVERSAL", "TAKEN"),
    ]
    assert hospital.released()[1][0].refusal_reasons == b'["TAKEN_BACK"]'


def test_what_is_taken_back_before_it_was_handed_out_still_goes_in_order(
    hospital: Hospital,
) -> None:
    consented(hospital)
    hospital.arrive(FINAL, REVERSAL)
    bills = handed_out(hospital)
    assert said(bills) == [("FINAL", True), ("REVERSAL", True)]
    answered(hospital, bills)
    assert [delivery for _, delivery in stands(hospital)] == ["TAKEN", "TAKEN"]


def test_what_was_taken_back_is_not_stated_again_by_who_comes_after_a_worker_that_died(
    hospital: Hospital,
) -> None:
    """Under another consent it is another request, and its reversal is the same: of no effect."""
    given = consented(hospital)
    hospital.arrive(FINAL, REVERSAL)
    assert said(handed_out(hospital)) == [("FINAL", True), ("REVERSAL", True)]
    take_back(hospital.database, hospital.name, given, NOW)
    consented(hospital)
    bills = handed_out(hospital)
    assert said(bills) == [("REVERSAL", True)]
    answered(hospital, bills)
    assert stands(hospital) == [("FINAL", "REFUSED"), ("REVERSAL", "TAKEN")]


def test_what_was_left_on_the_way_ends_with_the_answer_to_its_reversal(hospital: Hospital) -> None:
    """Claims knew of a withdrawal first: the worker answers the reversal alone."""
    consented(hospital)
    hospital.arrive(FINAL, REVERSAL)
    answered(hospital, handed_out(hospital)[1:], "BILL_UNKNOWN")
    assert stands(hospital) == [("FINAL", "REFUSED"), ("REVERSAL", "REFUSED")]
    assert hospital.released()[0][0].refusal_reasons == b'["TAKEN_BACK"]'


def test_a_bill_stated_anew_that_never_left_is_not_taken_back(hospital: Hospital) -> None:
    given = consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(REVERSAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(final("G", "13:00", {"C1": "80.00"}))
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive({"id": "Y", "at": "14:00", "says": "REVERSAL"})
    assert [kind for kind, _ in hospital.told()] == [
        "FINAL",
        "REVERSAL",
        "CORRECTION",
        "REVERSAL",
    ]
    assert handed_out(hospital) == []


@pytest.mark.parametrize("times", [1, 2])
def test_what_went_on_under_another_account_is_taken_back_with_that(
    hospital: Hospital, times: int
) -> None:
    """Under its own number, so that the insurer knows the old account's bill alone."""
    given = consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(merge("M", "10:00", "A", "B"))
    last = "B"
    if times == 2:
        hospital.arrive(merge("N", "10:30", "B", "C"))
        last = "C"
    take_back(hospital.database, hospital.name, given, NOW)
    assert handed_out(hospital) == []
    hospital.arrive({**REVERSAL, "account": last})
    (bare,) = bills = handed_out(hospital)
    assert (said(bills), bare.bill_number) == ([("REVERSAL", False)], "NO-A")
    answered(hospital, bills)
    consented(hospital)
    assert handed_out(hospital) == []  # no correction of a merged account follows it either


def test_part_of_a_stay_that_a_narrower_consent_leaves_out_follows_no_reversal(
    hospital: Hospital,
) -> None:
    """The other order: the reversal is whole, the correction before it is not covered."""
    given = consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(late("L", "10:00", {"C2": "50.00"}, days=[5, 5]))
    hospital.arrive(late("L", "11:00", {"C2": "50.00"}, version=2))
    take_back(hospital.database, hospital.name, given, NOW)
    days = holding.need_of_bill(hospital.released()[0][1])
    scope = Scope(contents=given.scope.contents, first_day=days.first_day, last_day=days.last_day)
    consented(hospital, scope=scope)
    hospital.arrive(REVERSAL)
    bills = handed_out(hospital)
    assert said(bills) == [("CORRECTION", True), ("REVERSAL", True)]
    answered(hospital, bills)
    assert [one for _, one in stands(hospital)] == ["TAKEN", "REFUSED", "TAKEN", "TAKEN"]
    consented(hospital)
    assert handed_out(hospital) == []


SHORT, LONG = [1, 2], [1, 5]  # days of care


def narrowed(hospital: Hospital, given: Terms) -> Terms:
    """The consent is withdrawn, and another given for the first two days of care alone."""
    take_back(hospital.database, hospital.name, given, NOW)
    return consented(hospital, scope=march(1, 2))


@pytest.mark.parametrize("had", ["nothing", "the first statement"])
def test_a_statement_that_a_narrower_consent_held_never_follows_its_correction(
    hospital: Hospital, had: str
) -> None:
    """A broad consent that comes again would take the insurer back to what is not so any more."""
    given = consented(hospital)
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}, days=LONG))
    if had == "the first statement":
        answered(hospital, handed_out(hospital))
        hospital.arrive(final("F", "10:00", {"C1": "110.00"}, days=LONG, version=2))
    narrowed(hospital, given)
    assert handed_out(hospital) == []
    hospital.arrive(final("F", "11:00", {"C1": "90.00"}, days=SHORT, version=3))
    last = handed_out(hospital)
    assert said(last) == [("CORRECTION", True)]
    # Killed before it had handed it over, the worker is given the same again, and nothing else.
    consented(hospital)
    assert handed_out(hospital) == last
    answered(hospital, last)
    assert handed_out(hospital) == []
    assert [one for _, one in stands(hospital)][-2:] == ["REFUSED", "TAKEN"]
    assert hospital.released()[-2][0].refusal_reasons == b'["OVERTAKEN"]'


def test_what_a_consent_covers_again_before_its_correction_left_goes_in_order(
    hospital: Hospital,
) -> None:
    """The control: nothing is left out that the insurer can have before the correction."""
    given = consented(hospital)
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}, days=LONG))
    narrowed(hospital, given)
    hospital.arrive(final("F", "11:00", {"C1": "90.00"}, days=SHORT, version=2))
    hospital.arrive(final("FB", "09:00", {"C1": "50.00"}, account="B", days=SHORT))
    consented(hospital)
    bills = handed_out(hospital)
    assert said(bills) == [("FINAL", True), ("CORRECTION", True), ("FINAL", True)]
    answered(hospital, bills[1:2])  # claims knew of a withdrawal first, and left the others
    assert stands(hospital) == [("FINAL", "REFUSED"), ("CORRECTION", "TAKEN"), ("FINAL", "PENDING")]


@pytest.mark.on_postgresql
def test_a_statement_under_an_account_that_went_on_never_follows_its_correction(
    hospital: Hospital,
) -> None:
    given = consented(hospital)
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}, days=LONG))
    hospital.arrive(merge("M", "10:00", "A", "B"))
    narrowed(hospital, given)
    hospital.arrive(final("F", "11:00", {"C1": "90.00"}, days=SHORT, version=2))
    bills = handed_out(hospital)
    assert said(bills) == [("CORRECTION", True)]
    answered(hospital, bills)
    consented(hospital)
    assert handed_out(hospital) == []


def test_a_statement_whose_correction_was_given_to_a_worker_that_died_does_not_follow_it(
    hospital: Hospital,
) -> None:
    """The insurer may have the correction: under another consent the first is another request."""
    given = consented(hospital)
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}, days=SHORT))
    hospital.arrive(final("F", "10:00", {"C1": "110.00"}, days=SHORT, version=2))
    hospital.arrive(final("F", "11:00", {"C1": "90.00"}, days=LONG, version=3))
    assert said(handed_out(hospital)) == [("FINAL", True), *[("CORRECTION", True)] * 2]
    narrow = narrowed(hospital, given)
    assert handed_out(hospital) == []
    take_back(hospital.database, hospital.name, narrow, NOW)
    consented(hospital)
    assert said(handed_out(hospital)) == [("CORRECTION", True)]
    assert [one for _, one in stands(hospital)] == ["REFUSED", "REFUSED", "PENDING"]


def test_nor_does_one_of_an_account_that_went_on_as_the_one_that_a_dead_worker_was_given(
    hospital: Hospital,
) -> None:
    given = consented(hospital)
    hospital.arrive(final("F", "09:00", {"C1": "100.00"}, days=SHORT))
    hospital.arrive(merge("M", "10:00", "A", "B"))
    hospital.arrive(final("F", "11:00", {"C1": "90.00"}, days=SHORT, version=2))
    assert said(handed_out(hospital)) == [("FINAL", True), *[("CORRECTION", True)] * 2]
    take_back(hospital.database, hospital.name, given, NOW)
    consented(hospital)
    assert said(handed_out(hospital)) == [("CORRECTION", True)]
    assert stands(hospital)[0] == ("FINAL", "REFUSED")
    assert hospital.released()[0][0].refusal_reasons == b'["OVERTAKEN"]'


def test_a_record_that_was_held_never_follows_a_later_one(hospital: Hospital) -> None:
    """It was never released: its newer version, or another record of the bill, counts."""
    consented(hospital, scope=march(1, 2))
    held = final("F", "09:00", {"C1": "100.00"}, days=LONG)
    short = final("F", "11:00", {"C1": "90.00"}, days=SHORT, version=2)
    hospital.arrive(held)
    assert hospital.held() == 1
    hospital.arrive(short)
    answered(hospital, handed_out(hospital))
    consented(hospital)
    hospital.read_unread(held, short)
    assert handed_out(hospital) == []
    assert hospital.told() == [("FINAL", 9000)]


RENUMBERED: Said = final("F", "10:00", {"C1": "100.00"}, version=2, number="NO-2")


def numbers(bills: list[bill_pb2.Bill]) -> list[tuple[str, str]]:
    """Kind and number."""
    return [(kind, one.bill_number) for (kind, _), one in zip(said(bills), bills, strict=True)]


def test_a_bill_that_gets_another_number_is_taken_back_under_the_one_that_the_insurer_has(
    hospital: Hospital,
) -> None:
    """Claims would settle it once under each, and its reversal name one of them."""
    given = consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(RENUMBERED)
    bills = handed_out(hospital)
    assert numbers(bills) == [("REVERSAL", "NO-A"), ("CORRECTION", "NO-2")]
    answered(hospital, bills)
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(REVERSAL)
    assert numbers(handed_out(hospital)) == [("REVERSAL", "NO-2")]


@pytest.mark.parametrize("ends", [(), (REVERSAL,)])
def test_what_takes_the_first_number_back_may_wait_for_the_bank_and_is_not_overtaken(
    hospital: Hospital, ends: tuple[Said, ...]
) -> None:
    consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(RENUMBERED, *ends)
    waits, *others = handed_out(hospital)
    answered(hospital, others)
    assert handed_out(hospital) == [waits]
    assert numbers([waits]) == [("REVERSAL", "NO-A")]


def test_while_no_consent_lets_the_other_number_out_the_bill_stands_under_the_first(
    hospital: Hospital,
) -> None:
    given = consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(RENUMBERED)
    assert (handed_out(hospital), hospital.held()) == ([], 1)
    hospital.arrive(REVERSAL)
    assert numbers(handed_out(hospital)) == [("REVERSAL", "NO-A")]


def test_another_number_out_of_a_merge_takes_the_first_one_back_too(hospital: Hospital) -> None:
    consented(hospital)
    hospital.arrive(merge("M", "08:00", "B", "A"))
    hospital.arrive(final("FB", "09:00", {"C1": "50.00"}, account="B"))
    hospital.arrive(final("F", "10:00", {"C2": "100.00"}))
    assert numbers(handed_out(hospital)) == [
        ("FINAL", "NO-B"),
        ("REVERSAL", "NO-B"),
        ("CORRECTION", "NO-A"),
    ]


def state(hospital: Hospital, version: int, patient: str, *, fen: str = "100.00") -> None:
    """A record that states the whole bill by itself, as a FHIR Claim does."""
    said = final("W", f"0{version}:00", {"C1": fen}, version=version, patient=patient)
    pending = hospital.keep(said)
    assert pending is not None
    hospital.settle((pending, whole_of(said)))


def whole_of(said: Said) -> BillStated:
    bill = bill_of(said)
    assert bill is not None
    return BillStated(bill=bill, day=bill.end.date())


@pytest.mark.parametrize("consents", [True, False])
def test_a_bill_corrected_to_another_person_is_taken_back_and_waits_for_their_consent(
    hospital: Hospital, consents: bool
) -> None:
    """The insurer would keep it, and perhaps pay it, as the first person's."""
    given = consented(hospital)
    state(hospital, 1, "li")
    answered(hospital, handed_out(hospital))
    if not consents:
        take_back(hospital.database, hospital.name, given, NOW)
    state(hospital, 2, "wang")
    (back,) = bills = handed_out(hospital)
    assert (said(bills), hospital.held()) == ([("REVERSAL", consents)], 1)
    assert TOKENS["wang"] not in str(back)
    answered(hospital, bills)
    # What is stated of them meanwhile waits as well, and takes nothing back twice.
    state(hospital, 3, "wang", fen="90.00")
    assert (handed_out(hospital), hospital.held()) == ([], 1)
    record(hospital.database, hospital.name, [terms(TOKENS["wang"])])
    (pending,) = hospital.unread()
    newest = final("W", "03:00", {"C1": "90.00"}, version=3, patient="wang")
    hospital.settle((hospital.pending[pending, "3"], whole_of(newest)))
    (anew,) = bills = handed_out(hospital)
    assert (said(bills), hospital.held()) == ([("CORRECTION", True)], 0)
    assert (anew.member_token, anew.total.minor_units) == (TOKENS["wang"], 9000)


def test_a_bill_that_is_the_first_person_s_again_is_stated_anew(hospital: Hospital) -> None:
    consented(hospital)
    state(hospital, 1, "li")
    state(hospital, 2, "wang")
    state(hospital, 3, "li")
    bills = handed_out(hospital)
    assert [kind for kind, _ in said(bills)] == ["FINAL", "REVERSAL", "CORRECTION"]
    assert {one.member_token for one in bills} == {LI}
    assert hospital.held() == 0


@pytest.mark.parametrize("released", [True, False])
def test_what_names_nobody_else_or_was_never_released_is_held_and_takes_nothing_back(
    hospital: Hospital, released: bool
) -> None:
    """The control."""
    if released:
        given = consented(hospital)
        state(hospital, 1, "li")
        answered(hospital, handed_out(hospital))
        take_back(hospital.database, hospital.name, given, NOW)
    else:
        state(hospital, 1, "li")
    state(hospital, 2, "li" if released else "wang", fen="90.00")
    assert (handed_out(hospital), hospital.held()) == ([], 1)
    assert hospital.told() == ([("FINAL", 10000)] if released else [])


def test_a_person_is_erased_once_the_insurer_has_been_told(hospital: Hospital) -> None:
    consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(REVERSAL)
    with pytest.raises(ReversalNotTold):
        erased(hospital, "e1")
    answered(hospital, handed_out(hospital))
    # What never left, and what takes it back, keeps nobody waiting.
    hospital.arrive(final("G", "13:00", {"C1": "80.00"}))
    hospital.arrive({"id": "Y", "at": "14:00", "says": "REVERSAL"})
    erased(hospital, "e2")
    assert handed_out(hospital) == []


@pytest.mark.parametrize(
    ("ends", "waits"),
    [("still open", True), ("not offered again", False), ("a month", False), ("anew", False)],
)
def test_a_person_is_erased_once_no_appeal_keeps_the_insurer_from_taking_it_back(
    hospital: Hospital, ends: str, waits: bool
) -> None:
    """Refused until the appeal is decided, and offered again by itself: it is due all the same."""
    consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    hospital.arrive(REVERSAL)
    (back,) = handed_out(hospital)
    answered(hospital, [back], "BILL_UNKNOWN" if ends == "not offered again" else "APPEAL_OPEN")
    if ends == "a month":
        answered(hospital, [back], "APPEAL_OPEN", now_us=NOW + LONGEST_US)
    if ends == "anew":  # the newer one counts, and the reversal is not offered again
        hospital.arrive(final("G", "13:00", {"C1": "80.00"}))
    if waits:
        with pytest.raises(ReversalNotTold):
            erased(hospital, "e1")
        offered(hospital, NOW + PAUSE_US)
        answered(hospital, handed_out(hospital))
    erased(hospital, "e2")


def offered(hospital: Hospital, now_us: int) -> None:
    with hospital.database.writing() as connection:
        offer_due(connection, hospital.name, now_us=now_us)


def test_after_an_erasure_no_key_says_which_bill_is_taken_back(hospital: Hospital) -> None:
    consented(hospital)
    hospital.arrive(FINAL)
    answered(hospital, handed_out(hospital))
    erased(hospital, "e1")
    hospital.arrive(REVERSAL)
    assert hospital.waits() == {"X": "MEMBER_ERASED"}
    assert handed_out(hospital) == []


def erased(hospital: Hospital, request_id: str) -> None:
    keys = subject_keys(hospital.database)
    where = [hospital.name]
    erase(hospital.database, keys, request_id, LI, where, NOW, recipient=INSURER)


def test_another_bill_that_was_taken_back_and_stated_anew_in_between_changes_nothing(
    hospital: Hospital,
) -> None:
    given = consented(hospital)
    hospital.arrive(FINAL, final("FB", "09:00", {"C1": "50.00"}, account="B"))
    hospital.arrive({**REVERSAL, "id": "XB", "account": "B"})
    hospital.arrive(final("GB", "13:00", {"C1": "60.00"}, account="B"))
    answered(hospital, handed_out(hospital))
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(REVERSAL)
    assert [one.bill_number for one in handed_out(hospital)] == ["NO-A"]


@pytest.mark.on_postgresql
def test_what_was_taken_before_this_was_noted_is_taken_back_too(hospital: Hospital) -> None:
    """The migration knows by the consent whose it is; of what waits it does not know it."""
    given = consented(hospital)
    hospital.arrive(FINAL, final("FB", "09:00", {"C1": "50.00"}, account="B"))
    one, _ = handed_out(hospital)
    answered(hospital, [one])
    with hospital.database.writing() as connection:
        connection.execute(text("DROP INDEX ix_released_bill_goes_on"))
        for name in ("handed_to", "goes_on_as"):
            connection.execute(text(f"ALTER TABLE released_bill DROP COLUMN {name}"))
        # What came after it, 0019.
        connection.execute(text("ALTER TABLE pull_progress DROP COLUMN refused_files"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0017'"))
    migrate(hospital.database, "services.his_bridge")
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(REVERSAL, {**REVERSAL, "id": "XB", "account": "B"})
    assert [one.bill_number for one in handed_out(hospital)] == ["NO-A"]


class CutOff(BaseException):
    """The process is gone here."""


def test_cut_off_before_any_statement_the_same_is_handed_out(hospital: Hospital) -> None:
    given = consented(hospital)
    hospital.arrive(FINAL)
    counted = itertools.count()
    cut_at: int | None = None

    def strike(*_: Any) -> None:
        if next(counted) == cut_at:
            raise CutOff

    def through(work: Any) -> Any:
        """Cut off before each statement in turn, then left alone."""
        nonlocal counted, cut_at
        cut = 0
        while True:
            counted, cut_at = itertools.count(), cut
            try:
                return work()
            except CutOff:
                cut += 1

    event.listen(hospital.database.engine, "before_cursor_execute", strike)
    whole = through(lambda: handed_out(hospital))
    statements = next(counted)
    assert statements > 3  # the control: so many places there were
    assert said(whole) == [("FINAL", True)]
    cut_at = None
    take_back(hospital.database, hospital.name, given, NOW)
    hospital.arrive(REVERSAL)
    bare = through(lambda: handed_out(hospital))
    assert said(bare) == [("REVERSAL", False)]
    through(lambda: answered(hospital, bare))
    cut_at = None
    assert stands(hospital) == [("FINAL", "REFUSED"), ("REVERSAL", "TAKEN")]
    assert handed_out(hospital) == []
