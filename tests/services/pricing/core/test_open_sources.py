"""Sources that admit that nobody has looked them up, and titles that only sound so."""

from __future__ import annotations

import pytest

from services.pricing.core.open_sources import is_open

OPEN = (
    *(
        "to be  verified",
        "to be\nverified",
        "To Be Verified",
        "to\u00a0be verified",
        "to-be-verified",
    ),
    *("to be re-verified", "not been verified", "not yet confirmed", "awaiting verification"),
    *(
        "TBC (to be verified)",
        "ＴＢＣ",
        "T.B.C.",
        "tbd",
        "law (TBC)",
        "TODO: look it up",
        "??",
        "？？",
    ),
    *("article 10, unconfirmed", "source unknown", "pending", "n/a", "?", "-", " ", "some day"),
    *(
        "健康管理服务办法第十条（待核实）",
        "待 核实",
        "来源待核实",
        "需核实",
        "未經核實",
        "尚未核实",
        "待確認",
    ),
    *("待落实", "20%（暂定）", "待查。", "上限待定", "不詳"),
)
TITLES = (
    *(
        "a regulation, article 7",
        "保险公司健康管理服务费率暂定办法 第10条",
        "待查勘案件管理规定第3条",
    ),
    *(
        "Ley General, todo el articulo 7",
        "Circular on unconfirmed claims, art 2",
        "未经核实信息管理办法",
    ),
    *("TBC Bank, annual report 2025", "Act on amounts to be determined by the court, § 3"),
    *("Notes on outstanding payments, no. 1234", "auto-be-verifieds", "Law of unknown heirs, § 1"),
)


@pytest.mark.parametrize("source", OPEN)
def test_a_source_that_admits_it_is_none_is_open(source: str) -> None:
    assert is_open(source)


@pytest.mark.parametrize("source", TITLES)
def test_a_title_that_sounds_open_is_a_source(source: str) -> None:
    assert not is_open(source)
