"""Messages in dropped files are the records that they are by any other way in."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from services.his_bridge.dialects.hl7v2 import MessageReader, ResultReader
from services.his_bridge.dialects.hl7v2.admission import admit
from services.his_bridge.naming import admit_of
from services.his_bridge.sources.files.records import Admit
from tests.services.his_bridge.dialects.yibao import messages as yibao
from tests.services.his_bridge.messages_hl7 import READING, dft, oru
from tests.services.his_bridge.records import profile

BILLS, RESULTS = MessageReader.kind, ResultReader.kind


@pytest.fixture
def hl7() -> Admit:
    found = msgspec.structs.replace(
        profile(), dialect="hl7v2", terms=READING.terms, dialect_terms=READING.own
    )
    named = admit_of(found)
    assert named is not None
    return named


@pytest.mark.parametrize(
    ("write", "kind", "other"), [(dft, BILLS, RESULTS), (oru, RESULTS, BILLS)], ids=["dft", "oru"]
)
def test_a_message_in_a_file_is_the_record_that_it_is_over_mllp(
    hl7: Admit, write: Callable[[], str], kind: str, other: str
) -> None:
    raw = write().encode("gb18030")
    _, pieces = admit(raw, READING)
    assert [(one.record_id, one.version, one.updated) for one in hl7(kind, raw)] == [
        (piece.record_id, piece.version, piece.updated) for piece in pieces
    ]
    assert pieces
    assert list(hl7(other, raw)) == []  # the other folder is none of it


def test_a_message_that_is_refused_over_mllp_goes_to_a_person(hl7: Admit) -> None:
    raw = b"MSH|^~\\&|a|b|c|d|20260301||XYZ^Z99|1|P|9.9"
    (record,) = hl7(BILLS, raw)
    assert record.record_id.startswith("unreadable/")
    assert record.raw == raw
    assert list(hl7(RESULTS, raw)) == []


def test_a_settlement_in_a_file_is_found_by_its_cancellation() -> None:
    named = admit_of(yibao.FOUND)
    assert named is not None
    (settled,) = named("Message", yibao.raw(yibao.settled("2026-03-05 10:00:00", "10.00")))
    assert settled.record_id == "setl-s1"
    (cancelled,) = named("Message", yibao.raw(yibao.cancelled("2026-03-06 10:00:00")))
    assert cancelled.record_id == "cancel-s1"


def test_resources_and_rows_are_named_by_their_own_keys() -> None:
    assert admit_of(profile()) is None
