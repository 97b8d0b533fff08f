"""What of the pricing database counts as a sensitive record, for LIPEI_COUNT_READS."""

from __future__ import annotations

from services.common.access.read_tally import sealed_in

SEALED = {
    "quote": sealed_in("sealed", "quote", "id"),
    "reading": sealed_in("sealed", "reading", "name_index"),
    "personal_target": sealed_in("sealed", "personal_target", "id"),
    "coach_task": sealed_in("sealed", "coach_task", "name"),
    "medication": sealed_in("sealed", "medication", "name_index"),
    "flag_clearing": sealed_in("sealed", "flag_clearing", "id"),
}
# What else is bytes: tariffs and programmes, which name nobody; counts and ids of an answer.
CLEAR = frozenset(
    {"tariff.content", "tariff_evidence.content", "programme.content", "recording.answer"}
)
