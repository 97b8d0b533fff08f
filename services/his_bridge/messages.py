"""Between the bridge's own values and the wire. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from lipei.his_bridge.v1 import consent_pb2
from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.type.v1 import bill_pb2, coding_pb2, money_pb2, reading_pb2
from services.common.moments import timestamp
from services.his_bridge.core import bill as core
from services.his_bridge.core import features
from services.his_bridge.core.faults import Fault, stage_of
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.receiving.opening import ADVICE
from services.his_bridge.storage.holding import PURPOSES
from services.his_bridge.storage.last_pulls import ChannelStatus
from services.his_bridge.storage.lists import Waiting
from services.his_bridge.storage.pull_progress import Progress
from services.his_bridge.storage.record_counts import RecordCounts
from services.his_bridge.storage.showing import ShownBill, ShownReading
from services.his_bridge.storage.withheld import ERASED, WITHHELD, Uncovered

_FAULTS = msgspec.json.Decoder(list[Fault])
_TEXTS = msgspec.json.Decoder(list[str])
_TIERS: dict[core.Tier | None, bill_pb2.HospitalTier.ValueType] = {
    None: bill_pb2.HOSPITAL_TIER_UNSPECIFIED,
    core.Tier.PRIMARY: bill_pb2.HOSPITAL_TIER_PRIMARY,
    core.Tier.SECONDARY: bill_pb2.HOSPITAL_TIER_SECONDARY,
    core.Tier.TERTIARY: bill_pb2.HOSPITAL_TIER_TERTIARY,
}


def released_bill(shown: ShownBill) -> pb.ReleasedBill:
    """A released bill, the consent that covers it, and what became of it."""
    row, consent_id = shown.row, shown.consent_id
    name = f"hospitals/{row.hospital}/bills/{row.name}"
    if consent_id is None:
        found = bare_reversal(shown.bill, name=name)
    else:
        consent = f"hospitals/{row.hospital}/consents/{consent_id}"
        found = bill(shown.bill, name=name, kind=row.kind, consent=consent)
    return pb.ReleasedBill(
        bill=found,
        receive_time=timestamp(row.received_us),
        release_time=timestamp(row.released_us),
        delivery=pb.Delivery(
            state=pb.DeliveryState.Value(f"DELIVERY_STATE_{row.delivery}"),
            claims=_TEXTS.decode(row.claims),
            refusal_reasons=_TEXTS.decode(row.refusal_reasons),
        ),
    )


def bare_reversal(found: core.Bill, *, name: str) -> bill_pb2.Bill:
    """Which bill is taken back, and nothing else of it: no consent lets more out."""
    return bill_pb2.Bill(
        name=name,
        bill_number=found.bill_number,
        provider_id=found.provider_id,
        kind=bill_pb2.BILL_KIND_REVERSAL,
    )


def bill(found: core.Bill, *, name: str, kind: str, consent: str = "") -> bill_pb2.Bill:
    """A bill on the wire."""
    message = bill_pb2.Bill(
        name=name,
        bill_number=found.bill_number,
        provider_id=found.provider_id,
        hospital_tier=_TIERS[found.tier],
        kind=bill_pb2.BillKind.Value(f"BILL_KIND_{kind}"),
        member_token=found.member_token,
        care_type=bill_pb2.CareType.Value(f"CARE_TYPE_{found.care_type}"),
        start_time=_time(found.start),
        end_time=_time(found.end),
        time_zone=found.zone,
        diagnoses=[
            bill_pb2.Diagnosis(
                number=entry.number, code=_coding(entry.code), principal=entry.principal
            )
            for entry in found.diagnoses
        ],
        lines=[_line(line, found.currency) for line in found.lines],
        total=_money(found.total, found.currency),
        consent=consent,
        licences=[bill_pb2.Licence.Value(f"LICENCE_{one}") for one in found.licences],
        emergency_admission=bool(found.emergency)
        and found.care_type is not core.CareType.EMERGENCY,
    )
    social = found.social_insurance
    if social is not None:
        message.social_insurance.CopyFrom(
            bill_pb2.SocialInsurance(
                used=social.used,
                fund_paid=_money(social.fund_paid, found.currency),
                account_paid=_money(social.account_paid, found.currency),
            )
        )
    return message


def clinical_features(found: core.Bill) -> pb.ClinicalFeatures:
    """A bill's features, of nobody."""
    zone = ZoneInfo(found.zone)
    first, last = (moment.astimezone(zone).date() for moment in (found.start, found.end))
    told = features.clinical_features(found, first, last)
    return pb.ClinicalFeatures(
        care_type=bill_pb2.CareType.Value(f"CARE_TYPE_{told.care_type}"),
        hospital_tier=_TIERS[told.tier],
        care_year=told.care_year,
        days_of_stay=told.days_of_stay,
        diagnoses=map(_coded, told.diagnoses),
        services=[
            pb.ServiceFeature(
                code=_coded(entry.code),
                quantity=_plain(entry.quantity),
                billed_minor_units=entry.billed,
            )
            for entry in told.services
        ],
        currency_code=told.currency,
        total_minor_units=told.total,
    )


