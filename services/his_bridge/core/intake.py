"""From a parsed record to what may leave, or to every fault that holds it back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeVar

from services.his_bridge.core.balance import Balance, balance, to_minor
from services.his_bridge.core.bill import Bill, Coding, Diagnosis, Line, Reading, SocialInsurance
from services.his_bridge.core.faults import Fault, Reason, in_order
from services.his_bridge.core.mapping import Side, Unmapped, as_local, to_standard, unmapped
from services.his_bridge.core.parsed import ParsedBill, ParsedReadings, ParsedSocialInsurance
from services.his_bridge.core.redaction import redact
from services.his_bridge.core.terms import SocialInsuranceSource, SourceTerms

T = TypeVar("T")


class Held(Exception):
    """A record that cannot be released; `faults` names everything that is wrong with it.

    `unmapped` names each code that a map would have to know.
    """

    def __init__(self, faults: tuple[Fault, ...], unmapped: Sequence[Unmapped] = ()) -> None:
        super().__init__(", ".join(fault.reason for fault in faults))
        self.faults = faults
        self.unmapped = tuple(unmapped)


def whole_bill(parsed: ParsedBill, member_token: str | None, terms: SourceTerms) -> Bill:
    """The bill with standard codes, exact amounts and a pseudonym instead of the patient.

    Raises: Held with all faults: those of the dialect, of the identity, of codes and of amounts.
    """
    faults = [*parsed.faults, *(parsed.person.faults if parsed.person else ())]
    unknown: list[Unmapped] = []
    diagnoses = _diagnoses(parsed, terms, faults, unknown)
    codes = _line_codes(parsed, terms, faults, unknown)
    if not parsed.states_total:
        faults.append(Fault(reason=Reason.TOTAL_MISSING, path=parsed.total_path))
    amounts = balance(
        parsed.lines,
        parsed.total,
        total_path=parsed.total_path,
        currency=terms.currency,
        rule=terms.line_without_net,
    )
    faults += amounts.faults
    social = _social_insurance(parsed.social_insurance, amounts, terms, faults)
    if faults:
        raise Held(in_order(faults), unknown)
    bill = _assembled(parsed, member_token, terms, diagnoses, codes, amounts, social)
    redacted, leaks = redact(bill, _known(parsed.person))
    if leaks:
        raise Held(in_order(leaks))
    return redacted


def whole_readings(
    parsed: ParsedReadings, member_token: str | None
) -> tuple[tuple[str, Reading], ...]:
    """Component and reading for each measurement of one record, under a pseudonym.

    Raises: Held with all faults.
    """
    faults = [*parsed.faults, *(parsed.person.faults if parsed.person else ())]
    if faults or member_token is None:
        raise Held(in_order(faults))
    return tuple(
        (
            entry.component,
            Reading(
                member_token=member_token,
                code=Coding(system=entry.system, code=entry.code),
                value=entry.value,
                unit=entry.unit,
                effective=entry.effective,
                provenance=entry.provenance,
                issued=entry.issued,
                fasting=entry.fasting,
            ),
        )
        for entry in parsed.readings
    )


def _known(value: T | None) -> T:
    # The dialect names a fault for every None, and a record with faults does not come this far.
    if value is None:
        raise TypeError("a dialect left a value out without naming a fault")
    return value


def _diagnoses(
    parsed: ParsedBill, terms: SourceTerms, faults: list[Fault], unknown: list[Unmapped]
) -> list[Diagnosis]:
    found = []
    for entry in parsed.diagnoses:
        if entry.concept is None:
            continue
        standard = to_standard(entry.concept, terms.diagnosis_codes)
        if isinstance(standard, Fault):
            faults.append(standard)
            # The whole bill waits for the diagnosis.
            whole = _at_stake(parsed.total, terms)
            missing = unmapped(entry.concept, terms.diagnosis_codes, Side.DIAGNOSES, whole)
            unknown += [missing] if missing else []
        else:
            found.append(
                Diagnosis(number=entry.number, code=standard[0], principal=entry.principal)
            )
    return found


def _line_codes(
    parsed: ParsedBill, terms: SourceTerms, faults: list[Fault], unknown: list[Unmapped]
) -> list[tuple[Coding, Coding | None]]:
    found = []
    for line in parsed.lines:
        if line.concept is None:
            continue
        standard = to_standard(line.concept, terms.line_codes)
        if isinstance(standard, Fault):
            faults.append(standard)
            net = line.net
            if net is None and line.quantity is not None and line.unit_price is not None:
                net = line.quantity * line.unit_price
            own = _at_stake(net, terms)
            missing = unmapped(line.concept, terms.line_codes, Side.SERVICES, own)
            unknown += [missing] if missing else []
        else:
            code, local = standard
            found.append((code, local or as_local(line.local_concept)))
    return found


def _at_stake(amount: Decimal | None, terms: SourceTerms) -> int:
    """Minor units, for ranking only: 0 when the amount cannot be read exactly."""
    minor = 0 if amount is None else to_minor(amount, terms.currency, "")
    return 0 if isinstance(minor, Fault) else abs(minor)


def _social_insurance(
    parsed: ParsedSocialInsurance | None,
    amounts: Balance,
    terms: SourceTerms,
    faults: list[Fault],
) -> SocialInsurance | None:
    if terms.social_insurance is SocialInsuranceSource.NOT_USED:
        return SocialInsurance(used=False)
    by_line = [line.fund_paid for line in amounts.lines if line.fund_paid is not None]
    if terms.social_insurance is SocialInsuranceSource.UNKNOWN or parsed is None:
        if by_line:
            faults.append(Fault(reason=Reason.SOCIAL_INSURANCE_CONTRADICTS, path="extension"))
        return None
    paid: dict[str, int | None] = {}
    for name, amount in (("fundPaid", parsed.fund_paid), ("accountPaid", parsed.account_paid)):
        minor = None if amount is None else to_minor(amount, terms.currency, f"extension.{name}")
        if isinstance(minor, Fault):
            faults.append(minor)
            minor = None
        paid[name] = minor
    fund, account = paid["fundPaid"], paid["accountPaid"]
    complete = bool(by_line) and amounts.complete and len(by_line) == len(amounts.lines)
    if fund is None and complete:
        fund = sum(by_line)
    elif fund is not None and (sum(by_line) > fund or (complete and sum(by_line) != fund)):
        faults.append(Fault(reason=Reason.FUND_PAID_DOES_NOT_ADD_UP, path="extension.fundPaid"))
    spent = (fund or 0) + (account or 0)
    unused_but_paid = parsed.used is False and (spent > 0 or any(by_line))
    if unused_but_paid or (amounts.total is not None and spent > amounts.total):
        faults.append(Fault(reason=Reason.SOCIAL_INSURANCE_CONTRADICTS, path="extension"))
    return SocialInsurance(used=parsed.used, fund_paid=fund, account_paid=account)


def _assembled(
    parsed: ParsedBill,
    member_token: str | None,
    terms: SourceTerms,
    diagnoses: list[Diagnosis],
    codes: list[tuple[Coding, Coding | None]],
    amounts: Balance,
    social: SocialInsurance | None,
) -> Bill:
    return Bill(
        bill_number=_known(parsed.bill_number),
        provider_id=_known(parsed.provider_id),
        care_type=_known(parsed.care_type),
        member_token=_known(member_token),
        start=_known(parsed.start),
        end=_known(parsed.end),
        zone=terms.zone,
        currency=terms.currency,
        total=_known(amounts.total),
        tier=parsed.tier,
        social_insurance=social,
        licences=terms.licences,
        diagnoses=tuple(diagnoses),
        lines=tuple(
            Line(
                number=line.number,
                code=code,
                local_code=local,
                quantity=priced.quantity,
                unit_price=priced.unit_price,
                billed=priced.billed,
                service_time=line.service_time,
                diagnosis_numbers=line.diagnosis_numbers,
                fund_paid=priced.fund_paid,
            )
            for line, (code, local), priced in zip(parsed.lines, codes, amounts.lines, strict=True)
        ),
    )
