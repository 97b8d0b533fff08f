"""The report: one page that needs nothing else, true to the run, safe with what names hold."""

import re
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.figures import premium_parts, quote_worth_showing
from demo.hospital.bills import ZONE
from demo.hospital.hospital import generate
from demo.hospital.months import Participant
from demo.pricing import MemberQuote
from demo.report.page import write_page
from demo.report.parts import cascade, histogram, slices
from demo.report.premium import premium_view
from demo.results import Results
from lipei.claims.v1 import claims_pb2
from lipei.pricing.v1 import pricing_pb2
from tests.demo.test_results import good, yuan

HINTS = [("numbers", "build/demo/summary.json")]
HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "br", "link", "img"}


class Whole(HTMLParser):
    """Notes every opened tag and every address, and refuses a tag that closes another."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(path: Path, run: Results, text: str = "Line 1: pays 70.00") -> str:
    explained = claims_pb2.ExplainClaimResponse(
        claim=run.claims[0], text_zh="第 1 行", text_en=text
    )
    write_page(path, run, explained, HINTS)
    return path.read_text(encoding="utf-8")


def quote(premium: int, without: int, months: list[str]) -> pricing_pb2.Quote:
    """A quote with one cause, a load, and whatever the months took off."""
    made = pricing_pb2.Quote(premium=yuan(premium), premium_without_credit=yuan(without))
    total = 0
    for step, zh, en, change in (
        ("inpatient.base", "住院医疗：基准", "Inpatient care: base", 200),
        ("inpatient.age", "住院医疗：年龄", "Inpatient care: age", without - 300),
        ("fixed_expense", "固定费用", "Fixed expense", 100),
        ("rounding", "保费取整", "Rounding of the premium", 0),
        ("incentive", "激励：3 个月", "Incentive: 3 months, 10 % off", premium - without),
        ("rounding.credit", "优惠后保费取整", "Rounding of the credited premium", 0),
    ):
        total += change
        made.steps.add(
            step=step,
            text_zh=zh,
            text_en=en,
            difference_e4=change * 10_000,
            premium_e4=total * 10_000,
        )
    for month in months:
        made.incentive.months.add(month=month, result=pricing_pb2.MONTH_RESULT_ON_TARGET)
    made.incentive.credit_millionths = (without - premium) * 1_000_000 // without
    made.incentive.run_months = len(months)
    return made


def participant() -> Participant:
    found = next(one for one in generate(3, people=40, bills=80).participants)
    return replace(found, person=replace(found.person, diabetic=True))


def test_the_page_is_well_formed_and_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    text = page_of(tmp_path / "report.html", good())
    seen = Whole()
    seen.feed(text)
    assert seen.open == []
    assert seen.addresses == []
    assert not {"script", "link", "img", "iframe"} & set(seen.tags)
    assert re.search(r"url\(|@import|https?://", text) is None
    assert "¥140.00" in text
    assert "第 1 行" in text
    assert "✗" not in text


def test_a_check_that_fails_is_seen_on_the_page(tmp_path: Path) -> None:
    text = page_of(tmp_path / "report.html", replace(good(), bank_book={}))
    assert "✗ the bank&#39;s book is ours" in text
    assert "1 failed" in text


def test_what_a_service_says_is_text_and_never_markup(tmp_path: Path) -> None:
    run = good()
    run.claims[0].bill_number = HOSTILE
    run.quarantine[0].faults[0].reason = HOSTILE
    text = page_of(tmp_path / "report.html", run, HOSTILE)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 3


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 10**12), min_size=1))
def test_slices_are_parts_of_the_whole(amounts: dict[str, int]) -> None:
    found = slices(amounts, dict.fromkeys(amounts, "x"), {})
    assert len(found) == sum(amount > 0 for amount in amounts.values())
    assert not found or sum(one.width for one in found) == pytest.approx(100, abs=0.01 * len(found))


@given(st.lists(st.floats(0.01, 1e6)))
def test_a_histogram_counts_every_time_once(times: list[float]) -> None:
    found = histogram(sorted(times))
    assert sum(one.value for one in found) == len(times)
    assert not times or max(one.height for one in found) == 100


def test_a_cascade_hangs_each_bar_where_the_one_before_ended() -> None:
    bars = cascade(
        [("a", 0, 60, "", False), ("b", 60, 100, "", False), ("c", 100, 90, "", False)], 100
    )
    assert [(bar.left, bar.width) for bar in bars] == [(0, 60), (60, 40), (90, 10)]
    assert [bar.colour for bar in bars] == ["patient", "patient", "insurer"]


def test_parts_of_a_premium_add_up_and_are_called_by_their_subject() -> None:
    parts = premium_parts(quote(900, 1000, ["2025-08"]))
    assert [(one.name, one.text_en, one.difference_e4) for one in parts] == [
        ("inpatient.base", "Inpatient care", 900 * 10_000),
        ("fixed_expense", "Fixed expense", 100 * 10_000),
        ("rounding", "Rounding of the premium", 0),
        ("incentive", "Incentive", -100 * 10_000),
        ("rounding.credit", "Rounding of the credited premium", 0),
    ]
    assert parts[-1].premium_e4 == 900 * 10_000


def test_the_premium_shown_is_one_that_falls() -> None:
    who = participant()
    rising = MemberQuote(
        participant=who,
        member="members/t",
        before=quote(800, 800, []),
        after=quote(900, 1000, ["2025-08"]),
    )
    falling = MemberQuote(
        participant=who,
        member="members/t",
        before=quote(1000, 1000, []),
        after=quote(970, 1000, ["2025-08"]),
    )
    assert quote_worth_showing([rising, falling]) is falling
    assert quote_worth_showing([rising]) is rising
    assert quote_worth_showing([]) is None


def test_the_plot_holds_every_reading_of_the_person_within_its_frame() -> None:
    hospital = generate(3, people=40, bills=80)
    who = next(one for one in hospital.participants if one.person.diabetic)
    readings = hospital.record.of(who.person)
    view = premium_view(quote(1000, 1000, []), quote(900, 1000, ["2025-08"]), readings)
    dots = view["plot"]["dots"]
    assert len(dots) == sum("pressure" not in one.kind.value for one in readings)
    assert all(0 <= dot["x"] <= 100 and 0 <= dot["y"] <= 100 for dot in dots)
    months = {one["label"]: one["colour"] for one in view["plot"]["months"]}
    assert months["2025-08: on target"] == "on"
    assert min(one.at for one in readings) > datetime(2024, 11, 1, tzinfo=ZONE)
    assert Decimal(view["sides"][1]["rows"][-1].width) == 90
