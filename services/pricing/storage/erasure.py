"""Erasing a person from the pricing database by destroying their key; changes no row of content."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.common.access.tenant import Tenant
from services.common.database import Database
from services.common.sealing import SubjectKeys, erasures, members
from services.common.sealing.tables import MEMBER, SUBJECT_KEY
from services.pricing.storage import quotes, readings
from services.pricing.storage.tables import available
from services.pricing.storage.tenancy import find


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """How much was erased."""

    keys: int = 0
    readings: int = 0
    targets: int = 0
    tasks: int = 0
    quotes: int = 0


class NothingKept(LookupError):
    """Nothing is kept about this member, nor a quote under these policies."""


_encode = msgspec.json.Encoder(order="deterministic").encode
_ERASURE = msgspec.json.Decoder(Erasure)


class Erasures:
    """Erases. Its method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self._database = database
        self._keys = keys

    def erase(
        self,
        tenant: Tenant,
        request_id: str,
        member_token: str,
        policies: Sequence[str],
        now_us: int,
        by: erasures.By = erasures.NOBODY_SAID,
    ) -> Erasure:
        """Erase an insurer's member, and its quotes without a member under the policies.

        The person is erased for the whole service, not for the insurer alone.

        Raises: NothingKept; OtherErasure when the request_id was used with other content.
        """
        content = _encode((member_token, sorted(set(policies))))
        with available(), self._database.writing() as connection:
            sealer = self._keys.sealer(connection)
            known = erasures.answered(connection, sealer, request_id, content)
            if known is not None:
                return _ERASURE.decode(known)
            destroyed = found_quotes = 0
            member = find(connection, sealer, tenant, member_token)
            insurer = tenant.required_insurer()
            subjects = [quotes.policy_subject(insurer, policy) for policy in sorted(set(policies))]
            subjects = [one for one in subjects if quotes.count(connection, one)]
            counts = (0, 0, 0)
            if member is not None:
                subjects.insert(0, members.subject_of(member))
                counts = readings.counts_of(connection, member)
            for subject in subjects:
                found_quotes += quotes.count(connection, subject)
                destroyed += sealer.destroy(subject)
            if not destroyed:
                raise NothingKept
            if member is not None:
                members.forget(connection, sealer, member_token, now_us)
            done = Erasure(
                keys=destroyed,
                readings=counts[0],
                targets=counts[1],
                tasks=counts[2],
                quotes=found_quotes,
            )
            erasures.remember(
                connection,
                sealer,
                request_id,
                content,
                member=member or "",
                answer=_encode(done),
                now_us=now_us,
                by=by,
            )
        for table in (SUBJECT_KEY, MEMBER):
            self._database.scrub(table)
        return done
