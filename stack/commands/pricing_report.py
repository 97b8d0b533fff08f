"""`lipei pricing report`: the validation report of a fit, with or without a selection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from services.pricing.core.evidence import Evidence, evidence_from
from services.pricing.core.tariff import version_of
from services.pricing.fitting.models.fit_result import fit_from
from services.pricing.fitting.models.settings import FitSettings
from services.pricing.fitting.run_card import digest
from services.pricing.fitting.selection.choice import Selection
from services.pricing.tariffs.loader import TariffRefused, load_tariff
from stack.commands.failing import Failed
from stack.commands.pricing_fit import refuse_other_fit
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.printing import console, counted, progress_bar, say

if TYPE_CHECKING:
    from pandas import DataFrame

    from services.pricing.fitting.models.survival_files import Survival
    from services.pricing.fitting.pricing_file import PricingFile
    from services.pricing.fitting.renewal.dislocation import Dislocation

T = TypeVar("T")

FOLDER = "report"
_REGION = "region"
_MOVED = Path("renewal", "dislocation.json")


def report(file: PricingPath = DEFAULT) -> None:
    """Show what was expected beside what happened: report/report.html and report/tables.xlsx.

    Measured on people and on the year that were held out. With a selection it judges the selected
    relativities beside the indicated ones. Changes no fit and no tariff.
    """
    from services.pricing.fitting.models import files  # noqa: PLC0415 - pandas and glum are heavy
    from services.pricing.fitting.models.refusal import FitRefused  # noqa: PLC0415 - heavy
    from services.pricing.fitting.models.survival_files import Survival  # noqa: PLC0415 - heavy
    from services.pricing.fitting.report.contents import CHAPTERS, Inputs, sections  # noqa: PLC0415 - heavy
    from services.pricing.fitting.report.scoring import scored  # noqa: PLC0415 - heavy
    from services.pricing.fitting.report.writing import write_report  # noqa: PLC0415 - heavy

    found = opened(file)
    settings = settings_of(found, FitSettings)
    fit_file = found.folder / files.FOLDER / files.FILE
    if not fit_file.is_file():
        raise Failed(f"{fit_file} is not there; `lipei pricing fit -f {found.path}` makes it")
    chosen_file = found.folder / "select" / "selection.json"
    try:
        fit = fit_from(fit_file.read_bytes())
        refuse_other_fit(found, fit)
        experience, claims = (files.read_table(p) for p in files.inputs(found.folder / "study"))
        selection = _read(chosen_file, Selection)
        if selection is not None and selection.fit_sha256 != digest(fit_file):
            text = f"{chosen_file} is of another fit; `lipei pricing select -f {found.path}` again"
            raise Failed(text, exit_code=2)
        moved = _moved(found, fit_file, selection)
        survival = _read(fit_file.with_name(files.SURVIVAL), Survival)
        inputs = [fit_file, *files.inputs(found.folder / "study")]
        inputs += [fit_file.with_name(files.SURVIVAL)] if survival is not None else []
        inputs += [chosen_file] if selection is not None else []
        inputs += [found.folder / _MOVED] if moved is not None else []
        out = console()
        with running(found, "report", inputs=inputs) as run, progress_bar(out) as bar:
            task = bar.add_task("chapters", total=CHAPTERS)
            judged = scored(experience, fit, settings, selection)
            made = sections(
                Inputs(
                    scored=judged,
                    claims=claims,
                    fit=fit,
                    selection=selection,
                    dislocation=moved,
                    survival=survival,
                    region=_REGION,
                ),
                lambda _name: bar.advance(task),
            )
            pages = write_report(
                found.folder / FOLDER,
                made,
                title=f"Validation report: {found.path.absolute().parent.name}",
                facts=[
                    ("fit", fit.run_card),
                    ("experience", fit.book),
                    *_basis(found),
                    ("currency", fit.currency),
                    ("selection", "none" if selection is None else _told(selection)),
                ],
                currency=fit.currency,
                synthetic=fit.synthetic,
            )
            paths = [*pages, _validated(found.folder, fit_file, chosen_file, judged, survival)]
            run.outputs += paths
            run.synthetic = fit.synthetic
    except FitRefused as refused:
        raise Failed(*str(refused).splitlines(), exit_code=2) from None
    except msgspec.DecodeError as error:
        raise Failed(f"{fit_file}: {error}; fit again", exit_code=2) from None
    if fit.synthetic:
        say("synthetic: fitted on simulated people, not for sale")
    say(f"written: {', '.join(str(path) for path in paths)}")
    further = [f"lipei pricing select -f {found.path}"]
    if selection is not None:  # there is nothing to propose before
        further.append(f"lipei pricing propose -f {found.path}")
    say_next(*further)


def _moved(found: PricingFile, fit_file: Path, selection: Selection | None) -> Dislocation | None:
    """The dislocation of the last renewal, where it was priced by this very fit and selection."""
    from services.pricing.fitting.renewal.dislocation import Dislocation  # noqa: PLC0415 - heavy

    moved = _read(found.folder / _MOVED, Dislocation)
    if moved is None or _is_of(found.folder, moved.tariff, digest(fit_file), selection):
        return moved
    say(
        f"renewal/ is of {moved.tariff}, which is not the tariff of this fit and selection: its"
        " dislocation is left out; `lipei pricing propose`, then `lipei pricing renew -f"
        f" {found.path}`"
    )
    return None


def _validated(
    folder: Path, fit_file: Path, chosen_file: Path, judged: DataFrame, survival: Survival | None
) -> Path:
    """Write what was found on what was held out, for the memo; its file."""
    from services.pricing.fitting.report import validation  # noqa: PLC0415 - heavy

    made = validation.Validated(
        fit_sha256=digest(fit_file),
        selection_sha256=digest(chosen_file) if chosen_file.is_file() else None,
        validation=validation.validation(judged, survival, _REGION),
    )
    path = folder / FOLDER / validation.FILE
    path.write_bytes(validation.validated_bytes(made))
    return path


def _is_of(folder: Path, version: str, fit_sha256: str, selection: Selection | None) -> bool:
    """Whether a tariff in tariff/ of this version was made of this fit and this selection."""
    for path in (folder / "tariff").glob("*.evidence.json"):
        tariff_file = path.with_name(path.name.removesuffix(".evidence.json") + ".json")
        try:
            evidence = evidence_from(path.read_bytes())
            tariff = load_tariff(tariff_file.read_bytes(), tariff_file.name).tariff
        except (OSError, msgspec.DecodeError, TariffRefused):
            continue
        if version_of(tariff) == version and evidence.fit_sha256 == fit_sha256:
            return selection is not None and _selected(evidence) == {
                (one.cause, one.table, one.cell): one.selected_millionths
                for one in selection.choices
            }
    return False


def _selected(evidence: Evidence) -> dict[tuple[str, str, str], int]:
    return {
        (cause.name, table.name, cell.cell): cell.selected_millionths
        for cause in evidence.causes
        for table in cause.tables
        for cell in table.cells
    }


def _basis(found: PricingFile) -> list[tuple[str, str]]:
    """What the experience was brought to, as study/study.json says; nothing where there is none."""
    from services.pricing.fitting.experience import made_from, writing  # noqa: PLC0415 - heavy

    study = _read(found.folder / writing.FOLDER / made_from.FILE, dict)
    if study is None or not study.keys() >= {"settings", "book"}:
        return []
    settings = study["settings"]
    return [
        ("valuation day", study["book"]["valuation_day"]),
        ("studied", f"from {settings['first_day']} to before {settings['after_day']}"),
        ("trend", f"{settings['trend_source'] or 'none'}, to {settings['trend_to_day']}"),
        ("late reporting", settings["development_source"]),
    ]


def _read(path: Path, kind: type[T]) -> T | None:
    return msgspec.json.decode(path.read_bytes(), type=kind) if path.is_file() else None


def _told(selection: Selection) -> str:
    return f"{counted(selection.changed, 'relativity', 'relativities')} changed"
