"""Who is insured how: households become policies. Knows no bill, no FHIR and no wire."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from demo.hospital.people import (
    DIABETES_PLAN,
    MEDICAL_PLAN,
    Cover,
    Disclosed,
    Insured,
    Person,
    Town,
)

YEAR = 2025
FIRST, LAST = date(YEAR, 1, 1), date(YEAR, 12, 31)
# New customers of this day have no earlier policy, so that their waiting periods run.
LATE_START = date(YEAR, 6, 1)
# Some households do not pay on: their last covered day.
LAPSE_LAST = date(YEAR, 8, 31)
# Diabetics' results of the year before, in turn; empty: not in the programme.
_TIERS = ("controlled", "", "improving")
TIERS_CERTIFIED = date(YEAR - 1, 12, 15)

_SIZES = (3, 2, 4, 1, 3, 2)
_RELATIVES = ("SELF", "SPOUSE", "PARENT", "CHILD")
# Of twelve households in a row the first has a grown-up child, the second lets its policy lapse.
_ROUND = 12


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
            if cover.last.year == YEAR and any(one.person == person for one in cover.insured)
        )

    def insured(self, person: Person) -> Insured:
        """The person as insured under the policy of the year."""
        return next(one for one in self.cover_of(person).insured if one.person == person)


@dataclass(frozen=True, kw_only=True)
class _Home:
    """One household on its way to policies."""

    people: tuple[tuple[Person, str], ...]
    new: bool
    lapses: bool
    grown: bool


def enrol(chance: random.Random, town: Town, people: int) -> Roster:
    """Exactly so many insured people in households, a fifth diabetic, a quarter hypertensive.

    Diabetics hold a policy of their own under the diabetes plan, save a few, who are in the
    family's medical policy with diabetes excluded. Of 120 households the last seven are new
    customers, five let their policies lapse in August, and in five a child turns 26; fewer
    households have fewer of them, at least two, one and one. Those stay free of chronic disease,
    so that their bills show one thing each.
    """
    homes = _with_illnesses(_households(chance, town, people), people)
    diabetics = [one for home in homes for one, _ in home.people if one.diabetic]
    excluded = {one.key for one in diabetics[: max(1, people // 60)]}
    covers: list[Cover] = []
    for number, home in enumerate(homes, start=1):
        covers.extend(_covers(chance, home, number, excluded))
    agreed = _agreements(covers, excluded, people)
    return Roster(
        people=tuple(one for home in homes for one, _ in home.people),
        covers=tuple(_with_tiers(_with_disclosures(covers, agreed))),
    )


def _households(chance: random.Random, town: Town, people: int) -> list[_Home]:
    sizes: list[int] = []
    while sum(sizes) < people:
        sizes.append(min(_SIZES[len(sizes) % len(_SIZES)], people - sum(sizes)))
    fresh = max(2, people // 43)
    special = max(1, people // 60)
    homes = []
    for index, size in enumerate(sizes):
        turn, place = divmod(index, _ROUND)
        grown = place == 0 and turn < special and size == _SIZES[0]
        home = town.family_with_grown_child(FIRST) if grown else town.household(size, FIRST)
        members = tuple((replace(one, social=chance.random() < 0.88), kin) for one, kin in home)
        homes.append(
            _Home(
                people=members,
                new=index >= len(sizes) - fresh,
                lapses=place == 1 and turn < special,
                grown=grown,
            )
        )
    return homes


def _with_illnesses(homes: Sequence[_Home], people: int) -> list[_Home]:
    plain = [home for home in homes if not (home.new or home.lapses or home.grown)]
    by_age = sorted((one for home in plain for one, _ in home.people), key=lambda one: one.born)
    diabetic = {one.key for one in by_age[0 : 2 * (people // 5) : 2]}
    hypertensive = {one.key for one in by_age[1 : 2 * (people // 4) : 2]}
    hypertensive |= set(sorted(diabetic)[: max(1, people // 16)])
    return [
        replace(
            home,
            people=tuple(
                (
                    replace(
                        one, diabetic=one.key in diabetic, hypertensive=one.key in hypertensive
                    ),
                    kin,
                )
                for one, kin in home.people
            ),
        )
        for home in homes
    ]


def _covers(chance: random.Random, home: _Home, number: int, excluded: set[str]) -> list[Cover]:
    """The household's policies: one for each diabetic, one for the others; this year and last."""
    holder = home.people[0][0]
    account = f"6990{chance.randrange(10**11):011d}8"
    alone = [one for one, _ in home.people if one.diabetic and one.key not in excluded]
    family = [(one, kin) for one, kin in home.people if one not in alone]
    groups = [(DIABETES_PLAN, [(one, "SELF")]) for one in alone]
    if family:
        groups.append((MEDICAL_PLAN, _headed(family)))
    covers = []
    for index, (plan, members) in enumerate(groups):
        name = f"h{number:03d}-{index + 1}"
        base = Cover(
            policy_id=f"demo-{YEAR}-{name}",
            plan=plan,
            start=LATE_START if home.new else FIRST,
            last=LAPSE_LAST if home.lapses else LAST,
            previous="" if home.new else f"demo-{YEAR - 1}-{name}",
            insured=tuple(Insured(person=one, relationship=kin) for one, kin in members),
            holder_name=holder.name,
            account_number=account,
            bank_code="999290000018",
        )
        if not home.new:
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


