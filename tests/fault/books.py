"""What the processes have written, read from their databases: exact times, no process asked.

Read only, beside whoever writes: a kill does not blind us, and asking costs the killed nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from services.claims.payout_steps import RESEND_AFTER_S
from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.common.sealing.key_sources import master_keys

# Between received and an end: on its way by itself.
MOVING = (
    "received",
    "registered",
    "adjudicating",
    "auto_approved",
    "approved",
    "payable",
    "payment_sent",
)
DECIDED = ("auto_approve", "ask_for_papers", "refer_to_review", "suspect_fraud", "deny")
_MOVING = ", ".join(f"'{state}'" for state in MOVING)
_DECIDED = ", ".join(f"'{event}'" for event in DECIDED)


class Books:
    """Claims, bridge and bank of one state directory, as of each question."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._claims = state / "claims.db"
        self._bridge = state / "his_bridge.db"
        self._bank = state / "bank" / "book.sqlite3"

    def in_flight(self) -> int:
        """Claims between received and their end, now."""
        return self._number(self._claims, f"SELECT count(*) FROM claim WHERE state IN ({_MOVING})")

    def in_flight_at(self, at_us: int) -> int:
        """Claims that were taken in by then and whose end came later, by their own times."""
        query = (
            "SELECT count(*) FROM claim c WHERE created_us <= ? AND ? < "
            f"(CASE WHEN state IN ({_MOVING}) THEN 9e18 ELSE "
            "(SELECT max(at_us) FROM claim_move m WHERE m.claim_id = c.id) END)"
        )
        return self._number(self._claims, query, at_us, at_us)

    def first_decision(self, after_us: int) -> int:
        """When a claim was first decided after that time; 0 if none was."""
        events = f"SELECT min(at_us) FROM claim_move WHERE at_us > ? AND event IN ({_DECIDED})"
        return self._number(self._claims, events, after_us)

    def first_confirmation(self, after_us: int) -> int:
        """When a payout was first confirmed after that time; 0 if none was."""
        query = "SELECT min(at_us) FROM claim_move WHERE at_us > ? AND event = 'confirm_payment'"
        return self._number(self._claims, query, after_us)

    def first_delivery(self, after_us: int) -> int:
        """When the bridge first noted an insurer's answers after that time; 0 if it did not."""
        query = "SELECT min(at_us) FROM acknowledgement WHERE at_us > ?"
        return self._number(self._bridge, query, after_us)

    def last_decision(self, bill_numbers: Iterable[str]) -> int:
        """When the last of these bills' claims was decided; 0 while one is not."""
        return self._last(DECIDED, list(bill_numbers))

    def last_confirmation(self, bill_numbers: Iterable[str]) -> int:
        """When the last of these bills' claims was paid; 0 while one is not."""
        return self._last(("confirm_payment",), list(bill_numbers))

    def sent_again_after_doubt(self, killed_us: int) -> int:
        """Payment files that left after a kill for the second time, the bank being asked between.

        They were prepared before it, and waited as long as the first attempt's bytes might live.
        """
        query = (
            "SELECT count(*) FROM payment_file WHERE attempts > 1 AND prepared_us <= ? "
            "AND attempted_us > ? AND attempted_us - prepared_us >= ?"
        )
        return self._number(self._claims, query, killed_us, killed_us, RESEND_AFTER_S * 1_000_000)

    def claims_of(self, bill_numbers: Iterable[str]) -> int:
        """How many of these bills have a claim."""
        wanted = self._indexes(bill_numbers)
        marks = ", ".join("?" * len(wanted))
        query = f"SELECT count(DISTINCT bill_index) FROM claim WHERE bill_index IN ({marks})"
        return self._number(self._claims, query, *wanted)

    def corrected(self) -> int:
        """Claims whose decision in force was made from a corrected bill."""
        query = "SELECT count(*) FROM claim WHERE adjusted > 0 AND adjusted = adjustments"
        return self._number(self._claims, query)

    def released(self) -> int:
        """Bills that the bridge has released."""
        return self._number(self._bridge, "SELECT count(*) FROM released_bill")

    def undelivered(self) -> int:
        """Released bills that the bridge has no answer for."""
        query = "SELECT count(*) FROM released_bill WHERE delivery = 'PENDING'"
        return self._number(self._bridge, query)

    def set_aside(self) -> int:
        """Records in the bridge's quarantine."""
        return self._number(self._bridge, "SELECT count(*) FROM quarantine")

    def held(self) -> int:
        """Records that wait at the bridge for their patient's consent."""
        return self._number(self._bridge, "SELECT count(*) FROM held_record")

    def last_delivery(self) -> int:
        """When the bridge last noted an insurer's answers; 0 if never."""
        return self._number(self._bridge, "SELECT max(at_us) FROM acknowledgement")

    def executed(self) -> int:
        """Payments that the bank has taken on, rejected ones aside."""
        query = "SELECT count(*) FROM entry WHERE status <> 'RJCT'"
        return self._number(self._bank, query)

    def _last(self, events: Iterable[str], bill_numbers: list[str]) -> int:
        marks = ", ".join("?" * len(bill_numbers))
        names = ", ".join(f"'{event}'" for event in events)
        query = (
            "SELECT count(DISTINCT c.bill_index), max(m.at_us) FROM claim c "
            f"JOIN claim_move m ON m.claim_id = c.id AND m.event IN ({names}) "
            f"WHERE c.bill_index IN ({marks})"
        )
        count, last = self._row(self._claims, query, *self._indexes(bill_numbers))
        return int(last or 0) if count == len(bill_numbers) else 0

    def _indexes(self, bill_numbers: Iterable[str]) -> list[str]:
        """What the claims database knows these bill numbers by; it is blind without its key."""
        index = self._keys.index
        return [index(number, table="claim", column="bill_index") for number in bill_numbers]

    @cached_property
    def _keys(self) -> SubjectKeys:
        # Kept: who waits for a moment of milliseconds asks again and again.
        keys = SubjectKeys(master_keys(self._state), now_us=lambda: 0)
        database = Database(f"sqlite:///{self._claims}", threads=1)
        keys.prepare(database)
        database.close()
        return keys

    def _number(self, path: Path, query: str, *values: object) -> int:
        return int(self._row(path, query, *values)[0] or 0)

    def _row(self, path: Path, query: str, *values: object) -> tuple[int, ...]:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            found: tuple[int, ...] = connection.execute(query, values).fetchone()
            return found
        finally:
            connection.close()
