"""Between the registry's own values and the wire. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from lipei.pricing.v1 import registry_pb2 as pb
from services.common.grpc_edge import Violation
from services.common.moments import timestamp
from services.pricing.core.gates import Gate
from services.pricing.core.tariff import Tariff, tariff_from
from services.pricing.messages import money
from services.pricing.storage.registry import Change, Registered, Routing, ShadowRow


def registered(found: Registered) -> pb.RegisteredTariff:
    """A tariff of an insurer's on the wire."""
    made = described(tariff_from(found.content), found.version, found.evidence_sha256)
    made.state = pb.TariffState.Value(f"TARIFF_STATE_{found.state.name}")
    made.first_date, made.last_date = _day(found.first), _day(found.last)
    made.history.extend(_change(one) for one in found.history)
    return made


def described(tariff: Tariff, version: str, evidence_sha256: str) -> pb.RegisteredTariff:
    """A tariff that is not kept: what it says of itself."""
    return pb.RegisteredTariff(
        name=version,
        title_zh=tariff.title_zh,
        title_en=tariff.title_en,
        synthetic=tariff.synthetic,
        evidence_sha256=evidence_sha256,
    )


def gates(found: Sequence[Gate]) -> list[pb.Gate]:
    """Gates on the wire."""
    return [
        pb.Gate(
            name=gate.name,
            passed=gate.passed,
            figure=gate.figure,
            clause=gate.clause,
            text_zh=gate.zh,
            text_en=gate.en,
            faults=[f"{fault.path}: {fault.text}" for fault in gate.faults],
        )
        for gate in found
    ]


def gate_violations(found: Sequence[Gate]) -> list[Violation]:
    """Every fault of every gate that is not passed."""
    return [
        Violation(f"gates.{gate.name}", fault.reason, f"{fault.path}: {fault.text}")
        for gate in found
        for fault in gate.faults
    ]


def routing(found: Routing) -> pb.Routing:
    """An experiment on the wire."""
    return pb.Routing(
        tariff_id=found.tariff_id,
        challenger=found.challenger or "",
        share_millionths=found.share_millionths,
        salt=found.salt,
        shadow=found.shadow,
        actor=found.actor,
        reason=found.reason,
        time=timestamp(found.at_us),
    )


def shadow_quote(found: ShadowRow) -> pb.ShadowQuote:
    """A shadow quote on the wire."""
    return pb.ShadowQuote(
        quote=found.quote,
        champion=found.champion,
        champion_premium=money(found.champion_minor, found.currency),
        challenger=found.challenger,
        challenger_premium=money(found.challenger_minor, found.currency),
        create_time=timestamp(found.at_us),
    )


def _change(found: Change) -> pb.TariffChange:
    return pb.TariffChange(
        event=pb.TariffEvent.Value(f"TARIFF_EVENT_{found.event.name}"),
        actor=found.actor,
        reason=found.reason,
        time=timestamp(found.at_us),
        date=_day(found.day),
    )


def _day(day: date | None) -> str:
    return "" if day is None else day.isoformat()
