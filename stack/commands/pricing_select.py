"""`lipei pricing select`, `propose`, `diff`: from indicated relativities to a proposed tariff."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from lipei.pricing.v1 import registry_pb2 as pb
from lipei.pricing.v1.registry_pb2_grpc import TariffServiceStub
from services.common.money import grouped_minor
from services.common.strict_yaml import StrictYamlError
from services.common.strict_yaml import load as load_yaml
from services.pricing.core.difference import Changed, Effect, changes, effects
from services.pricing.core.gates import Gate, all_passed, judge
from services.pricing.core.incentive import LegalCap
from services.pricing.core.off_balance import expected
from services.pricing.core.tariff import (
    Tariff,
    canonical_bytes,
    factor_text,
    version_of,
)
from services.pricing.fitting import run_card
from services.pricing.fitting.pricing_file import PricingFile
from services.pricing.fitting.selection.settings import SelectSettings, TariffSettings
from services.pricing.fitting.selection.windows import filled
from services.pricing.tariffs.banned_factors import known_bans, load_bans
from services.pricing.tariffs.loader import TariffRefused, load_tariff
from stack.commands.calling import CALL_S, Failed, calling, content_of, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, State, spoken
from stack.commands.pricing_fit import refuse_other_fit
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    for_the_owner,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.printing import counted, print_json, print_table, rows, say, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from services.pricing.core.evidence import Evidence, StudyBasis, Validation
    from services.pricing.fitting.models.fit_result import Fit
    from services.pricing.fitting.selection.choice import Selection

FIT, SELECTION = Path("fit", "fit.json"), Path("select", "selection.json")
WORKBOOK = Path("select", "relativities.xlsx")
VALIDATION = Path("report", "validation.json")
FOLDER = Path("tariff")
_DIFFERENT = 1
R = TypeVar("R")


def select(
    file: PricingPath = DEFAULT,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Write the workbook anew; what was selected in it goes.")
    ] = False,
) -> None:
    """Write select/relativities.xlsx for you to edit; once it is there, read it back strictly.

    What was indicated and what was selected stay apart for ever: select/selection.json holds both.
    Changes no tariff. Every fault of the workbook is told at once, with sheet and cell.
    """
    from services.pricing.fitting.selection import (  # noqa: PLC0415 - slow
        cells,
        choice,
        proposal,
        workbook,
    )

    found = opened(file)
    fitted, fit_sha256 = fit_in(found)
    previous = _previous(found, settings_of(found, SelectSettings))
    bounds = settings_of(found, TariffSettings).factor_bounds
    all_rows = cells.rows_of(fitted, previous)
    target, book = found.folder / SELECTION, found.folder / WORKBOOK
    if fresh or not book.exists():
        content = workbook.workbook_bytes(fitted, fit_sha256, all_rows, bounds)
        with for_the_owner():
            book.parent.mkdir(exist_ok=True)
            book.unlink(missing_ok=True)  # one of before may be open to others
            book.write_bytes(content)
    # The workbook is an input, also of its first run: a rerun must not overwrite somebody's choice.
    with running(found, "select", inputs=[found.folder / FIT, book]) as work:
        chosen = _in_workbook(found, fitted, fit_sha256, previous, "nothing was selected")
        target.write_bytes(choice.selection_bytes(chosen))
        work.outputs.append(target)
        work.synthetic = fitted.synthetic
    _show_selection(chosen, proposal.evidence_of(fitted, fit_sha256, chosen))
    say(f"{book}: edit selected and reason, then run this again")
    say("first, for the memo: `lipei pricing report`")
    say_next(f"lipei pricing propose -f {found.path}")


def propose(
    file: PricingPath = DEFAULT,
    send: Annotated[
        bool, typer.Option("--send/--no-send", help="Hand it to the registry, or only write it.")
    ] = True,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever approves it.")] = "",
    lang: Lang = Language.BOTH,
    state: State = DEFAULT_STATE,
) -> None:
    """Make the tariff of the selection, judge its gates, file it, and hand it to the registry.

    Writes tariff/{id}.json with its evidence and memos. Where a gate is not passed nothing is
    written or sent. It prices nothing before two other people have approved it.
    """
    from services.pricing.fitting.selection import choice, proposal  # noqa: PLC0415 - slow

    found = opened(file)
    fitted, fit_sha256 = fit_in(found)
    settings = settings_of(found, TariffSettings)
    settings = _with_windows(found, settings, fitted)
    chosen = _read(found.folder / SELECTION, choice.selection_from, "lipei pricing select")
    if (found.folder / WORKBOOK).exists():
        previous = _previous(found, settings_of(found, SelectSettings))
        now = _in_workbook(found, fitted, fit_sha256, previous, "no tariff was made")
        if now != chosen:
            text = f"{WORKBOOK} was changed after {SELECTION}; `lipei pricing select` takes it in"
            raise Failed(text, exit_code=2)
    try:
        validation = _validation(found, fit_sha256)
        made = proposal.proposal(fitted, fit_sha256, chosen, settings, _basis(found), validation)
    except proposal.ProposalRefused as refused:
        told = str(refused).splitlines()
        raise Failed(*told, f"{_faults(told)}; no tariff was made", exit_code=2) from None
    share, source = settings.credit_cap or (0, "")
    gates = judge(made.tariff, made.evidence, load_bans(known_bans()), LegalCap(share, source))
    show_gates(gates, lang)
    if not all_passed(gates):
        failed = counted(sum(not gate.passed for gate in gates), "gate")
        text = f"{failed} not passed; nothing was written: mend what stands above, propose again"
        raise Failed(text, exit_code=_DIFFERENT)
    inputs = [found.folder / FIT, found.folder / SELECTION]
    inputs += [found.folder / VALIDATION] if validation is not None else []
    with running(found, "propose", arguments=["--no-send"], inputs=inputs) as work:
        work.outputs += written(found.folder / FOLDER, made.tariff, made.evidence, gates)
        work.synthetic = fitted.synthetic
    _show_golden(made.tariff)
    name = version_of(made.tariff)
    say(name)
    if not send:
        say_next(f"lipei pricing propose -f {found.path}")
        return
    request = pb.ProposeTariffRequest(
        request_id=fresh_request_id(),
        tariff=proposal.tariff_file(made.tariff),
        evidence=canonical_bytes(made.evidence),
        reason=reason or f"fit {fit_sha256[:12]}, {chosen.changed} cells selected otherwise",
    )
    with calling(state, "pricing", "actuary") as channel:
        answer = TariffServiceStub(channel).ProposeTariff(request, timeout=CALL_S)
    state_name = pb.TariffState.Name(answer.tariff.state).removeprefix("TARIFF_STATE_")
    say(f"{state_name}: two other people approve it; whoever has proposed it may not")
    say_next(f"lipei --person NAME pricing approve {name} --reason WHY")


def _in_workbook(
    found: PricingFile, fitted: Fit, fit_sha256: str, previous: Tariff | None, so: str
) -> Selection:
    """What the workbook says now.

    Raises: Failed with every fault of it, and what does not happen therefore.
    """
    from services.pricing.fitting.selection import cells, choice  # noqa: PLC0415 - slow

    version = None if previous is None else version_of(previous)
    content = content_of(found.folder / WORKBOOK)
    all_rows = cells.rows_of(fitted, previous)
    bounds = settings_of(found, TariffSettings).factor_bounds
    try:
        return choice.read_workbook(content, fitted, fit_sha256, all_rows, version, bounds)
    except choice.WorkbookRefused as refused:
        told = [f"{WORKBOOK}: {one}" for one in str(refused).splitlines()]
        raise Failed(*told, f"{_faults(told)}; {so}", exit_code=2) from None


def _basis(found: PricingFile) -> StudyBasis | None:
    """The basis of the study beside the fit; None where the experience came without one.

    Raises: Failed when study.json is not as `lipei pricing study` writes it.
    """
    from services.pricing.fitting.selection.basis import study_basis  # noqa: PLC0415 - slow

    study = found.folder / "study" / "study.json"
    if not study.is_file():
        return None
    try:
        return study_basis(json.loads(study.read_bytes()))
    except (KeyError, TypeError, ValueError) as error:
        text = f"{study} is not as `lipei pricing study` writes it: {error}"
        raise Failed(text, exit_code=2) from None


def _validation(found: PricingFile, fit_sha256: str) -> Validation | None:
    """What the report found of this fit and selection; None, and said so, where it is of others."""
    from services.pricing.fitting.report.validation import Validated  # noqa: PLC0415 - slow

    path = found.folder / VALIDATION
    then = f"`lipei pricing report -f {found.path}`, then propose again"
    if not path.is_file():
        say(f"the memo has no validation results: {then}")
        return None
    told = _read(path, lambda content: msgspec.json.decode(content, type=Validated), "report")
    chosen = run_card.digest(found.folder / SELECTION)
    if (told.fit_sha256, told.selection_sha256) != (fit_sha256, chosen):
        say(f"the memo has no validation results, report/ is of another fit or selection: {then}")
        return None
    return told.validation


def _with_windows(found: PricingFile, settings: TariffSettings, fitted: Fit) -> TariffSettings:
    """The settings with the windows of the study that was fitted.

    Raises: Failed when they say otherwise.
    """
    study = found.folder / "study" / "study.json"
    strata = json.loads(study.read_bytes())["strata"] if study.is_file() else []
    windows, faults = filled(settings.windows, strata, fitted)
    if faults:
        raise Failed(*(f"{one.path}: {one.text}" for one in faults), exit_code=2)
    return dataclasses.replace(settings, windows=windows)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A tariff file (JSON).")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The tariff file that follows it.")],
    profiles: Annotated[
        Path | None,
        typer.Option("--profiles", help="YAML of further profiles: name: {age: '52', ...}"),
    ] = None,
    lang: Lang = Language.BOTH,
    as_json: AsJson = False,
) -> None:
    """Tell in words what changes between two tariffs, and what it does to premiums.

    Exit 0 when they say the same, 1 when something changes, 2 when a file cannot be read. Needs
    nothing that runs; stores nothing.
    """
    before, after = (_tariff_in(path) for path in (old, new))
    found = changes(before, after)
    moved = effects(before, after, {} if profiles is None else _profiles(profiles))
    if as_json:
        print_json(_told(before, after, found, moved))
    else:
        say(f"{version_of(before)}\n{version_of(after)}")
        for language in spoken(lang):
            say("")
            for one in found:
                say(one.zh if language == "zh" else one.en)
        _show_effects(moved, after.currency)
        say_next(f"lipei --person NAME pricing approve {version_of(after)} --reason WHY")
    if found:
        raise typer.Exit(_DIFFERENT)


def fit_in(found: PricingFile) -> tuple[Fit, str]:
    """The fit of a pricing folder, and its digest.

    Raises: Failed when there is none, it is not one that can be selected from, or it is of another
    study or other settings than those of now.
    """
    from services.pricing.fitting.models.fit_result import fit_from  # noqa: PLC0415 - as its twins

    path = found.folder / FIT
    fitted = _read(path, fit_from, "lipei pricing fit")
    refuse_other_fit(found, fitted)
    return fitted, run_card.digest(path)


def written(folder: Path, tariff: Tariff, evidence: Evidence, gates: Sequence[Gate]) -> list[Path]:
    """The files of a tariff: itself, its evidence, and its memo in both languages; their paths."""
    from services.pricing.fitting.selection import memo, memo_page  # noqa: PLC0415 - slow
    from services.pricing.fitting.selection.proposal import tariff_file  # noqa: PLC0415 - slow

    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        f"{tariff.id}.json": tariff_file(tariff),
        f"{tariff.id}.evidence.json": canonical_bytes(evidence),
    }
    for language in memo_page.LANGUAGES:
        blocks = memo.memo(tariff, evidence, gates, language)
        stem = f"{tariff.id}.memo.{language}"
        contents[f"{stem}.md"] = memo_page.markdown(blocks).encode()
        contents[f"{stem}.html"] = memo_page.html(blocks, language).encode()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    say(f"{folder}: {', '.join(contents)}")
    return [folder / name for name in contents]


def show_gates(gates: Sequence[Gate], lang: Language) -> None:
    """Say of every gate what it asks for and what was measured; below, what is wrong and to do."""
    where = ", ".join(dict.fromkeys(gate.clause for gate in gates))
    said_zh, said_en = "审核关口", "gates, each explained by its name"
    say(f"{_spoken(lang, said_zh, said_en)} [{where}]")
    for gate in gates:
        passed = _spoken(lang, *(("通过", "passed") if gate.passed else ("未通过", "NOT PASSED")))
        say(f"  {passed}: {gate.name}: {_spoken(lang, gate.zh, gate.en)}")
        for one in gate.faults:
            place = f"{one.path}: " if one.path else ""
            say(f"    {place}{one.text} [{one.reason}]")
    failed = sum(not gate.passed for gate in gates)
    say(f"  {len(gates) - failed} of {counted(len(gates), 'gate')} passed")


def _spoken(lang: Language, zh: str, en: str) -> str:
    return {"zh": zh, "en": en}.get(lang.value, f"{zh} {en}")


def _faults(told: Sequence[str]) -> str:
    return counted(len(told), "fault")


def _read(path: Path, reader: Callable[[bytes], R], command: str) -> R:
    """What a command before has written.

    Raises: Failed when it is not there, or not what that command writes.
    """
    if not path.exists():
        raise Failed(f"{path} is not there; `{command}` makes it", exit_code=2)
    try:
        return reader(content_of(path))
    except (msgspec.DecodeError, ValueError) as error:
        text = f"{path} is not as `{command}` writes it: {error}"
        raise Failed(text, exit_code=2) from None


def _previous(found: PricingFile, settings: SelectSettings) -> Tariff | None:
    return _tariff_in(found.folder / settings.previous) if settings.previous else None


def _tariff_in(path: Path) -> Tariff:
    try:
        return load_tariff(content_of(path), path.name).tariff
    except TariffRefused as refused:
        raise Failed(*str(refused).splitlines(), exit_code=2) from None


def _profiles(path: Path) -> dict[str, Mapping[str, str]]:
    try:
        tree = load_yaml(content_of(path), str(path))
    except StrictYamlError as error:
        raise Failed(*str(error).splitlines(), exit_code=2) from None
    wrong = [
        f"{path}:{tree.lines[name]}: {name}: must be a mapping of features to texts in quotes"
        for name, given in tree.items()
        if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values())
    ]
    if wrong:
        raise Failed(*wrong, exit_code=2)
    return dict(tree)


def _show_selection(chosen: Selection, evidence: Evidence) -> None:
    """Every departure on a line of its own, and what they do to expected claims together."""
    for one in chosen.choices:
        if one.selected_millionths == one.indicated_millionths:
            continue
        before = one.previous_millionths
        previous = "" if before is None else f"previous {factor_text(before)}, "
        moved = one.selected_millionths / one.indicated_millionths - 1
        say(
            f"{one.cause}.{one.table} {one.cell}: indicated {factor_text(one.indicated_millionths)}"
            f", {previous}selected {factor_text(one.selected_millionths)} ({moved:+.1%}): "
            f"{one.reason}"
        )
    for aside in _outside(evidence):
        say(aside)
    say(f"{len(chosen.choices)} cells, {chosen.changed} selected otherwise than indicated")
    if not chosen.changed:
        return
    by_cause = expected(evidence)
    causes = ", ".join(
        f"{one.cause} {_moved(one.selected_e4, one.indicated_e4)}" for one in by_cause
    )
    selected = sum((one.selected_e4 for one in by_cause), Fraction(0))
    indicated = sum((one.indicated_e4 for one in by_cause), Fraction(0))
    say(f"effect on expected claims, before bases are moved: {causes}")
    say(
        f"  all causes {_moved(selected, indicated)}; `propose` moves all bases so that "
        "tariff.approved_change is what is left"
    )


def _outside(evidence: Evidence) -> Iterator[str]:
    """A line for every cell whose selected relativity lies outside the indicated one's interval."""
    for cause in evidence.causes:
        for one in cause.tables:
            for cell in one.cells:
                low, high = cell.low95_millionths, cell.high95_millionths
                if low is None or high is None or low <= cell.selected_millionths <= high:
                    continue
                yield (
                    f"{cause.name}.{one.name} {cell.cell}: selected "
                    f"{factor_text(cell.selected_millionths)} lies outside its 95 % interval, "
                    f"{factor_text(low)} to {factor_text(high)}"
                )


