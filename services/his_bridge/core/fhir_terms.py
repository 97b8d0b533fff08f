"""What a hospital's FHIR server calls a bill, and whose numbers name a member. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class BillsFrom(StrEnum):
    """The resource that carries what was charged."""

    CLAIM = "claim"
    INVOICE = "invoice"
    CHARGE_ITEM = "charge_item"


class GroupBy(StrEnum):
    """What makes single charges one bill."""

    ACCOUNT = "account"
    ENCOUNTER = "encounter"


class CoverageRule(msgspec.Struct, frozen=True, kw_only=True):
    """The subscriber's number at this payor is an identity of this kind."""

    system: str
    payor: str
    kind: str


class FhirTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How bills are made of FHIR R4 resources."""

    bills_from: BillsFrom = BillsFrom.CLAIM
    group_by: GroupBy = GroupBy.ACCOUNT
    coverages: tuple[CoverageRule, ...] = ()

    @property
    def bill_kind(self) -> str:
        """The resources to read, one kind after the other."""
        if self.bills_from is BillsFrom.CHARGE_ITEM:
            # What holds the charges together also says when the bill is complete.
            return f"ChargeItem,{self.group_by.value.capitalize()}"
        return self.bills_from.value.capitalize()
