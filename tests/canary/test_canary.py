"""Personal data, keys and tokens planted in every input are found where they belong, if anywhere.

`make test` runs one installation; `make fault` also one without the codec and one without sealing,
as the controls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canary.planted import BUSINESS, EVERYTHING
from tests.canary.search import Find, Search, table
from tests.canary.story import Canary, fed

# Where something must be found, and why (docs/privacy.md).
MAY_HOLD: dict[str, frozenset[str]] = {
    # The bank's own book and files: a bank cannot pay a name and an account that it is not told.
    "state/bank/": frozenset({"name", "account number"}),
    # Policies are told by their opaque ids; the bridge keeps which claims a bill opened.
    "state/claims.db": frozenset(BUSINESS),
    "state/his_bridge.db": frozenset(BUSINESS),
}


class Found:
    """The finds of one installation, while it ran and after it stopped."""

    def __init__(self, canary: Canary) -> None:
        self.secrets = canary.secrets()
        self.search = Search({**EVERYTHING, **self.secrets})
        self.finds = self.search.everywhere(canary.places())
        self.places = [place for place, _ in canary.places()]

    def outside(self) -> list[Find]:
        """Finds in places where the list does not allow them."""
        return [
            find
            for find in self.finds
            if not any(
                find.place.startswith(place) and find.kind in kinds
                for place, kinds in MAY_HOLD.items()
            )
            and not self._is_its_own_file(find)
        ]

    def _is_its_own_file(self, find: Find) -> bool:
        """A key in the file that holds it, and nowhere else."""
        if find.kind not in self.secrets:
            return False
        stem = find.place.rpartition("/")[2].removesuffix(".key")
        in_keys = find.place.startswith(("state/keys/", "state/tls/"))
        return in_keys and (find.kind.startswith(f"{stem} key ") or find.kind.endswith(f" {stem}"))

    def within(self, place: str) -> set[str]:
        """Kinds that were found there."""
        return {find.kind for find in self.finds if find.place.startswith(place)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    with fed(tmp_path_factory.mktemp("canary")) as canary:
        yield Found(canary)


def test_every_place_was_searched(found: Found) -> None:
    for place in (
        *("state/claims.db", "state/his_bridge.db", "state/pricing.db", "state/temporal.db"),
        *("state/run.json", "state/processes.json", "state/bank/", "state/logs/claims.log"),
        *("state/logs/temporal.log", "state/logs/worker:claims.log", "state/keys/", "state/tls/"),
        *("errors received", "what `lipei up` prints", "process environ of claims"),
        *("process cmdline of worker:claims", "process environ of lipei up"),
    ):
        assert [one for one in found.places if one.startswith(place)], place


@pytest.mark.parametrize(
    "place",
    [
        "state/logs/",
        "state/temporal",
        "state/run.json",
        "state/processes.json",
        "errors received",
        "what `lipei up` prints",
        "process ",
    ],
)
def test_nothing_is_found_in(found: Found, place: str) -> None:
    finds = [find for find in found.outside() if find.place.startswith(place)]
    assert finds == [], table(finds)


def test_nothing_is_found_anywhere_but_where_it_must_be(
    found: Found,
) -> None:
    left = found.outside()
    assert left == [], table(left)


def test_the_search_sees_what_is_there(found: Found) -> None:
    # The control: the bank's book is where the money went.
    assert "account number" in found.within("state/bank/")
    assert "policy" in found.within("state/claims.db")


@pytest.mark.fault
def test_without_sealing_the_databases_tell(tmp_path: Path) -> None:
    with fed(tmp_path, without="sealing") as canary:
        found = Found(canary)
        assert {"name", "account number"} <= found.within("state/claims.db")
        assert found.within("state/pricing.db")


@pytest.mark.fault
def test_without_the_codec_temporals_database_tells(tmp_path: Path) -> None:
    with fed(tmp_path, without="codec") as canary:
        assert "policy" in Found(canary).within("state/temporal.db")
