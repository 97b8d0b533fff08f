"""The last screen, off a terminal: plain text of at most 100 columns, with the numbers on it."""

import io

from demo import screen
from demo.progress import Reporter, Snapshot
from lipei.claims.v1 import claims_pb2
from tests.demo.test_results import good


def test_off_a_terminal_the_screen_is_plain_text_of_at_most_100_columns() -> None:
    out = io.StringIO()
    explained = claims_pb2.ExplainClaimResponse(
        claim=claims_pb2.Claim(name="policies/p/claims/1"),
        text_zh="第 1 行：赔付 70.00",
        text_en="Line 1: " + "pays 70.00 " * 30,
    )
    hints = [("a claim in words", "lipei claims explain policies/p/claims/1")]
    screen.show(good(), explained, Reporter(out), hints=hints)
    text = out.getvalue()
    assert all(character == "\n" or character.isprintable() for character in text)
    assert max(map(len, text.splitlines())) <= 100
    assert "¥140.00 in 2 confirmed payouts" in text
    assert "Line 1: pays 70.00" in text
    assert "NO_LINES" in text
    assert "✗" not in text
    assert "lipei claims explain policies/p/claims/1" in text


def test_off_a_terminal_progress_is_lines_and_ends_with_the_last_state() -> None:
    out = io.StringIO()
    reporter = Reporter(out)
    with reporter.bar("Filling", 2) as done:
        done(2)
    with reporter.board(3) as board:
        for bills in range(4):
            board(Snapshot(bills=bills, quarantined=0, claims=bills, decided=bills, owed=0, paid=0))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("Filling: 2 in ")
    assert "bills answered for 3/3" in lines[-1]
    assert "\x1b" not in out.getvalue()
