"""How tests attack a running bridge by what it reads, and what must hold of it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from services.common.grpc_edge import error_of
from tests.schemas import migrated_file
from tests.services.his_bridge.consenting import everybody
from tests.services.his_bridge.records import NUMBER, tokens
from tests.services.his_bridge.running import Bridge, running_bridge

MIB = 1 << 20
# Issue 6: what is refused takes at most so much more than an idle bridge has.
MOST_KIB = 64 * 1024
_PEAK_ANEW = "5"  # proc(5), clear_refs: VmHWM begins at what is resident now
_MOST_RECORDS = 5000


class Attacked:
    """A bridge of one hospital. `idle_kib`: what it has after a good pull."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._proc = Path(f"/proc/{bridge.process.pid}")
        self._bills = 0
        self._waiting: Counter[str] = Counter()
        self.idle_kib = 0

    def good(self, bills: int = 1) -> None:
        """A pull that brings exactly so many good bills more, whatever was pulled before."""
        assert self.pulled() == ""
        before, self._bills = self._bills, len(self._bridge.bills())
        assert self._bills == before + bills
        self.idle_kib = self.idle_kib or self._memory_kib("VmRSS")

    def attack(self) -> tuple[str, dict[str, int]]:
        """A pull of what is hostile: why the source cannot be read, and what came to wait for whom.

        Whatever it was: no stack trace, nothing of a bill, and bounded memory.
        """
        (self._proc / "clear_refs").write_text(_PEAK_ANEW, "utf-8")
        failure = self.pulled()
        more_kib = self._memory_kib("VmHWM") - self.idle_kib
        assert len(self._bridge.bills()) == self._bills
        assert "Traceback" not in self.log()
        assert more_kib <= MOST_KIB, f"{more_kib >> 10} MiB above idle"
        before, self._waiting = self._waiting, self._quarantined()
        return failure, dict(self._waiting - before)

    def pulled(self) -> str:
        """A pull of whatever is there: why the source cannot be read, or nothing."""
        try:
            while self._bridge.pull(_MOST_RECORDS).more:
                pass
        except grpc.RpcError as error:
            fault = error_of(error)
            assert fault.text
            assert fault.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION}
            return fault.reason
        return ""

    def log(self) -> str:
        """What the bridge has said."""
        return self._bridge.log.read_text("utf-8")

    def _quarantined(self) -> Counter[str]:
        records = self._bridge.quarantine()
        assert all(fault.text for record in records for fault in record.faults)
        return Counter(fault.reason for record in records for fault in record.faults)

    def _memory_kib(self, what: str) -> int:
        lines = (self._proc / "status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


@contextmanager
def attacked(folder: Path, profile: str, **environ: str) -> Iterator[Attacked]:
    """A bridge whose one hospital has this profile; everybody has consented to everything."""
    profiles = folder / "profiles"
    profiles.mkdir()
    (profiles / "demo-hospital.yaml").write_text(profile, "utf-8")
    database = folder / "bridge.db"  # a copy: test_bridge.py starts one that has none yet
    shutil.copyfile(migrated_file("services.his_bridge"), database)
    url = f"sqlite:///{database}"
    with running_bridge(folder / "state", profiles, url, environ) as bridge:
        bridge.consented({*everybody(), tokens("CN-ID", NUMBER)})
        yield Attacked(bridge)
