"""Tariff files → tariffs ready to price, or every fault at once. Knows no database and no wire.

A file is `{"sha256": …, "tariff": {…}}`: the hash is over the tariff's canonical JSON, so an edit
after publication shows. A tariff that does not reproduce its own golden quotes is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from services.pricing.core.book import Book
from services.pricing.core.checks import Fault, faults_of, feature_faults, table_faults
from services.pricing.core.golden import golden_faults
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.tariff import (
    FactorBounds,
    FactorTable,
    Feature,
    Part,
    Sha256,
    Tariff,
    content_hash,
)
from services.pricing.tariffs.shape import shape_faults
from services.pricing.tariffs.strict_json import NotJson, load

T = TypeVar("T")


class TariffFile(Part, frozen=True):
    """What a file holds: a tariff and the hash that it was published under."""

    sha256: Sha256
    tariff: Tariff


class TariffRefused(ValueError):
    """At least one tariff cannot be used; `faults` holds all, each with its file."""

    def __init__(self, faults: list[tuple[str, Fault]]) -> None:
        self.faults = faults
        super().__init__(
            "\n".join(f"{source}: {fault.path or 'file'}: {fault.text}" for source, fault in faults)
        )


def example_tariffs() -> Path:
    """The folder of the tariffs that come with lipei."""
    return Path(str(resources.files("services.pricing.tariffs")))


def load_tariff(content: bytes, source: str) -> Rates:
    """One file's tariff, checked, compiled and proved on its golden quotes.

    Raises: TariffRefused with every fault, each with its path in the file.
    """
    rates, faults = _judged(content)
    if rates is None or faults:
        raise TariffRefused([(source, fault) for fault in faults])
    return rates


def load_folder(folder: Path) -> Book:
    """Every `*.json` of a folder. One bad file refuses them all: no price from half a book.

    Raises: TariffRefused with the faults of all files, also when there is none to load.
    """
    faults: list[tuple[str, Fault]] = []
    versions: list[Rates] = []
    for path in sorted(folder.glob("*.json")):
        try:
            versions.append(load_tariff(path.read_bytes(), path.name))
        except TariffRefused as refused:
            faults += refused.faults
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
            faults.append((path.name, Fault("", "UNREADABLE", text)))
    book = Book(versions)
    faults += [(folder.name, fault) for fault in book.faults()]
    if not versions and not faults:
        text = "holds no tariff (*.json); set LIPEI_PRICING_TARIFFS to the folder of yours"
        faults.append((folder.name, Fault("", "NO_TARIFF", text)))
    if faults:
        raise TariffRefused(faults)
    return book


def published_hash(content: bytes) -> str:
    """The hash that the file's tariff has now, whatever the file says.

    Raises: TariffRefused when the tariff has any other fault than its hash.
    """
    rates, faults = _judged(content)
    others = [fault for fault in faults if fault.reason != "WRONG_HASH"]
    if rates is None or others:
        raise TariffRefused([("", fault) for fault in others])
    return content_hash(rates.tariff)


def readable(content: bytes) -> tuple[TariffFile | None, list[Fault]]:
    """The file as it is written, or why it cannot be read; its tariff has not been checked.

    A file whose tariff has another hash than it says is read, and has that fault.
    """
    try:
        tree, faults = load(content)
    except NotJson as refused:
        return None, [refused.fault]
    if not faults:
        faults += _hash_faults(tree)
    shape = list(shape_faults(tree, TariffFile, ""))
    typed = not shape and all(fault.reason == "WRONG_HASH" for fault in faults)
    if not typed:
        return None, [*faults, *shape, *_partial(tree.get("tariff"))]
    return msgspec.convert(tree, TariffFile), faults


def _judged(content: bytes) -> tuple[Rates | None, list[Fault]]:
    file, faults = readable(content)
    if file is None:
        return None, faults
    tariff = file.tariff
    found = faults_of(tariff)
    if found:
        return None, [*faults, *found]
    rates = compile_rates(tariff)
    return rates, [*faults, *golden_faults(rates)]


def _hash_faults(tree: dict[str, Any]) -> Iterator[Fault]:
    if "tariff" not in tree:
        return
    found = content_hash(tree["tariff"])
    if tree.get("sha256") != found:
        text = (
            f"the tariff's hash is {found}; a published tariff is never edited: restore it, or "
            f"publish the change as a version of its own with this hash"
        )
        yield Fault("sha256", "WRONG_HASH", text)


def _partial(tariff: object) -> Iterator[Fault]:
    """Faults of those parts that are readable by themselves although the whole is not."""
    if not isinstance(tariff, dict):
        return
    features = _read(tariff.get("features"), tuple[Feature, ...])
    if features is None:
        return
    yield from feature_faults(features)
    bounds = _read(tariff.get("factor_bounds"), FactorBounds)
    causes = tariff.get("causes")
    for c, cause in enumerate(causes if isinstance(causes, list) else []):
        tables = cause.get("tables") if isinstance(cause, dict) else None
        for t, raw in enumerate(tables if isinstance(tables, list) else []):
            table: FactorTable | None = _read(raw, FactorTable)
            if table is not None:
                path = f"tariff.causes[{c}].tables[{t}]"
                yield from table_faults(table, features, bounds, path)


def _read(raw: object, expected: Any) -> Any:
    try:
        return msgspec.convert(raw, expected, strict=True)
    except msgspec.ValidationError:
        return None
