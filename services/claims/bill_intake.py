"""From a submitted bill to the facts of a claim, naming every fault at once. Asks no database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from lipei.type.v1 import bill_pb2, coding_pb2, money_pb2
from services.claims.bill_coding import (
    admission_time,
    coding_facts,
    coding_faults,
    filing_facts,
    is_emergency,
)
from services.claims.core import intake as core_intake
from services.claims.core.adjudicate import NO_PRIOR_PAYMENTS
from services.claims.core.facts import (
    BillFacts,
    CareType,
    Coding,
    DiagnosisFacts,
    HospitalTier,
    LineFacts,
    SocialInsuranceFacts,
)
from services.claims.core.plan import Plan
from services.common.grpc_edge import Violation
from services.common.identity import is_member_token
from services.common.money import (
    MAX_MINOR_UNITS,
    currency_exponent,
    format_minor,
    parse_decimal,
)
from services.common.zones import zone_names

MAX_LINES = 5_000
MAX_DIAGNOSES = 100
QUANTITY_PLACES, PRICE_PLACES = 4, 6
CONSENT = re.compile(r"(hospitals/[a-z][a-z0-9-]{0,62})/consents/[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
AUTHORISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,47}", re.ASCII)
_WHICH_BILL = frozenset({"name", "bill_number", "provider_id", "kind"})
_NUMBER = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1990, 2199
# So far may a hospital's clock be ahead of ours: what is refused comes again a day later only.
_CLOCK_AHEAD_US = 3_600_000_000

CARE_TYPES = {
    bill_pb2.CARE_TYPE_OUTPATIENT: CareType.OUTPATIENT,
    bill_pb2.CARE_TYPE_EMERGENCY: CareType.EMERGENCY,
    bill_pb2.CARE_TYPE_INPATIENT: CareType.INPATIENT,
    bill_pb2.CARE_TYPE_PHARMACY: CareType.PHARMACY,
    bill_pb2.CARE_TYPE_CHRONIC: CareType.CHRONIC,
    bill_pb2.CARE_TYPE_ONLINE: CareType.ONLINE,
}
TIERS = {
    bill_pb2.HOSPITAL_TIER_UNSPECIFIED: None,
    bill_pb2.HOSPITAL_TIER_PRIMARY: HospitalTier.PRIMARY,
    bill_pb2.HOSPITAL_TIER_SECONDARY: HospitalTier.SECONDARY,
    bill_pb2.HOSPITAL_TIER_TERTIARY: HospitalTier.TERTIARY,
}


def bill_faults(bill: bill_pb2.Bill) -> list[Violation]:
    """Everything that keeps the bill from opening a claim; empty for a good one."""
    faults: list[Violation] = []

    def add(field: str, reason: str, text: str) -> None:
        faults.append(Violation(f"bill.{field}", reason, text))

    for fault in bill_name_faults(bill.provider_id, bill.bill_number):
        add(fault.field, fault.reason, fault.text)
    if not is_member_token(bill.member_token):
        add("member_token", "MALFORMED", 'must be "{key version}.{64 hex digits}"')
    if bill.care_type not in CARE_TYPES:
        add("care_type", "MISSING", "say how the care was given")
    if bill.hospital_tier not in TIERS:
        add("hospital_tier", "UNKNOWN_VALUE", "is not a tier that this version knows")
    _consent_faults(bill, add)
    _authorisation_faults(bill, add)
    currency = bill.total.currency_code
    try:
        currency_exponent(currency)
    except KeyError:
        add("total.currency_code", "UNKNOWN_CURRENCY", "must be a currency that plans may use")
        currency = ""
    _time_faults(bill, add)
    _diagnosis_faults(bill, add)
    _line_faults(bill, currency, add)
    _total_faults(bill, currency, add)
    faults += coding_faults(bill, _possible)
    return faults


def is_bare(bill: bill_pb2.Bill) -> bool:
    """Whether a bill takes another one back and says nothing but which one."""
    said = {field.name for field, _ in bill.ListFields()}
    return bill.kind == bill_pb2.BILL_KIND_REVERSAL and said <= _WHICH_BILL


def bare_faults(bill: bill_pb2.Bill) -> list[Violation]:
    """Everything that keeps a bare reversal from naming a bill; empty for a good one."""
    found = bill_name_faults(bill.provider_id, bill.bill_number)
    return [Violation(f"bill.{fault.field}", fault.reason, fault.text) for fault in found]


def bill_name_faults(provider_id: str, bill_number: str) -> list[Violation]:
    """What keeps provider and number from naming a bill."""
    text = "must be 1 to 128 visible ASCII characters"
    told = {"bill_number": bill_number, "provider_id": provider_id}
    return [
        Violation(field, "MALFORMED", text)
        for field, value in told.items()
        if not _NUMBER.fullmatch(value)
    ]


_Add = Callable[[str, str, str], None]


def _consent_faults(bill: bill_pb2.Bill, add: _Add) -> None:
    """What comes from a hospital's bridge names the consent under which it left that hospital."""
    if not bill.consent:
        if bill.name:
            add("consent", "MISSING", "a bill that left a hospital names the consent")
        return
    named = CONSENT.fullmatch(bill.consent)
    if named is None:
        add("consent", "NOT_A_NAME", "must read hospitals/{hospital}/consents/{consent}")
    elif bill.name and not bill.name.startswith(f"{named[1]}/bills/"):
        add("consent", "CONTRADICTS", "must be of the hospital that the bill left")


