"""Whom an interface message is about: by its answer, by what goes with it, or by a look-up."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Person
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.dialects.cells import Cells
from services.his_bridge.dialects.documents import person
from services.his_bridge.dialects.port import Key
from services.his_bridge.dialects.strict_json import StrictDecoder
from services.his_bridge.dialects.yibao.message import Fields
from services.his_bridge.dialects.yibao.parsing import Parsing

PERSON = "Person"
# A rule of this system takes the insured person's own number (人员编号) for an identity.
PSN_NO = "psn_no"
_BY_IDENTITY_CARD, _IDENTITY_CARD = "02", "01"  # 就诊凭证类型 身份证号; 证件类型 居民身份证
_TELLING = ("curr_addr", "coner_name", "coner_tel", "coner_addr", "emp_tel", "hi_no")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the hospital's table of persons."""

    values: Fields
    faults: tuple[Fault, ...] = ()


class _PersonRow(msgspec.Struct):
    head: Fields = {}


class _Document(msgspec.Struct, frozen=True):
    kind: str
    number: str
    path: str


class People:
    """Names the person of each message, by a profile's rules."""

    def __init__(self, own: YibaoTerms, terms: SourceTerms) -> None:
        self._own = own
        self._terms = terms
        self._systems = [rule.system for rule in terms.identities]
        self._decoder = StrictDecoder(_PersonRow, {"head", *own.person.all})

    def needs(self, parsing: Parsing) -> frozenset[Key]:
        """The person to look up, when the message names none by a document."""
        psn_no = parsing.node.short("psn_no")
        if psn_no is None or PSN_NO in self._systems or self._carried(parsing) is not None:
            return frozenset()
        return frozenset({(PERSON, psn_no)})

    def read(self, raw: bytes) -> Found:
        """A row of the table of persons."""
        row, faults = self._decoder.decode(raw)
        return Found(values=row.head if row is not None else {}, faults=faults)

    def of(self, parsing: Parsing, support: Mapping[Key, Found]) -> Person:
        """Whom a message is about; with a fault when nobody can tell."""
        psn_no = parsing.node.short("psn_no") or ""
        row = self._row(parsing, support.get((PERSON, psn_no)))
        document = self._carried(parsing) or self._documented(row)
        at = parsing.node.at("psn_no")
        known = [one for one in (document, _Document(PSN_NO, psn_no, at)) if one and one.number]
        for system in self._systems:
            for one in known:
                if one.kind == system:
                    return self._person(parsing, row, one, psn_no)
        if document is not None:
            return self._person(parsing, row, document, psn_no)
        reason = Reason.PERSON_NOT_FOUND if psn_no else Reason.IDENTITY_MISSING
        return Person(identity=None, faults=(Fault(reason=reason, path=at),))

    def _person(
        self, parsing: Parsing, row: Cells | None, document: _Document, psn_no: str
    ) -> Person:
        nodes = _nodes(parsing)
        names = [text for cells in nodes if (text := cells.text("psn_name"))]
        if row is not None and (name := row.text(self._own.person.name)):
            names.append(name)
        others = [text for name in _TELLING if (text := parsing.node.text(name))]
        return person(
            document.kind,
            document.number,
            document.path,
            self._terms.identities,
            names=names,
            others=[*others, *([psn_no] if psn_no else [])],
        )

    def _carried(self, parsing: Parsing) -> _Document | None:
        """The document that the message carries."""
        for cells in _nodes(parsing):
            number = cells.text("certno")
            if number is not None:
                kind = cells.text("psn_cert_type") or cells.text("patn_cert_type") or ""
                return _Document(kind, number, cells.at("certno"))
        node = parsing.node
        number = node.text("mdtrt_cert_no")
        if number is not None and node.text("mdtrt_cert_type") == _BY_IDENTITY_CARD:
            return _Document(_IDENTITY_CARD, number, node.at("mdtrt_cert_no"))
        return None

    def _row(self, parsing: Parsing, found: Found | None) -> Cells | None:
        if found is None:
            return None
        path = f"{parsing.node.at('psn_no')}->{PERSON}"
        for fault in found.faults:
            parsing.findings.add(fault.reason, f"{path}.{fault.path}")
        return parsing.cells(found.values, path)

    def _documented(self, row: Cells | None) -> _Document | None:
        """The document that the table of persons names."""
        columns = self._own.person
        number = row.text(columns.certno) if row is not None else None
        if row is None or number is None:
            return None
        return _Document(row.text(columns.cert_type) or "", number, row.at(columns.certno))


def _nodes(parsing: Parsing) -> tuple[Cells, ...]:
    base = parsing.message.baseinfo
    return parsing.answer, parsing.node, parsing.cells(base, "baseinfo")
