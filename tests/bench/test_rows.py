from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.processes import Meter, cpu_s, memory_mib
from bench.rows import Report, figures, percentile


@pytest.mark.parametrize(
    ("unit", "ours", "floor", "ratio"),
    [("ms", 30.0, 20.0, 1.5), ("claims/s", 30.0, 60.0, 2.0), ("bills/s", 60.0, 30.0, 0.5)],
)
def test_a_ratio_above_one_is_worse_than_the_floor(
    unit: str, ours: float, floor: float, ratio: float, tmp_path: Path
) -> None:
    report = Report(out=tmp_path, say=lambda _text: None)
    report.add("a path", unit, ours, floor, cpu_ms=1.0, what_floor_is="a floor", n=1)
    (row,) = json.loads((tmp_path / "summary.json").read_text("utf-8"))["rows"]
    assert row["ratio"] == ratio


def test_figures_keep_four() -> None:
    assert [figures(value) for value in (123456.0, 1.23456, 0.000123456)] == [
        *(123500.0, 1.235, 0.0001235)
    ]


def test_percentiles_lie_inside_what_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 50) == 50.5
    assert percentile(values, 99) == pytest.approx(99.01)
    assert percentile([7.0], 99) == 7.0


def test_cpu_and_memory_of_a_process_are_its_own() -> None:
    me = os.getpid()
    meter = Meter({"me": me})
    with meter:
        spent = cpu_s(me)
        while cpu_s(me) < spent + 0.05:
            pass
    before = meter.total_ms
    assert before > 40
    while cpu_s(me) < spent + 0.15:  # outside the span: not counted
        pass
    assert meter.total_ms == before
    now, peak = memory_mib(me)
    assert 1 < now <= peak
