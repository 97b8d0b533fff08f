"""For plain HTTP: without it each call would read every authority that this machine trusts."""

from __future__ import annotations

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
