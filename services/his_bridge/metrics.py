"""What Prometheus may scrape of the bridge: counts and times by hospital, nothing of anybody.

Read from the database at each scrape, so that every replica tells the same and a restart forgets
nothing. Off unless an address is set; plain HTTP, for a scraper on the same machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from services.common import log
from services.common.database import DATABASE_FAULTS, Database
from services.common.settings import UnknownSetting
from services.his_bridge.intake import BILLS
from services.his_bridge.storage import last_pulls, lists, reconciliations, withheld
from services.his_bridge.storage.last_pulls import ChannelStatus

# A day that differed is told for a year, unless it was compared again and agreed.
_COMPARED_US = 366 * 86_400_000_000
_CHANNEL, _HOSPITAL = ("hospital", "channel"), ("hospital",)
_OF_CHANNEL: tuple[tuple[str, str, Callable[[ChannelStatus], float]], ...] = (
    ("inbox_unread", "records in the inbox that nobody has read", lambda one: one.unread),
    ("held", "good records that no active consent covers", lambda one: one.held),
    ("failures_in_a_row", "pulls that failed since the last success", lambda one: one.failures),
)


class BridgeMetrics(Collector):
    """Gauges of every hospital, as the database has them at the moment of the scrape."""

    def __init__(
        self,
        database: Database,
        hospitals: Collection[str],
        recipient: str,
        now_us: Callable[[], int],
        without_readings: Collection[str] = (),
    ) -> None:
        self._database = database
        self._hospitals = sorted(hospitals)
        # Whose profile reads no values any more: the last pull of them is history, and no lag.
        self._without_readings = frozenset(without_readings)
        self._recipient = recipient
        self._now_us = now_us

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every gauge; while the database cannot be read, that alone."""
        text = "1 when the database could be read for this scrape, else 0 and no other gauge"
        try:
            found = list(self._read())
        except DATABASE_FAULTS as fault:
            # Its text may hold the address of the database, and the server would write it down.
            log.logger().warning("metrics_not_read", fault=type(fault).__name__)
            found = []
        return [GaugeMetricFamily("lipei_his_up", text, value=float(bool(found))), *found]

    def _read(self) -> Iterable[Metric]:
        now_us = self._now_us()
        with self._database.reading() as connection:
            status = {name: self._status(connection, name) for name in self._hospitals}
            yield self._lag(status, now_us)
            for name, text, value in _OF_CHANNEL:
                gauge = _gauge(name, text, _CHANNEL)
                for hospital, channels in status.items():
                    for one in channels:
                        gauge.add_metric([hospital, one.channel], value(one))
                yield gauge
            yield self._quarantine(connection)
            yield self._bills(connection, now_us)
            yield self._failing(connection, now_us)
            yield from self._reconciled(connection, now_us)

    def _status(self, connection: Connection, hospital: str) -> list[ChannelStatus]:
        found = last_pulls.status(connection, hospital)
        all_of_them = hospital not in self._without_readings
        return [one for one in found if all_of_them or one.channel == BILLS]

    def _lag(self, status: dict[str, list[ChannelStatus]], now_us: int) -> Metric:
        text = "seconds since a pull last succeeded; without a sample none ever did"
        gauge = _gauge("lag_seconds", text, _CHANNEL)
        for hospital, channels in status.items():
            for one in channels:
                if one.success_us is not None:
                    gauge.add_metric([hospital, one.channel], (now_us - one.success_us) / 1e6)
        return gauge

    def _quarantine(self, connection: Connection) -> Metric:
        text = "records in quarantine that have this fault; one record may have several"
        gauge = _gauge("quarantine", text, ("hospital", "reason"))
        for hospital in self._hospitals:
            for reason, number in lists.quarantined_by_reason(connection, hospital).items():
                gauge.add_metric([hospital, reason], number)
        return gauge

    def _bills(self, connection: Connection, now_us: int) -> Metric:
        gauge = _gauge("bills", "released bills by where they stand", ("hospital", "state"))
        for hospital in self._hospitals:
            counts = withheld.counts(connection, hospital, self._recipient, now_us)
            for state, number in counts.items():
                gauge.add_metric([hospital, state.lower()], number)
        return gauge

    def _failing(self, connection: Connection, now_us: int) -> Metric:
        text = "pending bills at which the insurer's service failed, tried again and again"
        gauge = _gauge("failing_bills", text, ("hospital", "reason"))
        for hospital in self._hospitals:
            found = withheld.failing(connection, hospital, self._recipient, now_us)
            for reason, number in found.items():
                gauge.add_metric([hospital, reason], number)
        return gauge

    def _reconciled(self, connection: Connection, now_us: int) -> Iterable[Metric]:
        text = "bills that differ from the source, each day as it was last compared"
        differing = _gauge("reconciliation_difference", text, ("hospital", "kind"))
        text = "when source and bridge were last compared, in seconds since 1970"
        at = _gauge("reconciliation_timestamp_seconds", text, _HOSPITAL)
        for hospital in self._hospitals:
            found = reconciliations.last(connection, hospital)
            if found is None:
                continue
            at.add_metric([hospital], found.at_us / 1e6)
            made = reconciliations.since(connection, hospital, now_us - _COMPARED_US)
            days = reconciliations.standing(made)
            for kind in ("missing", "extra", "other_total"):
                number = sum(getattr(day, kind) for day in days)
                differing.add_metric([hospital, kind], number)
        return differing, at


@contextmanager
def exposed(metrics: BridgeMetrics, address: str) -> Iterator[None]:
    """The gauges at `http://{address}/metrics` while the block runs; nothing without an address.

    Raises: UnknownSetting when nobody can listen there.
    """
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(int(port), host, registry)
    except (OSError, OverflowError, ValueError):
        raise UnknownSetting(
            f"LIPEI_HIS_BRIDGE_METRICS_ADDRESS: nobody can listen at {address}: another process "
            "does, or it is no address of this machine"
        ) from None
    log.logger().info("serving", name="his_bridge_metrics", port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lipei_his_{name}", text, labels=labels)
