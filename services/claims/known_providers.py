"""Which providers an insurer knows: what it registers, and whose bills intake lets in."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

from lipei.claims.v1 import provider_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims.bill_intake import end_day
from services.claims.covering import Answering
from services.claims.desk import Desk
from services.claims.policy_intake import POSSIBLE_DAYS, possible_day
from services.claims.storage import known_providers as store
from services.claims.storage.known_providers import Period
from services.common.dated import half_open
from services.common.refusals import Violation

PROVIDER_ID = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?", re.ASCII)
MOST_PROVIDERS = 5000


def registered(request: pb.RegisterProvidersRequest) -> dict[str, list[Period]] | list[Violation]:
    """Each provider's days in order; or everything that is wrong with them."""
    if not 1 <= len(request.providers) <= MOST_PROVIDERS:
        return [Violation("providers", "BAD_COUNT", f"must be 1 to {MOST_PROVIDERS}")]
    faults: list[Violation] = []
    found: defaultdict[str, list[tuple[Period, int]]] = defaultdict(list)
    for index, one in enumerate(request.providers):
        period = _period(one, f"providers[{index}]", faults)
        if period is not None:
            found[one.provider_id].append((period, index))
    for periods in found.values():
        periods.sort(key=lambda told: told[0][0])
        for ((_, end), _), ((start, _), index) in pairwise(periods):
            if end is None or start < end:
                text = "the provider stands here twice, on days that overlap"
                faults.append(Violation(f"providers[{index}].first_day", "OVERLAPPING_DAYS", text))
    return faults or {who: [period for period, _ in told] for who, told in found.items()}


def _period(one: pb.KnownProvider, where: str, faults: list[Violation]) -> Period | None:
    before = len(faults)
    if not PROVIDER_ID.fullmatch(one.provider_id):
        text = "must be 1 to 128 visible ASCII characters"
        faults.append(Violation(f"{where}.provider_id", "MALFORMED", text))
    first, last = possible_day(one.first_day), possible_day(one.last_day)
    if first is None:
        faults.append(Violation(f"{where}.first_day", "IMPOSSIBLE_DATE", POSSIBLE_DAYS))
    if one.last_day and last is None:
        faults.append(Violation(f"{where}.last_day", "IMPOSSIBLE_DATE", POSSIBLE_DAYS))
    if first is not None and last is not None and last < first:
        text = "must not lie before first_day"
        faults.append(Violation(f"{where}.last_day", "ENDS_BEFORE_START", text))
    if len(faults) > before or first is None:
        return None
    return first, None if last is None else half_open(last)


def knows(desk: Desk, entry: Answering, bill: bill_pb2.Bill) -> bool:
    """Whether the insurer of a policy knows the bill's provider on the day of discharge.

    Also one that the policy itself names: its plan's list, or the member's family doctor.
    """
    named = desk.plans.plan(desk.connection, entry.terms.plan_version).providers.listing
    if any(one.id == bill.provider_id for one in named):
        return True
    doctor = entry.member.family_doctor
    if doctor and any(one.provider_id == bill.provider_id for one in doctor.contracts):
        return True
    return known_to(desk, entry.insurer, bill)


def known_to(desk: Desk, insurer: str, bill: bill_pb2.Bill) -> bool:
    """Whether an insurer knows the bill's provider on the day of discharge.

    An insurer without a register knows everybody. Of a provider on the register its days there
    decide; one that is not is known by a price list that holds, or by a confirmed account.
    """
    connection, provider_id, day = desk.connection, bill.provider_id, end_day(bill)
    if not store.keeps_register(connection, insurer):
        return True
    periods = store.periods_of(connection, insurer, provider_id)
    if periods:
        return any(start <= day and (end is None or day < end) for start, end in periods)
    key = insurer, provider_id, bill.total.currency_code
    prices = desk.plans.price_lists(connection, [key]).get(key)
    if prices is not None and prices.in_force(day):
        return True
    return store.has_confirmed_account(connection, insurer, provider_id)


def known_to_nobody(desk: Desk, bill: bill_pb2.Bill) -> bool:
    """Whether no insurer at all knows the bill's provider; asks nothing about the bill's member."""
    found = store.insurers(desk.connection)
    return bool(found) and not any(known_to(desk, insurer, bill) for insurer in found)


def unknown_text(bill: bill_pb2.Bill) -> str:
    """What to do about a bill whose provider is not known."""
    return (
        f"provider {bill.provider_id} is not known on {end_day(bill)}, the day of discharge; the "
        "insurer registers it (lipei providers register), or fix the bill; then send it again"
    )
