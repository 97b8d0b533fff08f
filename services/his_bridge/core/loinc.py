"""What LOINC's codes say of themselves, for every dialect that reads readings. Pure."""

from __future__ import annotations

LOINC = "http://loinc.org"
# Glucose codes that say of themselves that the person had fasted.
FASTING_CODES = frozenset({"14771-0", "1558-6"})
VALUE_PLACES = 18
