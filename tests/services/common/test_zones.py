"""What is a time zone: the same names on every machine."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from services.common.zones import zone_names


def test_every_name_is_a_zone_and_none_is_the_machines_own() -> None:
    names = zone_names()
    assert {"Asia/Shanghai", "Etc/UTC", "UTC", "Pacific/Kiritimati"} <= names
    assert not names & {"localtime", "Factory", "posixrules", "right/UTC", "posix/UTC", ""}
    assert ZoneInfo("Asia/Shanghai").key in names
