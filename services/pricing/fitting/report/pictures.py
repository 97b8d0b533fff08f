"""Pictures of a report as SVG texts: the same frames give the same bytes. Computes no figure."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Told apart also in grey and by those who see no red and green (Okabe and Ito's).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
_SIZE = (6.4, 3.6)
# So many letters of axis titles have room beside one another.
_LINE = 60
_GROUPED = "{x:,.0f}"
_STYLE = {
    "svg.hashsalt": "lipei",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    # Nothing stands above the axes: to look for it takes an eighth of the time of a report.
    "axes.titley": 1.0,
}


@contextmanager
def _drawn(title: str, x: str, y: str) -> Iterator[tuple[Axes, Callable[[], str]]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.set(title=title, xlabel=x, ylabel=y)

        def svg() -> str:
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False)
            held = io.StringIO()
            with warnings.catch_warnings():
                # Texts stay texts in the picture: whoever opens it has the letters of their names.
                warnings.filterwarnings("ignore", message="Glyph .* missing from font")
                # What `savefig` does, less the drawing that only tells it how large all is.
                unsaid = {"Date": None, "Creator": None}
                canvas = FigureCanvasSVG(figure)
                canvas.print_svg(held, metadata=unsaid)  # type: ignore[no-untyped-call]  # has no types
            text = held.getvalue()
            return text[text.index("<svg") :]

        yield axes, svg


def ratios(found: pd.DataFrame, title: str) -> str:
    """Actual over expected with intervals, exposure as bars behind."""
    with _drawn(title, "", "actual / expected") as (axes, svg):
        x = np.arange(len(found))
        behind = axes.twinx()
        behind.bar(x, found["exposure"], color=GREY, alpha=0.2, width=0.7)
        behind.set_ylabel("policy-years")
        behind.yaxis.set_major_formatter(_GROUPED)
        behind.grid(visible=False)
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
        error = np.abs(found[["low95", "high95"]].to_numpy().T - found["ratio"].to_numpy())
        axes.errorbar(x, found["ratio"], yerr=error, fmt="o", color=BLUE, capsize=3)
        axes.axhline(1, color=ORANGE, linewidth=1)
        axes.set_xticks(x, found["group"], rotation=_turned(found["group"]))
        return svg()


def deciles(found: pd.DataFrame, title: str, currency: str) -> str:
    """Actual with its interval and expected, by decile."""
    with _drawn(title, "decile of expected", f"{currency} a year") as (axes, svg):
        axes.yaxis.set_major_formatter(_GROUPED)
        x = found["group"].astype(int)
        scale = found["expected_a_year"]
        low, high = found["low95"] * scale, found["high95"] * scale
        actual = found["actual_a_year"]
        axes.errorbar(
            x,
            actual,
            yerr=[actual - low, high - actual],
            fmt="o",
            color=BLUE,
            label="actual",
            capsize=3,
        )
        axes.plot(x, scale, color=ORANGE, label="expected")
        return svg()


def double(found: pd.DataFrame, names: Mapping[str, str], currency: str) -> str:
    """What happened beside two expectations, by decile of their ratio; column → its title."""
    _, one, other = names.values()
    with _drawn(f"{one} over {other}", f"decile of {one} / {other}", f"{currency} a year") as (
        axes,
        svg,
    ):
        axes.yaxis.set_major_formatter(_GROUPED)
        drawn = zip(names.items(), (BLUE, ORANGE, GREEN), ("o-", "-", "--"), strict=True)
        for (name, title), colour, line in drawn:
            axes.plot(found["decile"], found[name], line, color=colour, label=title)
        return svg()


def curves(
    found: dict[str, pd.DataFrame], x: str, y: str, title: str, labels: tuple[str, str]
) -> str:
    """One line per name; the diagonal is drawn where both axes are shares."""
    with _drawn(title, *labels) as (axes, svg):
        for (name, frame), colour in zip(found.items(), _PALETTE * 9, strict=False):
            drawn = "steps-post" if {"low95", "high95"} <= set(frame) else "default"
            axes.plot(frame[x], frame[y], color=colour, label=name, drawstyle=drawn)
            if drawn != "default":
                axes.fill_between(
                    frame[x], frame["low95"], frame["high95"], color=colour, alpha=0.15, step="post"
                )
        if y == "losses":
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        return svg()


def relativities(found: pd.DataFrame, title: str) -> str:
    """Indicated with its interval, selected and previous relativity by cell.

    A cell of which nothing was seen has no interval and a hollow mark.
    """
    with _drawn(title, "", "relativity") as (axes, svg):
        x = np.arange(len(found))
        seen = found["low95"].notna().to_numpy()
        told = found[seen]
        low = np.maximum(told["indicated"] - told["low95"], 0)
        high = np.maximum(told["high95"] - told["indicated"], 0)
        axes.errorbar(
            x[seen],
            told["indicated"],
            yerr=np.array([low, high]),
            fmt="o",
            color=BLUE,
            label="indicated",
            capsize=3,
        )
        if not seen.all():
            axes.plot(
                x[~seen],
                found["indicated"][~seen],
                "o",
                color=BLUE,
                fillstyle="none",
                label="indicated, no data",
            )
        beside = (("selected", ORANGE, "s", 0.15), ("previous", GREEN, "^", -0.15))
        for name, colour, mark, off in beside:
            if name in found and found[name].notna().any():
                axes.plot(x + off, found[name], mark, color=colour, label=name, markersize=5)
        axes.set_xticks(x, found["cell"], rotation=_turned(found["cell"]))
        # Two levels would stand at the edges, and what was selected far from what was indicated.
        axes.set_xlim(-0.8, len(found) - 0.2)
        return svg()


def histogram(
    found: pd.DataFrame,
    title: str,
    labels: tuple[str, str] = ("Pearson residual of a person", "share of people"),
    bars: Mapping[str, str] = MappingProxyType({"people": "people", "poisson": "Poisson"}),
) -> str:
    """Residuals beside what the model's own distribution would give; column → its title."""
    (seen, seen_title), (model, model_title) = bars.items()
    with _drawn(title, *labels) as (axes, svg):
        x = np.arange(len(found))
        axes.bar(x - 0.2, found[seen], 0.4, color=BLUE, label=seen_title)
        axes.bar(x + 0.2, found[model], 0.4, color=GREY, alpha=0.6, label=model_title)
        axes.set_xticks(x, [_span(row) for row in found.itertuples()], rotation=30)
        return svg()


def _span(row: Any) -> str:
    low, high = row[1], row[2]
    if np.isinf(low):
        return f"< {high:g}"
    return f"> {low:g}" if np.isinf(high) else f"{low:g} to {high:g}"


def _turned(titles: pd.Series[str]) -> int:
    """Degrees by which titles are turned where they would run into one another."""
    return 30 if titles.str.len().sum() > _LINE else 0
