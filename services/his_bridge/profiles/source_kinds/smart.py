"""Who the bridge is to a FHIR server that demands SMART backend services."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.port import Context

KEY_FILE_VARIABLE = "LIPEI_HIS_BRIDGE_SMART_KEY_FILE_"
ALGORITHMS = ("RS384", "ES384")
_SCOPE = r"system/(?:\*|[A-Z][A-Za-z]{1,63})\.(?:read|write|\*|c?r?u?d?s?)"


class SmartClient(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are to one server. The key is read anew for every token, so it may be changed."""

    client_id: str
    key_file: Path
    algorithm: str = "RS384"
    key_id: str | None = None
    scopes: tuple[str, ...] = ("system/*.read",)
    token_url: str | None = None


def read_smart(section: Section, context: Context) -> SmartClient | None:
    """The `auth` section of a source; None without it."""
    if not section.has("auth"):
        return None
    auth = section.section("auth", required=True)
    client_id = auth.text("client_id", r"[!-~]{1,200}")
    key_file = auth.text("key_file", r"/[^\x00]{1,400}", required=False)
    variable = KEY_FILE_VARIABLE + context.hospital.upper().replace("-", "_")
    key_file = context.environ.get(variable, key_file)
    if not key_file:
        text = f"give the private key's file here (a whole path), or as {variable}"
        auth.fault("key_file", "MISSING", text)
    scopes = auth.texts("scopes") or ("system/*.read",)
    auth.check("scopes", scopes, _SCOPE)
    token_url = auth.text("token_url", r"https?://[!-~]{1,400}", required=False)
    if token_url is not None:
        _check_token_url(auth, token_url)
    found = SmartClient(
        client_id=client_id or "",
        key_file=Path(key_file or "/"),
        algorithm=auth.text("algorithm", "|".join(ALGORITHMS), required=False) or ALGORITHMS[0],
        key_id=auth.text("key_id", r"[!-~]{1,200}", required=False),
        scopes=scopes,
        token_url=token_url,
    )
    auth.close()
    return found


def _check_token_url(auth: Section, url: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.fragment:
        auth.fault("token_url", "BASE_URL", "must carry no user, password or fragment")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        auth.fault("token_url", "PLAIN_HTTP", "a token over plain http is anybody's; use https")
