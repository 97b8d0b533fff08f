"""What a member has used up: accumulators, and the services that earlier decisions allowed.

Every function works in the caller's transaction. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import msgspec
from sqlalchemy import Connection, bindparam, select

from services.claims.core.adjudicate import allowed_lines
from services.claims.core.decision import Decision, UsageChange
from services.claims.core.facts import Balance, BillFacts, EarlierService, Scope
from services.claims.core.life_cycle import TAKEN_BACK
from services.claims.core.repeats import Allowed, Reach
from services.claims.storage.rows import ClaimRow
from services.claims.storage.sealed import open_services
from services.claims.storage.tables import claim, decision, usage_balance
from services.common.bulk import insert_rows
from services.common.sealing import Sealer

# Accumulators that the whole policy shares have no subject.
_SHARED = (Scope.FAMILY, Scope.POLICY)


class Used:
    """Accumulators of some policies and members: as they stand now, and as they come to stand.

    They are read once and written once. Safe only because the caller's transaction is the only
    writer of these policies and members meanwhile (BEGIN IMMEDIATE, or the row locks); tests show
    the loss without.
    """

    def __init__(self, connection: Connection, members: Collection[tuple[str, str]]) -> None:
        """Read what these members, by policy and member id, and their policies have used."""
        told = {
            "policies": sorted({policy_id for policy_id, _ in members}),
            "subjects": sorted({"", *(member_id for _, member_id in members)}),
        }
        self._connection = connection
        self._held: dict[tuple[str, str], dict[_Accumulator, tuple[int, int]]] = {}
        for row in connection.execute(_BALANCES, told):
            at = (row.accumulator, Scope(row.scope), row.period_start)
            self._of(row.policy_id, row.subject)[at] = (row.amount, row.uses)
        self._changed: set[tuple[str, str, _Accumulator]] = set()

    def balances(self, policy_id: str, member_id: str) -> list[Balance]:
        """Accumulators of the member and of the policy as a whole."""
        return [
            Balance(
                accumulator=accumulator,
                scope=scope,
                period_start=date.fromisoformat(start) if start else None,
                amount=amount,
                count=count,
            )
            for subject in ("", member_id)
            for (accumulator, scope, start), (amount, count) in self._of(policy_id, subject).items()
        ]

    def add(
        self, policy_id: str, member_id: str, changes: Sequence[UsageChange], *, sign: int = 1
    ) -> None:
        """Add a decision's use; with sign -1 release exactly the same."""
        for change in changes:
            subject = "" if change.scope in _SHARED else member_id
            start = change.period_start.isoformat() if change.period_start else ""
            at = (change.accumulator, change.scope, start)
            held = self._of(policy_id, subject)
            amount, count = held.get(at, (0, 0))
            held[at] = (amount + sign * change.amount, count + sign * change.count)
            self._changed.add((policy_id, subject, at))

    def write(self) -> None:
        """Write what has changed."""
        rows = []
        for policy_id, subject, at in sorted(self._changed):
            accumulator, scope, start = at
            amount, count = self._held[policy_id, subject][at]
            rows.append(
                {
                    "policy_id": policy_id,
                    "subject": subject,
                    "accumulator": accumulator,
                    "scope": scope.value,
                    "period_start": start,
                    "amount": amount,
                    "uses": count,
                }
            )
        insert_rows(self._connection, usage_balance, rows, replacing=("amount", "uses"))
        self._changed.clear()

    def _of(self, policy_id: str, subject: str) -> dict[_Accumulator, tuple[int, int]]:
        return self._held.setdefault((policy_id, subject), {})


# Which one, whose, and the first day of its period; empty for life.
_Accumulator = tuple[str, Scope, str]
_BALANCES = select(usage_balance).where(
    usage_balance.c.policy_id.in_(bindparam("policies", expanding=True)),
    usage_balance.c.subject.in_(bindparam("subjects", expanding=True)),
)


@dataclass(frozen=True, slots=True)
class _Decided:
    """A decision in force, and what of it says whether it matters to a claim."""

    claim_seq: int
    claim_id: str
    policy_id: str
    insurer: str
    bill: tuple[str, str]  # provider and number, blind
    first_year: int
    last_year: int
    allowed: Callable[[], Sequence[Allowed]]  # opened, or read off the decision just made


