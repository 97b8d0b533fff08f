"""`lipei pricing ...`: from a book of experience to a tariff, driven by one pricing.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.pricing_file import template
from services.pricing.fitting.simulated.settings import SimulateSettings
from stack.commands import (
    pricing_evaluate,
    pricing_export_book,
    pricing_fit,
    pricing_handover,
    pricing_partners,
    pricing_registry,
    pricing_renew,
    pricing_renew_policy,
    pricing_renewals,
    pricing_report,
    pricing_select,
    pricing_study,
    quote,
)
from stack.commands.failing import Failed
from stack.commands.pricing_folder import (
    DEFAULT,
    NAME,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.printing import console, counted, progress_bar, say

app = typer.Typer(
    no_args_is_help=True, help="Tariffs: study experience, fit, select, file, renew a book."
)
_README = "README.md"

app.command()(pricing_study.check)
app.command()(pricing_study.study)
app.command()(pricing_fit.fit)
app.command()(pricing_evaluate.evaluate)
app.command()(pricing_partners.partners)
app.command()(pricing_fit.rerun)
app.command()(pricing_select.select)
app.command()(pricing_select.propose)
app.command()(pricing_select.diff)
pricing_registry.add_to(app)
pricing_export_book.add_to(app)
app.command()(pricing_report.report)
app.command()(quote.quote)
pricing_renewals.add_to(pricing_renew.app)
pricing_renew.app.command("policy")(pricing_renew_policy.policy)
pricing_renew.app.command("hand-over")(pricing_handover.hand_over)
app.add_typer(pricing_renew.app, name="renew")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A folder; made when it is not there.")],
    own: Annotated[
        bool,
        typer.Option("--own", help="For a book of your own: no trend is assumed."),
    ] = False,
    exported: Annotated[
        bool,
        typer.Option(
            "--exported", help="For a book of export-book: as --own, without coinsurance."
        ),
    ] = False,
) -> None:
    """Write a commented pricing.yaml, and a README that says what will lie beside it.

    Overwrites nothing.
    """
    target = folder / NAME
    if target.exists():
        raise Failed(f"{target} is there already; `lipei pricing check -f {target}` reads it")
    try:
        (folder / "book").mkdir(parents=True, exist_ok=True)
        target.write_text(template(own=own, exported=exported), "utf-8")
        if not (folder / _README).exists():
            (folder / _README).write_text(_FOLDER, "utf-8")
    except OSError as error:
        raise Failed(f"{folder} cannot be written: {error.strerror}") from None
    say(f"{target}: edit it; every setting says what it does")
    say_next(
        f"lipei pricing simulate -f {target}",
        f"lipei pricing export-book -f {target}",
        f"lipei pricing check -f {target}",
    )


@app.command()
def simulate(
    file: PricingPath = DEFAULT,
    people: Annotated[int, typer.Option(help="So many people; 0: as pricing.yaml says.")] = 0,
    seed: Annotated[int, typer.Option(help="Of chance; -1: as pricing.yaml says.")] = -1,
    programme_effect: Annotated[
        float, typer.Option(help="True rate ratio of a programme; 0: as pricing.yaml says.")
    ] = 0.0,
) -> None:
    """Make a synthetic book whose truth is known: five tables, and truth.json.

    The same size and seed give the same bytes. Refuses a folder that holds a book of yours.
    """
    from services.pricing.fitting.simulated import book  # noqa: PLC0415 - numpy is heavy

    found = opened(file)
    written = settings_of(found, SimulateSettings)
    asked = SimulateSettings(
        people=people or written.people,
        seed=written.seed if seed < 0 else seed,
        programme_effect=programme_effect or written.programme_effect,
    )
    folder = found.folder / settings_of(found, BookSettings).folder
    _refuse_own_book(folder)
    arguments = ["--people", asked.people, "--seed", asked.seed]
    arguments += ["--programme-effect", asked.programme_effect]
    out = console()
    with (
        running(
            found, "simulate", arguments=[str(word) for word in arguments], seed=asked.seed
        ) as work,
        progress_bar(out) as bar,
    ):
        task = bar.add_task("people", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        work.outputs += book.simulate(asked, folder, tell)
        work.synthetic = True
    say(f"{folder}: {counted(asked.people, 'person', 'people')}, seed {asked.seed}")
    say(book.LABEL)
    say_next(f"lipei pricing check -f {found.path}", f"lipei pricing study -f {found.path}")


def _refuse_own_book(folder: Path) -> None:
    """Raises: Failed when the folder holds tables that no simulation has made."""
    if not (folder / "truth.json").exists() and any(
        path for path in folder.glob("*") if path.suffix in {".parquet", ".csv"}
    ):
        raise Failed(f"{folder} holds a book that is not simulated; name another book.folder")


_FOLDER = """\
# A pricing folder
Everything that `lipei pricing` makes of pricing.yaml lies here, in the open, and may be made again.

| file | made by | what |
|---|---|---|
| pricing.yaml | `init`, you | every setting |
| book/*.parquet or .csv | you, `export-book` or `simulate` | people, policies, claims ... |
| book/truth.json | `simulate` | the truth of a simulated book |
| study/ | `study` | experience and claims, segment by segment; study.json |
| fit/fit.json | `fit` | coefficients and indicated relativities |
| evaluate/evaluation.json | `evaluate` | what a health programme does to claims, and its checks |
| partners/months and stays, .parquet or .csv | you | what `partners` measures |
| partners/partners.json | `partners` | control rates and readmissions by partner |
| select/ | `select` | relativities.xlsx to edit; selection.json |
| report/ | `report` | report.html; tables.xlsx |
| tariff/ | `propose` | the tariff, its evidence, its filing memos in Chinese and English |
| renewal/book.parquet or .csv | you | the expiring book, one row a policy |
| renewal/ | `renew` | renewals/ with every premium; dislocation.xlsx and .json |
| exporting/ | `export-book` | what services have told of an export that is not finished |
| runs/ | each command | run cards: `lipei pricing rerun` repeats one and compares |
"""
