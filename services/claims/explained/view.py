"""What a page and a PDF show of an explained claim, in one language, as plain text ready to print.

Both show the same words in the same order; templates place them and compute nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from services.claims.core.balances import BalanceChange
from services.claims.core.decision import Bearer, LineOutcome
from services.claims.core.explain import Words, awaited, bearer_words, earlier_sentence
from services.claims.core.explanation import STEP_WORDS, ExplainedLine, ExplainedPart, Step
from services.claims.core.plan_parts import Text
from services.claims.core.reasons import WORDS, Reason
from services.claims.explained.told import ToldClaim, printable
from services.claims.explained.words import LABELS, OUTCOMES, STATES, Language, grouped

View = dict[str, Any]


def view(claim: ToldClaim, language: Language) -> View:
    """Every text of the document, by where it stands."""
    return _View(claim, language).made()


class _View:
    """One language of one claim."""

    def __init__(self, claim: ToldClaim, language: Language) -> None:
        self._claim = claim
        self._told = claim.told
        self._currency = claim.told.decision.currency
        self._words = Words(language.value, self._currency)
        self._language = language

    def made(self) -> View:
        told, words = self._told, self._words
        pended = told.decision.disposition.waits
        return {
            "language": "zh-CN" if self._language is Language.ZH else "en",
            "label": self._labels(),
            "plan": words.of(told.plan.name),
            "currency": self._currency,
            "standing": self._standing(),
            "facts": list(self._facts()),
            "billed": self._money(told.decision.billed),
            "allowed": self._money(told.decision.allowed),
            "benefit": self._money(told.decision.benefit),
            "bearers": list(self._bearers()),
            "lines": [self._line(line) for line in told.lines],
            "balances": [self._balance(one) for one in told.balances],
            # What ended waits for nothing and holds nothing, though its last decision did.
            "reserved": pended and self._claim.ended is None and bool(told.balances),
            "recomputed": told.recomputed,
            "awaited": [] if self._claim.ended is not None else list(self._awaited()),
            "coordinated": list(self._coordinated()),
            "reasons": list(self._reasons()),
            "clauses": [[one.id, words.of(one.text)] for one in told.clauses],
            "proof": self._proof(),
            "versions": [
                told.decision.plan_version,
                told.decision.engine_version,
                told.decision.output_hash,
            ],
        }

    def _labels(self) -> dict[str, str]:
        """Of a claim whose decision holds no more, who bore what is told as it was."""
        labels = dict(LABELS)
        if self._claim.ended is not None:
            labels["who"] = LABELS["who_before"]
        return {key: self._words.of(text) for key, text in labels.items()}

    def _standing(self) -> str:
        parts = [self._claim.standing, self._claim.since]
        told = [self._words.of(one) for one in parts if one is not None]
        return self._words.pick("", " ").join(told)

    def _facts(self) -> Iterator[list[str]]:
        claim, bill, words = self._claim, self._told.bill, self._words
        days = [bill.start_date.isoformat(), bill.end_date.isoformat()]
        decided = claim.moment(claim.decided_us)
        yield [words.of(LABELS["claim"]), claim.name]
        yield [words.of(LABELS["insurer"]), claim.insurer]
        yield [words.of(LABELS["bill"]), claim.bill_number]
        yield [words.of(LABELS["provider"]), claim.provider_id]
        yield [words.of(LABELS["days"]), " – ".join(dict.fromkeys(days))]
        if self._told.category is not None:
            yield [words.of(LABELS["category"]), words.of(self._told.category)]
        yield [words.of(LABELS["decided"]), f"{decided:%Y-%m-%d %H:%M} ({claim.zone.key})"]
        yield [words.of(LABELS["state"]), words.of(STATES[claim.state])]
        if claim.paid_us is not None:
            day = claim.moment(claim.paid_us).date().isoformat()
            yield [words.of(LABELS["paid"]), f"{words.money(claim.paid)} · {day}"]
        if claim.recovered:
            yield [words.of(LABELS["recovered"]), words.money(claim.recovered)]
            yield [words.of(LABELS["net"]), words.money(claim.paid - claim.recovered)]
        if claim.to_return:
            yield [words.of(LABELS["to_return"]), words.money(claim.to_return)]

    def _bearers(self) -> Iterator[View]:
        """Who bears what; what waits for a fact is nobody's yet."""
        waits = sum(
            part.amount for line in self._told.lines for part in line.parts if _waits(line, part)
        )
        billed = self._told.decision.billed
        shown = [
            (one.value, bearer_words(one), amount - (waits if one is Bearer.PATIENT else 0))
            for one, amount in self._told.bearers
        ]
        shown.append(("nobody", bearer_words(Bearer.PATIENT, waits=True), waits))
        for key, text, amount in shown:
            if amount or key == Bearer.INSURER.value:
                yield {
                    "key": key,
                    "name": self._words.of(text),
                    "amount": self._money(amount),
                    "thousandths": amount * 1000 // billed if billed else 0,
                }

    def _line(self, line: ExplainedLine) -> View:
        words = self._words
        return {
            "number": line.number,
            "name": line.name,
            "code": "" if line.name == line.code.code else line.code.code,
            "section": "" if line.section is None else words.of(line.section),
            "date": line.service_date.isoformat(),
            "quantity": f"{line.quantity} × {line.unit_price}",
            "outcome": words.of(OUTCOMES[line.outcome]),
            "outcome_key": line.outcome.value,
            "billed": self._money(line.billed),
            "allowed": self._money(line.allowed),
            "benefit": self._money(line.benefit),
            "share": "" if line.share is None else words.share(line.share),
            "share_clause": line.share_clause,
            "steps": [self._step(line, part) for part in line.parts],
            "refusal": self._refusal(line),
            "earlier": earlier_sentence(words, self._told, line).strip(),
            "balances": [self._balance(one) for one in line.balances],
        }

    def _step(self, line: ExplainedLine, part: ExplainedPart) -> View:
        waits = _waits(line, part)
        return {
            "key": "nobody" if waits else part.bearer.value,
            "step": self._words.of(STEP_WORDS[part.step]),
            "reason": self._why(part.reason, part.clause, part.bearer),
            "bearer": self._words.of(bearer_words(part.bearer, waits=waits)),
            "amount": self._money(part.amount),
            "left": "" if part.step is Step.BENEFIT else self._money(part.left),
        }

    def _refusal(self, line: ExplainedLine) -> str:
        """Why a line that cost nothing is denied; its parts cannot say it."""
        if line.parts or line.reason is None:
            return ""
        return self._why(line.reason, line.clause, Bearer.PATIENT)

    def _why(self, reason: Reason, clause: str, bearer: Bearer) -> str:
        """The reason's sentence without the amount, which stands beside it."""
        template = self._words.of(Text(zh=WORDS[reason].zh, en=WORDS[reason].en))
        subject = self._words.pick("", "This")
        borne = self._words.of(bearer_words(bearer))
        return template.format(amount=subject, clause=clause, bearer=borne).strip()

    def _balance(self, one: BalanceChange) -> View:
        known = one.limit is not None and one.left is not None
        return {
            "name": self._words.of(one.name),
            "clause": one.clause,
            "since": one.period_start.isoformat() if one.period_start else "",
            "limit": self._words.quantity(one.limit, one.unit) if one.limit is not None else "–",
            "before": self._words.quantity(one.before, one.unit),
            "after": self._words.quantity(one.after, one.unit),
            "left": self._words.quantity(one.left or 0, one.unit) if known else "–",
        }

    def _awaited(self) -> Iterator[str]:
        for pend in self._told.pends:
            what, words = self._words.of(awaited(self._told.plan, pend)), self._words
            if pend.line is None:
                yield words.pick(f"{what}（条款 {pend.clause}）", f"{what} (clause {pend.clause})")
            else:
                yield words.pick(
                    f"第 {pend.line} 行：{what}（条款 {pend.clause}）",
                    f"line {pend.line}: {what} (clause {pend.clause})",
                )

    def _coordinated(self) -> Iterator[list[str]]:
        for one in self._claim.coordinated:
            whose = one.claim or self._words.of(LABELS["another"])
            yield [whose, self._money(one.amount)]

    def _reasons(self) -> Iterator[list[str]]:
        for reason, amount in self._told.reasons:
            clauses = _clauses(self._told.lines, reason)
            words = WORDS[reason]
            codes = " ".join(code for code in (words.group_code, words.carc, words.rarc) if code)
            yield [
                self._why(reason, "、".join(clauses), self._bearer_of(reason)),
                codes or "–",
                self._money(amount),
            ]

    def _bearer_of(self, reason: Reason) -> Bearer:
        parts = (part for line in self._told.lines for part in line.parts)
        return next(part.bearer for part in parts if part.reason is reason)

    def _proof(self) -> str:
        terms = [f"{one['name']} {one['amount']}" for one in self._bearers()]
        return f"{self._money(self._told.decision.billed)} {self._currency} = {' + '.join(terms)}"

    def _money(self, amount: int) -> str:
        return grouped(amount, self._currency)


def _waits(line: ExplainedLine, part: ExplainedPart) -> bool:
    """Whether nobody is to bear the part yet, whoever holds it in the books meanwhile."""
    return line.outcome is LineOutcome.PENDED and part.step is Step.EDIT


def _clauses(lines: Sequence[ExplainedLine], reason: Reason) -> list[str]:
    parts = (part for line in lines for part in line.parts)
    return list(dict.fromkeys(part.clause for part in parts if part.reason is reason))


def title(views: Sequence[View]) -> str:
    """The title of the document, in its languages."""
    return printable(" ".join(one["label"]["title"] for one in views))
