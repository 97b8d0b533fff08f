"""Of patients whom the server merged both records must say so; then they are one person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from services.his_bridge.core.outcomes import BillStated, Merged, MergeLevel, Outcome, SetAside
from services.his_bridge.dialects.fhir_r4 import ClaimReader, WithMerges, people_behind
from services.his_bridge.dialects.port import Key
from tests.services.his_bridge.records import (
    BASE_URL,
    TERMS,
    TOKEN,
    Resource,
    around,
    as_bytes,
    claim,
    patient,
    tokens,
)

OTHERS = "110101198501010019"
OLD = tokens("CN-ID", OTHERS)


def link(how: str, key: str) -> Resource:
    return {"type": how, "other": {"reference": f"Patient/{key}"}}


def survivor(*merged: str, key: str = "p1", **more: Any) -> Resource:
    return {**patient(key), "active": True, "link": [link("replaces", o) for o in merged], **more}


def merged_into(into: str, key: str = "old", number: str = OTHERS, **more: Any) -> Resource:
    gone = {**patient(key, number), "active": False, "link": [link("replaced-by", into)]}
    return {**gone, **more}


def at_old(resource: Resource, key: str = "old") -> Resource:
    return {**resource, "subject": {"reference": f"Patient/{key}"}}


def judged(
    patients: Iterable[Resource], bill: Resource | None = None, visit: str = "old"
) -> tuple[Outcome, list[Merged]]:
    """The bill's outcome and what was learnt beside it, of what a source looks up for it."""
    reader = WithMerges(ClaimReader(TERMS, tokens), TERMS, tokens)
    rest = [at_old(one, visit) if "subject" in one else one for one in around()[1:]]
    there: dict[Key, bytes] = {
        (one["resourceType"], one["id"]): as_bytes(one) for one in (*rest, *patients)
    }
    glance = reader.glance(as_bytes(bill or claim("b1")))
    found: dict[Key, bytes] = {}
    wanted = set(glance.needs)
    while wanted:
        news = {key: there[key] for key in wanted if key in there}
        found |= news
        behind = [people_behind(kind, raw, found, BASE_URL) for (kind, _), raw in news.items()]
        wanted = {key for keys in behind for key in keys if key in there}
    support = {key: reader.read_supporting(key[0], raw) for key, raw in found.items()}
    learnt = [one.outcome for one in reader.learnt(found, support)]
    return reader.judge("b1", glance, support), [o for o in learnt if isinstance(o, Merged)]


def test_a_visit_that_names_the_old_record_is_the_bills_patients() -> None:
    outcome, learnt = judged([survivor("old"), merged_into("p1")])
    assert isinstance(outcome, BillStated)
    assert outcome.bill.member_token == TOKEN
    assert learnt == [Merged(level=MergeLevel.PATIENT, into=TOKEN, out_of=OLD)]


def test_a_bill_of_the_old_record_is_of_its_own_document_until_the_merge_counts() -> None:
    """As whom they go on then, the history says (storage): earlier bills stay as they are."""
    bill = {**claim("b1"), "patient": {"reference": "Patient/old"}}
    outcome, learnt = judged([survivor("old"), merged_into("p1")], bill, visit="p1")
    assert isinstance(outcome, BillStated)
    assert outcome.bill.member_token == OLD
    assert learnt == [Merged(level=MergeLevel.PATIENT, into=TOKEN, out_of=OLD)]


def test_who_was_merged_twice_goes_on_as_the_last() -> None:
    middle = {**survivor("old", key="mid"), "active": False}
    middle["link"] = [*middle["link"], link("replaced-by", "p1")]
    outcome, learnt = judged([survivor("mid"), middle, merged_into("mid")])
    assert isinstance(outcome, BillStated)
    assert learnt == [Merged(level=MergeLevel.PATIENT, into=TOKEN, out_of=OLD)]


def test_of_one_document_there_is_one_member_and_nothing_to_learn() -> None:
    same = {**merged_into("p1"), "identifier": patient()["identifier"]}
    outcome, learnt = judged([survivor("old"), same])
    assert isinstance(outcome, BillStated)
    assert learnt == []


def test_a_merged_patient_without_a_document_is_no_member() -> None:
    outcome, learnt = judged([survivor("old"), merged_into("p1", number="")])
    assert isinstance(outcome, BillStated)
    assert learnt == []


def circle() -> list[Resource]:
    both = [link("replaced-by", "old"), link("replaces", "old")]
    back = [link("replaced-by", "p1"), link("replaces", "p1")]
    first = {**survivor(), "active": False, "link": both}
    return [first, {**merged_into("p1"), "link": back}]


HOSTILE: dict[str, Callable[[], list[Resource]]] = {
    "the other does not say so": lambda: [survivor(), merged_into("p1")],
    "only the other says so": lambda: [survivor("old"), merged_into("p1", link=[])],
    "still in use": lambda: [survivor("old"), merged_into("p1", active=True)],
    "in use unsaid": lambda: [
        survivor("old"),
        {key: v for key, v in merged_into("p1").items() if key != "active"},
    ],
    "who goes on is not in use": lambda: [survivor("old", active=False), merged_into("p1")],
    "in a circle": circle,
    "into themselves": lambda: [survivor(), {**merged_into("old")}],
    "into two": lambda: [
        survivor("old"),
        survivor("old", key="p2"),
        merged_into("p1", link=[link("replaced-by", "p1"), link("replaced-by", "p2")]),
    ],
    "only alike": lambda: [
        survivor(link=[link("seealso", "old")]),
        merged_into("p1", link=[link("seealso", "p1")]),
    ],
    "at another server": lambda: [
        survivor("old"),
        merged_into(
            "p1",
            link=[
                {"type": "replaced-by", "other": {"reference": "http://10.0.0.1/fhir/Patient/p1"}}
            ],
        ),
    ],
    "by a rule unknown": lambda: [
        survivor("old"),
        merged_into(
            "p1", link=[{**link("replaced-by", "p1"), "modifierExtension": [{"url": "urn:not"}]}]
        ),
    ],
    "a record at fault": lambda: [
        survivor("old"),
        {
            **merged_into("p1"),
            "name": [{"text": 5}],
        },  # a fault of the record, which is not believed
    ],
    "the other is gone": lambda: [survivor("old")],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_link_that_is_not_sure_moves_nobodys_bill(case: str) -> None:
    outcome, learnt = judged(HOSTILE[case]())
    assert isinstance(outcome, SetAside)
    assert {str(fault.reason) for fault in outcome.faults} == {"ANOTHER_PATIENT"}
    assert learnt == []
    bill = {**claim("b1"), "patient": {"reference": "Patient/old"}}
    outcome, learnt = judged(HOSTILE[case](), bill, visit="old")
    if isinstance(outcome, BillStated):  # of the record that it names, as ever
        assert outcome.bill.member_token == OLD
    assert learnt == []
