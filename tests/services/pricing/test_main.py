"""Starting and stopping the pricing process: what survives a stop, and what forbids a start."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import grpc
import msgspec
import pytest

from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.database import Database, migrate
from services.common.state import read_addresses
from services.pricing.core.life_cycle import Event
from services.pricing.core.tariff import Tariff, canonical_bytes, version_of
from services.pricing.storage.registry import Act, Proposed, RegistryStore
from tests.forked import run_forked
from tests.identities import everybody
from tests.services.pricing.at_hand import DEMO, DEMO_FILE, WOMAN_52, demo_tree, sealed
from tests.services.pricing.process import environ_for, serving
from tests.services.pricing.proposals import proposal


def ask(address: str) -> pricing_pb2.Quote:
    request = pricing_pb2.QuotePremiumRequest(
        request_id="r1",
        parent="policies/p1",
        tariff=DEMO,
        start_date="2026-12-01",
        features=WOMAN_52,
    )
    with everybody(address, "pricing") as channel:
        stub = pricing_pb2_grpc.PricingServiceStub(channel)
        return stub.QuotePremium(request, timeout=60).quote


def test_a_quote_outlives_the_process_and_its_tariff(tmp_path: Path) -> None:
    state, tariffs = tmp_path / "state", tmp_path / "tariffs"
    tariffs.mkdir()
    shutil.copy(DEMO_FILE, tariffs)
    settings = {"LIPEI_PRICING_TARIFFS": str(tariffs)}
    with serving(state, settings) as pricing:
        first = ask(pricing.address)
        assert read_addresses(state)["pricing"] == pricing.address
        assert pricing.stop(signal.SIGTERM) == 0
    assert "pricing" not in read_addresses(state)
    with pytest.raises(grpc.RpcError):
        ask(pricing.address)
    (tariffs / DEMO_FILE.name).unlink()
    tree = demo_tree()
    tree["tariff"]["id"] = "successor"
    (tariffs / "successor.json").write_bytes(sealed(tree))
    with serving(state, settings) as pricing:
        assert ask(pricing.address) == first
        assert pricing.stop(signal.SIGINT) == 0


def refused(state: Path, settings: dict[str, str]) -> str:
    ended = run_forked("services.pricing.main", environ=environ_for(state, settings))
    assert ended.code == 1
    assert "pricing" not in read_addresses(state)
    assert "Traceback" not in ended.err
    return ended.err


def test_a_tariff_that_misses_its_golden_quotes_forbids_the_start(tmp_path: Path) -> None:
    tree = demo_tree()
    tree["tariff"]["golden_quotes"][0]["premium_minor"] += 1
    tree["tariff"]["golden_quotes"][1]["premium_minor"] -= 1
    (tmp_path / "off.json").write_bytes(sealed(tree))
    said = refused(tmp_path / "state", {"LIPEI_PRICING_TARIFFS": str(tmp_path)})
    assert "off.json: tariff.golden_quotes[0].premium_minor" in said
    assert "off.json: tariff.golden_quotes[1].premium_minor" in said
    assert not (tmp_path / "state" / "pricing.db").exists()


def test_an_active_tariff_that_prices_otherwise_than_it_did_forbids_the_start(
    tmp_path: Path,
) -> None:
    state = environ_for(tmp_path / "state")["LIPEI_STATE"]
    database = Database(f"sqlite:///{state}/pricing.db", threads=1)
    migrate(database, "services.pricing")
    store = RegistryStore(database)
    tariff, evidence = proposal()
    goldens = tariff.golden_quotes
    off = msgspec.structs.replace(goldens[0], premium_minor=goldens[0].premium_minor + 1)
    names = []
    for number, golden in enumerate((goldens[0], off)):
        made = msgspec.structs.replace(tariff, id=f"t-{number}", golden_quotes=(golden,))
        names.append(version_of(made))
        _in_use(store, made, canonical_bytes(evidence))
    database.close()
    said = refused(tmp_path / "state", {})
    assert f"{names[1]}: tariff.golden_quotes[0].premium_minor" in said
    assert names[0] not in said  # control: what still prices as it did is no reason


def _in_use(store: RegistryStore, made: Tariff, evidence: bytes) -> None:
    """Into the database past the servicer, which would have refused it."""

    def act(who: str) -> Act:
        number = f"{made.id}-{who}"
        return Act(actor=who, reason="r", request_id=number, fingerprint=number, at_us=1)

    proposed = Proposed(
        version=version_of(made),
        tariff_id=made.id,
        content=canonical_bytes(made),
        evidence_sha256="e" * 64,
        evidence=evidence,
    )
    store.propose("anxin", proposed, act("li"))
    for who in ("wang", "zhao"):
        store.move("anxin", proposed.version, Event.APPROVE, act(who))
    days = (made.valid_first, made.valid_last)
    store.move("anxin", proposed.version, Event.ACTIVATE, act("chen"), days)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"LIPEI_PRICING_TARIF": "x"}, "LIPEI_PRICING_TARIF is not a setting"),
        ({"LIPEI_PRICING_DATABASE_URL": "oracle://x"}, "must begin with sqlite: or postgresql:"),
        (
            {"LIPEI_PRICING_DATABASE_URL": "postgresql://u:hushhush@127.0.0.1:1/x"},
            "LIPEI_PRICING_DATABASE_URL",
        ),
        ({"LIPEI_PRICING_CREDIT_CAP": "0.2"}, "LIPEI_PRICING_CREDIT_CAP_SOURCE must say"),
        (
            {"LIPEI_PRICING_CREDIT_CAP_SOURCE": "a law"},
            "LIPEI_PRICING_CREDIT_CAP is not a plain decimal",
        ),
        (
            {"LIPEI_PRICING_CREDIT_CAP": "20%", "LIPEI_PRICING_CREDIT_CAP_SOURCE": "a law"},
            "write a share such as 0.20",
        ),
        (
            {"LIPEI_PRICING_CREDIT_CAP": "1", "LIPEI_PRICING_CREDIT_CAP_SOURCE": "a law"},
            "a share from 0 to below 1",
        ),
        ({"LIPEI_PRICING_PROGRAMMES": "services"}, "services: holds no programme"),
        ({"LIPEI_PRICING_BANNED": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
        ({"LIPEI_PRICING_BANNED": "README.md"}, "LIPEI_PRICING_BANNED: README.md:"),
    ],
)
def test_a_bad_setting_forbids_the_start(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    said = refused(tmp_path / "state", settings)
    assert words in said
    assert "hushhush" not in said
