"""Stores of pricing that most tests need only to be there."""

from __future__ import annotations

from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.pricing.storage.clearings import ClearingStore
from services.pricing.storage.medication import MedicationStore


def health_stores(database: Database, keys: SubjectKeys) -> tuple[MedicationStore, ClearingStore]:
    """Medication and clearings on the same database."""
    return MedicationStore(database, keys), ClearingStore(database, keys)
