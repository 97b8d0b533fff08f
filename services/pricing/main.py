"""Starts the pricing service: settings, tariffs proved on their golden quotes, database, server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from lipei.pricing.v1 import pricing_pb2_grpc
from services.common.database import Database, migrate
from services.common.grpc_edge import Serving, serve
from services.common.process import start
from services.common.sealing import Sealer
from services.common.settings import (
    LipeiSettings,
    sealing_key_file,
)
from services.common.state import load_or_make_key, state_dir
from services.pricing.core.tariff import canonical_bytes
from services.pricing.servicer import FULL_NAME, PricingServicer
from services.pricing.storage import QuoteStore
from services.pricing.tariffs.loader import TariffRefused, example_tariffs, load_folder

NAME = "pricing"
_KEY_ID = "k1"


class PricingSettings(LipeiSettings):
    """What the pricing service reads beside the common settings; see `settings.KNOWN`."""

    pricing_address: str = "127.0.0.1:0"
    pricing_database_url: str | None = None
    pricing_tariffs: Path | None = None


async def run(settings: PricingSettings) -> None:
    """Prove the tariffs, bring the database up to date, and serve until told to stop."""
    book = load_folder(settings.pricing_tariffs or example_tariffs())
    state = state_dir(settings.state)
    sealer = Sealer({_KEY_ID: load_or_make_key(sealing_key_file(state))}, _KEY_ID)
    url = settings.pricing_database_url or f"sqlite:///{state / 'pricing.db'}"
    database = Database(url)
    try:
        await database.run(migrate, database, "services.pricing")
        store = QuoteStore(database, sealer)
        started = Timestamp()
        started.FromDatetime(datetime.now(UTC))
        for rates in book.versions():
            content = canonical_bytes(rates.tariff)
            await database.run(store.keep_tariff, rates.version, content, started.ToMicroseconds())
        servicer = PricingServicer(book, database, store)
        await serve(
            [Serving(pricing_pb2_grpc.add_PricingServiceServicer_to_server, servicer, FULL_NAME)],
            name=NAME,
            address=settings.pricing_address,
            state=state,
        )
    finally:
        database.close()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    start(NAME, PricingSettings, run, refusals=(TariffRefused,))


if __name__ == "__main__":
    main()