def _moved(new: Fraction, old: Fraction) -> str:
    return f"{float(new / old) - 1:+.2%}" if old else "—"


def _show_golden(tariff: Tariff) -> None:
    heading = f"premium, {tariff.currency}"
    made = table("golden quote", heading, right=(heading,))
    golden = [(one.name, one.premium_minor) for one in tariff.golden_quotes]
    rows(made, [(name, grouped_minor(minor, tariff.currency)) for name, minor in golden])
    print_table(made)


def _show_effects(moved: Sequence[Effect], currency: str) -> None:
    old, new = f"old, {currency}", f"new, {currency}"
    made = table("profile", old, new, "change", right=(old, new, "change"))
    for one in moved:
        change = one.change_millionths
        percent = "—" if change is None else f"{change / 10_000:+.2f} %"
        amounts = (_amount(one.old_minor, currency), _amount(one.new_minor, currency))
        rows(made, [(one.name, *amounts, percent)])
    print_table(made)


def _amount(minor: int | None, currency: str) -> str:
    return "no price" if minor is None else grouped_minor(minor, currency)


def _told(
    old: Tariff, new: Tariff, found: Sequence[Changed], moved: Sequence[Effect]
) -> dict[str, object]:
    return {
        "old": version_of(old),
        "new": version_of(new),
        "changes": [msgspec.to_builtins(one) for one in found],
        "effects": [msgspec.to_builtins(one) for one in moved],
    }
