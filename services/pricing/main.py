"""Starts the pricing service: settings, tariffs and programmes proved, database, server."""

from __future__ import annotations

from pathlib import Path

from lipei.pricing.v1 import pricing_pb2_grpc, registry_pb2_grpc, study_pb2_grpc
from services.common.access.guarding import service_guard
from services.common.access.read_tally import counting
from services.common.database import DATABASE_FAULTS, Database, UnknownSchema, migrate
from services.common.evidence.service_evidence import service_evidence
from services.common.grpc_edge import Serving, serve
from services.common.money import parse_decimal
from services.common.process import now_us, start
from services.common.process_settings import LipeiSettings
from services.common.sealing import SubjectKeys
from services.common.sealing.own_keys import master_keys_of
from services.common.sealing.servicer import readiness, serving
from services.common.settings import (
    UnknownSetting,
    key_file,
    study_pseudonym_key_file,
    trust_domain,
)
from services.common.state import load_or_make_key, state_dir
from services.common.strict_yaml import StrictYamlError
from services.common.transport.certificates import load_identity
from services.common.transport.names import service_uri
from services.pricing.core.banned import Ban
from services.pricing.core.incentive import LegalCap
from services.pricing.core.tariff import MILLION, canonical_bytes
from services.pricing.judging import Shelf
from services.pricing.own_tariffs import OwnTariffs
from services.pricing.programmes.loader import (
    ProgrammeRefused,
    example_programmes,
    load_programmes,
)
from services.pricing.servicer import FULL_NAME, PricingServicer, Stores
from services.pricing.storage.about import records_about
from services.pricing.storage.clearings import ClearingStore
from services.pricing.storage.counted import SEALED
from services.pricing.storage.erasure import Erasures
from services.pricing.storage.medication import MedicationStore
from services.pricing.storage.quotes import QuoteStore
from services.pricing.storage.readings import ReadingStore
from services.pricing.storage.registry import RegistryStore
from services.pricing.storage.studies import StudyReadings
from services.pricing.storage.tables import evidence, metadata
from services.pricing.study_servicer import FULL_NAME as STUDIES
from services.pricing.study_servicer import StudyServicer
from services.pricing.tariff_servicer import FULL_NAME as TARIFFS
from services.pricing.tariff_servicer import TariffServicer
from services.pricing.tariffs.banned_factors import known_bans, load_bans
from services.pricing.tariffs.loader import TariffRefused, example_tariffs, load_folder

NAME = "pricing"
_LONGEST_SOURCE = 300


class PricingSettings(LipeiSettings):
    """What the pricing service reads beside the common settings; see `settings.KNOWN`."""

    pricing_address: str = "127.0.0.1:0"
    pricing_database_url: str | None = None
    pricing_tariffs: Path | None = None
    pricing_programmes: Path | None = None
    pricing_credit_cap: str = ""
    pricing_credit_cap_source: str = ""
    pricing_backfill: bool = False
    pricing_banned: Path | None = None


async def run(settings: PricingSettings) -> None:
    """Prove tariffs and programmes, bring the database up to date, and serve until told to stop."""
    shelf = Shelf(
        book=load_folder(settings.pricing_tariffs or example_tariffs()),
        programmes=load_programmes(settings.pricing_programmes or example_programmes()),
        cap=legal_cap(settings.pricing_credit_cap, settings.pricing_credit_cap_source),
        backfill=settings.pricing_backfill,
        bans=banned(settings.pricing_banned or known_bans()),
    )
    state = state_dir(settings.state)
    identity = load_identity(state, NAME, uri=service_uri(trust_domain(), NAME))
    url = settings.pricing_database_url or f"sqlite:///{state / 'pricing.db'}"
    counted = counting(state, NAME, SEALED, wanted=settings.count_reads)
    database = Database(url, driver=counted)
    try:
        await database.run(migrate, database, "services.pricing")
        keys = SubjectKeys(await database.run(master_keys_of, state, database), now_us=now_us)
        await database.run(keys.prepare, database)
        quotes = QuoteStore(database, keys)
        at_us = now_us()
        for rates in shelf.book.versions():
            content = canonical_bytes(rates.tariff)
            await database.run(quotes.keep_tariff, rates.version, content, at_us)
        for version, programme in shelf.programmes.versions().items():
            content = canonical_bytes(programme)
            await database.run(quotes.keep_programme, version, content, at_us)
        registry = RegistryStore(database)
        await database.run(OwnTariffs(registry).prove)
        stores = Stores(
            quotes,
            ReadingStore(database, keys),
            Erasures(database, keys),
            registry,
            MedicationStore(database, keys),
            ClearingStore(database, keys),
        )
        servicer = PricingServicer(shelf, database, stores)
        tariffs = TariffServicer(shelf, database, registry)
        proof = service_evidence(
            NAME,
            database,
            keys,
            evidence,
            state=state,
            key_file=key_file(state, "PRICING_EVIDENCE_KEY_FILE", "pricing_evidence.key"),
            records_of=lambda connection, token: records_about(
                connection, keys.sealer(connection), token
            ),
            now_us=now_us,
        )
        key = load_or_make_key(study_pseudonym_key_file(state))
        studies = StudyServicer(database, StudyReadings(database, keys), key, now_us=now_us)
        add_studies = study_pb2_grpc.add_StudyServiceServicer_to_server
        add = pricing_pb2_grpc.add_PricingServiceServicer_to_server
        add_tariffs = registry_pb2_grpc.add_TariffServiceServicer_to_server
        await serve(
            [
                Serving(add, servicer, FULL_NAME),
                Serving(add_tariffs, tariffs, TARIFFS),
                Serving(add_studies, studies, STUDIES),
                serving(database, keys),
                proof.serving,
            ],
            name=NAME,
            address=settings.pricing_address,
            state=state,
            identity=identity,
            guard=service_guard(
                identity, state, database, metadata, append=proof.log.append, now_us=now_us
            ),
            background=[proof.keep_signing],
            ready=readiness(database, keys),
        )
    finally:
        database.close()


def legal_cap(share: str, source: str) -> LegalCap | None:
    """The law's bound on credits, which has no default; None while the operator has set none.

    Raises: UnknownSetting when it cannot be used, or only one of share and source is set.
    """
    if not share and not source:
        return None
    try:
        cap = parse_decimal(share, places=6, what="LIPEI_PRICING_CREDIT_CAP")
    except ValueError as refused:
        raise UnknownSetting(f"{refused}; write a share such as 0.20") from None
    if not 0 <= cap < 1:
        raise UnknownSetting("LIPEI_PRICING_CREDIT_CAP must be a share from 0 to below 1")
    if not source.strip() or len(source) > _LONGEST_SOURCE or not source.isprintable():
        raise UnknownSetting(
            "LIPEI_PRICING_CREDIT_CAP_SOURCE must say in 1 to 300 characters where the cap is "
            "written"
        )
    return LegalCap(int(cap * MILLION), source)


def banned(path: Path) -> tuple[Ban, ...]:
    """The factors that the law bans.

    Raises: UnknownSetting when the file cannot be used.
    """
    try:
        return load_bans(path)
    except StrictYamlError as error:
        raise UnknownSetting(f"LIPEI_PRICING_BANNED: {error}") from None
    except OSError as error:
        text = f"LIPEI_PRICING_BANNED: {path} cannot be read: {error.strerror}"
        raise UnknownSetting(text) from None


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    start(
        NAME,
        PricingSettings,
        run,
        refusals=(UnknownSchema, TariffRefused, ProgrammeRefused),
        database_faults=DATABASE_FAULTS,
    )


if __name__ == "__main__":
    main()