def _authorisation_faults(bill: bill_pb2.Bill, add: _Add) -> None:
    named = {"authorisation": bill.authorisation}
    named |= {f"lines[{i}].authorisation": line.authorisation for i, line in enumerate(bill.lines)}
    for field, number in named.items():
        if number and not AUTHORISATION.fullmatch(number):
            add(field, "MALFORMED", "must be 1 to 48 letters, digits and hyphens")


def _time_faults(bill: bill_pb2.Bill, add: _Add) -> None:
    if bill.time_zone not in zone_names():
        add("time_zone", "UNKNOWN_ZONE", 'must be an IANA name such as "Asia/Shanghai"')
    times = {}
    for field in ("start_time", "end_time"):
        if not bill.HasField(field):
            add(field, "MISSING", "must be given")
        elif not _possible(getattr(bill, field)):
            add(field, "IMPOSSIBLE_DATE", f"must lie in the years {_FIRST_YEAR} to {_LAST_YEAR}")
        else:
            times[field] = getattr(bill, field).ToNanoseconds()
    if len(times) == 2 and times["end_time"] < times["start_time"]:
        add("end_time", "END_BEFORE_START", "must not lie before start_time")


def _possible(time: Timestamp) -> bool:
    try:
        return _FIRST_YEAR <= time.ToDatetime().year <= _LAST_YEAR
    except (ValueError, OverflowError):
        return False


def _coding_faults(coding: coding_pb2.Coding, path: str, add: _Add) -> None:
    for field, most in (("system", 255), ("code", 64)):
        value = getattr(coding, field)
        if not 1 <= len(value) <= most or not value.isprintable() or value != value.strip():
            text = f"must be 1 to {most} printable characters without space around them"
            add(f"{path}.{field}", "MALFORMED_CODE", text)


def _diagnosis_faults(bill: bill_pb2.Bill, add: _Add) -> None:
    if len(bill.diagnoses) > MAX_DIAGNOSES:
        add("diagnoses", "TOO_MANY", f"at most {MAX_DIAGNOSES}")
    for number, times in Counter(d.number for d in bill.diagnoses).items():
        if times > 1 or number < 1:
            add("diagnoses", "DUPLICATE_NUMBER", f"number {number} is not unique from 1")
    for i, diagnosis in enumerate(bill.diagnoses):
        _coding_faults(diagnosis.code, f"diagnoses[{i}].code", add)


def _line_faults(bill: bill_pb2.Bill, currency: str, add: _Add) -> None:
    if not 1 <= len(bill.lines) <= MAX_LINES:
        add("lines", "BAD_COUNT", f"a bill has 1 to {MAX_LINES} lines")
    for number, times in Counter(line.number for line in bill.lines).items():
        if times > 1 or number < 1:
            add("lines", "DUPLICATE_NUMBER", f"number {number} is not unique from 1")
    diagnoses = {d.number for d in bill.diagnoses}
    for i, line in enumerate(bill.lines):
        path = f"lines[{i}]"
        _coding_faults(line.code, f"{path}.code", add)
        _charge_faults(line, path, currency, add)
        if line.HasField("service_time") and not _possible(line.service_time):
            add(f"{path}.service_time", "IMPOSSIBLE_DATE", "is not a possible date")
        for number in line.diagnosis_numbers:
            if number not in diagnoses:
                add(f"{path}.diagnosis_numbers", "UNKNOWN_DIAGNOSIS", f"no diagnosis {number}")
        if line.HasField("fund_paid"):
            _amount_faults(line.fund_paid, f"{path}.fund_paid", currency, add)
            if line.fund_paid.minor_units > line.billed.minor_units:
                add(f"{path}.fund_paid", "ABOVE_BILLED", "must not exceed what was billed")


