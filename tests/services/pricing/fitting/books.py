"""A small book by hand: two people, three policy years, claims, readings and a programme."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.experience.settings import StudySettings
from services.pricing.fitting.experience.tables import Connection, open_frames
from services.pricing.fitting.pricing_file import parse_pricing_file, template

Rows = list[dict[str, Any]]
_KEYS = {
    "people": ("p", "person_id"),
    "policies": ("c", "policy_id"),
    "claims": ("k", "claim_id"),
    "readings": ("r", "reading_id"),
    "enrolments": ("", ""),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "people": {
        "birth_date": date(1970, 5, 1),
        "sex": "F",
        "region": "north",
        "conditions": "both",
        "condition_since": None,
        "coinsurance_percent": 10,
    },
    "policies": {
        "person_id": "p1",
        "first_day": date(2023, 3, 1),
        "after_day": date(2024, 3, 1),
        "entry_day": None,
        "deductible_minor": 0,
        "limit_minor": 50_000_000,
        "premium_minor": 600_000,
        "currency": "CNY",
    },
    "claims": {
        "person_id": "p1",
        "policy_id": "c1",
        "cause": "outpatient",
        "event_day": date(2023, 6, 1),
        "report_day": date(2023, 7, 1),
        "amount_minor": 20_000,
        "ground_up_minor": 20_000,
    },
    "readings": {
        "person_id": "p1",
        "code": "4548-4",
        "value": 7.4,
        "unit": "%",
        "effective_time": pd.Timestamp("2022-11-10T08:00:00+08:00"),
        "receive_time": pd.Timestamp("2022-11-12T08:00:00+08:00"),
        "provenance": "LABORATORY",
        "fasting": None,
    },
    "enrolments": {
        "person_id": "p1",
        "programme": "diabetes-glucose",
        "first_day": date(2023, 8, 1),
        "after_day": None,
    },
}
SETTINGS = parse_pricing_file(template().encode(), Path("pricing.yaml"))
BOOK = SETTINGS.of(BookSettings)
STUDY = SETTINGS.of(StudySettings)


def rows(table: str, *given: Mapping[str, Any]) -> Rows:
    """Rows of a table: what is not given is as in the plain book, ids count from 1."""
    letter, key = _KEYS[table]
    named = [{key: f"{letter}{place}"} if key else {} for place in range(1, len(given) + 1)]
    return [_DEFAULTS[table] | name | dict(one) for name, one in zip(named, given, strict=True)]


def plain() -> dict[str, Rows]:
    """The plain book, without fault."""
    return {
        "people": rows("people", {}, {"conditions": "none", "sex": "M"}),
        "policies": rows(
            "policies",
            {},
            {"first_day": date(2024, 3, 1), "after_day": date(2025, 3, 1)},
            {"person_id": "p2", "first_day": date(2022, 7, 1), "after_day": date(2023, 7, 1)}
            | {"entry_day": date(2023, 1, 1), "deductible_minor": 10_000},
        ),
        "claims": rows("claims", {}, {"cause": "injury", "event_day": date(2023, 3, 1)}),
        "readings": rows("readings", {}),
        "enrolments": rows("enrolments", {}),
    }


def frames(book: Mapping[str, Rows]) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame(listed) for name, listed in book.items()}


def opened(book: Mapping[str, Rows], settings: BookSettings = BOOK) -> Connection:
    return open_frames(frames(book), settings)
