"""`lipei pricing evaluate`: what a health programme does to claims, and whether to believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.pricing.fitting.models import evaluation_result
from services.pricing.fitting.models.evaluation_settings import EvaluateSettings
from stack.commands.failing import Failed
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.pricing_study import refuse_other_study
from stack.commands.printing import console, counted, print_table, progress_bar, rows, say, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.pricing.fitting.models.evaluation_result import (
        Check,
        Evaluation,
        Naive,
        Ratio,
    )

_STUDY = "study"


def evaluate(file: PricingPath = DEFAULT) -> None:
    """Tell what being in a programme does to claims, beside the naive ratios and why they err.

    Reads study/, writes evaluate/evaluation.json; changes no fit and no tariff. When a check fails
    it says that the estimate is not to be believed, and so does the file (`believed`).
    """
    from services.pricing.fitting.models import evaluation, files  # noqa: PLC0415 - heavy
    from services.pricing.fitting.models.refusal import FitRefused  # noqa: PLC0415 - heavy

    found = opened(file)
    settings = settings_of(found, EvaluateSettings)
    target = found.folder / evaluation_result.FOLDER / evaluation_result.FILE
    refuse_other_study(found)
    try:
        inputs = files.inputs(found.folder / _STUDY)
        with running(found, "evaluate", inputs=inputs) as work, progress_bar(console()) as bar:
            task = bar.add_task("causes", total=len(settings.affects) + len(settings.controls))

            def tell(_cause: str) -> None:
                bar.advance(task)

            experience, claims = (files.read_table(path) for path in inputs)
            done = evaluation.evaluate(experience, claims, settings, progress=tell)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(evaluation_result.evaluation_bytes(done))
            work.outputs.append(target)
            work.synthetic = done.synthetic
    except FitRefused as refused:
        raise Failed(*str(refused).splitlines(), exit_code=2) from None
    _print(done)
    if done.synthetic:
        say("synthetic: simulated people, who prove no programme")
    for one in done.checks:
        if not one.passed:
            say(f"{one.cause}: {one.en}")
    verdict = "every check passed" if done.believed else "NOT TO BE BELIEVED: a check failed"
    say(f"{target}: {verdict}")
    say_next(f"lipei pricing report -f {found.path}")


def _print(done: Evaluation) -> None:
    say(
        f"{counted(done.joiners, 'person', 'people')} joined while seen before and after"
        f" ({done.years_before:,.0f} years before, {done.years_enrolled:,.0f} enrolled), beside"
        f" {done.others:,} who did not"
    )
    for why, number in done.left_out.items():
        say(f"{counted(number, 'person', 'people')}: {why}")
    columns = ("cause", "of", "claims before", "enrolled", "ratio", "95 %", "months before", "95 %")
    made = table(*columns, right=columns[2:])
    for one in done.effects:
        name = f"{one.cause} (control)" if one.control else one.cause
        numbers = (f"{one.claims_before:,}", f"{one.claims_enrolled:,}")
        rows(made, [(name, one.measure, *numbers, *_told(one.enrolled), *_told(one.before))])
    print_table(made)
    made = table("cause", "naive, and wrong", "ratio", "95 %", "why", right=("ratio", "95 %"))
    for one in done.effects:
        rows(made, ((one.cause, naive.name, *_told(naive), naive.wrong) for naive in one.naive))
    print_table(made)
    made = table("check", "cause", "passed", "p", "sees from", "what", prose=("what",))
    rows(made, _checked(done.checks))
    print_table(made)


def _checked(checks: Iterable[Check]) -> Iterable[tuple[str, ...]]:
    for one in checks:
        passed = "yes" if one.passed else "NO"
        yield one.name, one.cause, passed, f"{one.p:.3f}", f"{one.sees:.2f}", one.en


def _told(one: Ratio | Naive) -> tuple[str, str]:
    return f"{one.ratio:.3f}", f"{one.low95:.3f}–{one.high95:.3f}"