def reading(shown: ShownReading) -> reading_pb2.Reading:
    """A reading on the wire; received when the hospital released it, else when we saw it.

    Without a consent it is taken back: no more is said than which one.
    """
    row, found, consent_id = shown.row, shown.reading, shown.consent_id
    if consent_id is None:
        return reading_pb2.Reading(
            name=f"members/{found.member_token}/readings/{row.name}",
            member_token=found.member_token,
            provenance=reading_pb2.ReadingProvenance.Value(
                f"READING_PROVENANCE_{found.provenance}"
            ),
            withdrawn=True,
            release=row.seq,
        )
    fasting = (
        reading_pb2.FASTING_STATUS_FASTING
        if found.fasting
        else reading_pb2.FASTING_STATUS_UNSPECIFIED
    )
    return reading_pb2.Reading(
        name=f"members/{found.member_token}/readings/{row.name}",
        member_token=found.member_token,
        code=_coding(found.code),
        value=_plain(found.value),
        unit=found.unit,
        effective_time=_time(found.effective),
        provenance=reading_pb2.ReadingProvenance.Value(f"READING_PROVENANCE_{found.provenance}"),
        receive_time=timestamp(row.received_us) if found.issued is None else _time(found.issued),
        fasting_status=fasting,
        device=found.device or "",
        withdrawn=found.withdrawn,
        release=row.seq,
        consent=f"hospitals/{row.hospital}/consents/{consent_id}",
    )


def quarantined(waiting: Waiting, *, parked: bool = False) -> pb.QuarantinedRecord:
    """A record that waits for a person: the source's id, faults, no values but the total."""
    row = waiting.row
    faults = _FAULTS.decode(row.faults)
    record = pb.QuarantinedRecord(
        name=f"hospitals/{row.hospital}/{'parked' if parked else 'quarantine'}/{row.name}",
        stage=str(stage_of(faults)),
        faults=[
            pb.RecordFault(reason=str(fault.reason), path=fault.path, text=fault.text)
            for fault in faults
        ],
        quarantine_time=timestamp(row.at_us),
        source_record=waiting.external_id,
        source_version=row.version,
    )
    if not parked and row.total_minor is not None:
        record.total.CopyFrom(
            money_pb2.Money(currency_code=row.currency, minor_units=row.total_minor)
        )
    return record


def channel_status(found: ChannelStatus, zone: ZoneInfo) -> pb.ChannelStatus:
    """How the last pull of a channel went."""
    return pb.ChannelStatus(
        channel=found.channel,
        last_success_time=None if found.success_us is None else timestamp(found.success_us),
        last_attempt_time=None if found.attempt_us is None else timestamp(found.attempt_us),
        last_failure_reason=found.failure,
        inbox_waiting_count=found.unread,
        held_count=found.held,
        quarantined_count=found.quarantined,
        parked_count=found.parked,
        oldest_parked_time=None if found.parked_us is None else timestamp(found.parked_us),
        failure_count=found.failures,
        left_alone_until_time=timestamp(found.left_alone_until_us)
        if found.left_alone_until_us
        else None,
        catch_up=None if found.progress is None else _catch_up(found.progress, zone),
        records=None if found.records is None else _record_counts(found.records),
    )