def _agreements(
    covers: Sequence[Cover], excluded: set[str], people: int
) -> Mapping[str, tuple[Disclosed, ...]]:
    """Member → what was agreed about the illnesses that the member disclosed.

    Under the medical plan: diabetes excluded for a few, a lumbar disc (M51) excluded for two in
    fifty, high blood pressure (I10) at half for one in fifty. Under the diabetes plan two of three
    disclosed diabetes, which is covered, and every second of them kidney trouble (E11.2), which
    the plan covers at 70 %.
    """
    agreed: dict[str, tuple[Disclosed, ...]] = {
        key: (Disclosed(code_prefix="E11", terms="EXCLUDED"),) for key in excluded
    }
    year = [cover for cover in covers if (cover.start, cover.last) == (FIRST, LAST)]
    adults = [
        one.person
        for cover in year
        if cover.plan == MEDICAL_PLAN
        for one in cover.insured
        if one.person.born.year < YEAR - 27 and not one.person.diabetic
    ]
    well = [person for person in adults if not person.hypertensive]
    for one in well[: max(2, people // 25)]:
        agreed[one.key] = (Disclosed(code_prefix="M51", terms="EXCLUDED"),)
    for one in [person for person in adults if person.hypertensive][: max(1, people // 50)]:
        agreed[one.key] = (Disclosed(code_prefix="I10", terms="AT_SHARE", share="0.5"),)
    diabetics = [cover.insured[0].person for cover in year if cover.plan == DIABETES_PLAN]
    for index, one in enumerate(diabetics):
        known = [Disclosed(code_prefix="E11", terms="COVERED")] if index % 3 else []
        if index % 3 == 1:
            known.append(Disclosed(code_prefix="E11.2", terms="AT_SHARE", share="0.70"))
        agreed[one.key] = tuple(known)
    return agreed


def _with_disclosures(
    covers: Sequence[Cover], agreed: Mapping[str, tuple[Disclosed, ...]]
) -> list[Cover]:
    return [
        replace(
            cover,
            insured=tuple(
                replace(one, disclosed=agreed.get(one.person.key, ())) for one in cover.insured
            ),
        )
        for cover in covers
    ]


def _with_tiers(covers: Sequence[Cover]) -> list[Cover]:
    """Diabetics who were in a programme the year before, with what they reached."""
    tiers = itertools.cycle(_TIERS)
    found = []
    for cover in covers:
        if cover.plan == DIABETES_PLAN and cover.last.year == YEAR:
            tier = next(tiers)
            insured = tuple(replace(one, outcome_tier=tier) for one in cover.insured)
            found.append(replace(cover, insured=insured))
        else:
            found.append(cover)
    return found
