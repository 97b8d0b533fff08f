"""Request ids have one form, so that every store can hold them and every log may show them."""

from __future__ import annotations

import pytest

from services.common.request_id import request_id_faults


@pytest.mark.parametrize("request_id", ["a", "A-1_b.c", "0" * 64, "..", "-"])
def test_an_id_is_taken(request_id: str) -> None:
    assert request_id_faults(request_id) == []


@pytest.mark.parametrize(
    "request_id", ["", " ", "a b", "a\n", "0" * 65, "é", "１", "a/b", "a:b", "a\x00", "'--"]
)
def test_another_text_is_a_fault_of_the_field(request_id: str) -> None:
    (fault,) = request_id_faults(request_id)
    assert (fault.field, fault.reason) == ("request_id", "MALFORMED")
    assert request_id not in fault.text or not request_id.strip("-' ")
