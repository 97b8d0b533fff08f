"""Erasing what is held about a person by destroying its keys; changes no row of content."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.common.access.tenant import Tenant
from services.common.database import Database
from services.common.sealing import SubjectKeys, erasures, members
from services.common.sealing.tables import MEMBER, SUBJECT_KEY
from services.pricing.storage import quotes, readings, tenancy
from services.pricing.storage.tables import available, holding


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """How much was erased."""

    keys: int = 0
    readings: int = 0
    targets: int = 0
    tasks: int = 0
    quotes: int = 0
    medications: int = 0
    clearings: int = 0


class NothingKept(LookupError):
    """The tenant keeps nothing about this member, nor a quote under these policies."""


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
        *,
        dry_run: bool = False,
    ) -> Erasure:
        """Erase what the tenant may erase of a member (`tenancy.erasable`), and no one else's.

        An insurer's quotes under the policies that name no member go with it. A dry run says the
        same and erases nothing.

        Raises: NothingKept; OtherErasure when the request_id was used before and there is something
        to erase.
        """
        with available(), self._database.writing(dry_run=dry_run) as connection:
            sealer = self._keys.sealer(connection)
            known = erasures.answered(connection, request_id)
            member = tenancy.locked_member(connection, sealer, member_token)
            held = {} if member is None else tenancy.holders(connection, [member])[member]
            gone = tenancy.erasable(held, tenant)
            subjects = [tenancy.subject_of(one) for one in gone]
            if tenant.insurer is not None:
                named = {quotes.policy_subject(tenant.insurer, policy) for policy in policies}
                subjects += sorted(one for one in named if quotes.count(connection, one))
            counts = readings.counts_of(connection, gone)
            found_quotes = sum(quotes.count(connection, subject) for subject in subjects)
            destroyed = sum(sealer.destroy(subject) for subject in subjects)
            if known is not None:
                if gone or destroyed:
                    raise erasures.OtherErasure  # which rolls the destruction back
                return _ERASURE.decode(known)
            if not gone and not destroyed:
                raise NothingKept
            tenancy.let_go(connection, gone, now_us)
            if len(gone) == len(held):  # nobody holds anything about them any more
                members.forget(connection, sealer, member_token, now_us)
            done = Erasure(
                keys=destroyed,
                quotes=found_quotes,
                **counts,
            )
            erasures.remember(
                connection,
                request_id,
                member=member or "",
                answer=_encode(done),
                now_us=now_us,
                by=by,
            )
        for table in () if dry_run else (SUBJECT_KEY, MEMBER, holding.name):
            self._database.scrub(table)
        return done
