"""Cut off between any two steps, bills of several records are neither lost nor doubled."""

from __future__ import annotations

import itertools
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from services.common.database import Database
from services.his_bridge.storage import tables
from tests.forked import run_forked
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import record, terms
from tests.services.his_bridge.core.folding_cases import TOKENS
from tests.services.his_bridge.storage import killed_process
from tests.services.his_bridge.storage.hospital import STORY, Hospital

# Every so many statements of the story it is cut off: at another place of each transaction.
STEP = 37
MODULE = killed_process.__name__


class CutOff(BaseException):
    """The process is gone here."""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, threads=2)
    subject_keys(found)
    yield found
    found.close()


def hospital_of(database: Database, name: str = "") -> Hospital:
    found = Hospital(database, name or f"h{uuid.uuid4().hex}")
    record(database, found.name, [terms(TOKENS["li"])])
    return found


def end_of(hospital: Hospital) -> Any:
    counts = [hospital.count(t) for t in (tables.bill_event, tables.merge_event)]
    return hospital.told("A"), hospital.told("B"), hospital.waits(), counts, hospital.unread()


def test_cut_off_before_any_statement_the_story_ends_the_same(database: Database) -> None:
    whole = hospital_of(database)
    counted = itertools.count()
    cut_at: int | None = None

    def count(*_: Any) -> None:
        if next(counted) == cut_at:
            raise CutOff

    whole.go_through(STORY[:0])
    event.listen(database.engine, "before_cursor_execute", count)
    whole.go_through(STORY)
    statements = next(counted)
    wanted = end_of(whole)
    assert wanted[0] == [("FINAL", 12000), ("REVERSAL", 12000)]
    # Without LB no charge has account B's number: under that number the bill is taken back.
    corrected = [("CORRECTION", 11700), ("REVERSAL", 11700), ("CORRECTION", 11000)]
    assert wanted[1] == [("FINAL", 12700), *corrected]
    assert wanted[2] == {"OVER": "OVER_REVERSED"}
    assert statements > 100
    for cut in range(3, statements, STEP):
        hospital = hospital_of(database)
        counted, cut_at = itertools.count(), cut
        with pytest.raises(CutOff):
            hospital.go_through(STORY)
        cut_at = None
        assert end_of(hospital) != wanted or cut > statements - 5, cut  # the control
        hospital.go_through(STORY)  # whoever comes next
        assert end_of(hospital) == wanted, cut
        hospital.go_through(STORY)  # replay of everything
        assert end_of(hospital) == wanted, cut


@pytest.mark.both_databases
def test_killed_again_and_again_the_story_ends_the_same(
    database: Database, database_url: str
) -> None:
    whole, hospital = hospital_of(database), hospital_of(database)
    whole.go_through(STORY)
    kills = 0
    for statements in itertools.chain([23, 90], itertools.repeat(100_000)):
        words = database_url, hospital.name, str(statements)
        ended = run_forked(MODULE, *words, environ={}).code
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        kills += 1
    assert kills == 2
    assert end_of(hospital) == end_of(whole)
