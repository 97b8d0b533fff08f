"""Between pricing's own values and the wire. Decides nothing."""

from __future__ import annotations

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.type.v1 import money_pb2
from services.common.moments import timestamp
from services.common.refusals import Refused, wire_text
from services.pricing.core.adherence import Adherence
from services.pricing.core.flags import Flag
from services.pricing.core.incentive import Incentive
from services.pricing.core.months import Judged, MonthAssessment
from services.pricing.core.outcome import Outcome
from services.pricing.core.quote import Quote
from services.pricing.core.readings import value_text
from services.pricing.storage.readings import CoachTask

LOW_GLUCOSE = "LOW_GLUCOSE"
_NAMED = 20  # readings of a flag that are named; how many there are is said beside


def quote(found: Quote) -> pb.Quote:
    """A quote on the wire."""
    made = pb.Quote(
        name=f"policies/{found.asked.policy_id}/quotes/{found.id}",
        tariff=found.tariff_version,
        premium=money(found.premium_minor, found.currency),
        create_time=timestamp(found.created_us),
        start_date=found.asked.start_date,
        premium_without_credit=money(found.uncredited_minor, found.currency),
        incentive=_of_quote(found),
        raised_sum_insured=_raised(found),
        renewal=_renewal(found),
        arm=pb.QuoteArm.Value(f"QUOTE_ARM_{found.arm.name if found.arm else 'UNSPECIFIED'}"),
    )
    # Steps made in their place: handed over as a list they would be copied, half of all the work.
    for step in found.steps:
        shown = made.steps.add()
        shown.step = step.step
        shown.cell = step.cell
        shown.factor_millionths = step.factor_millionths
        shown.difference_e4 = step.difference_e4
        shown.premium_e4 = step.premium_e4
        shown.text_zh = step.text_zh
        shown.text_en = step.text_en
        if step.evidence:
            shown.evidence.extend(step.evidence)
    return made


def _of_quote(found: Quote) -> pb.Incentive | None:
    part = found.asked.participation
    if found.incentive is None or part is None:
        return None
    return incentive(found.incentive, part.member)


def _raised(found: Quote) -> pb.RaisedSumInsured | None:
    if found.raised is None:
        return None
    return pb.RaisedSumInsured(
        feature=found.raised.feature,
        unit=found.raised.unit,
        before=found.raised.before,
        after=found.raised.after,
        increase=found.raised.increase,
        most=found.raised.most,
        premium_without_credit=money(found.raised.premium_minor, found.currency),
    )


def _renewal(found: Quote) -> pb.Renewal | None:
    made, asked = found.renewal, found.asked.expiring
    if made is None or asked is None:
        return None
    factor = asked.factor
    return pb.Renewal(
        expiring=pb.ExpiringPolicy(
            last_date=asked.last_date,
            rerated_premium_without_credit=money(asked.uncredited_minor, asked.currency),
        ),
        technical_premium=money(made.technical_minor, found.currency),
        off_balance=None
        if factor is None
        else pb.BookFactor(factor_billionths=factor.billionths, source=factor.source),
        collar=pb.RenewalCollar(
            least_millionths=made.collar.least_millionths,
            greatest_millionths=made.collar.greatest_millionths,
            source=made.collar.source,
        ),
        least_premium=money(made.least_minor, found.currency),
        greatest_premium=money(made.most_minor, found.currency),
        outcome_tier=made.tier,
    )


def incentive(found: Incentive, member: str) -> pb.Incentive:
    """Months, run, share and credit on the wire; of `member`, by resource name."""
    return pb.Incentive(
        member=member,
        programme=found.programme,
        window_first_month=found.window_first,
        window_last_month=found.window_last,
        months=[_month(month) for month in found.months],
        run_first_month=found.run_first,
        run_last_month=found.run_last,
        run_months=found.run_months,
        contractual_share_millionths=found.share_millionths,
        credit_millionths=found.credit_millionths,
        model_share_millionths=found.model_millionths,
        outcomes=[_outcome(entry) for entry in found.outcomes],
        flags=[_flag(entry) for entry in found.flags],
        adherence=None if found.adherence is None else _adherence(found.adherence),
        share_by_adherence=found.by_adherence,
        credit_as_sum_insured=found.credit_as is not None and found.credit_as.is_sum_insured,
        legal_cap=None
        if found.cap is None
        else pb.LegalCap(share_millionths=found.cap.share_millionths, source=found.cap.source),
    )


