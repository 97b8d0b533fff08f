"""All of a folded bill but its lines: days, diagnoses, social insurance, who and where. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.his_bridge.core.bill import Bill, Diagnosis, Line, SocialInsurance
from services.his_bridge.core.faults import Fault, Reason


def composed(
    heads: Sequence[Bill],
    spans: Sequence[Bill],
    lines: Sequence[tuple[Line, Bill]],
    social: Sequence[Bill],
) -> Bill:
    """The bill of these lines, each with the bill that states it; `total` is their sum.

    What only one can be right about is taken from the last of `heads` that says it. It lasts from
    the earliest begin to the latest end of `spans`. What social insurance did is what `social` say
    together.
    """
    diagnoses = next((bill.diagnoses for bill in reversed(heads) if bill.diagnoses), ())
    renumbered, diagnoses = _with_diagnoses(lines, diagnoses)
    return msgspec.structs.replace(
        heads[-1],
        start=min(bill.start for bill in spans),
        end=max(bill.end for bill in spans),
        lines=renumbered,
        total=sum(line.billed for line in renumbered),
        diagnoses=diagnoses,
        tier=next((bill.tier for bill in reversed(heads) if bill.tier), None),
        licences=next((bill.licences for bill in reversed(heads) if bill.licences), ()),
        emergency=next(
            (one.emergency for one in reversed(heads) if one.emergency is not None), None
        ),
        social_insurance=_together(social, renumbered),
    )


def money_faults(bill: Bill) -> tuple[Fault, ...]:
    """What contradicts itself in what social insurance is said to have paid."""
    social = bill.social_insurance
    if social is None:
        return ()
    by_line = [line.fund_paid for line in bill.lines if line.fund_paid is not None]
    complete = bool(by_line) and len(by_line) == len(bill.lines)
    fund, account = social.fund_paid or 0, social.account_paid or 0
    faults = []
    if social.fund_paid is not None and (
        sum(by_line) > fund or (complete and sum(by_line) != fund)
    ):
        faults.append(Fault(reason=Reason.FUND_PAID_DOES_NOT_ADD_UP, path="social_insurance"))
    unused_but_paid = social.used is False and (fund + account > 0 or any(by_line))
    if unused_but_paid or min(fund, account) < 0 or fund + account > bill.total:
        faults.append(Fault(reason=Reason.SOCIAL_INSURANCE_CONTRADICTS, path="social_insurance"))
    return tuple(faults)


def _with_diagnoses(
    lines: Sequence[tuple[Line, Bill]], diagnoses: tuple[Diagnosis, ...]
) -> tuple[tuple[Line, ...], tuple[Diagnosis, ...]]:
    """The lines, each still for what it was for; what `diagnoses` don't list joins them."""
    found = list(diagnoses)
    number_of = {entry.code: entry.number for entry in diagnoses}
    renumbered = []
    for line, bill in lines:
        if not line.diagnosis_numbers or bill.diagnoses == diagnoses:
            renumbered.append(line)
            continue
        numbers = []
        for entry in bill.diagnoses:
            if entry.number not in line.diagnosis_numbers:
                continue
            if entry.code not in number_of:
                new = max((known.number for known in found), default=0) + 1
                number_of[entry.code] = new
                found.append(Diagnosis(number=new, code=entry.code))
            numbers.append(number_of[entry.code])
        renumbered.append(msgspec.structs.replace(line, diagnosis_numbers=tuple(numbers)))
    return tuple(renumbered), tuple(found)


def _together(said: Sequence[Bill], lines: Sequence[Line]) -> SocialInsurance | None:
    """The sum of what is said; where every line says what the funds paid for it, the lines' sum.

    Only a statement without lines of its own is not overruled by them.
    """
    parts = [bill.social_insurance for bill in said if bill.social_insurance is not None]
    if not parts:
        return None
    fund = _sum([part.fund_paid for part in parts])
    by_line = [line.fund_paid for line in lines]
    if fund is not None and None not in by_line and all(bill.lines for bill in said):
        fund = _sum(by_line)
    used = [part.used for part in parts if part.used is not None]
    return SocialInsurance(
        used=any(used) if used else None,
        fund_paid=fund,
        account_paid=_sum([part.account_paid for part in parts]),
    )


def _sum(amounts: Sequence[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
