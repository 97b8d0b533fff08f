"""Record the history of a renewal anew: `python -m tests.histories.record_renewal`.

As `record`, whose words on what a history that no longer replays means hold here too; a renewal
needs no hospital, only Temporal and a book.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from lipei.pricing.v1 import renewal_work_pb2 as pb
from services.common.temporal import names, renewals
from services.common.temporal.connection import connect
from services.pricing.fitting.renewal.plan import plan_of
from services.pricing.tariffs.loader import example_tariffs
from tests.histories.record import KEY_FILE, write_history
from tests.services.pricing.fitting.renewal.books import people, work, write_book
from tests.temporal import temporal
from workflows.renewal_steps import RenewalSteps
from workflows.worker import renewals_worker

KEY = "0123456789abcdef"


def main() -> None:
    """Run, fetch, write."""
    os.environ["LIPEI_TEMPORAL_CODEC_KEY_FILE"] = str(KEY_FILE)
    with tempfile.TemporaryDirectory(prefix="lipei-record-") as folder:
        state = Path(folder)
        with temporal(state):
            asyncio.run(_record(state))


async def _record(state: Path) -> None:
    made = work(write_book(state / "book.parquet", people(200)), state / "renewal", shards=12)
    plan = plan_of(made, example_tariffs() / "diabetes-hypertension-demo.json").decode()
    client, steps = await connect(state), RenewalSteps()
    await renewals.start_renewal(state, KEY, pb.RenewBookWork(plan=plan, shards=12))
    await renewals.signal_renewal(state, KEY, "pause")
    async with renewals_worker(client, steps, 2):
        await renewals.renewal_progress(state, KEY)
        await renewals.signal_renewal(state, KEY, "resume")
        handle = client.get_workflow_handle(names.renew_book_id(KEY))
        await handle.result()
        await steps.close()
    await write_history(client, handle.id, "", f"{names.RENEW_BOOK}-0")


if __name__ == "__main__":
    main()
