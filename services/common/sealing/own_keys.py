"""The master keys of a database that may have been filled under them already."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from services.common.database import Database
from services.common.sealing.key_sources import master_keys
from services.common.sealing.master import RereadKeys
from services.common.sealing.subject_keys import subject_key
from services.common.settings import UnknownSetting, master_key_command, master_key_file


def master_keys_of(state: Path, database: Database) -> RereadKeys:
    """The installation's master keys, made at the first start of a new database only. Blocks.

    Raises: UnknownSetting when they cannot be used, or are gone while the database needs them.
    """
    file = master_key_file(state)
    if not master_key_command() and not file.exists():
        with database.reading() as connection:
            needed = connection.execute(select(subject_key.c.subject).limit(1)).first() is not None
        if needed:
            raise UnknownSetting(
                f"the master key file {file.name} is not there, and this database is sealed under "
                "its keys: put it back from its backup; nothing was written"
            )
    return master_keys(state)
