"""From a parsed record to what may leave, or to every fault that holds it back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from services.his_bridge.core.balance import Balance, balance, to_minor
from services.his_bridge.core.bill import Bill, Coding, Diagnosis, Line, Reading, SocialInsurance
from services.his_bridge.core.faults import Fault, Reason, in_order
from services.his_bridge.core.mapping import Side, Unmapped, as_local, to_standard, unmapped
from services.his_bridge.core.parsed import (
    ParsedBill,
    ParsedLine,
    ParsedReadings,
    ParsedSocialInsurance,
)
from services.his_bridge.core.redaction import redact
from services.his_bridge.core.terms import LineAmount, SocialInsuranceSource, SourceTerms

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
    if not parsed.states_total:
        faults.append(Fault(reason=Reason.TOTAL_MISSING, path=parsed.total_path))
    amounts = _amounts(parsed, terms)
    return _checked(parsed, member_token, terms, amounts, faults)


def part_of_bill(
    parsed: ParsedBill, member_token: str | None, terms: SourceTerms
) -> tuple[Bill, int | None]:
    """What one of several records says of a bill, and the total that it states, in minor units.

    Its lines may be none, may take charges back (冲红: negative, and naming the charge), and add up
    to the total that it states, if it states one; its own bill's `total` is their sum. A refund
    that does not say which charges it takes back is no part of any bill.

    Raises: Held with all faults, as `whole_bill`.
    """
    faults = [*parsed.faults, *(parsed.person.faults if parsed.person else ())]
    amounts = _amounts(parsed, terms)
    if not parsed.lines and amounts.total is not None and amounts.total < 0:
        faults.append(Fault(reason=Reason.REFUND_WITHOUT_LINES, path=parsed.total_path))
    faults += _refund_faults(parsed.lines)
    first = parsed.lines[0] if parsed.lines else None
    takes_rest = terms.line_without_net.first is LineAmount.REMAINDER
    if takes_rest and parsed.total is None and first is not None and not first.states_amount:
        faults.append(Fault(reason=Reason.LINE_WITHOUT_AMOUNT, path=first.path))  # no rest to take
    of_lines = sum(line.billed for line in amounts.lines)
    total = amounts.total if amounts.total is not None or not parsed.lines else of_lines
    known = msgspec.structs.replace(amounts, total=total)
    bill = _checked(parsed, member_token, terms, known, faults, total=of_lines)
    return bill, amounts.total


def _checked(
    parsed: ParsedBill,
    member_token: str | None,
    terms: SourceTerms,
    amounts: Balance,
    faults: list[Fault],
    total: int | None = None,
) -> Bill:
    unknown: list[Unmapped] = []
    diagnoses = _diagnoses(parsed, terms, faults, unknown)
    codes = _line_codes(parsed, terms, faults, unknown)
    faults += amounts.faults
    social = _social_insurance(parsed.social_insurance, amounts, terms, faults)
    if faults:
        raise Held(in_order(faults), unknown)
    whole = amounts if total is None else msgspec.structs.replace(amounts, total=total)
    bill = _assembled(parsed, member_token, terms, diagnoses, codes, whole, social)
    redacted, leaks = redact(bill, _known(parsed.person))
    if leaks:
        raise Held(in_order(leaks))
    return redacted


def _amounts(parsed: ParsedBill, terms: SourceTerms) -> Balance:
    return balance(
        parsed.lines,
        parsed.total,
        total_path=parsed.total_path,
        currency=terms.currency,
        rule=terms.line_without_net,
    )


def _refund_faults(lines: Sequence[ParsedLine]) -> Iterator[Fault]:
    seen: set[str] = set()
    for line in lines:
        takes_back = line.quantity is not None and line.quantity < 0
        if takes_back and not line.reverses_line:
            yield Fault(reason=Reason.QUANTITY_NOT_POSITIVE, path=f"{line.path}.quantity")
        negative_price = line.unit_price is not None and line.unit_price < 0
        if negative_price or (line.reverses_line and _adds(line)):
            yield Fault(reason=Reason.REVERSAL_DOES_NOT_FIT, path=line.path)
        if line.line_id and line.line_id in seen:
            yield Fault(reason=Reason.NUMBER_REPEATED, path=f"{line.path}.line_id")
        seen.add(line.line_id)


def _adds(line: ParsedLine) -> bool:
    """Whether a quantity or an amount of the line is above nothing."""
    return any(one > 0 for one in (line.quantity, line.net, line.fund_paid) if one is not None)


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
                device=entry.device,
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
    elif fund is not None and (
        abs(sum(by_line)) > abs(fund) or (complete and sum(by_line) != fund)
    ):
        faults.append(Fault(reason=Reason.FUND_PAID_DOES_NOT_ADD_UP, path="extension.fundPaid"))
    spent = (fund or 0) + (account or 0)
    unused_but_paid = parsed.used is False and (spent != 0 or any(by_line))
    if unused_but_paid or (amounts.total is not None and abs(spent) > abs(amounts.total)):
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
        emergency=parsed.emergency,
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
                line_id=line.line_id,
                reverses_line=line.reverses_line,
            )
            for line, (code, local), priced in zip(parsed.lines, codes, amounts.lines, strict=True)
        ),
    )