def _charge_faults(line: bill_pb2.BillLine, path: str, currency: str, add: _Add) -> None:
    _amount_faults(line.billed, f"{path}.billed", currency, add)
    values: dict[str, Decimal] = {}
    for field, places in (("quantity", QUANTITY_PLACES), ("unit_price", PRICE_PLACES)):
        try:
            values[field] = parse_decimal(getattr(line, field), places=places, what=field)
        except ValueError as error:
            add(f"{path}.{field}", "MALFORMED_DECIMAL", str(error))
    if len(values) < 2:
        return
    if values["quantity"] <= 0:
        add(f"{path}.quantity", "NOT_POSITIVE", "must be above 0; a refund is a reversal")
    if values["unit_price"] < 0:
        add(f"{path}.unit_price", "NEGATIVE", "must not be negative")
    if not currency:
        return
    price = core_intake.priced(values["quantity"], values["unit_price"], currency)
    if abs(price) > MAX_MINOR_UNITS:
        add(f"{path}.unit_price", "OUT_OF_RANGE", "quantity × unit_price is too large")
    elif price != line.billed.minor_units:
        text = f"must be quantity × unit_price = {format_minor(price, currency)}"
        add(f"{path}.billed", "NOT_QUANTITY_TIMES_PRICE", text)


def _amount_faults(amount: money_pb2.Money, path: str, currency: str, add: _Add) -> None:
    if currency and amount.currency_code != currency:
        add(f"{path}.currency_code", "OTHER_CURRENCY", f"must be {currency} like the total")
    if not 0 <= amount.minor_units <= MAX_MINOR_UNITS:
        add(f"{path}.minor_units", "OUT_OF_RANGE", "must not be negative or too large")


def _total_faults(bill: bill_pb2.Bill, currency: str, add: _Add) -> None:
    lines = sum(line.billed.minor_units for line in bill.lines)
    if lines != bill.total.minor_units:
        text = f"lines add up to {lines} minor units, the total says {bill.total.minor_units}"
        add("total", "LINES_DO_NOT_ADD_UP", text)
    elif lines <= 0:
        add("total", "NOTHING_BILLED", "a bill of nothing opens no claim")
    if not bill.HasField("social_insurance"):
        return
    insurance = bill.social_insurance
    for field in ("fund_paid", "account_paid"):
        if insurance.HasField(field):
            _amount_faults(getattr(insurance, field), f"social_insurance.{field}", currency, add)
    fund, account = insurance.fund_paid.minor_units, insurance.account_paid.minor_units
    if fund + account > bill.total.minor_units:
        add("social_insurance", "ABOVE_TOTAL", "paid more than was billed")
    if insurance.HasField("used") and not insurance.used and fund:
        add("social_insurance.used", "CONTRADICTION", "not used, yet its funds paid")
    stated = [line.fund_paid.minor_units for line in bill.lines if line.HasField("fund_paid")]
    if stated and insurance.HasField("fund_paid"):
        complete = len(stated) == len(bill.lines)
        if sum(stated) > fund or (complete and sum(stated) != fund):
            text = f"lines state {sum(stated)} minor units, the bill states {fund}"
            add("social_insurance.fund_paid", "LINES_DO_NOT_ADD_UP", text)


def core_faults(bill: bill_pb2.Bill) -> list[Violation]:
    """What adjudication itself would refuse in a bill that the wire's checks let pass."""
    found = core_intake.bill_faults(bill_facts(bill), NO_PRIOR_PAYMENTS, bill.total.currency_code)
    return [Violation(f"bill.{fault.field}", fault.reason, fault.text) for fault in found]