def listen_failure(found: Listener | None) -> pb.ListenFailure | None:
    """Why a hospital's port cannot be opened; None while it can, or where nothing listens."""
    if found is None or found.closed is None:
        return None
    closed = found.closed
    return pb.ListenFailure(reason=closed.reason, place=closed.place, text=ADVICE[closed.reason])


def _catch_up(found: Progress, zone: ZoneInfo) -> pb.CatchUp:
    reached = "" if found.reached_us is None else _day(found.reached_us, zone)
    return pb.CatchUp(
        start_time=timestamp(found.started_us),
        caught_up_time=None if found.caught_up_us is None else timestamp(found.caught_up_us),
        seen_count=found.seen,
        received_count=found.received,
        expected_count=found.expected or 0,
        reached_day=reached,
        unsettled_count=found.unsettled,
        settle_time=None if found.settle_us is None else timestamp(found.settle_us),
        refused_file_count=found.refused_files,
        taken_file_count=found.taken_files,
    )


def _record_counts(found: RecordCounts) -> pb.RecordCounts:
    return pb.RecordCounts(
        arrived_count=found.arrived,
        read_count=found.read,
        unread_count=found.unread,
        held_count=found.held,
        quarantined_count=found.quarantined,
        parked_count=found.parked,
        unchanged_count=found.unchanged,
        kept_out_count=found.kept_out,
        superseded_count=found.superseded,
        erased_count=found.erased,
        conflict_count=found.conflicts,
    )


def _day(us: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(us / 1e6, zone).date().isoformat()


def bill_counts(
    found: Mapping[str, int], refusals: Mapping[str, int], failing: Mapping[str, int]
) -> pb.BillCounts:
    """Where the released bills stand."""
    return pb.BillCounts(
        pending_count=found.get("PENDING", 0),
        taken_count=found.get("TAKEN", 0),
        refused_count=found.get("REFUSED", 0),
        withheld_count=found.get(WITHHELD, 0),
        erased_count=found.get(ERASED, 0),
        refusals=refusal_counts(refusals),
        failing=refusal_counts(failing),
    )


def refusal_counts(found: Mapping[str, int]) -> list[pb.RefusalCount]:
    """Why bills were refused, the most frequent first."""
    ranked = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    return [pb.RefusalCount(reason=reason, bill_count=number) for reason, number in ranked]


def held_record(found: Uncovered, hospital: str, recipient: str) -> pb.HeldRecord:
    """A record that no consent covers: why, and what it needs one for."""
    reason = "RELEASE_DUE" if found.lack is None else str(found.lack)
    purpose = PURPOSES[found.channel]
    return pb.HeldRecord(
        name=f"hospitals/{hospital}/{found.place}",
        channel=found.channel,
        hold_time=timestamp(found.since_us),
        reason=pb.HoldReason.Value(f"HOLD_REASON_{reason}"),
        purpose=consent_pb2.ConsentPurpose.Value(f"CONSENT_PURPOSE_{purpose}"),
        recipient=recipient,
        consents=[f"hospitals/{hospital}/consents/{one}" for one in found.consents],
        source_record=found.external_id,
        delivery_state=pb.DeliveryState.Value(f"DELIVERY_STATE_{found.delivery or 'UNSPECIFIED'}"),
    )


def _line(line: core.Line, currency: str) -> bill_pb2.BillLine:
    return bill_pb2.BillLine(
        number=line.number,
        code=_coding(line.code),
        local_code=None if line.local_code is None else _coding(line.local_code),
        quantity=_plain(line.quantity),
        unit_price=_plain(line.unit_price),
        billed=_money(line.billed, currency),
        service_time=None if line.service_time is None else _time(line.service_time),
        diagnosis_numbers=line.diagnosis_numbers,
        fund_paid=_money(line.fund_paid, currency),
    )


def _coding(coding: core.Coding) -> coding_pb2.Coding:
    return coding_pb2.Coding(system=coding.system, code=coding.code, display=coding.display)


def _coded(coding: core.Coding) -> pb.CodedFeature:
    return pb.CodedFeature(system=coding.system, code=coding.code, display=coding.display)


def _money(amount: int | None, currency: str) -> money_pb2.Money | None:
    if amount is None:
        return None
    return money_pb2.Money(currency_code=currency, minor_units=amount)


def _plain(value: Decimal) -> str:
    """Without exponent and without zeros at the end: 12.50 and 12.5 are one amount."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
