"""An insurer's own tariffs, ready to price: read anew for every quote, compiled and proved once.

So that an activation holds in every process at once. What is stored is believed only when it is
what its name says, and reproduces its golden quotes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from services.common.access.tenant import Kind, Tenant
from services.pricing.core.book import Active, Book, is_tariff_name
from services.pricing.core.checks import Fault, faults_of
from services.pricing.core.golden import golden_faults
from services.pricing.core.life_cycle import State
from services.pricing.core.rates import Rates, compile_rates
from services.pricing.core.routing import Arm, arm_of, comparable
from services.pricing.core.tariff import tariff_from, version_of
from services.pricing.storage.registry import InUse, RegistryStore, Routing
from services.pricing.tariffs.loader import TariffRefused


class TariffEdited(ValueError):
    """What is stored under a tariff's name is not what the name says."""


@dataclass(frozen=True, slots=True)
class Own:
    """What of an insurer's own one quote may use."""

    active: tuple[Active, ...]
    routing: Routing | None = None
    challenger: Active | None = None

    def arm(self, champion: Rates, policy_id: str, day: date) -> tuple[Arm | None, Rates | None]:
        """The arm of a policy, and the challenger where there is an experiment that fits."""
        rates = self._fitting(champion, day)
        if rates is None or self.routing is None:
            return None, None
        return arm_of(policy_id, self.routing.salt, self.routing.share_millionths), rates

    def _fitting(self, champion: Rates, day: date) -> Rates | None:
        other = self.challenger
        if other is None or champion.version == other.rates.version:
            return None
        if day < other.first or (other.last is not None and other.last < day):
            return None
        return other.rates if comparable(champion.tariff, other.rates.tariff) else None


class OwnTariffs:
    """Reads and compiles. Every method blocks: call it inside `Database.run`."""

    def __init__(self, store: RegistryStore) -> None:
        self._store = store
        self._rates: dict[str, Rates] = {}

    def prove(self) -> None:
        """Prove every tariff that may price, as at every start.

        Raises: TariffRefused with the faults of all of them.
        """
        faults = []
        for used in self._store.in_use():
            try:
                self.rates_of(used.version)
            except TariffEdited as edited:
                faults.append((used.version, Fault("", "WRONG_HASH", str(edited))))
            except TariffRefused as refused:
                faults += refused.faults
        if faults:
            raise TariffRefused(faults)

    def of(self, insurer: str, asked: str) -> Own:
        """What the insurer's quotes may use now; with the experiment under the id asked for.

        Raises: TariffEdited, TariffRefused.
        """
        used = self._store.in_use(insurer)
        active = tuple(self._active(one) for one in used if one.state is State.ACTIVE)
        said = []
        if is_tariff_name(asked) and "@" not in asked:  # who asks for a very version gets it
            said = self._store.routings(Tenant(Kind.INSURER, insurer), asked, 1)
        if not said or said[0].challenger is None:
            return Own(active)
        challenger = next((one for one in used if one.version == said[0].challenger), None)
        return Own(active, said[0], None if challenger is None else self._active(challenger))

    def rates_of(self, version: str) -> Rates:
        """A stored tariff ready to price.

        Raises: TariffEdited; TariffRefused when this engine cannot reproduce it.
        """
        found = self._rates.get(version)
        if found is None:
            found = self._rates[version] = proved(version, self._store.content(version))
        return found

    def _active(self, used: InUse) -> Active:
        rates = self.rates_of(used.version)
        first, last = used.first, used.last
        if first is None:  # approved only: a challenger, valid as long as the tariff says
            return Active(rates, rates.tariff.valid_first, rates.tariff.valid_last)
        return Active(rates, first, last)


def book_with(book: Book, own: Own) -> Book:
    """The installed tariffs and the insurer's own."""
    return book.with_own(own.active) if own.active else book


def proved(version: str, content: bytes) -> Rates:
    """The tariff of stored bytes, which must be what its name says.

    Raises: TariffEdited; TariffRefused with its faults.
    """
    try:
        tariff = tariff_from(content)
    except ValueError:  # msgspec's are
        raise TariffEdited(f"{version}: its stored content is no tariff") from None
    if version_of(tariff) != version:
        raise TariffEdited(f"{version}: its stored content is another's")
    faults = faults_of(tariff)
    rates = None if faults else compile_rates(tariff)
    faults += golden_faults(rates) if rates is not None else []
    if rates is None or faults:
        raise TariffRefused([(version, fault) for fault in faults])
    return rates
