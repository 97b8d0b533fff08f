"""Names of the columns of an expiring book, of its shards and of the renewal."""

from __future__ import annotations

POLICY = "policy_id"
UNCREDITED, CHARGED = "expiring_uncredited_minor", "expiring_charged_minor"
CREDIT = "credit_millionths"
AMOUNTS = (UNCREDITED, CHARGED)
# What the member's year of readings came to, for claims; prices nothing. A book may lack it.
TIER = "outcome_tier"
# What dealing and pricing add: the row of the book, counted from 1, the cells, the gross premium.
ROW, CODE, TECHNICAL = "row", "code", "technical_e4"
TECHNICAL_MINOR = "technical_minor"
# The first 32 bits of the SHA-256 of the policy's name, of which its shard is made.
DIGEST = "digest"
# Bounds before and after they are drawn into whole minor units.
LEAST_E4, MOST_E4 = "least_e4", "most_e4"
LEAST, MOST = "least_minor", "most_minor"
# Columns to show dislocation by stand under this and their name.
GROUP = "group_"
