"""Patients whom the server merged, beside the bills that led to them: each a merge like ADT^A40."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from services.his_bridge.core.outcomes import KeptOut, Merged, MergeLevel, Outcome
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.fhir_r4.bundle import entry_of
from services.his_bridge.dialects.fhir_r4.merged import REPLACED_BY, people_behind, survivor_of
from services.his_bridge.dialects.fhir_r4.support import Key, Supported, read_supporting
from services.his_bridge.dialects.port import Glance, Learnt, RecordReader, Tokens
from services.his_bridge.dialects.pseudonym import pseudonym
from services.his_bridge.dialects.strict_json import meaning_of

_PATIENT = "Patient"
_SIGN = REPLACED_BY.encode()


class _Link(msgspec.Struct, frozen=True):
    """A patient's own record, as it was decoded."""

    patient: Supported


class WithMerges:
    """Reads bills by another reader, and of the patients behind them who goes on as whom."""

    def __init__(self, bills: RecordReader, terms: SourceTerms, tokens: Tokens) -> None:
        self._bills = bills
        self._terms = terms
        self._tokens = tokens

    @property
    def kind(self) -> str:
        """What the source calls the bills."""
        return self._bills.kind

    def glance(self, raw: bytes) -> Glance:
        """A bill's, or a patient's who was merged."""
        if _SIGN not in raw or entry_of(raw, "").kind != _PATIENT:
            return self._bills.glance(raw)
        needs = people_behind(_PATIENT, raw, (), self._terms.base_url)
        patient = read_supporting(_PATIENT, raw, self._terms)
        return Glance(decoded=_Link(patient), keep_out=False, needs=frozenset(needs))

    def read_supporting(self, kind: str, raw: bytes) -> Supported:
        """As the bills' reader does."""
        found: Supported = self._bills.read_supporting(kind, raw)
        return found

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Supported]) -> Outcome:
        """The bill's outcome, or the merge."""
        if not isinstance(glance.decoded, _Link):
            return self._bills.judge(record_id, glance, support)
        key = (_PATIENT, record_id)
        return self._merged(key, {**support, key: glance.decoded.patient})

    def learnt(
        self, found: Mapping[Key, bytes], support: Mapping[Key, Supported]
    ) -> Sequence[Learnt]:
        """Merges that the patients tell who were looked up."""
        told = []
        for key, raw in found.items():
            if key[0] != _PATIENT or _SIGN not in raw:
                continue
            outcome = self._merged(key, support)
            if isinstance(outcome, Merged):
                entry = entry_of(raw, _PATIENT)
                told.append(
                    Learnt(
                        kind=_PATIENT,
                        record_id=key[1],
                        version=entry.version,
                        updated=entry.updated,
                        raw=raw,
                        meaning=meaning_of(raw),
                        outcome=outcome,
                    )
                )
        return told

    def _merged(self, key: Key, support: Mapping[Key, Supported]) -> Outcome:
        """Who had two documents until now; whoever has none here is no member of anybody."""
        tokens = []
        for one in (survivor_of(key, support, self._terms.base_url), key):
            known = support.get(one)
            person, token = pseudonym(known.person if known else None, "", self._tokens)
            if person is None or person.faults or token is None:
                return KeptOut()
            tokens.append(token)
        into, out_of = tokens
        if into == out_of:
            return KeptOut()
        return Merged(level=MergeLevel.PATIENT, into=into, out_of=out_of)
