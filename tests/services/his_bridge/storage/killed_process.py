"""A process that keeps and reads records, and kills itself before its nth statement."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import event

from services.common.database import Database
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.storage.hospital import STORY, Hospital


def main(url: str, hospital: str, statements: int) -> None:
    """Take the story up wherever it stands in the database."""
    database = Database(url)
    subject_keys(database)
    left = iter(range(statements))

    def strike(*_: Any) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "commit"):
        event.listen(database.engine, name, strike)
    Hospital(database, hospital).go_through(STORY)
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
