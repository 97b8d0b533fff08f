"""A fit from a pricing folder's files: study/*.parquet in, fit/fit.json out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow.parquet as pq

from services.pricing.fitting.models.fit import About, fit
from services.pricing.fitting.models.fit_result import Fit, fit_bytes
from services.pricing.fitting.models.refusal import FitFault, FitRefused
from services.pricing.fitting.models.settings import FitSettings

FOLDER, FILE, SURVIVAL = "fit", "fit.json", "survival.json"
_EXPERIENCE, _CLAIMS = "experience", "claims"


def inputs(study: Path) -> tuple[Path, Path]:
    """The experience and the claims of a study, Parquet or CSV.

    Raises: FitRefused when one of them is not there.
    """
    found = []
    faults = []
    for name in (_EXPERIENCE, _CLAIMS):
        paths = [study / f"{name}{ending}" for ending in (".parquet", ".csv")]
        there = [path for path in paths if path.is_file()]
        found += there[:1]
        if not there:
            text = f"neither {paths[0].name} nor {paths[1].name} is there; study the book first"
            faults.append(FitFault(where=str(study), code="NO_FILE", text=text))
    if faults:
        raise FitRefused(faults)
    return found[0], found[1]


def fit_files(
    study: Path,
    target: Path,
    settings: FitSettings,
    *,
    currency: str,
    progress: Callable[[str], None] = lambda _name: None,
) -> Fit:
    """The fit of a study's files, written into the folder `target` as fit.json.

    The same files and settings give the same bytes: the run is named by their digest and not by
    a time.

    Raises: FitRefused.
    """
    experience_file, claims_file = inputs(study)
    experience = read_table(experience_file)
    claims = read_table(claims_file)
    about = About(
        book=_digest(experience_file),
        synthetic=_synthetic(experience),
        run_card=name_of(experience_file, claims_file, settings),
        currency=currency,
    )
    found = fit(experience, claims, settings, about, progress=progress)
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).write_bytes(fit_bytes(found) + b"\n")
    return found


def name_of(experience: Path, claims: Path, settings: FitSettings) -> str:
    """The name of a fit, as its `run_card`: the same for the same files and settings alone."""
    told = msgspec.json.encode([_digest(experience), _digest(claims), settings], order="sorted")
    return f"fit-{hashlib.sha256(told).hexdigest()[:16]}"


def read_table(path: Path) -> pd.DataFrame:
    """One table of a study; what Parquet's metadata say of being synthetic becomes a column."""
    if path.suffix == ".csv":
        return pd.read_csv(path)
    table = pq.read_table(path)
    frame: pd.DataFrame = table.to_pandas()
    if (table.schema.metadata or {}).get(b"synthetic") == b"true":
        frame["synthetic"] = True
    return frame


def _synthetic(experience: pd.DataFrame) -> bool:
    return "synthetic" in experience and bool(experience["synthetic"].any())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
