"""Reads the edits of a plan file: what about coding, coder and time refuses a line or holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from services.claims.core.facts import MAX_DAYS_SUPPLY, CareType, Liability, Licence, Sex
from services.claims.core.plan_edits import (
    Appeals,
    ClinicalEdit,
    CountsFrom,
    Edits,
    Filing,
    FrequencyLimit,
    Indication,
    MedicalNecessity,
    OtherLiability,
    Paper,
    Prescription,
    QualifiedCare,
    RefillWindow,
    RequiredPapers,
    SuspectedDuplicates,
)
from services.claims.plans.context import (
    Context,
    choices,
    each,
    expect_unit,
    read_ages,
    read_text,
    read_words,
    references,
    some,
)
from services.claims.plans.edit_tables import read_packages, read_pair_edits, read_unit_edits
from services.claims.plans.reader import EnumT, Mapping, Value
from services.common.dated import Dated

T = TypeVar("T")

# Ten years; everything within is looked up for a claim.
_LONGEST_DAYS = 3_650


def read_edits(top: Mapping, context: Context) -> Edits | None:
    """Every edit of the file; None when it has none, so that its bytes have no trace of them."""
    papers = _papers(top)
    known = tuple(paper.id for paper in papers)
    edits = Edits(
        unit_edits=read_unit_edits(top, context),
        pair_edits=read_pair_edits(top, context),
        packages=read_packages(top, context),
        frequency_limits=_frequency_limits(top, context),
        refill_windows=_refill_windows(top, context),
        clinical_edits=_clinical_edits(top, context),
        medical_necessity=_medical_necessity(top, context),
        prescriptions=_prescriptions(top, context),
        qualified_care=_qualified_care(top, context),
        papers=papers,
        required_papers=_required_papers(top, context, known),
        other_liability=_other_liability(top, context),
        filing=_block(top, "filing", lambda term: _filing(term, context)),
        appeals=_block(top, "appeals", lambda term: _appeals(term, context)),
        suspected_duplicates=_block(
            top,
            "suspected_duplicates",
            lambda term: SuspectedDuplicates(
                clause=context.clause(term), in_force=context.in_force(term)
            ),
        ),
    )
    _unique_ids(top, edits)
    return None if edits == Edits() else edits


def _frequency_limits(top: Mapping, context: Context) -> tuple[FrequencyLimit, ...]:
    return each(
        top,
        "frequency_limits",
        lambda term: FrequencyLimit(
            id=term.get("id").ident(),
            clause=context.clause(term),
            codes=_named(term, "codes", context),
            values=_day_counts(term, context, _LONGEST_DAYS),
        ),
    )


def _refill_windows(top: Mapping, context: Context) -> tuple[RefillWindow, ...]:
    return each(
        top,
        "refill_windows",
        lambda term: RefillWindow(
            id=term.get("id").ident(),
            clause=context.clause(term),
            codes=_named(term, "codes", context),
            values=_day_counts(term, context, MAX_DAYS_SUPPLY),
        ),
    )


def _clinical_edits(top: Mapping, context: Context) -> tuple[ClinicalEdit, ...]:
    def indication(value: Value) -> Indication:
        given = value.mapping()
        ages, sex = given.maybe("ages"), given.maybe("sex")
        found = Indication(
            ages=None if ages is None else read_ages(ages),
            sex=None if sex is None else sex.choice(Sex),
            not_with=context.sets(given, "not_with"),
            care_types=choices(given, "care_types", CareType),
            licences=choices(given, "licences", Licence),
        )
        given.done()
        if found == Indication() and isinstance(value.value, dict):
            value.fault("ASKS_NOTHING", "say what the service must agree with, or write null")
        return found

    return each(
        top,
        "clinical_edits",
        lambda term: ClinicalEdit(
            id=term.get("id").ident(),
            clause=context.clause(term),
            codes=_named(term, "codes", context),
            values=term.get("values").dated(indication, context.first_day),
        ),
    )


def _medical_necessity(top: Mapping, context: Context) -> tuple[MedicalNecessity, ...]:
    return each(
        top,
        "medical_necessity",
        lambda term: MedicalNecessity(
            id=term.get("id").ident(),
            clause=context.clause(term),
            codes=_named(term, "codes", context),
            diagnoses=_named(term, "diagnoses", context),
            in_force=context.in_force(term),
        ),
    )


def _prescriptions(top: Mapping, context: Context) -> tuple[Prescription, ...]:
    def read(term: Mapping) -> Prescription:
        found = Prescription(
            id=term.get("id").ident(),
            clause=context.clause(term),
            in_force=context.in_force(term),
            codes=context.sets(term, "codes"),
            sections=context.of_sections(term),
        )
        if not (found.codes or found.sections):
            term.fault("COVERS_EVERYTHING", "say which codes or sections need a prescription")
        return found

    return each(top, "prescriptions", read)


def _qualified_care(top: Mapping, context: Context) -> tuple[QualifiedCare, ...]:
    def read(term: Mapping) -> QualifiedCare:
        found = QualifiedCare(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(_licences, context.first_day),
            care_types=choices(term, "care_types", CareType),
            codes=context.sets(term, "codes"),
            sections=context.of_sections(term),
        )
        if not (found.care_types or found.codes or found.sections):
            term.fault("COVERS_EVERYTHING", "say which care types, codes or sections it is about")
        return found

    return each(top, "qualified_care", read)


def _licences(value: Value) -> tuple[Licence, ...]:
    return _words(value, Licence)


def _papers(top: Mapping) -> tuple[Paper, ...]:
    found = top.maybe("papers")
    if found is None:
        return ()
    papers = found.mapping()
    return tuple(
        Paper(id=papers.name(key), name=read_text(papers.get(key))) for key in papers.names()
    )


def _required_papers(
    top: Mapping, context: Context, known: tuple[str, ...]
) -> tuple[RequiredPapers, ...]:
    def papers(value: Value) -> tuple[str, ...]:
        return some(value, tuple(one.reference(known, "paper") for one in value.items()))

    return each(
        top,
        "required_papers",
        lambda term: RequiredPapers(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(papers, context.first_day),
            care_types=choices(term, "care_types", CareType),
            categories=references(term, "categories", context.categories, "category"),
            sections=context.of_sections(term),
        ),
    )


def _other_liability(top: Mapping, context: Context) -> tuple[OtherLiability, ...]:
    def causes(value: Value) -> tuple[Liability, ...]:
        found = _words(value, Liability)
        if Liability.NOBODY in found:
            value.fault("UNKNOWN_WORD", "where nobody else is liable the plan pays; leave it out")
        return found

    return each(
        top,
        "other_liability",
        lambda term: OtherLiability(
            id=term.get("id").ident(),
            clause=context.clause(term),
            values=term.get("values").dated(causes, context.first_day),
            diagnoses=context.sets(term, "diagnoses"),
            sections=context.of_sections(term),
        ),
    )


def _filing(term: Mapping, context: Context) -> Filing:
    counted, exceptions = term.maybe("counts_from"), term.maybe("exceptions")
    return Filing(
        clause=context.clause(term),
        values=_day_counts(term, context, _LONGEST_DAYS),
        counts_from=CountsFrom.STAY_END if counted is None else counted.choice(CountsFrom),
        exceptions=None if exceptions is None else exceptions.dated(read_words, context.first_day),
    )


def _appeals(term: Mapping, context: Context) -> Appeals:
    return Appeals(clause=context.clause(term), values=_day_counts(term, context, _LONGEST_DAYS))


# --- what the readers above share ---


def _block(top: Mapping, key: str, read: Callable[[Mapping], T]) -> T | None:
    found = top.maybe(key)
    if found is None:
        return None
    term = found.mapping()
    block = read(term)
    term.done()
    return block


def _named(term: Mapping, key: str, context: Context) -> tuple[str, ...]:
    """Code sets that a term must name."""
    term.get(key)
    return context.sets(term, key)


def _day_counts(term: Mapping, context: Context, most: int) -> Dated[int]:
    expect_unit(term, "days")
    return term.get("values").dated(lambda value: value.whole(most=most), context.first_day)


def _words(value: Value, words: type[EnumT]) -> tuple[EnumT, ...]:
    return some(value, tuple(item.choice(words) for item in value.items()))


def _unique_ids(top: Mapping, edits: Edits) -> None:
    lists = {
        "medical_unit_edits": [one.id for one in edits.unit_edits],
        "pair_edits": [one.id for one in edits.pair_edits],
        "packages": [one.id for one in edits.packages],
        "frequency_limits": [one.id for one in edits.frequency_limits],
        "refill_windows": [one.id for one in edits.refill_windows],
        "clinical_edits": [one.id for one in edits.clinical_edits],
        "medical_necessity": [one.id for one in edits.medical_necessity],
        "prescriptions": [one.id for one in edits.prescriptions],
        "qualified_care": [one.id for one in edits.qualified_care],
        "required_papers": [one.id for one in edits.required_papers],
        "other_liability": [one.id for one in edits.other_liability],
    }
    for key, ids in lists.items():
        for twice in (one for one, times in Counter(ids).items() if times > 1):
            top.fault("DUPLICATE_ID", f"two of {key} have the id {twice!r}", key)