def code_faults(plan: Plan, bill: bill_pb2.Bill) -> list[Violation]:
    """Codes of systems that the plan does not know: a claim about them could not be decided."""
    found = core_intake.unknown_codes(plan, bill_facts(bill))
    return [Violation(f"bill.{fault.field}", fault.reason, fault.text) for fault in found]


def start_day(bill: bill_pb2.Bill) -> date:
    """First calendar day of the stay in the hospital's zone."""
    return _day(bill.start_time, ZoneInfo(bill.time_zone))


def end_day(bill: bill_pb2.Bill) -> date:
    """Last calendar day of the stay in the hospital's zone."""
    return _day(bill.end_time, ZoneInfo(bill.time_zone))


def day_received(bill: bill_pb2.Bill, at_us: int) -> date:
    """The calendar day, in the hospital's zone, on which a bill arrived at this time."""
    seconds, zone = at_us // 1_000_000, ZoneInfo(bill.time_zone)
    return _day(Timestamp(seconds=seconds), zone)


def future_faults(bill: bill_pb2.Bill, at_us: int) -> list[Violation]:
    """What of a bill lies on a day that has not begun where the hospital is, at this time.

    What takes a bill back may: it pays nothing. Of lines the engine sees to it, for none may be
    later than its bill. A stay that ends at midnight (24:00 of a day) has ended with that day.
    """
    if bill.kind == bill_pb2.BILL_KIND_REVERSAL:
        return []
    today = day_received(bill, at_us + _CLOCK_AHEAD_US)
    zone, end = ZoneInfo(bill.time_zone), bill.end_time.ToNanoseconds()
    if end > bill.start_time.ToNanoseconds():
        end -= 1
    ends = _day(Timestamp(seconds=end // 1_000_000_000), zone)
    days = {"start_time": start_day(bill), "end_time": ends}
    text = "lies on a day that has not begun in the hospital's zone; send the bill when it is over"
    return [
        Violation(f"bill.{field}", "IN_THE_FUTURE", text)
        for field, day in days.items()
        if day > today
    ]


def bill_facts(bill: bill_pb2.Bill) -> BillFacts:
    """The facts that a decision reads from a bill without faults; the same bill, the same facts."""
    zone = ZoneInfo(bill.time_zone)
    emergency = is_emergency(bill)
    return BillFacts(
        bill_number=bill.bill_number,
        provider_id=bill.provider_id,
        hospital_tier=TIERS[bill.hospital_tier],
        care_type=CARE_TYPES[bill.care_type],
        start_date=_day(bill.start_time, zone),
        end_date=_day(bill.end_time, zone),
        currency=bill.total.currency_code,
        lines=tuple(_line(line, zone, timed=emergency) for line in bill.lines),
        diagnoses=tuple(
            DiagnosisFacts(number=d.number, code=_coding(d.code), principal=d.principal)
            for d in bill.diagnoses
        ),
        social_insurance=_social_insurance(bill),
        referral=bill.referral if bill.HasField("referral") else None,
        authorisation=bill.authorisation,
        admitted=admission_time(bill, zone),
        emergency=bill.emergency_admission,
        **filing_facts(bill),
    )


def _line(line: bill_pb2.BillLine, zone: ZoneInfo, *, timed: bool) -> LineFacts:
    return LineFacts(
        number=line.number,
        code=_coding(line.code),
        quantity=Decimal(line.quantity),
        unit_price=Decimal(line.unit_price),
        billed=line.billed.minor_units,
        service_date=_day(line.service_time, zone) if line.HasField("service_time") else None,
        diagnosis_numbers=tuple(line.diagnosis_numbers),
        fund_paid=line.fund_paid.minor_units if line.HasField("fund_paid") else None,
        authorisation=line.authorisation,
        **coding_facts(line, zone, timed=timed),
    )


def _social_insurance(bill: bill_pb2.Bill) -> SocialInsuranceFacts | None:
    if not bill.HasField("social_insurance"):
        return None
    insurance = bill.social_insurance
    return SocialInsuranceFacts(
        used=insurance.used if insurance.HasField("used") else None,
        fund_paid=insurance.fund_paid.minor_units if insurance.HasField("fund_paid") else None,
        account_paid=insurance.account_paid.minor_units,
    )


def _coding(coding: coding_pb2.Coding) -> Coding:
    return Coding(system=coding.system, code=coding.code)


def _day(time: Timestamp, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(time.seconds, UTC).astimezone(zone).date()
