"""The pricing service as the demo uses it: readings in, premiums out, both held to the truth."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Self

from demo.fhir import LOINC, LOINC_CODES
from demo.hospital.hospital import Hospital
from demo.hospital.insured import FIRST
from demo.hospital.months import RENEWAL, Participant, Result
from demo.hospital.people import Person, completed_years
from demo.hospital.readings import Kind, Reading, Source
from demo.wire import call, pages
from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from lipei.type.v1 import coding_pb2, reading_pb2
from services.common.transport.certificates import Identity
from services.common.transport.channels import sync_channel

TARIFF = "diabetes-hypertension-demo"
_PER_CALL = 1000
_RECORD_S = 60.0
_ZONE = "Asia/Shanghai"
_PROVENANCE = {
    Source.DEVICE: reading_pb2.READING_PROVENANCE_DEVICE,
    Source.TYPED: reading_pb2.READING_PROVENANCE_TYPED,
}
_RESULTS = {
    pricing_pb2.MONTH_RESULT_ON_TARGET: Result.ON_TARGET,
    pricing_pb2.MONTH_RESULT_OFF_TARGET: Result.OFF_TARGET,
    pricing_pb2.MONTH_RESULT_NOT_ENOUGH: Result.NOT_ENOUGH,
}
_MILLION = 1_000_000
_E4 = 10_000


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """How many readings pricing has: those of people's homes, and those that the bridge pulled."""

    home: int
    pulled: int
    # Tasks for a coach, one for each low glucose.
    coach_tasks: int


@dataclass(frozen=True, kw_only=True)
class MemberQuote:
    """One programme member's premium before and after the year, beside what must come out.

    `before` is for the year that expires, without a programme; `after` for the renewal, with it.
    `member` is the person's name at the insurer, "members/{token}".
    """

    participant: Participant
    member: str
    before: pricing_pb2.Quote
    after: pricing_pb2.Quote

    def faults(self) -> list[str]:
        """What differs from the truth or does not add up, by name; empty when nothing does."""
        incentive, truth = self.after.incentive, self.participant
        months = [
            ((int(one.month[:4]), int(one.month[5:])), _RESULTS.get(one.result))
            for one in incentive.months
        ]
        without = self.after.premium_without_credit.minor_units
        earned = truth.share * _MILLION
        holds = {
            "months": months == list(truth.months),
            "run": incentive.run_months == truth.run,
            "share": incentive.contractual_share_millionths == earned,
            "credit": incentive.credit_millionths == earned,
            # The rounding to the fen is the last step, after the credit.
            "premium": self.after.premium.minor_units == _half_up(without * (1 - truth.share)),
            "steps": all(_adds_up(quote) for quote in (self.before, self.after)),
            "before": self.before.premium.minor_units > 0,
        }
        return [name for name, held in holds.items() if not held]


