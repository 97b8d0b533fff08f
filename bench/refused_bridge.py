"""A bridge that is sent hostile things: `python -m bench.refused_bridge FOLDER`.

It says on which ports it listens: for HL7 v2, and for whoever only wants bytes read. Then each line
that it is told is a file's name, which it reads as a floor, or `pull` or `cells`, after which it
pulls the folder or the tables once; it answers with the seconds and the reason.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from bench.hl7v2_bridge import INSURER, MASTER, PROFILE, token
from services.common.database import Database, migrate
from services.common.process import now_us
from services.common.sealing import SubjectKeys
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.pulling import Puller
from services.his_bridge.receiving.memory import give_back_large_blocks
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.wiring import hospital_of

_PATIENCE_US = 600_000_000
_MOST = 1_000
_FOLDER = """
hospital: folder
dialect: fhir_r4
source: {kind: files, format: ndjson, folder: FOLDER, settle_s: 0}
zone: Asia/Shanghai
currency: CNY
identities: [{system: "urn:id", kind: CN-ID}]
provider: {id: H110101, tier: primary}
codes:
  lines: {accepted: [{system: "urn:bench:yibao"}]}
  diagnoses: {accepted: [{system: "urn:bench:icd-10"}]}
"""
_TABLES = """
hospital: tables
dialect: sql_rows
source:
  kind: sql
  bills: {table: bill, key: bill_no, updated: updated}
  lines: {table: line, bill_key: bill_no}
sql_rows:
  bill: {identity: id, care_type: visit, begin: begun, end: begun, total: total}
  line: {id: line_no, code: code, name: name, quantity: qty, amount: total}
  systems: {lines: "urn:bench:yibao"}
  care_types: {"1": outpatient}
zone: Asia/Shanghai
currency: CNY
identities: [{system: "01", kind: CN-ID}]
provider: {id: H110101, tier: primary}
codes:
  lines: {accepted: [{system: "urn:bench:yibao"}]}
  diagnoses: {accepted: [{system: "urn:bench:icd-10"}]}
social_insurance: from_record
"""


async def main(folder: Path) -> None:
    """Listen and answer until the end of what is told."""
    give_back_large_blocks()
    texts = {
        "bench": PROFILE,
        "folder": _FOLDER.replace("FOLDER", str(folder / "drop")),
        "tables": _TABLES,
    }
    tables = {"LIPEI_HIS_BRIDGE_SQL_URL_TABLES": f"sqlite:///{folder / 'tables.db'}"}
    database = Database(f"sqlite:///{folder / 'bridge.db'}")
    migrate(database, "services.his_bridge")
    keys = SubjectKeys(MASTER, now_us=now_us)
    keys.prepare(database)
    hospitals = {
        name: hospital_of(
            parse_profile(text, f"{name}.yaml", tables), database, keys, token, now_us, INSURER
        )
        for name, text in texts.items()
    }
    listener = hospitals["bench"].listener
    if listener is None:
        raise TypeError("the profile listens to nobody")
    running = asyncio.ensure_future(listener.run())
    await listener.listens.wait()
    reader = await asyncio.start_server(_only_read, "127.0.0.1")
    port = int(listener.address.rpartition(":")[2])
    _say([port, reader.sockets[0].getsockname()[1]])
    loop = asyncio.get_running_loop()
    try:
        while told := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            begun = time.perf_counter()
            if told in hospitals:
                reason = await _pulled(hospitals[told].bills)
            else:
                reason = await loop.run_in_executor(None, _read, Path(told))
            _say([time.perf_counter() - begun, reason])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        database.close()


async def _pulled(puller: Puller) -> str:
    try:
        while (report := await puller.pull(_MOST, now_us() + _PATIENCE_US)).more:
            pass
    except SourceFault as fault:
        return str(fault.reason)
    return "QUARANTINED" if report.quarantined else ""


def _read(path: Path) -> str:
    return f"{len(path.read_bytes())} bytes"


async def _only_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The floor of what is sent: all of it read, and one byte back."""
    while True:
        found = await reader.read(1 << 16)
        if not found or found.endswith(b"\x1c\r"):
            break
    writer.write(b"\r")
    writer.close()


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
