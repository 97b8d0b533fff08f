"""Whether a key file still holds the key under which this database's members are known.

Under another key the same person is somebody else: bills would go to members whom nobody can find,
and an erasure would leave what the real one has.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from services.common.database import Database
from services.common.sealing import SubjectKeys
from services.common.sealing.members import member
from services.common.state import load_or_make_key
from services.his_bridge.storage.tables import known_key


class KeyReplaced(ValueError):
    """A key file is gone, or holds another key than before; the text says which and what to do."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(
            f"the key file {file.name} {what}, and this database's members are known under the key "
            "that it held: put that back from its backup; nothing was written"
        )


def token_key(database: Database, keys: SubjectKeys, file: Path, version: str) -> bytes:
    """The key of member tokens of this version, made if the database knows no member yet. Blocks.

    Raises: KeyReplaced; UnknownSetting for a file that holds no key.
    """
    name = f"member_token {version}"
    with database.reading() as connection:
        asked = select(known_key.c.fingerprint).where(known_key.c.name == name)
        known = connection.execute(asked).scalar_one_or_none()
        bound = (
            known is not None
            and connection.execute(select(member.c.id).limit(1)).first() is not None
        )
    if bound and not file.exists():
        raise KeyReplaced(file, "is not there")
    key = load_or_make_key(file)
    found = keys.fingerprint(key, table=known_key.name, column=name)
    if found == known:
        return key
    if bound:
        raise KeyReplaced(file, "holds another key")
    with database.writing() as connection:
        if known is not None:  # of no member: the operator has put the right one there
            replaced = (known_key.c.name == name) & (known_key.c.fingerprint == known)
            connection.execute(delete(known_key).where(replaced))
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(
            dialect.insert(known_key).on_conflict_do_nothing(),
            {"name": name, "fingerprint": found, "at_us": keys.now_us()},
        )
        if connection.execute(asked).scalar_one() != found:
            raise KeyReplaced(file, "holds another key")
    return key
