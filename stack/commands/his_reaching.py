"""Whether a source's place answers from this machine, before the bridge reads anything from it.

Opens a connection, a folder or a port; whoever answers is asked whether it lets us in and has what
the profile names, as a pull asks, and for no record. What records are worth `lipei his test` says.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_bulk import FhirBulkSettings
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.profiles.source_kinds.sql import STRAY_AT, SqlSettings, has_stray_at
from services.his_bridge.receiving.opening import CannotListen, opened

_ASK_S = 3.0
# By what a server's CapabilityStatement says of the profile's `$export`.
_EXPORTS = {
    True: "it says that it exports; `lipei his test` begins an export",
    False: "its CapabilityStatement (metadata) names no such $export: look at the profile's "
    "`export`; `lipei his test` begins one",
    None: "whether it exports it does not say; `lipei his test` begins an export",
}
# Where each kind of database listens when its URL does not say it.
_PORTS = {
    "postgresql": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "mssql": 1433,
    "oracle": 1521,
    "dm": 5236,
}


def reached(profile: SourceProfile, *, running: bool) -> str:
    """What was found at the place of a source, in words, without its user and password.

    `running`: a bridge of this installation runs, and may be who listens at its own port.
    """
    settings = profile.source
    if isinstance(settings, FilesSettings):
        return _folder(profile, settings.folder)
    if isinstance(settings, MllpSettings):
        return _port(settings, running=running)
    if isinstance(settings, SqlSettings):
        return _database(profile, settings)
    if isinstance(settings, FhirRestSettings):
        parts = urlsplit(settings.base_url)
        usual = 443 if parts.scheme == "https" else 80
        where, answers = _answers(parts.hostname or "", parts.port or usual)
        return _asked(profile, where) if answers else where
    raise TypeError("a kind of source that nobody can try")


def _asked(profile: SourceProfile, where: str) -> str:
    """What a source says that answers, in the words of a pull."""
    # Drivers and clients of sources: no other command needs them.
    from services.his_bridge.sources.asking import ask, names_export  # noqa: PLC0415 - heavy
    from services.his_bridge.trying import kinds_of  # noqa: PLC0415 - heavy

    kinds = kinds_of(profile)
    fault = asyncio.run(ask(profile, kinds))
    if fault is not None:
        if fault.reason == "SOURCE_AWAY":
            why = f"no answer that can be used comes ({fault.text}): check host and port"
            return f"{where} takes connections, and {why} [{fault.reason}]"
        return f"{where} answers, and cannot be read: {fault.text} [{fault.reason}]"
    if isinstance(profile.source, SqlSettings):
        return f"{where} answers, lets us in, and has the profile's tables and columns"
    found = f"{where} answers, lets us in, and can be searched for {', '.join(kinds)}"
    if isinstance(profile.source, FhirBulkSettings):
        found += f"; {_EXPORTS[asyncio.run(names_export(profile))]}"
    return found


def _answers(host: str, port: int) -> tuple[str, bool]:
    """Who answers there; or why nobody does, and False."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        socket.create_connection((host, port), timeout=_ASK_S).close()
    except socket.gaierror:
        return f"the name {host} leads nowhere from here", False
    except TimeoutError:
        return f"{where} does not answer within {_ASK_S:.0f} s: a firewall, or it is off", False
    except OSError as error:
        return f"{where} cannot be reached: {error.strerror or type(error).__name__}", False
    return where, True


def _database(profile: SourceProfile, settings: SqlSettings) -> str:
    if not settings.url:
        return f"the database's address is not set: export {settings.variable} before `lipei up`"
    from sqlalchemy import make_url  # noqa: PLC0415 - heavy, and for this source alone
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - as above

    try:
        url = make_url(settings.url)
    except ArgumentError:
        return f"{settings.variable} is no SQLAlchemy URL"
    if has_stray_at(url):
        return f"{settings.variable}: {STRAY_AT}"
    backend = url.get_backend_name()
    if backend == "sqlite":
        there = url.database is not None and os.access(url.database, os.R_OK)
        return _asked(profile, str(url.database)) if there else f"{url.database} cannot be read"
    port = url.port or _PORTS.get(backend)
    if not url.host or port is None:
        return f"the URL of {settings.variable} names no host and port to try"
    where, answers = _answers(url.host, port)
    return _asked(profile, where) if answers else where


def _folder(profile: SourceProfile, folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} is no folder: make it, for the sender and the bridge alone"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return f"{folder} is there, but who runs this may not read, write and enter it"
    from services.his_bridge.sources.asking import ask  # noqa: PLC0415 - heavy

    fault = asyncio.run(ask(profile, ()))
    if fault is not None:
        return f"{folder} is there, and cannot be read: {fault.text} [{fault.reason}]"
    kinds = sorted(one.name for one in folder.iterdir() if one.is_dir())
    if not kinds:
        return f"{folder} is there; the bridge makes the folders to drop into at its first pull"
    return f"{folder} is there, with the folders {', '.join(kinds)}"


def _port(settings: MllpSettings, *, running: bool) -> str:
    async def tried() -> None:
        server = await opened(settings, asyncio.Protocol)
        server.close()
        await server.wait_closed()

    try:
        asyncio.run(tried())
    except CannotListen as closed:
        own = "; it may be the bridge that runs here" if running else ""
        return f"{closed}{own}"
    return f"{settings.host}:{settings.port} is free to listen on"
