"""Whether a key file still holds the key under which a database was filled.

Under another key the same person is somebody else: nobody would find what goes to them, and an
erasure would leave what the real one has. So a lost file is refused, never made anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, Select, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from services.common.database import Database
from services.common.log import logger
from services.common.sealing.subject_keys import SubjectKeys
from services.common.sealing.tables import known_key_table
from services.common.settings import keys_pinned_anew
from services.common.state import KeyReplaced, load_or_make_key

known_key = known_key_table(MetaData())


def token_key(
    database: Database, keys: SubjectKeys, file: Path, version: str, *, members: Select[Any]
) -> bytes:
    """The key of member tokens of this version, made if the database knows no member yet. Blocks.

    `members` selects the database's members, whoever they are.

    Raises: KeyReplaced; UnknownSetting for a file that holds no key.
    """
    name, whose = f"member_token {version}", "members are known under"
    return known(database, keys, file, name=name, whose=whose, filled=members)


def known(
    database: Database,
    keys: SubjectKeys,
    file: Path,
    *,
    name: str,
    whose: str,
    filled: Select[Any],
) -> bytes:
    """The key in the file, of which a keyed fingerprint stays in the database. Blocks.

    It is made, or may be another one than before, only while `filled` selects nothing; but where a
    swapped one was taken for the right one, the operator may have it pinned anew by its kind.
    `whose` says what of the database is under the key, for whoever has to put it back.

    Raises: KeyReplaced; UnknownSetting for a file that holds no key.
    """
    asked = select(known_key.c.fingerprint).where(known_key.c.name == name)
    with database.reading() as connection:
        before = connection.execute(asked).scalar_one_or_none()
        # Another version of the key than the database was filled under is new, not lost.
        kind = name.partition(" ")[0]
        other = known_key.c.name.startswith(f"{kind} ", autoescape=True)
        new = before is None and connection.execute(select(known_key.c.name).where(other)).first()
    # But where one stood already, nobody can tell a lost file from one that is still to be made.
    needed = must_exist(database, file, whose=whose, filled=filled) and not new
    key = load_or_make_key(file)
    found = keys.fingerprint(key, table=known_key.name, column=name)
    if found == before:
        return key
    if needed and before is not None:
        if kind not in keys_pinned_anew():
            raise KeyReplaced(file, "holds another key", whose)
        logger().warning("key_pinned_anew", name=kind)
    with database.writing() as connection:
        if before is not None:  # nothing is under it, or the operator has put the right one there
            replaced = (known_key.c.name == name) & (known_key.c.fingerprint == before)
            connection.execute(delete(known_key).where(replaced))
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(
            dialect.insert(known_key).on_conflict_do_nothing(),
            {"name": name, "fingerprint": found, "at_us": keys.now_us()},
        )
        if connection.execute(asked).scalar_one() != found:
            raise KeyReplaced(file, "holds another key", whose)
    return key


def must_exist(database: Database, file: Path, *, whose: str, filled: Select[Any]) -> bool:
    """Whether `filled` selects anything, so that the key in the file is needed. Blocks.

    Raises: KeyReplaced when it is, and the file is not there.
    """
    with database.reading() as connection:
        needed = connection.execute(filled.limit(1)).first() is not None
    if needed and not file.exists():
        raise KeyReplaced(file, "is not there", whose)
    return needed
