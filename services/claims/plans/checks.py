"""Whether the terms of a plan fit together: every conflict is a fault with the line of its list.

It reads a whole plan and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import combinations

from services.claims.core.codes import comparable
from services.claims.core.facts import CareType
from services.claims.core.plan import CodeSet, Plan, Section, SystemCodes, When
from services.claims.plans.reader import Mapping

# Each is compared with each; no plan needs a hundredth of what a hostile file may hold.
MAX_SECTIONS = 200


def check_plan(plan: Plan, top: Mapping) -> None:
    """Note every conflict between terms at the key of the file that holds the later one."""
    _unique_ids(plan, top)
    _shares(plan, top)
    _names(plan, top)
    if len(plan.sections) > MAX_SECTIONS:
        top.fault("TOO_MANY", f"a plan has at most {MAX_SECTIONS} sections", "sections")
        return
    for first, second in combinations(plan.sections, 2):
        _sections(plan, top, first, second)


def _unique_ids(plan: Plan, top: Mapping) -> None:
    lists: dict[str, Sequence[str]] = {
        "sections": [one.id for one in plan.sections],
        "categories": [one.id for one in plan.categories],
        "eligibility": [one.id for one in plan.eligibility],
        "exclusions": [one.id for one in plan.exclusions],
        "pre_existing": [one.id for one in plan.pre_existing.rules],
        "waiting_periods": [one.id for one in plan.waiting_periods],
        "mutual_recognition": [one.id for one in plan.mutual_recognition],
        "providers": [
            *(one.id for one in plan.providers.rules),
            *(one.id for one in plan.providers.listing),
        ],
        "fixed_limits": [one.id for one in plan.fixed_limits],
        "copays": [one.id for one in plan.copays],
        "shares": [one.id for one in plan.shares],
    }
    for key, ids in lists.items():
        for twice in _twice(ids):
            top.fault("DUPLICATE_ID", f"two of {key} have the id {twice!r}", key)
    # Balances are kept by id alone, so accumulators of every kind share one list of ids.
    accumulators = {
        "deductibles": [one.id for one in plan.deductibles],
        "out_of_pocket": [one.id for one in plan.out_of_pocket],
        "ceilings": [one.id for one in plan.ceilings],
        "count_limits": [one.id for one in plan.count_limits],
        "unit_limits": [one.id for one in plan.unit_limits],
    }
    for twice in _twice([one for ids in accumulators.values() for one in ids]):
        key = [key for key, ids in accumulators.items() if twice in ids][-1]
        top.fault("DUPLICATE_ID", f"two accumulators have the id {twice!r}", key)


def _twice(ids: Iterable[str]) -> Iterator[str]:
    return (one for one, times in Counter(ids).items() if times > 1)


def _shares(plan: Plan, top: Mapping) -> None:
    """The last share has no conditions, so that every line has one; no other is unconditional."""
    for index, share in enumerate(plan.shares):
        last = index == len(plan.shares) - 1
        if last and share.when != When():
            text = "the last share must have no conditions, so that every line finds one"
            top.fault("NO_DEFAULT_SHARE", text, "shares")
        if not last and share.when == When():
            text = f"shares after {share.id!r} are never reached: it has no conditions"
            top.fault("UNREACHABLE_SHARE", text, "shares")
    if not plan.shares and top.has("shares"):
        top.fault("NO_DEFAULT_SHARE", "write at least one share, without conditions", "shares")


def _names(plan: Plan, top: Mapping) -> None:
    """Names are of code sets and outcome tiers that are there, and no two are called alike."""
    conditions = [one.when for one in plan.copays]
    conditions += [*(one.when for one in plan.shares), *(one.when for one in plan.payees)]
    known = {one.id for one in plan.code_sets}
    known |= {tier for when in conditions for tier in when.outcome_tiers}
    for one in plan.names:
        if one.id not in known:
            text = f"the file has no code set and no outcome tier {one.id!r}"
            top.fault("UNKNOWN_REFERENCE", text, "names")
    for text in _twice(word for one in plan.names for word in {one.name.zh, one.name.en}):
        top.fault("DUPLICATE_NAME", f"two are called {text!r}", "names")


def _sections(plan: Plan, top: Mapping, first: Section, second: Section) -> None:
    """Two sections that could take the same line on the same day."""
    care = set(first.care_types or CareType) & set(second.care_types or CareType)
    if not care or bool(first.codes) is not bool(second.codes):
        return  # named codes go before what is left
    if not first.codes:
        text = f"{first.id!r} and {second.id!r} both take all that is left"
        top.fault("OVERLAPPING_SECTIONS", text, "sections")
        return
    sets = {one.id: one for one in plan.code_sets}
    ours = [sets[one] for one in first.codes if one in sets]
    theirs = [sets[one] for one in second.codes if one in sets]
    shared = next(_overlaps(ours, theirs), None)
    if shared is not None:
        day, code = shared
        text = f"{first.id!r} and {second.id!r} both take {code} from {day.isoformat()}"
        top.fault("OVERLAPPING_SECTIONS", text, "sections")


def _overlaps(ours: Sequence[CodeSet], theirs: Sequence[CodeSet]) -> Iterator[tuple[date, str]]:
    days = sorted({day for one in (*ours, *theirs) for day, _ in one.codes.values})
    for day in days:
        for mine in _codes_on(ours, day):
            for other in _codes_on(theirs, day):
                if mine.system == other.system:
                    yield from ((day, code) for code in _shared(mine, other))


def _codes_on(sets: Sequence[CodeSet], day: date) -> Iterator[SystemCodes]:
    for one in sets:
        if one.codes.values[0][0] <= day:
            yield from one.codes.on(day) or ()


def _shared(one: SystemCodes, other: SystemCodes) -> Iterator[str]:
    one, other = _compared(one), _compared(other)
    yield from sorted(set(one.exact) & set(other.exact))
    for left, right in ((one, other), (other, one)):
        if right.prefixes:
            yield from (code for code in left.exact if code.startswith(right.prefixes))
            yield from (f"{code}*" for code in left.prefixes if code.startswith(right.prefixes))


def _compared(codes: SystemCodes) -> SystemCodes:
    return SystemCodes(
        system=codes.system,
        exact=tuple(comparable(code) for code in codes.exact),
        prefixes=tuple(comparable(code) for code in codes.prefixes),
    )
