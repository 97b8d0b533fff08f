"""What requests of the registry must look like, and their content as the core takes it.

A request is judged whole: every fault of every field comes back at once.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date

import msgspec
from google.protobuf.message import Message

from lipei.pricing.v1 import registry_pb2 as pb
from services.common.grpc_edge import Violation
from services.common.request_id import request_id_faults
from services.pricing.core.book import is_tariff_name
from services.pricing.core.checks import Fault
from services.pricing.core.evidence import Evidence
from services.pricing.core.tariff import MILLION, Tariff, canonical_bytes
from services.pricing.requests import day_of
from services.pricing.tariffs.loader import readable
from services.pricing.tariffs.shape import shape_faults
from services.pricing.tariffs.strict_json import NotJson, load

MOST_TARIFF_BYTES, MOST_EVIDENCE_BYTES = 1 << 20, 2 << 20
_LONGEST_REASON = 500
_SALT = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A tariff and its evidence that could be read; the gates have not been judged."""

    tariff: Tariff
    evidence: Evidence


def proposal_of(request: pb.ProposeTariffRequest) -> tuple[Proposal | None, list[Violation]]:
    """What is proposed, or what is wrong with the request; a tariff's own faults are gates'."""
    violations = [*request_id_faults(request.request_id), *reason_faults(request.reason)]
    tariff = evidence = None
    if len(request.tariff) > MOST_TARIFF_BYTES:
        violations.append(Violation("tariff", "TOO_LARGE", f"at most {MOST_TARIFF_BYTES} bytes"))
    else:
        file, faults = readable(request.tariff)
        tariff = None if file is None else file.tariff
        violations += [_violation("tariff", one) for one in faults]
    if len(request.evidence) > MOST_EVIDENCE_BYTES:
        text = f"at most {MOST_EVIDENCE_BYTES} bytes"
        violations.append(Violation("evidence", "TOO_LARGE", text))
    else:
        evidence, faults = evidence_of(request.evidence)
        violations += [_violation("evidence", one) for one in faults]
    if tariff is None or evidence is None or violations:
        return None, violations
    return Proposal(tariff, evidence), []


def evidence_of(content: bytes) -> tuple[Evidence | None, list[Fault]]:
    """The evidence in canonical JSON, or every fault of it."""
    try:
        tree, faults = load(content)
    except NotJson as refused:
        return None, [refused.fault]
    faults += shape_faults(tree, Evidence, "")
    if not faults and canonical_bytes(tree) != content:
        text = "is not canonical JSON; send it as `lipei pricing propose` wrote it"
        faults.append(Fault("", "NOT_CANONICAL", text))
    return (None, faults) if faults else (msgspec.convert(tree, Evidence), [])


def act_faults(
    request: pb.ApproveTariffRequest
    | pb.RejectTariffRequest
    | pb.ActivateTariffRequest
    | pb.RetireTariffRequest,
) -> list[Violation]:
    """What is wrong with a request that moves a tariff."""
    return [
        *request_id_faults(request.request_id),
        *name_faults("name", request.name),
        *reason_faults(request.reason),
    ]


def first_day_of(
    request: pb.ActivateTariffRequest, today: date
) -> tuple[date | None, list[Violation]]:
    """The first day of an activation. It is today's in any zone, or later."""
    first = day_of(request.first_date)
    if first is None:
        text = "must be a day of the calendar as YYYY-MM-DD"
        return None, [Violation("first_date", "BAD_DATE", text)]
    # West of Greenwich today is still the day before.
    if first.toordinal() < today.toordinal() - 1:
        text = "must not lie in the past: nobody's price changes afterwards"
        return None, [Violation("first_date", "IN_THE_PAST", text)]
    return first, []


def routing_faults(request: pb.SetRoutingRequest) -> list[Violation]:
    """What is wrong with a request that sets an experiment, by itself."""
    violations = [*request_id_faults(request.request_id), *reason_faults(request.reason)]
    violations += id_faults(request.tariff_id)
    if request.challenger:
        violations += name_faults("challenger", request.challenger)
    elif request.share_millionths or request.shadow:
        text = "needs a challenger that prices"
        violations.append(Violation("challenger", "REQUIRED", text))
    if not 0 <= request.share_millionths <= MILLION:
        text = f"must lie in 0 to {MILLION}"
        violations.append(Violation("share_millionths", "OUT_OF_RANGE", text))
    if not _SALT.fullmatch(request.salt):
        text = "must be 1 to 64 of A-Z a-z 0-9 . _ -, or empty"
        violations.append(Violation("salt", "MALFORMED", text))
    return violations


def name_faults(field: str, name: str) -> list[Violation]:
    """The fault of a version's name, if it has one."""
    if is_tariff_name(name) and "@" in name:
        return []
    return [Violation(field, "NOT_A_NAME", "must read {tariff id}@sha256:{hash}")]


def id_faults(tariff_id: str) -> list[Violation]:
    """The fault of a tariff's id, if it has one."""
    if is_tariff_name(tariff_id) and "@" not in tariff_id:
        return []
    return [Violation("tariff_id", "NOT_A_NAME", "must be a tariff's id, without its hash")]


def reason_faults(reason: str) -> list[Violation]:
    """The fault of a reason, if it has one."""
    if reason.strip() and len(reason) <= _LONGEST_REASON and reason.isprintable():
        return []
    text = f"must say why in 1 to {_LONGEST_REASON} characters on one line"
    return [Violation("reason", "LENGTH", text)]


def fingerprint(request: Message) -> str:
    """By what two requests with one id are compared: they hold no person's data."""
    content = request.SerializeToString(deterministic=True)
    return hashlib.sha256(request.DESCRIPTOR.full_name.encode() + b"\n" + content).hexdigest()


def _violation(field: str, fault: Fault) -> Violation:
    path = fault.path.removeprefix("tariff.") if field == "tariff" else fault.path
    return Violation(f"{field}.{path}" if path else field, fault.reason, fault.text)
