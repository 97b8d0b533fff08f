"""A FHIR server that is searched: its base URL, which the environment may replace."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import msgspec

from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.port import Context

BASE_URL_VARIABLE = "LIPEI_HIS_BRIDGE_BASE_URL_"


class FhirRestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is."""

    base_url: str

    @property
    def scope(self) -> tuple[str, ...]:
        """Another server is another source."""
        return (self.base_url,)


def read(_: Section, context: Context) -> FhirRestSettings:
    """The settings; `base_url` stands at the profile's top."""
    return FhirRestSettings(base_url=base_url_of(context))


def base_url_of(context: Context) -> str:
    """A FHIR server's address, without a slash at its end."""
    top = context.top
    url = top.text("base_url", r"https?://[!-~]{1,400}") or ""
    variable = BASE_URL_VARIABLE + context.hospital.upper().replace("-", "_")
    url = context.environ.get(variable, url)
    parts = urlsplit(url)
    plain_allowed = top.flag("allow_plain_http", False)
    if parts.username or parts.password or parts.query or parts.fragment:
        top.fault("base_url", "BASE_URL", "must carry no user, password, query or fragment")
    if parts.scheme == "http" and not plain_allowed and not _is_loopback(parts.hostname or ""):
        text = "patients' records over plain http; use https, or set allow_plain_http: true"
        top.fault("base_url", "PLAIN_HTTP", text)
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
