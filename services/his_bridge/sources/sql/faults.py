"""What a database's refusal means for a pull. Knows no statement; no value leaves with a fault.

Drivers tell faults by numbers, and their texts quote values: only the kind of fault is passed on.
"""

from __future__ import annotations

import re
import sqlite3

from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from services.his_bridge.sources.port import SourceFault

COME_BACK_S = 30.0

AWAY = "SOURCE_AWAY"
REFUSES = "SOURCE_REFUSES"
CERTIFICATE = "SOURCE_CERTIFICATE_REFUSED"
NO_TLS = "SOURCE_TLS_REFUSED"
TOO_SLOW = "SOURCE_TOO_SLOW"
SHAPE = "SOURCE_SHAPE"
TOO_LARGE = "SOURCE_TOO_LARGE"
DRIVER_MISSING = "SOURCE_DRIVER_MISSING"
UNEXPECTED = "SOURCE_UNEXPECTED"

# Backend of the URL: the driver that we load, and the extra of this package that installs it.
DRIVERS = {
    "postgresql": ("postgresql+psycopg", ""),
    "sqlite": ("sqlite", ""),
    "oracle": ("oracle+oracledb", "oracle"),
    "mssql": ("mssql+pymssql", "sqlserver"),
    "mysql": ("mysql+pymysql", "mysql"),
    "mariadb": ("mariadb+pymysql", "mysql"),
}

# By SQLSTATE class or code (PostgreSQL), and by the numbers of the others' drivers.
_STATES = {"28": REFUSES, "42501": REFUSES, "57014": TOO_SLOW, "55P03": TOO_SLOW, "08": AWAY}
_STATES |= {"42": SHAPE, "22": SHAPE, "3D": REFUSES, "57": AWAY, "53": AWAY, "40": AWAY}
_NUMBERS = {
    REFUSES: (1044, 1045, 1142, 1143, 1227, 1698, 18456, 4060, 229, 230, 916, 1017, 1031, 28000),
    TOO_SLOW: (3024, 1205, 1317, 20003, 1013, 4024),
    SHAPE: (1146, 1054, 208, 207, 942, 904, 1722, 932, 8114, 245),
}
_NUMBER = re.compile(r"(?:ORA|DPY)-0*(\d+)")
# Without a number: PostgreSQL before a login succeeded, and SQLite. Servers may speak Chinese.
_TEXTS = (
    (
        CERTIFICATE,
        re.compile("(?i)certificate verify failed|root certificate|does not match host name"),
    ),
    (NO_TLS, re.compile("does not support SSL|SSL connection is required|WRONG_VERSION_NUMBER")),
    (REFUSES, re.compile("authentication|认证|pg_hba|permitted to log in|does not exist|不存在")),
    # Of a connection that never was: no statement was slow.
    (AWAY, re.compile("timeout expired")),
    (TOO_SLOW, re.compile("interrupted|timeout|timed out")),
    (SHAPE, re.compile("no such (table|column)|datatype mismatch")),
)
_SENTENCES = {
    AWAY: "the database cannot be reached",
    REFUSES: "the database refuses our login, or the right to read; check the account",
    CERTIFICATE: (
        "the database's certificate is for another name, ran out, or is of no authority that "
        "the URL (sslrootcert) or this machine trusts"
    ),
    NO_TLS: "the database speaks no TLS, and the URL asks for it",
    TOO_SLOW: "the database did not answer in timeout_s; index the columns of the cursor",
    SHAPE: "the database does not understand the statement; check tables, columns and their types",
    TOO_LARGE: "a cell is far larger than the profile's max_body_mib; look for it in the view",
    UNEXPECTED: "the database failed on the statement",
}
_WAIT = {AWAY, TOO_SLOW}


def fault_of(error: SQLAlchemyError) -> SourceFault:
    """The fault that a driver's error means; waiting helps when it is away or too slow."""
    if isinstance(error, NoConnectionFree):  # every connection is busy with a slow statement
        return made(TOO_SLOW)
    if not isinstance(error, DBAPIError):
        return made(UNEXPECTED)
    if is_too_large(error):
        return made(TOO_LARGE)
    gone = isinstance(error, OperationalError | InterfaceError)
    return made(_reason_of(error.orig) or (AWAY if gone else UNEXPECTED))


def is_too_large(error: DBAPIError) -> bool:
    """Whether SQLite refused to read a cell because of its size."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG


def made(reason: str) -> SourceFault:
    """A fault with the sentence of its reason."""
    wait = COME_BACK_S if reason in _WAIT else None
    return SourceFault(reason, _SENTENCES[reason], retry_after_s=wait)


def driver_missing(backend: str, error: ImportError | NoSuchModuleError) -> SourceFault:
    """The sentence that says how to get a driver."""
    _, extra = DRIVERS.get(backend, ("", ""))
    if extra:
        text = f"the driver for {backend} is not installed: pip install 'lipei[{extra}]'"
    else:
        text = f"no driver for {backend} databases ({type(error).__name__})"
    return SourceFault(DRIVER_MISSING, text)


def _reason_of(error: BaseException | None) -> str | None:
    state = str(getattr(error, "sqlstate", None) or "")
    for known in (state, state[:2]):
        if known in _STATES:
            return _STATES[known]
    text = str(error)
    number = _number_of(error, text)
    for reason, numbers in _NUMBERS.items():
        if number in numbers:
            return reason
    for reason, pattern in _TEXTS:
        if pattern.search(text):
            return reason
    return None


def _number_of(error: BaseException | None, text: str) -> int | None:
    found = _NUMBER.search(text)
    if found is not None:
        return int(found[1])
    first = error.args[0] if error is not None and error.args else None
    if isinstance(first, tuple) and first:
        first = first[0]  # pymssql wraps number and text
    return first if isinstance(first, int) else None
