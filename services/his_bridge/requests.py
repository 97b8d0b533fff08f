"""What requests of the bridge must look like, and how lists are paged. Reads no database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from services.common.access.tenant import Kind, Tenant
from services.common.grpc_edge import (
    Violation,
)
from services.common.page_tokens import page_token
from services.his_bridge.storage import lists

USUAL_PAGE = 100
ALL_HOSPITALS = "hospitals/-"
MOST_ACKNOWLEDGEMENTS = 500
MOST_TEXTS, LONGEST_TEXT = 20, 200
HOSPITAL = re.compile(r"hospitals/([a-z][a-z0-9-]{0,62})", re.ASCII)
BILL = re.compile(HOSPITAL.pattern + r"/bills/([0-9a-f]{32}(?:\.[0-9]{1,6})?)", re.ASCII)
# PENDING: the insurer's service failed at it, and it is tried again.
ANSWERS = {
    pb.DELIVERY_STATE_TAKEN: "TAKEN",
    pb.DELIVERY_STATE_REFUSED: "REFUSED",
    pb.DELIVERY_STATE_PENDING: "PENDING",
}


class Numbered(Protocol):
    """An entry of a list."""

    @property
    def seq(self) -> int:
        """Its number in the list."""


def acknowledgement_faults(request: pb.AcknowledgeBillsRequest) -> list[Violation]:
    """Everything wrong with the bills and deliveries of an acknowledgement."""
    faults = []
    if not 1 <= len(request.acknowledgements) <= MOST_ACKNOWLEDGEMENTS:
        text = f"must hold 1 to {MOST_ACKNOWLEDGEMENTS}"
        faults.append(Violation("acknowledgements", "COUNT", text))
    seen: set[str] = set()
    for index, entry in enumerate(request.acknowledgements[:MOST_ACKNOWLEDGEMENTS]):
        path = f"acknowledgements[{index}]"
        named = BILL.fullmatch(entry.bill)
        if named is None or f"hospitals/{named[1]}" != request.parent:
            faults.append(not_a_name(f"{path}.bill", below(request.parent, "bills/{bill}")))
        elif entry.bill in seen:
            faults.append(Violation(f"{path}.bill", "REPEATED", "stands twice"))
        seen.add(entry.bill)
        faults += _delivery_faults(entry.delivery, f"{path}.delivery")
    return faults


def _delivery_faults(delivery: pb.Delivery, path: str) -> list[Violation]:
    if delivery.state not in ANSWERS:
        return [Violation(f"{path}.state", "UNKNOWN_VALUE", "must be TAKEN, REFUSED or PENDING")]
    taken = delivery.state == pb.DELIVERY_STATE_TAKEN
    faults = []
    for field, texts, wanted in (
        ("claims", delivery.claims, taken),
        ("refusal_reasons", delivery.refusal_reasons, not taken),
    ):
        if bool(texts) is not wanted:
            text = (
                "belongs to TAKEN, and only there" if field == "claims" else "belongs to the others"
            )
            faults.append(Violation(f"{path}.{field}", "DOES_NOT_FIT", text))
        if len(texts) > MOST_TEXTS or any(not 0 < len(t) <= LONGEST_TEXT for t in texts):
            text = f"at most {MOST_TEXTS}, each 1 to {LONGEST_TEXT} characters"
            faults.append(Violation(f"{path}.{field}", "TOO_LONG", text))
    return faults


def answer(entry: pb.Acknowledgement) -> lists.Answer:
    """One acknowledgement as storage takes it; only after its faults were checked."""
    return lists.Answer(
        bill=entry.bill.rpartition("/")[2],
        delivery=ANSWERS[entry.delivery.state],
        claims=tuple(entry.delivery.claims),
        refusal_reasons=tuple(entry.delivery.refusal_reasons),
    )


def not_a_name(field: str, form: str) -> Violation:
    """A name that is not of its form."""
    return Violation(field, "NOT_A_NAME", f"must read {form}")


def below(parent: str, rest: str) -> str:
    """The form of a name below a parent; one that is no hospital's name is not repeated.

    Whatever was typed for a parent may be a person's token or number.

    >>> below("hospitals/general", "bills/{bill}")
    'hospitals/general/bills/{bill}'
    >>> below("members/k1.0a", "bills/{bill}")
    'hospitals/{hospital}/bills/{bill}'
    """
    return f"{parent if HOSPITAL.fullmatch(parent) else 'hospitals/{hospital}'}/{rest}"


def recipient_of(tenant: Tenant) -> str | None:
    """The tenant as consents name a recipient; None for whom no consent can name.

    >>> recipient_of(Tenant(Kind.INSURER, "anxin"))
    'insurers/anxin'
    """
    if tenant.kind in {Kind.INSURER, Kind.PARTNER}:
        return f"{tenant.kind}s/{tenant.id}"
    return None


def page_size_faults(page_size: int) -> list[Violation]:
    """The fault of a page size, if it has one."""
    if page_size < 0:
        return [Violation("page_size", "OUT_OF_RANGE", "must not be negative")]
    return []


def page_size(page_size: int, most: int) -> int:
    """How many to list."""
    return min(page_size or USUAL_PAGE, most)


def resume_token(rows: Sequence[Numbered], kind: str, after: int) -> str:
    """The token of whatever comes after these rows, also when there is nothing yet."""
    return page_token(kind, str(rows[-1].seq if rows else after))


def next_token(rows: Sequence[Numbered], kind: str, *, more: bool) -> str:
    """The token of the page after these rows, when there is one; else empty."""
    return page_token(kind, str(rows[-1].seq)) if more else ""
