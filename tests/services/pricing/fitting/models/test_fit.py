"""The fit of a book with known effects: found again, bounded, calibrated, and told where thin."""

from __future__ import annotations

import numpy as np
import pytest

from services.pricing.core.tariff import E4
from services.pricing.fitting.models.fit_result import Fit, fit_bytes
from services.pricing.fitting.models.refusal import FitRefused
from services.pricing.fitting.selection.basis import large_losses_of, level_of
from stack.commands.pricing_fit import warned
from tests.services.pricing.fitting.models.fitting import ABOUT, SETTINGS, fitted, table
from tests.services.pricing.fitting.models.made_book import (
    AGE,
    CLAIM_MINOR,
    CONDITION,
    SEX,
    MadeBook,
    made_book,
)

# The true relativities: bands of age against 60-69, a man against a woman.
TRUE_LOGS = {
    **{("age", f"{age - 5}–{age + 4}"): AGE[age] - AGE[65] for age in (35, 45, 55)},
    ("sex", "M"): SEX["M"],
    ("condition", "type2_diabetes"): CONDITION["type2_diabetes"],
}


@pytest.fixture(scope="module")
def book() -> MadeBook:
    return made_book(4_000, 11)


@pytest.fixture(scope="module")
def found(book: MadeBook) -> Fit:
    return fitted(book)


