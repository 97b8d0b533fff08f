"""One claim with its explained decision, as every document needs it. Knows no document."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from services.claims.core.explain import Ended, Explanation, Words, standing
from services.claims.core.explanation import Explained
from services.claims.core.life_cycle import ClaimState
from services.claims.core.plan_parts import Text

LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinatedClaim:
    """What an earlier insurer, or an earlier policy of this one, paid for the same bill.

    `policy` and `claim` are empty when they are another insurer's, and none of this one's business.
    """

    amount: int
    policy: str = ""
    claim: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldClaim:
    """A decided claim: opaque names, where it stands, what was paid, and why. Times are in µs.

    `recovered` is what of `paid` came back; the rest is the net. `to_return` is what is to come
    back besides, `due` what is still to be paid, and `corrected` the number of the hospital's
    correction that was decided, 0 for the bill as it first came. `notice_due` is the last day for
    the notice of a refusal; None unless the claim is denied.
    `claim_id` is the last part of `name`; `member` is the opaque id that GetClaim shows as well.
    """

    name: str
    claim_id: str
    policy_id: str
    member: str
    insurer: str
    provider_id: str
    bill_number: str
    state: ClaimState
    decided_us: int
    paid: int
    paid_us: int | None
    zone: ZoneInfo
    coordinated: tuple[CoordinatedClaim, ...]
    told: Explained
    text: Explanation
    ended: Ended | None = None
    recovered: int = 0
    to_return: int = 0
    due: int = 0
    corrected: int = 0
    notice_due: date | None = None

    @property
    def since(self) -> Text | None:
        """What became of the claim since: another bill, where money goes, a notice that is due."""
        currency = self.told.decision.currency
        zh, en = Words("zh", currency), Words("en", currency)
        said: list[tuple[str, str]] = []
        if self.corrected:
            text = f"医院已更正账单（第 {self.corrected} 次），以下以更正后的账单为准。"
            said.append((text, "The hospital has corrected the bill; what follows is about it."))
        if self.ended is not None:
            said.append(
                ("所占用的额度与免赔额已全部退还。", "It uses no limit and no deductible any more.")
            )
        moved = [
            (zh_words + zh.money(amount), en_words.format(en.money(amount)))
            for amount, zh_words, en_words in (
                (self.recovered, "已退回 ", "{} came back"),
                (self.to_return, "尚需退回保险公司 ", "{} is still to be paid back to the insurer"),
                (self.due if self.paid else 0, "尚需补付 ", "{} more is to be paid"),
            )
            if amount
        ]
        if moved:
            parts = [(f"已付款 {zh.money(self.paid)}", f"Paid: {en.money(self.paid)}"), *moved]
            said.append(
                ("，".join(part for part, _ in parts) + "。", "; ".join(p for _, p in parts) + ".")
            )
        if self.notice_due is not None:
            due = self.notice_due.isoformat()
            said.append(
                (
                    f"保险公司最迟应于 {due} 发出拒赔通知书并说明理由。",
                    f"The notice of the refusal, with its reasons, is due by {due}.",
                )
            )
        if not said:
            return None
        return Text(zh="".join(part for part, _ in said), en=" ".join(part for _, part in said))

    @property
    def standing(self) -> Text:
        """Where the claim stands, in a sentence."""
        return standing(self.told.decision, self.ended, paid=bool(self.paid))

    def moment(self, at_us: int) -> datetime:
        """The time in the hospital's zone, to the second."""
        return datetime.fromtimestamp(at_us // 1_000_000, self.zone)


def ended(state: ClaimState, *, released: bool) -> Ended | None:
    """How a claim ended whose decision was taken back (`released`); None while it is in force.

    Money that is to come back says nothing of that: a correction asks for a part of it, and what
    it decided is in force.

    >>> ended(ClaimState.RECOVERY_OPEN, released=False)
    >>> ended(ClaimState.RECOVERY_OPEN, released=True)
    <Ended.REVERSED: 2>
    """
    if state is ClaimState.WITHDRAWN:
        return Ended.WITHDRAWN
    if state is ClaimState.CLOSED_INCOMPLETE:
        return Ended.INCOMPLETE
    return Ended.REVERSED if released else None


def printable(text: str) -> str:
    r"""A text of somebody else's without what can't be printed, cut to a length that fits a line.

    Control characters and those that turn the direction of writing go: they could forge what a
    reader sees beside them.

    >>> printable("挂号\u202e费\n")
    '挂号费'
    """
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    kept = "".join(letter for letter in spaced if letter.isprintable())
    return kept if len(kept) <= LONGEST_NAME else f"{kept[: LONGEST_NAME - 1]}…"
