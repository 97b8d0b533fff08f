"""A hospital that keeps failing is left alone for longer and longer, but never for ever."""

from __future__ import annotations

from services.his_bridge.core.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, PATIENCE, pause_s


def test_a_hospital_is_tried_until_patience_ends() -> None:
    assert [pause_s(failures, "h") for failures in range(PATIENCE)] == [0.0] * PATIENCE
    assert FIRST_PAUSE_S / 2 <= pause_s(PATIENCE, "h") <= FIRST_PAUSE_S


def test_pauses_double_to_an_end() -> None:
    for failures in range(PATIENCE, 200):
        whole = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - PATIENCE))
        assert whole / 2 <= pause_s(failures, "h") <= whole


def test_hospitals_that_fell_together_come_back_apart_and_every_process_agrees() -> None:
    pauses = {pause_s(10, f"hospital-{number}") for number in range(50)}
    assert len(pauses) == 50
    assert pause_s(10, "hospital-1") == pause_s(10, "hospital-1")
