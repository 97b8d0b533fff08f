"""A policy's revision as claims keeps it: dated, without any identity. Decides nothing."""

from __future__ import annotations

from datetime import date

import msgspec

from services.claims.core.facts import MemberFacts, PolicySnapshot


class PolicyTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One revision of a policy; `end` is the first day after it."""

    policy_id: str
    plan_version: str
    start: date
    end: date
    previous_policy_id: str | None
    revision: int
    effective: date
    members: tuple[MemberFacts, ...]

    def member(self, member_id: str) -> MemberFacts | None:
        """The person's facts; None when this revision does not insure them."""
        return next((m for m in self.members if m.member_id == member_id), None)

    def covers(self, member_id: str, day: date) -> bool:
        """Whether the person has cover on the day."""
        member = self.member(member_id)
        return member is not None and any(c.start <= day < c.end for c in member.cover)

    def answers(self, member_id: str, admission: date, discharge: date) -> bool:
        """Whether a stay is this policy's to decide: covered at admission, or renewed into.

        Renewed into: covered at discharge by cover without a gap since before admission.
        """
        member = self.member(member_id)
        if member is None:
            return False
        return self.covers(member_id, admission) or any(
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
