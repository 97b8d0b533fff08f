"""`lipei pricing ...`: from a book of experience to a tariff, driven by one pricing.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.pricing.fitting.pricing_file import template
from stack.commands.failing import Failed
from stack.commands.pricing_folder import DEFAULT, NAME, PricingPath, opened, say_next
from stack.commands.printing import say

app = typer.Typer(
    no_args_is_help=True, help="Tariffs: study experience, fit, select, file, renew a book."
)
_README = "README.md"


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A folder; made when it is not there.")],
) -> None:
    """Write a commented pricing.yaml, and a README that says what will lie beside it.

    Overwrites nothing.
    """
    target = folder / NAME
    if target.exists():
        raise Failed(f"{target} is there already; `lipei pricing check -f {target}` reads it")
    try:
        (folder / "book").mkdir(parents=True, exist_ok=True)
        target.write_text(template(), "utf-8")
        if not (folder / _README).exists():
            (folder / _README).write_text(_FOLDER, "utf-8")
    except OSError as error:
        raise Failed(f"{folder} cannot be written: {error.strerror}") from None
    say(f"{target}: edit it; every setting says what it does")
    say_next(f"lipei pricing simulate -f {target}", f"lipei pricing check -f {target}")


@app.command()
def check(file: PricingPath = DEFAULT) -> None:
    """Check pricing.yaml and the book: every fault at once, what, why and what to do."""
    found = opened(file)
    say(f"{found.path} without fault")
    say_next(f"lipei pricing study -f {found.path}")


_FOLDER = """\
# A pricing folder
Everything that `lipei pricing` makes of pricing.yaml lies here, in the open, and may be made again.

| file | made by | what |
|---|---|---|
| pricing.yaml | `init`, you | every setting |
| book/*.parquet or .csv | you, or `simulate` | people, policies, claims, readings, enrolments |
| book/truth.json | `simulate` | the truth of a simulated book |
| study/ | `study` | experience and claims, segment by segment; study.json |
| fit/fit.json | `fit` | coefficients and indicated relativities |
| select/ | `select` | relativities.xlsx to edit; selection.json |
| report/ | `report` | report.html; tables.xlsx |
| tariff/ | `propose` | the tariff |
| runs/ | each command | run cards: `lipei pricing rerun` repeats one and compares |
"""
