"""Between what operators do and the wire. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.type.v1.money_pb2 import Money
from services.common.moments import timestamp
from services.his_bridge.core.mapping import Side
from services.his_bridge.reconciling import Differing
from services.his_bridge.storage.code_maps import WaitingCode
from services.his_bridge.storage.reconciliations import Reconciled

KINDS = {
    Side.SERVICES: pb.CODE_KIND_SERVICES,
    Side.DIAGNOSES: pb.CODE_KIND_DIAGNOSES,
    Side.READINGS: pb.CODE_KIND_READINGS,
}


def unmapped(found: WaitingCode, currency: str) -> pb.UnmappedCode:
    """A code that records wait for."""
    return pb.UnmappedCode(
        kind=KINDS[found.side],
        system=found.system,
        code=found.code,
        record_count=found.records,
        at_stake=Money(currency_code=currency, minor_units=found.amount),
    )


def differences(name: str, found: Sequence[Differing]) -> list[pb.BillDifference]:
    """The bills that differ, below the comparison's name."""
    return [
        pb.BillDifference(
            name=f"{name}/differences/{place}",
            day=one.day.isoformat(),
            kind=pb.DifferenceKind.Value(f"DIFFERENCE_KIND_{one.kind.upper()}"),
            source_record=one.external_id,
        )
        for place, one in enumerate(found, start=1)
    ]


def reconciliation(hospital: str, found: Reconciled, currency: str) -> pb.Reconciliation:
    """A comparison, day by day."""
    return pb.Reconciliation(
        name=f"hospitals/{hospital}/reconciliations/{found.seq}",
        first_day=found.first.isoformat(),
        last_day=found.last.isoformat(),
        create_time=timestamp(found.at_us),
        agrees=found.agrees,
        days=[
            pb.DayReconciliation(
                day=day.day.isoformat(),
                source_count=day.source_count,
                source_total=Money(currency_code=currency, minor_units=day.source_minor),
                here_count=day.here_count,
                here_total=Money(currency_code=currency, minor_units=day.here_minor),
                waiting_count=day.waiting,
                missing_count=day.missing,
                extra_count=day.extra,
                other_total_count=day.other_total,
            )
            for day in found.days
        ],
    )
