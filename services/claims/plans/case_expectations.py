"""Reads what must come out of a case's event: who bears what, because of what, and the balances."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace

from services.claims.core.decision import Bearer, Disposition, LineOutcome, Payee
from services.claims.core.facts import UNIT_SCALE
from services.claims.core.plan import Plan
from services.claims.core.reasons import Reason
from services.claims.plans.accumulator_units import (
    Accumulator,
    accumulators,
    authorisation_accumulator,
)
from services.claims.plans.reader import Mapping, Value

REASONS = {reason.name.lower(): reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """What must come out for one line; None is not looked at."""

    outcome: LineOutcome | None = None
    section: str | None = None
    allowed: int | None = None
    benefit: int | None = None
    because: dict[tuple[Reason, str], int] | None = None
    earlier_claim: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come out of an event; None is not looked at, balances are those listed."""

    refused: tuple[str, ...] = ()
    decision: Disposition | None = None
    paid_by: dict[Bearer, int] | None = None
    because: dict[tuple[Reason, str], int] | None = None
    awaits: tuple[str, ...] | None = None
    lines: dict[int, ExpectedLine] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    four_eyes: bool | None = None
    payees: dict[Payee, int] | None = None
    pays: int | None = None
    takes_back: int | None = None
    waits_for: str | None = None
    others: dict[str, Expected] = field(default_factory=dict)


class ExpectationReader:
    """Reads expectations under one plan, whose clauses and accumulators they name."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.accumulators = accumulators(plan)

    def expected(self, told: Mapping, policies: tuple[str, ...] = ()) -> Expected:
        """What a case says under `expect`, or there of one of several `policies`."""
        others = told.maybe("others")
        waits = told.maybe("waits_for") if policies else None
        expected = replace(
            self._of_claim(told),
            waits_for=None if waits is None else waits.reference(policies, "policy"),
            others={} if others is None else self._of_others(others.mapping()),
        )
        told.done()
        return expected

    def _of_others(self, told: Mapping) -> dict[str, Expected]:
        found = {}
        for name in told.names():
            other = told.get(name).mapping()
            found[name] = self._of_claim(other)
            other.done()
        return found

    def _of_claim(self, told: Mapping) -> Expected:
        decision, awaits, lines = told.maybe("decision"), told.maybe("awaits"), told.maybe("lines")
        balances, payees = told.maybe("balances"), told.maybe("payees")
        four_eyes, pays = told.maybe("four_eyes"), told.maybe("pays")
        takes_back = told.maybe("takes_back")
        return Expected(
            refused=tuple(item.text() for item in told.items("refused")),
            decision=None if decision is None else decision.choice(Disposition),
            paid_by=self._paid_by(told.maybe("paid_by")),
            because=self._because(told.maybe("because")),
            awaits=None if awaits is None else tuple(one.text() for one in awaits.items()),
            lines={} if lines is None else self._expected_lines(lines.mapping()),
            balances={} if balances is None else self._expected_balances(balances.mapping()),
            four_eyes=None if four_eyes is None else four_eyes.boolean(),
            payees=None if payees is None else self._payees(payees.mapping()),
            pays=None if pays is None else pays.money(self._plan.currency),
            takes_back=None if takes_back is None else takes_back.money(self._plan.currency),
        )

    def _paid_by(self, found: Value | None) -> dict[Bearer, int] | None:
        if found is None:
            return None
        told = found.mapping()
        bearers = {bearer: told.maybe(bearer.value) for bearer in Bearer}
        told.done()
        return {
            bearer: amount.money(self._plan.currency)
            for bearer, amount in bearers.items()
            if amount is not None
        }

    def _payees(self, told: Mapping) -> dict[Payee, int]:
        amounts = {payee: told.maybe(payee.value) for payee in Payee}
        told.done()
        return {
            payee: amount.money(self._plan.currency)
            for payee, amount in amounts.items()
            if amount is not None
        }

    def _because(self, found: Value | None) -> dict[tuple[Reason, str], int] | None:
        """Amounts by "reason clause", for example "deductible 2.4"."""
        if found is None:
            return None
        told = found.mapping()
        clauses = {clause.id for clause in self._plan.clauses}
        amounts = {}
        for key in told.names():
            reason, _, clause = key.partition(" ")
            amount = told.get(key).money(self._plan.currency)
            if reason not in REASONS or clause not in clauses:
                text = f'write a reason and a clause of the plan, as "deductible 2.4"; not {key!r}'
                told.get(key).fault("UNKNOWN_REASON", f"{text}: {_unknown(reason, clause)}")
            else:
                amounts[REASONS[reason], clause] = amount
        return amounts

    def _expected_lines(self, told: Mapping) -> dict[int, ExpectedLine]:
        lines = {}
        for key in told.names():
            line = told.get(key).mapping()
            outcome, section = line.maybe("outcome"), line.maybe("section")
            allowed, benefit = line.maybe("allowed"), line.maybe("benefit")
            lines[told.number(key)] = ExpectedLine(
                outcome=None if outcome is None else outcome.choice(LineOutcome),
                section=None if section is None else section.text_or_nothing(),
                allowed=None if allowed is None else allowed.money(self._plan.currency),
                benefit=None if benefit is None else benefit.money(self._plan.currency),
                because=self._because(line.maybe("because")),
                earlier_claim=None
                if (earlier := line.maybe("earlier_claim")) is None
                else earlier.text_or_nothing(),
            )
            line.done()
        return lines

    def _expected_balances(self, told: Mapping) -> dict[str, int]:
        balances = {}
        for key in told.names():
            accumulator = self.accumulators.get(key) or authorisation_accumulator(key)
            if accumulator is None:
                told.get(key).fault("UNKNOWN_REFERENCE", f"the plan has no accumulator {key!r}")
                accumulator = Accumulator.nothing()
            balances[key] = self.quantity(accumulator, told.get(key))
        return balances

    def quantity(self, accumulator: Accumulator, value: Value) -> int:
        """Money in major units, units as a decimal, or a count."""
        if accumulator.counts:
            return value.whole()
        if accumulator.units:
            return int(value.decimal(places=4) * UNIT_SCALE)
        return value.money(self._plan.currency)


def _unknown(reason: str, clause: str) -> str:
    """Which half of "reason clause" nobody knows, with the reasons that look like it."""
    if reason in REASONS:
        return f"the plan has no clause {clause!r}"
    near = difflib.get_close_matches(reason, REASONS, n=3) or [
        known for known in REASONS if reason and (reason in known or known in reason)
    ]
    hint = f"; did you mean {' or '.join(near)}?" if near else "; docs/cases.md lists them"
    return f"no reason is called {reason!r}{hint}"
