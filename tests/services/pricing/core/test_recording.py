"""What recording a reading means beside what is kept under its name: every verdict at its edge."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from services.pricing.core.adherence import SupplyKind
from services.pricing.core.readings import Provenance
from services.pricing.core.recording import (
    Incoming,
    IncomingSupply,
    Verdict,
    supply_verdict,
    verdict,
)
from tests.services.pricing.core.reading_cases import written

replace = msgspec.structs.replace


def _incoming(
    value: str,
    by: Provenance = Provenance.LABORATORY,
    *,
    release: int = 0,
    stated: int | None = None,
) -> Incoming:
    said = replace(written("hba1c", value), provenance=by, release=release)
    return Incoming(name="r1", member_token="m1", effective_us=1, stated_us=stated, written=said)


def test_a_name_that_nobody_kept_is_new_and_the_same_again_is_known() -> None:
    assert verdict(_incoming("7.0"), None) is Verdict.NEW
    for by in Provenance:
        assert verdict(_incoming("7.0", by), _incoming("7.0", by)) is Verdict.KNOWN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Provenance.DEVICE, Provenance.DEVICE),
        (Provenance.TYPED, Provenance.TYPED),
        (Provenance.DEVICE, Provenance.LABORATORY),
        (Provenance.CLINIC, Provenance.TYPED),
    ],
)
def test_only_a_hospital_corrects_and_only_a_hospital(one: Provenance, other: Provenance) -> None:
    assert verdict(_incoming("7.1", one), _incoming("7.0", other)) is Verdict.DIFFERS


@pytest.mark.parametrize(
    ("release", "kept", "found"),
    [(3, 2, Verdict.CORRECTION), (2, 3, Verdict.KNOWN), (3, 3, Verdict.KNOWN)],
)
def test_the_hospitals_own_numbers_tell_which_release_is_older(
    release: int, kept: int, found: Verdict
) -> None:
    # The times say the contrary, and are not asked.
    new = _incoming("7.1", release=release, stated=1 if release > kept else 9)
    assert verdict(new, _incoming("7.0", Provenance.CLINIC, release=kept, stated=5)) is found


@pytest.mark.parametrize(
    ("stated", "kept", "found"),
    [
        (6, 5, Verdict.CORRECTION),
        (5, 5, Verdict.CORRECTION),
        (4, 5, Verdict.KNOWN),
        (None, 5, Verdict.CORRECTION),
        (4, None, Verdict.CORRECTION),
    ],
)
@pytest.mark.parametrize("counted", [(0, 0), (2, 0), (0, 2)])
def test_where_one_of_them_has_no_number_the_times_tell(
    stated: int | None, kept: int | None, found: Verdict, counted: tuple[int, int]
) -> None:
    new = _incoming("7.1", release=counted[0], stated=stated)
    assert verdict(new, _incoming("7.0", release=counted[1], stated=kept)) is found


def _fill(days: int, stated: int | None = None) -> IncomingSupply:
    return IncomingSupply(
        name="s1",
        member_token="m1",
        kind=SupplyKind.FILL,
        drug="A10BA02",
        first=date(2026, 5, 4),
        days=days,
        stated_us=stated,
    )


def test_an_event_of_medication_is_new_known_or_another() -> None:
    for by_hospital in (True, False):
        assert supply_verdict(_fill(30), None, by_hospital=by_hospital) is Verdict.NEW
        assert supply_verdict(_fill(30), _fill(30), by_hospital=by_hospital) is Verdict.KNOWN
    assert supply_verdict(_fill(31, 6), _fill(30, 5), by_hospital=False) is Verdict.DIFFERS


@pytest.mark.parametrize(
    ("stated", "kept", "found"),
    [
        (6, 5, Verdict.CORRECTION),
        (5, 5, Verdict.CORRECTION),
        (4, 5, Verdict.KNOWN),
        (None, 5, Verdict.CORRECTION),
        (4, None, Verdict.CORRECTION),
        (None, None, Verdict.CORRECTION),
    ],
)
def test_a_hospital_corrects_an_event_unless_it_says_so_later_than_it_meant(
    stated: int | None, kept: int | None, found: Verdict
) -> None:
    assert supply_verdict(_fill(31, stated), _fill(30, kept), by_hospital=True) is found