class EarlierServices:
    """What decisions in force of some insurers allowed some people, within some years."""

    def __init__(
        self,
        connection: Connection,
        sealer: Sealer,
        *,
        people: Collection[str],
        insurers: Collection[str],
        first_year: int,
        last_year: int,
    ) -> None:
        """Look them up; nothing is opened before it matters."""
        told = {
            "people": sorted(people),
            "insurers": sorted(insurers),
            "first_year": first_year,
            "last_year": last_year,
        }
        self._of: dict[str, list[_Decided]] = {}
        self._opened: dict[str, Sequence[Allowed]] = {}
        # The years are in clear; within them everything of a person is opened and looked at.
        for row in connection.execute(_DECIDED, told):
            found = _Decided(
                claim_seq=row.seq,
                claim_id=row.claim_id,
                policy_id=row.policy_id,
                insurer=row.insurer,
                bill=(row.provider_id, row.bill_index),
                first_year=row.first_year,
                last_year=row.last_year,
                allowed=partial(open_services, sealer, row),
            )
            self._of.setdefault(row.person_id, []).append(found)

    def of(self, row: ClaimRow, reach: Reach) -> list[EarlierService]:
        """What the claim's person was allowed by the same insurer, as far as it can matter.

        Each with the claim that it was decided in. What another insurer has allowed is not this
        one's to know.

        Whichever policy paid: two policies of one person with one insurer look at one history, and
        a line of a bill that several of them allowed is one service. A pended line counts as
        allowed, unless its claim's decision was taken back. This bill's own services are not in it.
        What was decided before the person was erased is not in it either: it was another person's,
        as far as anybody can tell.

        Raises: CannotOpen, Erased.
        """
        if not reach.codes:
            return []
        first_day, last_day = reach.days()
        own_bill = (row.provider_id, row.bill_index)
        services: dict[tuple[str, str, int], EarlierService] = {}
        for known in self._of.get(row.person_id, ()):
            if known.insurer != row.insurer or known.bill == own_bill:
                continue
            if known.last_year < first_day.year or known.first_year > last_day.year:
                continue
            for allowed in self._allowed(known):
                one = allowed.service
                # Codes are compared by what they mean, which no index of theirs could do.
                if reach.has(one):
                    key = (one.provider_id, one.bill_number, allowed.number)
                    name = f"policies/{known.policy_id}/claims/{known.claim_id}"
                    services[key] = msgspec.structs.replace(one, claim=name)
        return list(services.values())

    def decided(
        self, row: ClaimRow, bill: BillFacts, decided: Decision, years: tuple[int, int]
    ) -> None:
        """From now on this is the claim's decision in force; its services are of these years."""
        self._opened.pop(row.id, None)
        known = [one for one in self._of.get(row.person_id, ()) if one.claim_id != row.id]
        known.append(
            _Decided(
                claim_seq=row.seq,
                claim_id=row.id,
                policy_id=row.policy_id,
                insurer=row.insurer,
                bill=(row.provider_id, row.bill_index),
                first_year=years[0],
                last_year=years[1],
                allowed=partial(allowed_lines, bill, decided),
            )
        )
        self._of[row.person_id] = sorted(known, key=lambda one: one.claim_seq)

    def _allowed(self, known: _Decided) -> Sequence[Allowed]:
        if known.claim_id not in self._opened:
            self._opened[known.claim_id] = known.allowed()
        return self._opened[known.claim_id]


_DECIDED = (
    select(
        decision.c.id,
        decision.c.person_id,
        decision.c.services,
        decision.c.first_year,
        decision.c.last_year,
        decision.c.claim_id,
        claim.c.seq,
        claim.c.policy_id,
        claim.c.insurer,
        claim.c.provider_id,
        claim.c.bill_index,
    )
    .join(claim, claim.c.id == decision.c.claim_id)
    .where(
        decision.c.person_id.in_(bindparam("people", expanding=True)),
        claim.c.insurer.in_(bindparam("insurers", expanding=True)),
        decision.c.id == claim.c.decision_id,
        claim.c.state.not_in([state.value for state in TAKEN_BACK]),
        claim.c.released_us.is_(None),
        decision.c.last_year >= bindparam("first_year"),
        decision.c.first_year <= bindparam("last_year"),
    )
    .order_by(claim.c.seq)
)
