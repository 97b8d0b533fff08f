"""The PDF gives its Chinese back, holds only a part of the font, and is the same each time."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from pypdf import PdfReader

from services.claims.explained.pdf import GETA, pdf
from services.claims.explained.words import Language
from tests.services.claims.core.bills import bill, line, plan_named
from tests.services.claims.explained.telling import Decided, decided, decided_in_cases, told

PLAN = plan_named("every-term")
BOTH = (Language.ZH, Language.EN)
# A bill of ten lines in two languages; the whole font alone has 8 MB.
MOST_BYTES = 300_000


def text_of(made: bytes) -> str:
    return "".join(page.extract_text() for page in PdfReader(io.BytesIO(made)).pages)


def root_of(made: bytes) -> Any:
    return PdfReader(io.BytesIO(made)).root_object


def fonts_of(made: bytes) -> set[str]:
    found = set()
    for page in PdfReader(io.BytesIO(made)).pages:
        resources: Any = page["/Resources"]
        for font in resources["/Font"].values():
            descendant = font.get_object()["/DescendantFonts"][0].get_object()
            assert "/FontFile3" in descendant["/FontDescriptor"]
            found.add(str(descendant["/BaseFont"]))
    return found


def test_the_chinese_can_be_read_back_with_every_amount() -> None:
    one = decided(PLAN, bill(line(1), line(2, "D1", "2000.00"), provider="GOLD"))
    text = text_of(pdf(told(one, texts={1: "普通门诊诊察费", 2: "洁牙"}), BOTH))
    for there in ("理赔说明书", "普通门诊诊察费", "洁牙", "个人保单年度免赔额", "条款原文摘要"):
        assert there in text
    for there in ("Explanation of benefits", "Insurer's share 90%", "2,000.00", "1,000.00"):
        assert there in text


def test_only_the_letters_that_are_used_are_in_it() -> None:
    charges = [line(n, ("V1", "P1", "D1", "X1")[n % 4], f"{n}00.00") for n in range(1, 11)]
    made = pdf(told(decided(PLAN, bill(*charges))), BOTH)
    assert len(made) < MOST_BYTES
    (font,) = fonts_of(made)
    assert re.fullmatch(r"/[A-Z]{6}\+NotoSansSC-Regular(-Identity-H)?", font)


def test_the_same_claim_gives_the_same_bytes() -> None:
    one = decided(PLAN, bill())
    assert pdf(told(one), BOTH) == pdf(told(one), BOTH)
    assert pdf(told(one), BOTH) != pdf(told(one, texts={1: "别的"}), BOTH)


@pytest.mark.parametrize("language", Language)
def test_it_speaks_the_language_asked_for(language: Language) -> None:
    made = pdf(told(decided(PLAN, bill())), (language,))
    text = text_of(made)
    assert ("理赔说明书" in text) == (language is Language.ZH)
    assert ("Explanation of benefits" in text) == (language is Language.EN)
    assert root_of(made)["/Lang"][:2] == language.value


def test_it_is_an_archive_document_tagged_for_screen_readers() -> None:
    made = pdf(told(decided(PLAN, bill())), BOTH)
    root = root_of(made)
    assert root["/MarkInfo"]["/Marked"].value
    described = root["/Metadata"].get_object().get_data().decode()
    assert "pdfaid:part" in described
    assert "pdfuaid:part" in described
    assert "/JavaScript" not in made.decode("latin-1")


def test_a_hostile_name_is_set_as_it_is() -> None:
    hostile = '#panic("x") *bold* $1/0$ ] #import "@preview/x:1.0.0" \\ <label> //'
    text = text_of(pdf(told(decided(PLAN, bill()), texts={1: hostile}), BOTH[:1]))
    squeezed = re.sub(r"\s+", "", text)
    assert re.sub(r"\s+", "", hostile) in squeezed


def test_a_letter_that_the_font_lacks_is_shown_to_be_missing() -> None:
    text = text_of(pdf(told(decided(PLAN, bill()), texts={1: "𠮷野"}), BOTH[:1]))
    assert f"{GETA}野" in text


def test_decisions_of_every_plan_and_kind_can_be_printed() -> None:
    shown: dict[object, Decided] = {}
    for one in decided_in_cases():
        shown.setdefault(one.plan.id, one)
        for charge in one.decision.lines:
            shown.setdefault((one.decision.disposition, charge.outcome), one)
    assert len(shown) > 30
    for one in shown.values():
        assert pdf(told(one), BOTH[:1]).startswith(b"%PDF-1.7")
