"""The files of a study: experience.parquet, claims.parquet and study.json; the same bytes again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from services.pricing.fitting.experience.checking import Found
from services.pricing.fitting.experience.made_from import FILE
from services.pricing.fitting.experience.study import Study

FOLDER = "study"
SYNTHETIC = "SYNTHETIC: simulated people, not for sale / 合成数据：模拟人群，不得用于销售"
_FORMAT = 1


def write_study(
    done: Study,
    folder: Path,
    made_from: Mapping[str, Any],
    found: list[Found],
    *,
    synthetic: bool,
) -> tuple[Path, ...]:
    """The three files, in the folder; what is synthetic says so in metadata, column and JSON.

    `made_from` is what `made_from.made_from` tells of the settings and the book.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, table in (("experience", done.experience), ("claims", done.claims)):
        path = folder / f"{name}.parquet"
        pq.write_table(_labelled(table, synthetic), path)
        files.append(path)
    path = folder / FILE
    said = study_json(done, made_from, found, synthetic=synthetic)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(said, order="sorted")) + b"\n")
    return (*files, path)


def study_json(
    done: Study, made_from: Mapping[str, Any], found: list[Found], *, synthetic: bool
) -> dict[str, Any]:
    """All that was assumed and found on the way, in plain values; unknown numbers are null."""
    columns = ["holdout", "calendar_year", "person_id", "exposure"]
    light = done.experience.select(columns).to_pandas()
    parts = light.groupby("holdout").agg(
        segments=("exposure", "size"), exposure=("exposure", "sum"), people=("person_id", "nunique")
    )
    by_year = light.groupby("calendar_year")["exposure"].sum()
    return {
        "format": _FORMAT,
        "synthetic": synthetic,
        "notice": SYNTHETIC if synthetic else "",
        **made_from,
        "segments": len(light),
        "exposure": float(light["exposure"].sum()),
        "exposure_by_year": {str(year): float(total) for year, total in by_year.items()},
        "holdout": _rows(parts.reset_index()),
        "causes": [_cause(one) for one in done.causes],
        "strata": [asdict(one) for one in done.strata],
        "claims_outside": done.outside,
        "faults": [asdict(one) for one in found],
        "warnings": done.warnings,
    }


def _cause(one: Any) -> dict[str, Any]:
    triangle = one.triangle
    return {
        "cause": one.cause,
        "claims": int(one.claims.sum()),
        "zeros": int(one.zeros.sum()),
        "paid_minor": int(one.paid.sum()),
        "loss_minor": float(one.segment_loss.sum()),
        "excess_minor": float(one.segment_excess.sum()),
        "threshold_minor": one.threshold_minor,
        "development": {
            "source": triangle.source,
            "used": asdict(triangle.used),
            "chain_ladder": {
                "counts": triangle.counts_shares,
                "amounts": triangle.amounts_shares,
            },
            "quarters": list(triangle.counts.index),
            "counts": _matrix(triangle.counts),
            "amounts_minor": _matrix(triangle.amounts),
        },
        "elimination": _rows(one.elimination),
        "large_losses": _rows(one.large_losses),
    }


def _matrix(frame: pd.DataFrame) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in frame.to_numpy()]


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values; infinite (no limit) and unknown are null."""
    return [
        {str(name): _known(value) for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _labelled(table: Any, synthetic: bool) -> Any:
    metadata = {"synthetic": str(synthetic).lower(), "notice": SYNTHETIC if synthetic else ""}
    if synthetic:
        column = np.ones(table.num_rows, np.bool_)
        table = table.append_column("synthetic", [column])
    return table.replace_schema_metadata(metadata)
