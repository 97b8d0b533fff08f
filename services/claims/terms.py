"""A policy's revision as claims keeps it: dated, without any identity. Decides nothing."""

from __future__ import annotations

from datetime import date

import msgspec

from services.claims.core.facts import MemberFacts, PolicySnapshot


class PolicyTerms(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One revision of a policy; `end` is the first day after it.

    `coordination` says of members who have chosen, by id, which of their policies comes when.
    """

    policy_id: str
    plan_version: str
    start: date
    end: date
    previous_policy_id: str | None
    revision: int
    effective: date
    members: tuple[MemberFacts, ...]
    coordination: dict[str, int] = msgspec.field(default_factory=dict)

    def member(self, member_id: str) -> MemberFacts | None:
        """The person's facts; None when this revision does not insure them."""
        return next((m for m in self.members if m.member_id == member_id), None)

    def renews(self, member_id: str, admission: date, discharge: date) -> bool:
        """Whether a stay runs into this policy: covered at discharge, without a gap since before.

        Whoever was not covered then has no stay renewed into anything.
        """
        member = self.member(member_id)
        return member is not None and any(
            c.continuous_since <= admission and c.start <= discharge < c.end for c in member.cover
        )

    def snapshot(self, member: MemberFacts) -> PolicySnapshot:
        """What a decision about this member reads."""
        return PolicySnapshot(
            policy_id=self.policy_id,
            revision=self.revision,
            start=self.start,
            end=self.end,
            member=member,
        )
