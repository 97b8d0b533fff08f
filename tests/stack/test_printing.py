"""What a person reads on a narrow terminal is whole: no name is cut, no amount broken."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from stack.cli import main
from stack.commands.printing import print_table, rows, say, table

NAME = "policies/p-0001/claims/9339a5849ba54f989d3bd37e24585a37"


def printed(width: int) -> list[str]:
    out = Console(file=io.StringIO(), width=width, force_terminal=False)
    made = table("claim", "billed", "benefit", "borne by", "fault", right=("billed",))
    line = (NAME, "30000.00 CNY", "8000.00 CNY", "patient", "no such code " * 3 + "[UNKNOWN_CODE]")
    print_table(rows(made, [line, ("", "", "", "insurer", "")]), out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 100])
def test_a_narrow_terminal_gets_rows_below_each_other(width: int) -> None:
    said = printed(width)
    assert said[0] == f"claim {NAME}"
    assert said[-1] == "    borne by: insurer"
    for whole in ("billed: 30000.00 CNY", "benefit: 8000.00 CNY", "[UNKNOWN_CODE]"):
        assert any(whole in line for line in said)


def test_a_wide_terminal_gets_one_line_a_row() -> None:
    (line,) = (line for line in printed(200) if NAME in line)
    assert "30000.00 CNY" in line
    assert "[UNKNOWN_CODE]" in line


@pytest.mark.parametrize("width", range(20, 120, 7))
def test_whatever_the_width_every_word_is_there(width: int) -> None:
    out = Console(file=io.StringIO(), width=width)
    made = table("when", "from", "to", "actor", "cause", prose=("cause",))
    words = ("2026-11-22 05:25:27", "auto approved", "payable", "engine", "release_payment")
    print_table(rows(made, [words] * 3), out)
    assert isinstance(out.file, io.StringIO)
    assert all(out.file.getvalue().count(word) == 3 for word in words)


def test_only_prose_is_wrapped() -> None:
    out = Console(file=io.StringIO(), width=100)
    made = table("claim", "fault", prose=("fault",))
    print_table(rows(made, [(NAME, "a sentence that is long " * 5)]), out)
    assert isinstance(out.file, io.StringIO)
    said = out.file.getvalue()
    assert NAME in said
    assert said.count("\n") > 4
    assert "claim policies" not in said


STEERING = "\x1b[2J\x1b]0;title\x07\x9b1m\r\u202e"


@pytest.mark.parametrize("width", [20, 200])
def test_a_name_from_a_file_steers_no_terminal_and_is_no_markup(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows below each other, a table, and a sentence; what steers nothing (the control) stays."""
    out = Console(file=io.StringIO(), width=width, force_terminal=False)
    name = f"[bold]甲{STEERING}[/bold]"
    print_table(rows(table("partner", "note"), [(name, "é\tö")]), out)
    say(name)
    assert isinstance(out.file, io.StringIO)
    for told in (out.file.getvalue(), capsys.readouterr().out):
        assert not {"\x1b", "\x07", "\x9b", "\r", "\u202e"} & set(told)
        assert "[bold]甲\ufffd[2J\ufffd]0;title\ufffd" in told
    assert "é" in out.file.getvalue()


def test_a_failure_steers_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lipei", f"plan{STEERING}", "--as", "x"])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert "lipei --as ROLE plan\ufffd[2J" in told
    assert "\x1b" not in told
