"""What a member's months on target earn: what is kept of the member is read, and the core judges.

Stores nothing. Blocks, and so runs where the database's work runs: a year of readings takes
milliseconds to judge, which the event loop does not have.
"""

from __future__ import annotations

from datetime import date, tzinfo

import grpc

from services.common.access.tenant import Tenant, current_tenant
from services.common.dated import add_months
from services.common.refusals import Refused
from services.pricing.core.adherence import MONTHS_BEFORE, Supply
from services.pricing.core.incentive import (
    Beside,
    Incentive,
    assess,
    readable_days,
    window_of,
)
from services.pricing.core.months import HBA1C_REACHES_BACK
from services.pricing.core.outcome import Person
from services.pricing.core.programme import NoTargetInForce, Programme
from services.pricing.core.readings import Reading, measure
from services.pricing.judging import Shelf
from services.pricing.requests import Part
from services.pricing.serving import time_of
from services.pricing.storage.clearings import ClearingStore
from services.pricing.storage.medication import KeptSupply, MedicationStore
from services.pricing.storage.readings import Kept, ReadingStore


class Assessing:
    """Assesses members by what is kept of them now, as far as the caller's tenant may know it."""

    def __init__(
        self,
        shelf: Shelf,
        readings: ReadingStore,
        medication: MedicationStore,
        clearings: ClearingStore,
    ) -> None:
        self._shelf = shelf
        self._readings = readings
        self._medication = medication
        self._clearings = clearings

    def assessed(
        self, part: Part, programme: Programme, renewal: date, person: Person | None = None
    ) -> Incentive:
        """Months, run and share at a renewal; the credit too where the person is known.

        Raises: Refused when the programme has no target in force for what is judged.
        """
        first, after = readable_days(window_of(renewal), HBA1C_REACHES_BACK)
        tenant = current_tenant()
        kept = self._readings.readings_of(tenant, part.member_token, first, after)
        try:
            return assess(
                [_counted(entry) for entry in kept if not entry.reading.written.withdrawn],
                programme,
                self._readings.targets_of(tenant, part.member_token),
                renewal=renewal,
                expiring_start=part.expiring_start,
                zone=part.zone,
                cap=self._shelf.cap,
                person=person,
                beside=self._beside(tenant, part, programme, renewal),
            )
        except NoTargetInForce as missing:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                "NO_TARGET_IN_FORCE",
                f"the programme has {missing}; ask another version of it",
            ) from None

    def _beside(self, tenant: Tenant, part: Part, programme: Programme, renewal: date) -> Beside:
        cleared = self._clearings.cleared(tenant, part.member_token)
        if programme.adherence_on(renewal) is None:
            return Beside(cleared=cleared)
        window = window_of(renewal)
        first = add_months(window.first, -MONTHS_BEFORE)
        kept = self._medication.events_of(tenant, part.member_token, first, window.last)
        return Beside(tuple(_supply(entry, part.zone) for entry in kept), cleared)


def _counted(kept: Kept) -> Reading:
    measured = measure(kept.reading.written)
    if isinstance(measured, list):
        raise TypeError("a kept reading can no longer be read; a unit or code was taken away")
    return Reading(
        name=kept.reading.name,
        measured=measured,
        provenance=kept.reading.written.provenance,
        effective=time_of(kept.reading.effective_us),
        received=time_of(kept.received_us),
        recorder=kept.recorder,
        device=kept.reading.written.device or "",
    )


def _supply(kept: KeptSupply, zone: tzinfo) -> Supply:
    event = kept.event
    return Supply(
        name=event.name,
        kind=event.kind,
        drug=event.drug,
        first=event.first,
        days=event.days,
        received=time_of(kept.received_us).astimezone(zone).date(),
        recorder=kept.recorder,
    )
