"""Starts the pricing service: settings, tariffs proved on their golden quotes, database, server."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from lipei.pricing.v1 import pricing_pb2_grpc
from services.common.database import Database, UnknownSchema, migrate
from services.common.grpc_edge import Serving, serve
from services.common.log import configure
from services.common.sealing import Sealer
from services.common.settings import (
    LipeiSettings,
    faults_of,
    refuse_unknown,
    sealing_key_file,
)
from services.common.state import load_or_make_key, state_dir
from services.pricing.core.book import Book
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


async def run(settings: PricingSettings, book: Book) -> None:
    """Bring the database up to date, keep the tariffs that serve, and serve until told to stop."""
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


def main() -> int:
    """Serve; 0 after a graceful stop, 1 when settings, tariffs or database forbid a start."""
    try:
        refuse_unknown()
        settings = PricingSettings()
        configure(NAME, settings.log_level)
        book = load_folder(settings.pricing_tariffs or example_tariffs())
        asyncio.run(run(settings, book))
    except ValidationError as error:
        sys.stderr.write("\n".join(faults_of(error)) + "\n")
        return 1
    except TariffRefused as refused:
        sys.stderr.write(f"pricing does not serve with these tariffs:\n{refused}\n")
        return 1
    except (ValueError, UnknownSchema) as refused:  # settings, key file, URL: our own sentences
        sys.stderr.write(f"{refused}\n")
        return 1
    except SQLAlchemyError as fault:  # its text may hold the URL and so a password
        kind = type(fault).__name__
        sys.stderr.write(f"the database of LIPEI_PRICING_DATABASE_URL is of no use now: {kind}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
