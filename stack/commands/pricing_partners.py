"""`lipei pricing partners`: control and readmission of health-management partners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.partners.settings import PartnersSettings
from stack.commands.failing import Failed
from stack.commands.pricing_folder import (
    DEFAULT,
    PricingPath,
    opened,
    running,
    say_next,
    settings_of,
)
from stack.commands.pricing_study import sentence
from stack.commands.printing import counted, print_table, rows, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from services.pricing.fitting.partners.result import ControlRate, Partners, ReadmissionRatio
    from services.pricing.fitting.pricing_file import PricingFile


def partners(file: PricingPath = DEFAULT) -> None:
    """Tell what each partner achieved: months on target, and readmissions beside those expected.

    Reads months and stays in partners/, writes partners/partners.json; prices nothing and pays
    nobody. Fewer members or stays than pricing.yaml asks for give no rate, and that is said.
    """
    from services.pricing.fitting.partners import reading, result  # noqa: PLC0415 - heavy

    found = opened(file)
    settings, known_before = _settings(found)
    folder = found.folder / settings.folder
    try:
        files = reading.partner_files(folder, settings)
    except reading.NoTables as missing:
        do = "put them there, or mend partners.folder or partners.tables; docs/tariffs.md has the"
        raise Failed(*str(missing).splitlines(), f"{do} columns", exit_code=2) from None
    with running(found, "partners", inputs=(found.path, *files.values())) as work:
        try:
            tables = reading.read_files(files, settings, known_before=known_before)
            done = result.measure(tables, settings, known_before=known_before)
        except (reading.NoTables, result.NoMinimum) as refused:
            raise Failed(*str(refused).splitlines(), exit_code=2) from None
        except reading.PartnersRefused as refused:
            more = f"{counted(len(refused.faults), 'kind')} of fault; nothing was measured"
            raise Failed(*map(sentence, refused.faults), more) from None
        target = folder / result.FILE
        target.write_bytes(result.partners_bytes(done))
        work.outputs.append(target)
    for fault in tables.faults:
        say(f"{fault.effect.value}: {sentence(fault)}")
    _print(done)
    say(f"written: {target}")
    say_next(f"lipei pricing evaluate -f {found.path}")


def _settings(found: PricingFile) -> tuple[PartnersSettings, date]:
    return settings_of(found, PartnersSettings), settings_of(found, BookSettings).valuation_day


def _print(done: Partners) -> None:
    if done.control is not None:
        _print_control(done.control)
    if done.readmission is not None:
        _print_readmission(done.readmission, _EXPECTED.get(done.expected_of, done.expected_of))
    for why, number in done.left_out.items():
        say(f"{counted(number, 'stay')} not counted as a discharge: {why}")
    for warning in done.warnings:
        say(f"warning: {warning}")


def _print_control(rates: Sequence[ControlRate]) -> None:
    counts = ("members", "months", "on target", "off target", "not enough", "missing")
    made = table("partner", *counts, "control rate", "95 %", right=(*counts, "control rate"))
    for one in rates:
        numbers = (one.members, one.months, one.on_target, one.off_target, one.not_enough)
        told = "none" if one.rate is None else f"{one.rate:.1%}"
        ends = "" if one.low95 is None else f"{one.low95:.1%}–{one.high95:.1%}"
        texts = (f"{number:,}" for number in (*numbers, one.missing))
        rows(made, [(one.partner, *texts, told, ends)])
    print_table(made)
    for one in rates:
        if one.why_none:
            say(f"{one.partner}: no control rate; {one.why_none}")
    say(
        "control rate: months on target of all months; one without enough readings, or missing"
        " between a member's first and last, counts as off target"
    )


def _print_readmission(ratios: Sequence[ReadmissionRatio], expected_by: str) -> None:
    columns = ("members", "discharges", "observed", "expected", "observed / expected")
    made = table("partner", *columns, "95 %", right=columns)
    for one in ratios:
        told = "none" if one.ratio is None else f"{one.ratio:.2f}"
        ends = "" if one.low95 is None else f"{one.low95:.2f}–{one.high95:.2f}"
        texts = (f"{number:,}" for number in (one.members, one.discharges, one.observed))
        rows(made, [(one.partner, *texts, f"{one.expected:.1f}", told, ends)])
    print_table(made)
    for one in ratios:
        if one.why_none:
            say(f"{one.partner}: no readmission ratio; {one.why_none}")
    say(
        "readmission: the next admission within 30 days of a discharge, if it is unplanned;"
        f" expected by {expected_by}"
    )


_EXPECTED = {"rows": "the probability in each row"}
