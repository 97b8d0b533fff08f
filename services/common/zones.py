"""Which names are time zones: those of the IANA database, the same on every machine."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

# Files beside the zones: the server's own clock setting, a zone of no place, a default of POSIX.
_NO_ZONES = frozenset({"localtime", "Factory", "posixrules"})


@cache
def zone_names() -> frozenset[str]:
    """Every name that a file, a message or a setting may give as its zone.

    `ZoneInfo` opens more: under "localtime" the server's own, on which no day may hang.

    >>> "Asia/Shanghai" in zone_names(), "localtime" in zone_names()
    (True, False)
    """
    return frozenset(available_timezones() - _NO_ZONES)