def _flag(found: Flag) -> pb.Flag:
    measure = "UNSPECIFIED" if found.measure is None else found.measure.name
    return pb.Flag(
        flag=found.id,
        code=pb.FlagCode.Value(f"FLAG_CODE_{found.code}"),
        months=found.months,
        measure=pb.Measure.Value(f"MEASURE_{measure}"),
        evidence=found.readings[:_NAMED],
        readings=len(found.readings),
        holds=found.holds,
        cleared=found.cleared,
        text_zh=found.zh,
        text_en=found.en,
    )


def _adherence(found: Adherence) -> pb.Adherence:
    return pb.Adherence(
        fill_days=found.fills,
        treatment_first_day=found.treatment_first,
        days=found.days,
        covered_days=found.covered,
        pdc_millionths=found.pdc_millionths,
        excluded=found.excluded,
        months=[
            pb.AdherentMonth(month=one.month, days=one.days, covered_days=one.covered, met=one.met)
            for one in found.months
        ],
        run_first_month=found.run_first,
        run_last_month=found.run_last,
        run_months=found.run_months,
        share_millionths=found.share_millionths,
    )


def _outcome(found: Outcome) -> pb.Outcome:
    months = [
        pb.OutcomeMonth(month=entry.month, value=entry.value, assessed=entry.assessed)
        for entry in found.months
    ]
    return pb.Outcome(
        feature=found.feature,
        unit=found.unit,
        months=months,
        stratum_mean=found.stratum_mean,
        credibility_millionths=found.credibility_millionths,
        value=found.value,
    )


def batch_fault(refused: Refused) -> pb.BatchFault:
    """What RecordReadings would have been refused with, as the answer to a batch of a stream."""
    return pb.BatchFault(
        code=refused.code.name,
        reason=refused.reason,
        text=wire_text(refused.text),
        violations=[
            pb.BatchViolation(field=one.field, reason=one.reason, text=one.text)
            for one in refused.violations
        ],
    )


def coach_task(found: CoachTask) -> pb.CoachTask:
    """A coach's task on the wire; of an erased one, that it was raised, and no more."""
    about = found.about
    if about is None:
        return pb.CoachTask(
            name=f"members/-/coachTasks/{found.name}",
            reason=LOW_GLUCOSE,
            raise_time=timestamp(found.raised_us),
            erased=True,
        )
    return pb.CoachTask(
        name=f"members/{about.member_token}/coachTasks/{found.name}",
        reason=LOW_GLUCOSE,
        reading=about.reading,
        glucose_mmol_l=value_text(about.measured.quantity, about.measured.value),
        effective_time=timestamp(about.effective_us),
        raise_time=timestamp(found.raised_us),
    )


def _month(found: MonthAssessment) -> pb.MonthAssessment:
    basis = "UNSPECIFIED" if found.basis is None else found.basis
    return pb.MonthAssessment(
        month=found.month,
        result=pb.MonthResult.Value(f"MONTH_RESULT_{found.result}"),
        basis=pb.MonthBasis.Value(f"MONTH_BASIS_{basis}"),
        hba1c_month=found.hba1c_month,
        slots_filled=found.slots_filled,
        measures=[_measure(entry) for entry in found.measures],
        evidence=found.evidence,
        held_by=found.held_by,
    )


def _measure(found: Judged) -> pb.MeasureAssessment:
    return pb.MeasureAssessment(
        measure=pb.Measure.Value(f"MEASURE_{found.measure.name}"),
        mean=found.mean,
        unit=found.measure.unit,
        target=found.target,
        personal_target=found.personal,
        met=found.met,
        readings=found.readings,
        target_set_by=_setter(found.set_by),
    )


def _setter(holder: str) -> str:
    """A holder's resource name: "hospitals/general" for "hospital/general"."""
    kind, _, name = holder.partition("/")
    return f"{kind}s/{name}" if name else ""


def money(minor: int, currency: str) -> money_pb2.Money:
    """An amount with its currency."""
    return money_pb2.Money(currency_code=currency, minor_units=minor)