def premium(found: Fit, book: MadeBook) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The yearly cost of every segment by base and tables, looked up cell by cell."""
    names = {"hba1c": "u_hba1c_percent"}
    product = np.full(len(book.experience), found.causes[0].base_e4 / E4)
    for one in found.causes[0].tables:
        column = book.experience[names.get(one.name, one.name)]
        for cell in one.cells:
            if cell.level is not None:
                inside = (column == cell.level).to_numpy()
            else:
                steps = np.floor(column.astype(float) * 10 + 0.5) / 10
                inside = (steps >= float(cell.first or 0)) & (steps <= float(cell.last or 0))
            product *= np.where(inside, cell.indicated, 1.0)
    return product


def test_true_effects_lie_inside_four_standard_errors(found: Fit) -> None:
    seen = 0
    for one in found.causes[0].frequency.coefficients:
        true = TRUE_LOGS.get((one.name, one.level))
        if true is not None:
            seen += 1
            assert abs(one.estimate - true) < 4 * one.se_clustered, one
    assert seen == 5


def test_frailty_shows_in_dispersion_and_in_clustered_errors(found: Fit) -> None:
    model = found.causes[0].frequency
    assert model.pearson_dispersion > 1.15
    assert all(one.se_clustered > 1.2 * one.se_naive for one in model.coefficients[:4])
    assert "OVERDISPERSED" not in {warning.code for warning in found.warnings}


def test_severity_finds_the_mean_claim(found: Fit) -> None:
    model = found.causes[0].severity
    intercept = model.coefficients[0]
    assert abs(intercept.estimate - np.log(CLAIM_MINOR)) < 4 * intercept.se_clustered
    assert model.pearson_dispersion == pytest.approx(1 / 1.5, rel=0.1)


def test_the_tables_give_back_the_claims_in_total(found: Fit, book: MadeBook) -> None:
    expected = (premium(found, book) * book.experience["exposure"]).sum()
    assert expected == pytest.approx(book.claims["loss_minor"].sum(), rel=1e-8)


def test_bases_are_calibrated_to_the_target_loss_ratio(book: MadeBook, found: Fit) -> None:
    text = SETTINGS.replace(
        "  target_loss_ratio: none\n",
        "  target_loss_ratio: '0.65'\n"
        "  loads: {fixed_expense_minor: 5000, variable_expense: '0.10', profit: '0.05'}\n",
    )
    exposure = book.experience["exposure"]
    calibrated = fitted(book, text)
    net = premium(calibrated, book) + 5000
    gross = (net / (1 - 0.15) * exposure).sum()
    assert book.claims["loss_minor"].sum() / gross == pytest.approx(0.65, rel=1e-6)
    level = level_of(calibrated)
    assert level is not None
    total = (book.claims["loss_minor"].sum(), exposure.sum())
    assert level.pure_e4 == pytest.approx(10_000 * total[0] / total[1], rel=1e-6)
    assert level.gross_e4 == pytest.approx(10_000 * gross / exposure.sum(), rel=1e-6)
    # What is left is the premium less claims, the fixed expense of each policy, and a tenth.
    left = gross - total[0] - 5000 * total[1] - 0.10 * gross
    assert level.margin_millionths == pytest.approx(1_000_000 * left / gross, abs=2)
    moved = calibrated.causes[0].base_e4 / found.causes[0].base_e4
    assert level.scaling_millionths == pytest.approx(1_000_000 * moved, rel=1e-5)


def test_an_outcome_never_falls_is_flat_below_its_bound_and_costs_most_when_absent(
    found: Fit,
) -> None:
    one = table(found, "hba1c")
    factors = [cell.indicated for cell in one.cells]
    assert factors == sorted(factors)
    assert factors[-1] == 1.0 == one.absent_factor
    assert (one.cells[0].first, one.cells[0].last) == ("3.0", "6.9")
    assert factors[0] < 0.95


def test_the_sicks_own_relativity_is_no_surer_than_beside_the_outcomes_fitted_with_it(
    found: Fit,
) -> None:
    own = next(c for c in found.causes[0].frequency.coefficients if c.name == "condition")
    cell = next(c for c in table(found, "condition").cells if c.level == own.level)
    assert cell.raw_high95 is not None
    told = np.log(cell.raw_high95 / cell.raw) / 1.959964
    assert told == pytest.approx(own.se_clustered, rel=1e-5)


def test_one_reading_moves_an_outcome_by_no_more_than_allowed(book: MadeBook) -> None:
    tight = SETTINGS.replace("one_reading_at_most: '0.40'", "one_reading_at_most: '0.02'")
    found = fitted(book, tight)
    logs = np.log([cell.indicated for cell in table(found, "hba1c").cells])
    assert np.diff(logs).max() <= np.log(1.02) + 1e-12
    assert {w.where for w in found.warnings if w.code == "BOUNDED"} >= {"inpatient.hba1c.3.0–6.9"}
    loose = np.log([cell.indicated for cell in table(fitted(book), "hba1c").cells])
    assert np.diff(loose).max() > np.log(1.02)


def test_bounding_an_outcome_does_not_make_the_healthy_pay(book: MadeBook) -> None:
    """Diabetics as a whole pay what they cost, however tight the bound on control is."""
    tight = SETTINGS.replace("one_reading_at_most: '0.40'", "one_reading_at_most: '0'")
    found = fitted(book, tight)
    exposure = book.experience["exposure"].to_numpy()
    sick = (book.experience["condition"] == "type2_diabetes").to_numpy()
    expected = premium(found, book) * exposure
    loss = book.experience["loss_inpatient_minor"].to_numpy()
    share = expected[sick].sum() / expected.sum()
    assert share == pytest.approx(loss[sick].sum() / loss.sum(), rel=0.02)
    assert {cell.indicated for cell in table(found, "hba1c").cells} == {1.0}


def test_the_same_book_gives_the_same_bytes_in_any_order(book: MadeBook, found: Fit) -> None:
    turned = MadeBook(experience=book.experience[::-1], claims=book.claims[::-1])
    assert fit_bytes(fitted(turned)) == fit_bytes(found)


def test_what_is_held_out_is_not_learnt_from(book: MadeBook, found: Fit) -> None:
    experience = book.experience.copy()
    last = experience["segment_id"] % 3 == 2
    experience.loc[last, "holdout"] = "last_year"
    held = fitted(MadeBook(experience=experience, claims=book.claims))
    without = book.experience[~last]
    kept = book.claims[book.claims["segment_id"].isin(without["segment_id"])]
    assert fit_bytes(held) == fit_bytes(fitted(MadeBook(experience=without, claims=kept)))
    assert fit_bytes(held) != fit_bytes(found)


def test_claims_of_nothing_are_counted_and_left_out_of_severity(book: MadeBook) -> None:
    claims, experience = book.claims.copy(), book.experience.copy()
    nothing = claims.index[::10]
    claims.loc[nothing, "zero"] = True
    claims.loc[nothing, ["amount_minor", "loss_minor"]] = 0
    amounts = claims.groupby("segment_id")["loss_minor"].sum()
    experience["loss_inpatient_minor"] = (
        experience["segment_id"].map(amounts).fillna(0.0).astype(float)
    )
    one = fitted(MadeBook(experience=experience, claims=claims))
    assert one.causes[0].severity.left_out == len(nothing)
    assert one.causes[0].severity.rows == len(claims) - len(nothing)
    assert [w.code for w in one.warnings if w.code == "ZERO_AMOUNTS"]
    total = (premium(one, book) * experience["exposure"]).sum()
    assert total == pytest.approx(claims["loss_minor"].sum(), rel=1e-8)


def test_large_losses_go_to_the_load(book: MadeBook) -> None:
    experience = book.experience.copy()
    experience.loc[::100, "excess_inpatient_minor"] = 1_000_000.0
    found = fitted(MadeBook(experience=experience, claims=book.claims))
    yearly = experience["excess_inpatient_minor"].sum() / experience["exposure"].sum()
    assert found.large_loss_load_e4 / E4 == pytest.approx(yearly, rel=1e-6)
    told = large_losses_of(found)  # what the gate compares with the tariff's load
    assert told is not None
    total = sum(one.load_e4 for one in told)
    assert 2 * abs(total - found.large_loss_load_e4) <= len(told) + 1
    assert all(one.low95_e4 <= one.load_e4 <= one.high95_e4 for one in told)


def test_offsets_scale_what_is_expected(book: MadeBook, found: Fit) -> None:
    """Half of the claims not yet reported, and each cut to half: the base is four times as high."""
    experience = book.experience.copy()
    experience["frequency_offset_inpatient"] = 0.5
    experience["severity_offset_inpatient"] = 0.5
    twice = fitted(MadeBook(experience=experience, claims=book.claims))
    assert twice.causes[0].base_e4 / found.causes[0].base_e4 == pytest.approx(4, rel=1e-6)


def test_a_thin_level_is_warned_of_and_shrinks_to_the_trend() -> None:
    """People of 60 to 69 are few; what they cost by chance is not taken at its word."""
    book = made_book(1_500, 5, rate=0.1)
    few = (book.experience["age"] == 65) & (book.experience["segment_id"] % 40 >= 3)
    experience = book.experience[~few]
    claims = book.claims[book.claims["segment_id"].isin(experience["segment_id"])]
    text = SETTINGS.replace("monotone: rising, base: '60'", "base: '40'")
    found = fitted(MadeBook(experience=experience, claims=claims), text)
    cell = table(found, "age").cells[-1]
    assert 0 < cell.claims < 100
    assert cell.thin
    assert cell.credibility < 1
    assert cell.indicated != pytest.approx(cell.raw)
    assert "inpatient.age.60–69" in {w.where for w in found.warnings if w.code == "THIN_LEVEL"}


def test_a_thin_level_tells_credibility_apart_from_bounds() -> None:
    """Eight parts of few people: what credibility says, then what the bound made of that."""
    book = made_book(400, 5, rate=0.1)
    text = SETTINGS.replace("monotone: rising, base: '60'", "base: '40'").replace(", hba1c]", "]")
    free = fitted(book, text)
    held = fitted(book, text.replace("fit:\n", "fit:\n  relativity_greatest: '1.01'\n"))

    def thin(found: Fit) -> str:
        told = {w.where: w.en for w in found.warnings if w.code == "THIN_LEVEL"}
        return told["inpatient.age.60–69"]

    unbounded = table(free, "age").cells[-1].indicated
    assert unbounded > 1.01
    assert thin(free).endswith(f" to {unbounded:.3f}")
    assert thin(held) == f"{thin(free)}, and by direction and bounds to 1.010"


def test_a_level_without_a_claim_takes_its_complement() -> None:
    book = made_book(1_000, 6, rate=0.1)
    experience, claims = book.experience.copy(), book.claims
    silent = (experience["age"] == 35) & (experience["claims_inpatient"] == 0)
    experience = experience[silent | (experience["age"] != 35)]
    claims = claims[claims["segment_id"].isin(experience["segment_id"])]
    found = fitted(MadeBook(experience=experience, claims=claims))
    cell = table(found, "age").cells[0]
    assert (cell.claims, cell.raw) == (0, 0.0)
    assert cell.indicated >= 0.2
    assert cell.raw_low95 == 0
    assert cell.raw_high95 is not None
    assert cell.raw_high95 > 0
    assert cell.low95 is not None
    assert cell.high95 is not None
    assert cell.low95 <= cell.indicated <= cell.high95
    assert "inpatient.age.30–39" in {w.where for w in found.warnings if w.code == "NO_CLAIMS"}
    assert ABOUT.book == found.book


def test_everyone_outside_the_priced_range_is_left_out_and_counted(book: MadeBook) -> None:
    experience = book.experience.copy()
    experience.loc[:4, "age"] = 17
    found = fitted(MadeBook(experience=experience, claims=book.claims))
    told = [w for w in found.warnings if w.code == "OUTSIDE_PRICED_RANGE"]
    assert [w.where for w in told] == ["factors.age"]
    assert told[0].en.startswith("5 segments")
    assert found.causes[0].frequency.rows == len(experience) - 5


def test_every_column_that_is_missing_or_wrong_is_named_at_once(book: MadeBook) -> None:
    with pytest.raises(FitRefused) as refused:
        fitted(
            MadeBook(
                experience=book.experience.drop(columns=["exposure", "claims_inpatient"]),
                claims=book.claims.drop(columns="zero"),
            )
        )
    assert len(refused.value.faults) == 3
    experience = book.experience.copy()
    experience.loc[0, "loss_inpatient_minor"] = np.nan
    experience.loc[1, "exposure"] = 0.0
    with pytest.raises(FitRefused) as refused:
        fitted(MadeBook(experience=experience, claims=book.claims))
    assert {fault.where for fault in refused.value.faults} == {
        "experience.loss_inpatient_minor",
        "experience.exposure",
    }


def test_factors_whose_column_or_levels_are_wrong_are_named_at_once(book: MadeBook) -> None:
    text = SETTINGS.replace("sex: {base: F}", "sex: {levels: {F: {}}}")
    text = text.replace("    condition: {base: none}", "    condition: {base: nothing}")
    with pytest.raises(FitRefused) as refused:
        fitted(MadeBook(experience=book.experience.drop(columns="age"), claims=book.claims), text)
    assert {(fault.where, fault.code) for fault in refused.value.faults} == {
        ("factors.age", "NO_COLUMN"),
        ("factors.sex", "UNKNOWN_LEVEL"),
        ("factors.condition", "BASE"),
    }


def test_a_number_may_be_written_as_text_and_text_is_no_number(book: MadeBook, found: Fit) -> None:
    experience = book.experience.assign(age=book.experience["age"].astype(str))
    assert fit_bytes(fitted(MadeBook(experience=experience, claims=book.claims))) == fit_bytes(
        found
    )
    experience.loc[7, "age"] = "forty"
    with pytest.raises(FitRefused, match="1 segments hold something else than a number"):
        fitted(MadeBook(experience=experience, claims=book.claims))


@pytest.mark.parametrize(
    ("excess", "codes"),
    [
        ([], set()),
        ([50.0] * 20, set()),
        ([50.0] * 20 + [900.0], {"ONE_LARGE_LOSS", "LARGE_LOAD_UNSURE"}),
        ([50.0] * 5, {"LARGE_LOAD_UNSURE"}),
    ],
)
def test_a_load_that_few_claims_decide_is_warned_of(
    book: MadeBook, excess: list[float], codes: set[str]
) -> None:
    claims = book.claims.copy()
    claims.loc[: len(excess) - 1, "excess_minor"] = excess
    found = fitted(MadeBook(experience=book.experience, claims=claims))
    told = [w for w in found.warnings if w.where == "inpatient.large_losses"]
    assert {w.code for w in told} == codes


def test_how_much_of_a_load_one_claim_may_be_is_declared(book: MadeBook) -> None:
    claims = book.claims.copy()
    claims.loc[:20, "excess_minor"] = [50.0] * 20 + [900.0]
    text = SETTINGS.replace("fit:\n", "fit:\n  large_loss_one_claim_most: '0.50'\n")
    found = fitted(MadeBook(experience=book.experience, claims=claims), text)
    told = [w.code for w in found.warnings if w.where == "inpatient.large_losses"]
    assert told == ["LARGE_LOAD_UNSURE"]


def test_a_book_without_readings_is_told_to_leave_its_outcome_out(book: MadeBook) -> None:
    experience = book.experience.assign(u_hba1c_percent=np.nan)
    with pytest.raises(FitRefused) as refused:
        fitted(MadeBook(experience=experience, claims=book.claims))
    assert [(one.where, one.code) for one in refused.value.faults] == [
        ("inpatient.frequency.hba1c", "NO_READINGS")
    ]
    assert "take hba1c out of `fit.causes`" in refused.value.faults[0].text


def test_a_cause_without_a_claim_is_refused_by_its_name_and_no_level_is_blamed(
    book: MadeBook,
) -> None:
    nothing = book.experience.assign(claims_inpatient=0)
    with pytest.raises(FitRefused) as refused:
        fitted(MadeBook(experience=nothing, claims=book.claims.assign(zero=True)))
    (fault,) = refused.value.faults
    assert (fault.where, fault.code) == ("inpatient", "NO_CLAIMS")
    assert f"({len(book.claims)} of 0)" in fault.text


def test_a_factor_with_one_level_is_warned_of(book: MadeBook, found: Fit) -> None:
    assert not [one for one in found.warnings if one.code == "ONE_LEVEL"]
    text = SETTINGS.replace("    sex: {base: F}", "    sex: {base: F}\n    channel: {en: channel}")
    text = text.replace("frequency: [", "frequency: [channel, ", 1)
    experience = book.experience.assign(channel="agent")
    alone = fitted(MadeBook(experience=experience, claims=book.claims), text)
    told = [one for one in alone.warnings if one.code == "ONE_LEVEL"]
    assert [one.where for one in told] == ["inpatient.channel.agent"]
    (line,) = (one for one in warned(alone) if "inpatient.channel" in one)
    assert "prices nobody apart, its one level is agent" in line
    assert "claims of 0.00" not in line


def test_a_cause_that_the_study_has_not_is_told_once(book: MadeBook) -> None:
    text = SETTINGS + "    dental: {frequency: [age], severity: []}\n"
    with pytest.raises(FitRefused) as refused:
        fitted(book, text)
    assert [(one.where, one.code) for one in refused.value.faults] == [
        ("fit.causes.dental", "UNKNOWN_CAUSE")
    ]
    assert "book.causes" in refused.value.faults[0].text
    partly = book.experience.drop(columns="loss_inpatient_minor")
    with pytest.raises(FitRefused, match="has no column loss_inpatient_minor; study the book"):
        fitted(MadeBook(experience=partly, claims=book.claims))
