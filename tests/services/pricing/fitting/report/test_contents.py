"""What a report says of itself."""

from __future__ import annotations

import pandas as pd
import pytest

from services.pricing.fitting.report.contents import measured_on


@pytest.mark.parametrize(
    ("holdout", "words"),
    [
        ("train", "what was learnt from"),
        ("person", "what was held out"),
        ("last_year", "what was held out"),
    ],
)
def test_a_report_says_that_something_was_held_out_only_where_it_was(
    holdout: str, words: str
) -> None:
    assert measured_on(pd.DataFrame({"holdout": [holdout]})) == words
