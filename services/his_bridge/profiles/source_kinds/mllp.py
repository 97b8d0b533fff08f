"""A port on which a hospital's interface engine sends HL7 v2 over MLLP: `source: {kind: mllp}`.

MLLP knows no caller: who may connect is a list of networks, and outside this machine the profile
must say whether the hospital's certificate encrypts the line.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.port import Context

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[0-9.]{7,15}):(?P<port>[0-9]{1,5})")
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_PATH = r"/[!-~]{1,300}"


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The hospital's certificate and key; with `authority` a sender must have one of it, too."""

    certificate: str
    key: str
    authority: str | None = None


class MllpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, to whom, and within which bounds."""

    host: str = "127.0.0.1"
    port: int = 0
    allow_from: tuple[str, ...] = _LOOPBACK
    tls: TlsFiles | None = None
    max_message_mib: int = 10
    max_connections: int = 64
    in_flight_mib: int = 16
    idle_s: int = 3_600
    message_s: int = 60

    @property
    def scope(self) -> tuple[str, ...]:
        """Nothing is read from a place that could change."""
        return ()


def read(section: Section, _: Context) -> MllpSettings:
    """The settings; without any, this machine alone, on a port that is free."""
    usual = MllpSettings()
    host, port = _address(section, usual)
    own = section.section("tls")
    tls = None
    if section.has("tls"):
        tls = TlsFiles(
            certificate=own.text("certificate", _PATH) or "",
            key=own.text("key", _PATH) or "",
            authority=own.text("authority", _PATH, required=False),
        )
        own.close()
    allowed = _networks(section)
    plain = section.flag("allow_plain_mllp", False)
    if not ipaddress.ip_address(host).is_loopback:
        if not section.has("allow_from"):
            text = "MLLP knows no caller: list the addresses of the senders"
            section.fault("allow_from", "MISSING", text)
        if tls is None and not plain:
            text = "patients' records over a plain line; give tls, or set allow_plain_mllp: true"
            section.fault("listen", "PLAIN_MLLP", text)
    settings = MllpSettings(
        host=host,
        port=port,
        allow_from=allowed or usual.allow_from,
        tls=tls,
        max_message_mib=section.whole("max_message_mib", usual.max_message_mib, low=1, high=64),
        max_connections=section.whole("max_connections", usual.max_connections, low=1, high=1_000),
        in_flight_mib=section.whole("in_flight_mib", usual.in_flight_mib, low=1, high=1_024),
        idle_s=section.whole("idle_s", usual.idle_s, low=1, high=86_400),
        message_s=section.whole("message_s", usual.message_s, low=1, high=600),
    )
    if settings.in_flight_mib < settings.max_message_mib:
        section.fault("in_flight_mib", "NUMBER", "must be at least max_message_mib")
    return settings


def _address(section: Section, usual: MllpSettings) -> tuple[str, int]:
    text = section.text("listen", required=False)
    if text is None:
        return usual.host, usual.port
    found = _LISTEN.fullmatch(text)
    try:
        if found is None or int(found["port"]) > 65_535:
            raise ValueError
        host = str(ipaddress.ip_address(found["host"].strip("[]")))
    except ValueError:
        section.fault("listen", "ADDRESS", "must be an IP address and a port, as 127.0.0.1:2575")
        return usual.host, usual.port
    return host, int(found["port"])


def _networks(section: Section) -> tuple[str, ...]:
    found = []
    for text in section.texts("allow_from"):
        try:
            found.append(str(ipaddress.ip_network(text)))
        except ValueError:
            section.fault("allow_from", "NETWORK", "must list networks such as 10.1.2.3/32")
    return tuple(found)
