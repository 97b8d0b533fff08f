"""A year of months as one number, and what a tariff says that it is worth against m0."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.core.features import read
from services.pricing.core.incentive import Incentive, LegalCap, assess, credit_label
from services.pricing.core.outcome import Outcome, OutcomeMonth, Person, at_stratum_means
from services.pricing.core.quote import Asked, priced_renewal
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.readings import Reading
from services.pricing.core.renewal import Expiring
from services.pricing.core.tariff import Collar
from services.pricing.core.waterfall import gross_e4
from services.pricing.fitting.renewal.grid import Grid
from tests.services.pricing.at_hand import WOMAN_52, demo_rates
from tests.services.pricing.core.reading_cases import SHANGHAI, moment, programmes, reading, weekly
from tests.services.pricing.proposals import format_2_tree, proposal

CAP = LegalCap(200_000, "a regulation")
WITHOUT_READING = {k: v for k, v in WOMAN_52.items() if k != "hba1c_percent"}
# A renewal on 1 January 2026 looks at these; Z = 0.6 and m0 = 8.5 % in the tariff of the tests.
YEAR = ("2024-11", "2024-12", *(f"2025-{month:02d}" for month in range(1, 11)))
_RATES = compile_rates(proposal()[0])
WOMAN = Person(_RATES, read(_RATES.tariff.features, WITHOUT_READING).values)


def found(
    readings: list[Reading],
    *,
    person: Person | None = WOMAN,
    served: date | None = None,
    programme: str = "diabetes-glucose",
) -> Incentive:
    return assess(
        readings,
        programmes().named(programme),
        (),
        renewal=date(2026, 1, 1),
        expiring_start=served,
        zone=SHANGHAI,
        cap=CAP,
        person=person,
    )


def of(*months: str, value: str = "6.0") -> list[Reading]:
    return [entry for month in months for entry in weekly(month, value)]


def only(incentive: Incentive) -> Outcome:
    (outcome,) = incentive.outcomes
    return outcome


def test_three_months_are_shrunk_towards_those_who_take_no_part() -> None:
    """6.0 mmol/L is (6.0 + 2.59) / 1.59 = 5.4 %; mean (3 × 5.4 + 9 × 8.5) / 12 = 7.725 %.

    u = 0.6 × 7.725 + 0.4 × 8.5 = 8.035, or 8.0 %. There f is 0.97 for inpatient and 0.98 for
    outpatient care: (1371.648 × 0.97 + 1458 × 0.98 + 102 + 145) / 0.83 = 3622.095 yuan against
    3706.805, or 2.2853 %: less than the 10 % that the programme promises.
    """
    done = found(of("2025-03", "2025-04", "2025-05"))
    assert only(done).value == "8.0"
    assert only(done).months[4] == OutcomeMonth("2025-03", "5.4", True)
    assert only(done).months[0] == OutcomeMonth("2024-11", "8.5", False)
    assert done.model_millionths == 22_853
    assert (done.share_millionths, done.credit_millionths) == (100_000, 100_000)


def test_a_year_may_be_worth_more_than_the_promise_and_says_so() -> None:
    """U = 0.6 × 5.4 + 0.4 × 8.5 = 6.64, or 6.6 %: f 0.86 and 0.92.

    (1371.648 × 0.86 + 1458 × 0.92 + 102 + 145) / 0.83 = 3334.912 yuan, 10.0327 % less.
    """
    done = found(of(*YEAR))
    assert only(done).value == "6.6"
    assert done.credit_millionths == done.model_millionths == 100_327
    label = credit_label(done)
    assert label.text_en == (
        "Outcome: hba1c_percent 6.6 over the year against 8.5 %, 10.0327 % off (10 % promised)"
    )
    assert label.text_zh == (
        "健康结果：hba1c_percent 年均 6.6（参照 8.5）%，减免 10.0327 %（约定激励 10 %）"
    )
    assert label.factor_millionths == 1_000_000 - 100_327
    assert len(done.evidence) == 36


def test_a_single_month_moves_u_by_its_share() -> None:
    """U = 0.6 × (5.4 + 11 × 8.5) / 12 + 0.4 × 8.5 = 8.345, or 8.3 %."""
    assert only(found(of("2025-03"))).value == "8.3"


def test_a_year_no_better_than_m0_is_worth_nothing() -> None:
    done = found(of("2025-03", value="14.0"))
    assert only(done).value == "8.5"
    assert done.model_millionths == 0


def test_the_step_says_whether_the_year_or_the_run_earned_it() -> None:
    assert credit_label(found(of(*YEAR))).cell == "outcome"
    assert credit_label(found(of("2025-03", "2025-04", "2025-05"))).cell == "run 3"


def pressures(value: str) -> list[Reading]:
    """Four slots of one month, both values of each measurement."""
    return [
        reading(f"{kind}-{day}", kind, text, moment(f"2025-03-{day:02d} 08:00", SHANGHAI))
        for day in (2, 9, 16, 23)
        for kind, text in (("systolic", value), ("diastolic", "80"))
    ]


def test_a_month_of_pressure_is_its_slots_mean_and_tells_nothing_of_glucose() -> None:
    """U = 0.6 × (125 + 11 × 150) / 12 + 0.4 × 150 = 148.75, or 149 mmHg."""
    outcome = only(found(pressures("125"), programme="hypertension-pressure"))
    assert (outcome.feature, outcome.value) == ("systolic_mmhg", "149")
    assert [m.value for m in outcome.months if m.assessed] == ["125"]


def test_a_laboratorys_hba1c_is_its_months_value() -> None:
    """It decides October, September and August: (3 × 7.2 + 9 × 8.5) / 12 = 8.175; u = 8.3 %."""
    done = found(
        [reading("lab-1", "hba1c", "7.2", moment("2025-10-11 08:00", SHANGHAI), "laboratory")]
    )
    assert [m.value for m in only(done).months[-4:]] == ["8.5", "7.2", "7.2", "7.2"]
    assert only(done).value == "8.3"
    assert done.share_millionths == 0, "7.2 % is off target, and still better than 8.5 %"
    assert done.credit_millionths == done.model_millionths == 22_853


def test_a_bad_month_counts_no_worse_than_a_month_left_out() -> None:
    """14.0 mmol/L is 10.4 %, above m0: it counts as m0, as if nothing had been measured."""
    good = of("2025-03", "2025-04", "2025-05")
    with_bad = found([*good, *of("2025-06", value="14.0")])
    assert only(with_bad).months[7] == OutcomeMonth("2025-06", "8.5", True)
    assert only(with_bad).value == only(found(good)).value


def test_months_that_served_a_renewal_still_say_how_the_year_was() -> None:
    """The promise looks at a month once; how well a disease is controlled is no event."""
    done = found(of(*YEAR), served=date(2025, 11, 1))
    assert done.months[0].month == "2025-09"
    assert len(only(done).months) == 12


def test_a_tariff_that_does_not_say_how_its_features_are_made_gives_no_model_credit() -> None:
    rates = demo_rates()
    plain = Person(rates, read(rates.tariff.features, WITHOUT_READING).values)
    for person in (plain, None):
        done = found(of(*YEAR), person=person)
        assert (done.model_millionths, done.outcomes) == (0, ())
        assert done.credit_millionths == 100_000


def test_without_any_assessed_month_there_is_no_outcome() -> None:
    done = found(of("2025-03")[:2])
    assert (done.model_millionths, done.outcomes, done.credit_millionths) == (0, (), 0)


_MONTHS = st.dictionaries(
    st.sampled_from(YEAR), st.sampled_from(["4.5", "6.0", "7.9", "9.4", "13.0"]), max_size=12
)


@given(_MONTHS, st.sets(st.sampled_from(YEAR)))
def test_leaving_months_out_never_lowers_a_price(months: dict[str, str], out: set[str]) -> None:
    whole = found([one for month, value in months.items() for one in of(month, value=value)])
    kept = {month: value for month, value in months.items() if month not in out}
    less = found([one for month, value in kept.items() for one in of(month, value=value)])
    assert less.model_millionths <= whole.model_millionths
    assert (less.credit_millionths or 0) <= (whole.credit_millionths or 0)


@given(_MONTHS, st.sampled_from(YEAR))
def test_a_better_month_never_raises_a_price(months: dict[str, str], month: str) -> None:
    before = found([one for m, value in months.items() for one in of(m, value=value)])
    better = {**months, month: "4.5"}
    after = found([one for m, value in better.items() for one in of(m, value=value)])
    assert after.model_millionths >= before.model_millionths


@given(_MONTHS)
def test_u_lies_between_its_best_month_and_m0(months: dict[str, str]) -> None:
    done = found([one for month, value in months.items() for one in of(month, value=value)])
    for outcome in done.outcomes:
        values = [float(entry.value) for entry in outcome.months]
        assert min(values) <= float(outcome.value) <= 8.5


def test_at_f_of_m0_is_below_the_price_without_a_reading_where_m0_has_a_lower_cell() -> None:
    """At m0 = 7.2 %: (1371.648 × 0.90 + 1458 × 0.95 + 102 + 145) / 0.83 = 3453.714699 yuan.

    Without a reading she would be priced at 3706.804819.
    """
    tree = format_2_tree()
    tree["basis"]["windows"][0]["stratum_mean"] = "7.2"
    rates = compile_rates(proposal(tree)[0])
    values = read(rates.tariff.features, WITHOUT_READING).values
    assert gross_e4(rates, at_stratum_means(rates, values)) == 3_453_714_699
    assert gross_e4(rates, values) == 3_706_804_819
    assert Grid(rates).waterfall(_code_of(rates, WITHOUT_READING)).steps[-2].premium_e4 == (
        3_453_714_699
    )
    expiring = Expiring(
        last_date="2025-12-31",
        uncredited_minor=345_371,
        currency="CNY",
        collar=Collar(least_millionths=800_000, greatest_millionths=1_250_000, source="a test"),
    )
    asked = Asked(
        policy_id="p-1",
        tariff="registered",
        start_date="2026-01-01",
        features=WITHOUT_READING,
        expiring=expiring,
    )
    waterfall, renewal = priced_renewal(asked, rates, values, "")
    assert (renewal.technical_minor, waterfall.premium_minor) == (345_371, 345_371)


def test_a_tariff_that_states_no_m0_is_priced_as_without_a_reading() -> None:
    rates = demo_rates()
    values = read(rates.tariff.features, WITHOUT_READING).values
    assert at_stratum_means(rates, values) == values


def _code_of(rates: Rates, given: dict[str, str]) -> int:
    columns = {name: pa.array([text]).dictionary_encode() for name, text in given.items()}
    return int(Grid(rates).judge(columns, 1).codes[0])
