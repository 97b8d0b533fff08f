"""One section of a validation report: a sentence, a table and a picture. Measures nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One thing that the report shows; a picture is an SVG text."""

    chapter: str
    zh: str
    en: str
    sentence: str
    table: pd.DataFrame | None = None
    picture: str = ""
