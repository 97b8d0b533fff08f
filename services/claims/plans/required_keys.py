"""What to write for a key that a plan must have: a hint for who left it out. It reads no file."""

from __future__ import annotations

from collections.abc import Mapping

# The keys of docs/plans.md's minimal plan; tests/services/claims/plans/test_required_keys.py.
WRITE: Mapping[str, str] = {
    "format": "write 1",
    "id": "write lower-case letters, digits and -",
    "name": "write {zh: ..., en: ...}",
    "currency": "write an ISO 4217 code, such as CNY",
    "first_day": "write the first day with terms, such as 2026-01-01",
    "clauses": 'write a text for each clause: {"1.1": {zh: ..., en: ...}}',
    "general": "write the clauses of not_covered, outside_sections, duplicates, impossible_dates, "
    "missing_facts",
    "sections": "write a list of {id, clause, name, in_force}",
    "pre_existing": 'write {clause: "...", otherwise: {first day: covered or excluded}}',
    "prices": 'write {clause: "..."}, the clause under which list prices bound charges',
    "social_insurance": 'write {clause: "..."}, the clause under which what it paid is taken off',
    "coordination": 'write {clause: "..."}, the clause under which what earlier insurers paid is '
    "taken off",
    "shares": "write a list of {id, clause, unit: share, values}",
}
