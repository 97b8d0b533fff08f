"""Which of the records here are about a member: for the list of who read them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from services.common.sealing import Sealer, members
from services.his_bridge.storage.sealed import patient
from services.his_bridge.storage.tables import consent, released_bill


def records_about(
    connection: Connection, sealer: Sealer, hospitals: Iterable[str], token: str
) -> list[str]:
    """Names of the bills and consents of a member at these hospitals; none after an erasure.

    Readings stand below the member's name. What waits in quarantine is nobody's yet.
    """
    patients = [patient(hospital, token) for hospital in hospitals]
    mine = list(members.find_all(connection, sealer, patients).values())
    if not mine:
        return []
    bills = select(released_bill.c.hospital, released_bill.c.name)
    consents = select(consent.c.hospital, consent.c.consent_id)
    return [
        *(
            f"hospitals/{row.hospital}/bills/{row.name}"
            for row in connection.execute(bills.where(released_bill.c.member.in_(mine)))
        ),
        *(
            f"hospitals/{row.hospital}/consents/{row.consent_id}"
            for row in connection.execute(consents.where(consent.c.member.in_(mine)))
        ),
    ]
