"""How a process's own certificate stands: good, expired or revoked; said once for each change.

A caller whose certificate is no good is refused by everybody, and its own work is only retried: it
must say so itself. It looks at its files, and hears what services answer, for the list of revoked
certificates beside it may be an older one than theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from cryptography import x509

from services.common.log import logger
from services.common.refusals import Refused, error_of
from services.common.transport.certificates import TlsFiles
from services.common.transport.revocation import RevocationList

EXPIRED, REVOKED, MISSING = "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "CERTIFICATE_MISSING"
STALE = "REVOCATION_LIST_STALE"
# Reason → what helps, in the log's words; REMEDIES_SAID has the sentences.
REMEDIES = {
    EXPIRED: "issue_certificate",
    REVOKED: "issue_certificate",
    MISSING: "issue_certificate",
    STALE: "renew_revocation_list",
}
_OTHER_REMEDY = "ask_operator"
_ISSUE = "start `lipei up` anew, or `lipei identity issue` one and put its files in place"
SAID = {
    EXPIRED: f"its certificate has expired; {_ISSUE}",
    REVOKED: f"its certificate was revoked, and services refuse it; {_ISSUE}",
    MISSING: f"its certificate is missing or cannot be read; {_ISSUE}",
    STALE: "the list of revoked certificates is not current; its operator must renew it",
}
LOOK_EVERY_S = 15.0


def standing(files: TlsFiles, now_s: Callable[[], float] = time.time) -> str:
    """Why the certificate in these files would be refused now, a stable reason; empty: it is good.

    By the list of revoked ones that stands beside it, where there is one.
    """
    try:
        pem = files.certificate.read_bytes()
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except (OSError, ValueError):
        return MISSING
    if now_s() >= certificate.not_valid_after_utc.timestamp():
        return EXPIRED
    if not files.revocation.exists():  # another machine's may have none: services decide
        return ""
    known = RevocationList(files.revocation, files.authority, now_s)
    try:
        known.check(certificate.issuer.public_bytes(), certificate.serial_number)
    except Refused as refused:
        return refused.reason
    return ""


class Standing:
    """What a caller knows of its own certificate, from its files and from each service's answers.

    `what` is the process's queue, for the log. Says each change once: a refusal that lasts, and is
    met with every retry, is one line.
    """

    def __init__(self, files: TlsFiles, what: str, now_s: Callable[[], float] = time.time) -> None:
        self._files = files
        self._what = what
        self._now_s = now_s
        self._reasons: dict[str, str] = {}
        self._told = ""

    def look(self) -> None:
        """Judge by the files."""
        self._hear("", standing(self._files, self._now_s))

    async def watch(self, every_s: float = LOOK_EVERY_S) -> None:
        """Judge by the files again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(every_s)

    def hearing(self, service: str) -> grpc.aio.UnaryUnaryClientInterceptor:
        """What listens to a service's answers on a channel."""
        return _Hearing(lambda reason: self._hear(service, reason))

    def _hear(self, source: str, reason: str) -> None:
        self._reasons[source] = reason
        now = next((one for _, one in sorted(self._reasons.items()) if one), "")
        if now == self._told:
            return
        self._told = now
        if now:
            remedy = REMEDIES.get(now, _OTHER_REMEDY)
            logger().error("certificate_refused", queue=self._what, reason=now, remedy=remedy)
        else:
            logger().info("certificate_accepted", queue=self._what)


class _Hearing(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, hear: Callable[[str], None]) -> None:
        self._hear = hear

    async def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Awaitable[Any]],
        client_call_details: Any,
        request: Any,
    ) -> Any:
        call = await continuation(client_call_details, request)
        code = await call.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            try:
                await call
            except grpc.RpcError as error:
                self._hear(error_of(error).reason)
        elif code is not grpc.StatusCode.UNAVAILABLE:  # nobody judged it
            self._hear("")
        return call