class Pricing:
    """A health partner, an actuary and a hospital's machine at the pricing service.

    `token` gives a person's name at the insurer, `who` their identities in that order.
    """

    def __init__(
        self, target: str, token: Callable[[Person], str], who: Sequence[Identity]
    ) -> None:
        self._channels = [sync_channel(target, identity, "pricing") for identity in who]
        stubs = [pricing_pb2_grpc.PricingServiceStub(channel) for channel in self._channels]
        self._partner, self._actuary, self._hospital = stubs
        self._token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels:
            channel.close()

    def record(self, readings: Sequence[Reading], done: Callable[[int], None]) -> int:
        """Hand over home readings; how many were new. `done` hears how many were taken.

        Raises: CallRefused.
        """
        recorded = 0
        for part in _parts([self._message(one) for one in readings]):
            recorded += self._record(self._partner, part).recorded_count
            done(len(part))
        return recorded

    def known(self, readings: Sequence[reading_pb2.Reading]) -> int:
        """How many readings of the bridge pricing had already, word for word.

        Hands them over again, which changes nothing where the worker has done its work.

        Raises: CallRefused.
        """
        return sum(self._record(self._hospital, part).known_count for part in _parts(readings))

    def coach_tasks(self) -> int:
        """How many tasks wait for coaches.

        Raises: CallRefused.
        """
        request = pricing_pb2.ListCoachTasksRequest(parent="members/-", page_size=_PER_CALL)
        listed = pages(self._partner.ListCoachTasks, request, what="listing coach's tasks")
        return sum(len(page.tasks) for page in listed)

    def _record(
        self,
        stub: pricing_pb2_grpc.PricingServiceStub,
        readings: Sequence[reading_pb2.Reading],
    ) -> pricing_pb2.RecordReadingsResponse:
        request = pricing_pb2.RecordReadingsRequest(request_id=_fresh(), readings=readings)
        return call(stub.RecordReadings, request, what="recording readings", within_s=_RECORD_S)

    def quotes(self, hospital: Hospital) -> Iterator[MemberQuote]:
        """Every programme member's two premiums.

        Raises: CallRefused.
        """
        for one in hospital.participants:
            policy = hospital.roster.cover_of(one.person).policy_id
            renewed = policy.replace(str(FIRST.year), str(RENEWAL.year))
            yield MemberQuote(
                participant=one,
                member=self._part(one).member,
                before=self._quote(_question(policy, one.person, FIRST.isoformat())),
                after=self._quote(
                    _question(renewed, one.person, RENEWAL.isoformat(), self._part(one))
                ),
            )

    def _part(self, one: Participant) -> pricing_pb2.Participation:
        return pricing_pb2.Participation(
            member=f"members/{self._token(one.person)}",
            programme=one.programme,
            time_zone=_ZONE,
            expiring_start_date=FIRST.isoformat(),
        )

    def _quote(self, request: pricing_pb2.QuotePremiumRequest) -> pricing_pb2.Quote:
        return call(self._actuary.QuotePremium, request, what=f"pricing {request.parent}").quote

    def _message(self, one: Reading) -> reading_pb2.Reading:
        token = self._token(one.person)
        message = reading_pb2.Reading(
            name=f"members/{token}/readings/{one.key}",
            member_token=token,
            code=coding_pb2.Coding(system=LOINC, code=LOINC_CODES[one.kind][0]),
            value=str(one.value),
            unit=one.unit,
            provenance=_PROVENANCE[one.source],
        )
        message.effective_time.FromDatetime(one.at)
        message.receive_time.FromDatetime(one.received)
        if one.source is Source.TYPED and one.kind in (Kind.FASTING, Kind.GLUCOSE):
            # Apps have one code for glucose and ask beside it whether the person had fasted.
            message.code.code = LOINC_CODES[Kind.GLUCOSE][0]
            message.fasting_status = (
                reading_pb2.FASTING_STATUS_FASTING
                if one.kind is Kind.FASTING
                else reading_pb2.FASTING_STATUS_NON_FASTING
            )
        return message


def _parts(
    readings: Sequence[reading_pb2.Reading],
) -> Iterator[Sequence[reading_pb2.Reading]]:
    for begin in range(0, len(readings), _PER_CALL):
        yield readings[begin : begin + _PER_CALL]


def _question(
    policy: str,
    person: Person,
    start_date: str,
    participation: pricing_pb2.Participation | None = None,
) -> pricing_pb2.QuotePremiumRequest:
    condition = "type2_diabetes" if person.diabetic else "hypertension"
    if person.diabetic and person.hypertensive:
        condition = "both"
    day = FIRST if start_date == FIRST.isoformat() else RENEWAL
    return pricing_pb2.QuotePremiumRequest(
        request_id=_fresh(),
        parent=f"policies/{policy}",
        tariff=TARIFF,
        start_date=start_date,
        features={
            "age": str(completed_years(person, day)),
            "sex": "F" if person.female else "M",
            "condition": condition,
        },
        participation=participation,
    )


def _adds_up(quote: pricing_pb2.Quote) -> bool:
    """Whether the steps' differences are the premium, exactly."""
    return sum(step.difference_e4 for step in quote.steps) == quote.premium.minor_units * _E4


def _half_up(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def _fresh() -> str:
    return f"demo-{uuid.uuid4().hex}"
