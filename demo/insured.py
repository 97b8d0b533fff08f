"""Who is insured how: households become policies. Knows no bill, no FHIR and no wire."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from demo.people import DIABETES_PLAN, MEDICAL_PLAN, Cover, Disclosed, Insured, Person, Town

YEAR = 2025
FIRST, LAST = date(YEAR, 1, 1), date(YEAR, 12, 31)
# New customers of this day have no earlier policy, so that their waiting periods run.
LATE_START = date(YEAR, 6, 1)
# Diabetics' results of the year before, in turn; empty: not in the programme.
_TIERS = ("controlled", "", "improving")
TIERS_CERTIFIED = date(YEAR - 1, 12, 15)

_SIZES = (3, 2, 4, 1, 3, 2)
_RELATIVES = ("SELF", "SPOUSE", "PARENT", "CHILD")


@dataclass(frozen=True, kw_only=True)
class Roster:
    """The insured people and their policies, those of the year before included."""

    people: tuple[Person, ...]
    covers: tuple[Cover, ...]

    def cover_of(self, person: Person) -> Cover:
        """The person's policy of the year."""
        return next(
            cover
            for cover in self.covers
            if cover.last == LAST and any(one.person == person for one in cover.insured)
        )


def enrol(chance: random.Random, town: Town, people: int) -> Roster:
    """Exactly so many insured people in households, a fifth diabetic, a quarter hypertensive.

    Diabetics hold a policy of their own under the diabetes plan, save one, who is in the family's
    medical policy with diabetes excluded. The last two households are new customers.
    """
    households = _households(chance, town, people)
    ill = _illnesses(households, people)
    households = [[(ill[one.key], kin) for one, kin in home] for home in households]
    everyone = [one for home in households for one, _ in home]
    uncovered = next(one for one in everyone if one.diabetic)
    covers: list[Cover] = []
    for index, home in enumerate(households):
        new = index >= len(households) - 2
        covers.extend(_covers(chance, home, number=index + 1, new=new, family_only=uncovered))
    return Roster(
        people=tuple(everyone), covers=tuple(_with_tiers(_with_disclosures(covers, uncovered)))
    )


def _households(chance: random.Random, town: Town, people: int) -> list[list[tuple[Person, str]]]:
    homes: list[list[tuple[Person, str]]] = []
    left = people
    while left:
        size = min(_SIZES[len(homes) % len(_SIZES)], left)
        home = town.household(size, FIRST)
        homes.append([(replace(one, social=chance.random() < 0.88), kin) for one, kin in home])
        left -= size
    return homes


def _illnesses(
    households: Sequence[Sequence[tuple[Person, str]]], people: int
) -> dict[str, Person]:
    everyone = [one for home in households for one, _ in home]
    # New customers stay healthy: their bills show waiting periods and nothing else.
    new = {one.key for home in households[-2:] for one, _ in home}
    by_age = sorted((one for one in everyone if one.key not in new), key=lambda one: one.born)
    diabetic = {one.key for one in by_age[0 : 2 * (people // 5) : 2]}
    hypertensive = {one.key for one in by_age[1 : 2 * (people // 4) : 2]}
    hypertensive |= set(sorted(diabetic)[: max(1, people // 16)])
    return {
        one.key: replace(one, diabetic=one.key in diabetic, hypertensive=one.key in hypertensive)
        for one in everyone
    }


def _covers(
    chance: random.Random,
    home: Sequence[tuple[Person, str]],
    *,
    number: int,
    new: bool,
    family_only: Person,
) -> list[Cover]:
    holder = home[0][0]
    account = f"6990{chance.randrange(10**11):011d}8"
    groups = [
        (DIABETES_PLAN, [(one, "SELF")]) for one, _ in home if one.diabetic and one != family_only
    ]
    family = [(one, kin) for one, kin in home if not one.diabetic or one == family_only]
    if family:
        groups.append((MEDICAL_PLAN, _headed(family)))
    covers = []
    for index, (plan, members) in enumerate(groups):
        insured = tuple(Insured(person=one, relationship=kin) for one, kin in members)
        name = f"h{number:03d}-{index + 1}"
        base = Cover(
            policy_id=f"demo-{YEAR}-{name}",
            plan=plan,
            start=LATE_START if new else FIRST,
            last=LAST,
            previous="" if new else f"demo-{YEAR - 1}-{name}",
            insured=insured,
            holder_name=holder.name,
            account_number=account,
            bank_code="999290000018",
        )
        if not new:
            covers.append(
                replace(
                    base,
                    policy_id=base.previous,
                    start=date(YEAR - 1, 1, 1),
                    last=date(YEAR - 1, 12, 31),
                    previous="",
                )
            )
        covers.append(base)
    return covers


def _headed(family: list[tuple[Person, str]]) -> list[tuple[Person, str]]:
    """The eldest adult heads the policy when the household's head is insured elsewhere."""
    if family[0][1] == "SELF":
        return family
    head = min(family, key=lambda member: _RELATIVES.index(member[1]))
    return [(head[0], "SELF"), *(member for member in family if member != head)]


def _with_disclosures(covers: Sequence[Cover], uncovered: Person) -> list[Cover]:
    """Two adults with an excluded lumbar disc, one at half share for blood pressure."""
    agreed = {uncovered.key: (Disclosed(code_prefix="E11", terms="EXCLUDED"),)}
    adults = [
        one.person
        for cover in covers
        if cover.plan == MEDICAL_PLAN and cover.last == LAST and cover.start == FIRST
        for one in cover.insured
        if one.person.born.year < YEAR - 25 and not one.person.diabetic
    ]
    for one in [person for person in adults if not person.hypertensive][:2]:
        agreed[one.key] = (Disclosed(code_prefix="M51", terms="EXCLUDED"),)
    for one in [person for person in adults if person.hypertensive][:1]:
        agreed[one.key] = (Disclosed(code_prefix="I10", terms="AT_SHARE", share="0.5"),)
    return [
        replace(
            cover,
            insured=tuple(
                replace(one, disclosed=agreed.get(one.person.key, ())) for one in cover.insured
            )
            if cover.plan == MEDICAL_PLAN
            else cover.insured,
        )
        for cover in covers
    ]


def _with_tiers(covers: Sequence[Cover]) -> list[Cover]:
    """Diabetics who were in a programme the year before, with what they reached."""
    tiers = itertools.cycle(_TIERS)
    found = []
    for cover in covers:
        if cover.plan == DIABETES_PLAN and cover.last == LAST:
            tier = next(tiers)
            insured = tuple(replace(one, outcome_tier=tier) for one in cover.insured)
            found.append(replace(cover, insured=insured))
        else:
            found.append(cover)
    return found
