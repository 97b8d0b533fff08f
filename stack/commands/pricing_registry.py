"""`lipei pricing tariffs|approve|reject|activate|retire|route|shadows|export`: the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from lipei.pricing.v1 import registry_pb2 as pb
from lipei.pricing.v1.registry_pb2_grpc import TariffServiceStub
from lipei.type.v1.money_pb2 import Money
from services.common.money import grouped_minor, parse_decimal
from services.pricing.core.checks import Fault
from services.pricing.core.evidence import evidence_from
from services.pricing.core.gates import Gate
from services.pricing.core.tariff import MILLION, factor_text, tariff_from
from stack.commands.calling import CALL_S, Failed, calling, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, RequestId, State
from stack.commands.pricing_folder import say_next
from stack.commands.pricing_select import show_gates, written
from stack.commands.printing import counted, plain, print_json, print_list, rows, say, table
from stack.commands.withheld import pages

Name = Annotated[str, typer.Argument(metavar="TARIFF", help='"{tariff}@sha256:{hash}"')]
Reason = Annotated[str, typer.Option("--reason", help="Why; stays on record.")]
TariffId = Annotated[str, typer.Argument(metavar="ID", help="The id that quotes ask for.")]
_PAGE = 1_000


def add_to(app: typer.Typer) -> None:
    """Add the registry's commands to `lipei pricing`."""
    for command in (tariffs, approve, reject, activate, retire, route, shadows, export):
        app.command()(command)


def tariffs(
    tariff_id: Annotated[str, typer.Argument(metavar="[ID]", help="Only versions of it.")] = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List the insurer's tariffs: where each stands, from when to when, and who did what."""
    found: list[pb.RegisteredTariff] = []
    with calling(state, "pricing", "actuary") as channel:
        request = pb.ListTariffsRequest(tariff_id=tariff_id, page_size=_PAGE)
        for page, _ in pages(TariffServiceStub(channel).ListTariffs, request):
            found += page.tariffs
    if as_json:
        print_json({"tariffs": [plain(one) for one in found]})
        return
    made = table("tariff", "state", "first", "last", "who")
    for one in found:
        who = ", ".join(f"{_event(change).lower()} {change.actor}" for change in one.history)
        rows(made, [(one.name, _state(one), one.first_date, one.last_date, who)])
    of = f" under the id {tariff_id}" if tariff_id else ""
    print_list(made, f"no tariff{of} yet; `lipei pricing propose` hands one in")
    if further := list(dict.fromkeys(filter(None, map(_further, found)))):
        say_next(*further)


def _further(one: pb.RegisteredTariff) -> str:
    """What may be done with a tariff as it stands; nothing where it has ended."""
    if one.state in (pb.TARIFF_STATE_PROPOSED, pb.TARIFF_STATE_ENDORSED):
        return f"lipei --person NAME pricing approve {one.name} --reason WHY"
    if one.state == pb.TARIFF_STATE_APPROVED:
        return f"lipei pricing activate {one.name} --first DAY --reason WHY"
    if one.state == pb.TARIFF_STATE_ACTIVE:
        return f"lipei pricing export {one.name} --to FOLDER"
    return ""


def approve(
    name: Name,
    reason: Reason,
    request_id: RequestId = "",
    lang: Lang = Language.EN,
    state: State = DEFAULT_STATE,
) -> None:
    """Approve a tariff, and show its gates as they are judged now. Two people do.

    Neither may be who has proposed it. It prices nothing before it is activated. A refusal says
    what stands in the way, and no gates that are passed.
    """
    with calling(state, "pricing", "actuary") as channel:
        stub = TariffServiceStub(channel)
        kept = stub.GetTariff(pb.GetTariffRequest(name=name), timeout=CALL_S)
        request = pb.ApproveTariffRequest(
            request_id=fresh_request_id(request_id), name=name, reason=reason
        )
        # A refusal stands alone: one for a gate names the gate and what is wrong.
        answer = stub.ApproveTariff(request, timeout=CALL_S)
    show_gates(list(map(_gate, kept.gates)), lang)
    _show(answer.tariff)
    if answer.tariff.state == pb.TARIFF_STATE_APPROVED:
        first = max(tariff_from(kept.content).valid_first, datetime.now(UTC).date())
        say_next(f"lipei pricing activate {name} --first {first} --reason WHY")
    else:
        say("one more person approves it, who has neither proposed nor approved it")
        say_next(f"lipei --person NAME pricing approve {name} --reason WHY")


def reject(
    name: Name, reason: Reason, request_id: RequestId = "", state: State = DEFAULT_STATE
) -> None:
    """End a tariff that is not active yet. It stays on record."""
    request = pb.RejectTariffRequest(
        request_id=fresh_request_id(request_id), name=name, reason=reason
    )
    with calling(state, "pricing", "actuary") as channel:
        answer = TariffServiceStub(channel).RejectTariff(request, timeout=CALL_S)
    _show(answer.tariff)
    say_next("lipei pricing select -f FOLDER", "lipei pricing propose -f FOLDER")


def activate(
    name: Name,
    reason: Reason,
    first: Annotated[
        str, typer.Option("--first", help="First day of policy years; today when absent.")
    ] = "",
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Let an approved tariff price policy years from a day on; the version before it ends then."""
    request = pb.ActivateTariffRequest(
        request_id=fresh_request_id(request_id),
        name=name,
        reason=reason,
        first_date=first or datetime.now(UTC).date().isoformat(),
    )
    with calling(state, "pricing", "chief_actuary") as channel:
        stub = TariffServiceStub(channel)
        kept = stub.GetTariff(pb.GetTariffRequest(name=name), timeout=CALL_S)
        answer = stub.ActivateTariff(request, timeout=CALL_S)
    _show(answer.tariff)
    golden = tariff_from(kept.content).golden_quotes[0]
    given = " ".join(f"--feature {feature}={said}" for feature, said in golden.features.items())
    tariff_id = name.partition("@")[0]
    say_next(
        f"lipei pricing quote {tariff_id} --start-date {answer.tariff.first_date} {given}".rstrip()
    )


def retire(
    name: Name, reason: Reason, request_id: RequestId = "", state: State = DEFAULT_STATE
) -> None:
    """Take an active tariff out of use at once. Quotes that it gave stay."""
    request = pb.RetireTariffRequest(
        request_id=fresh_request_id(request_id), name=name, reason=reason
    )
    with calling(state, "pricing", "chief_actuary") as channel:
        answer = TariffServiceStub(channel).RetireTariff(request, timeout=CALL_S)
    _show(answer.tariff)
    say_next(f"lipei pricing tariffs {name.partition('@')[0]}")


def route(
    tariff_id: TariffId,
    reason: Reason,
    challenger: Annotated[
        str, typer.Option("--challenger", help="The other version; without one it ends.")
    ] = "",
    share: Annotated[str, typer.Option("--share", help="Of the policies, such as 0.05.")] = "0",
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Price beside the active one, shown to nobody.")
    ] = False,
    salt: Annotated[str, typer.Option("--salt", help="Another one draws anew.")] = "",
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Let a challenger price a share of the policies that ask for an id, or all in the shadow."""
    try:
        millionths = int(parse_decimal(share, places=6, what="--share") * MILLION)
    except ValueError as error:
        raise Failed(str(error), exit_code=2) from None
    request = pb.SetRoutingRequest(
        request_id=fresh_request_id(request_id),
        tariff_id=tariff_id,
        challenger=challenger,
        share_millionths=millionths,
        salt=salt,
        shadow=shadow,
        reason=reason,
    )
    with calling(state, "pricing", "chief_actuary") as channel:
        made = TariffServiceStub(channel).SetRouting(request, timeout=CALL_S).routing
    if not made.challenger:
        say(f"{tariff_id}: no experiment")
        say_next(f"lipei pricing tariffs {tariff_id}")
        return
    beside = "; in the shadow of the others" if made.shadow else ""
    say(f"{tariff_id}: {made.challenger} prices {factor_text(made.share_millionths)}{beside}")
    say_next(f"lipei pricing shadows {tariff_id}")


def shadows(tariff_id: TariffId, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """What a challenger would have charged beside what was charged."""
    found: list[pb.ShadowQuote] = []
    with calling(state, "pricing", "actuary") as channel:
        request = pb.ListShadowQuotesRequest(tariff_id=tariff_id, page_size=_PAGE)
        for page, _ in pages(TariffServiceStub(channel).ListShadowQuotes, request):
            found += page.quotes
    if as_json:
        print_json({"quotes": [plain(one) for one in found]})
        return
    made = table("quote", "champion", "challenger", right=("champion", "challenger"))
    for one in found:
        rows(made, [(one.quote, _money(one.champion_premium), _money(one.challenger_premium))])
    print_list(made, f"no quote under {tariff_id} was priced by a challenger in the shadow")
    before = sum(one.champion_premium.minor_units for one in found)
    after = sum(one.challenger_premium.minor_units for one in found)
    if before:
        say(
            f"{counted(len(found), 'quote')}; the challenger would charge {after / before - 1:+.2%}"
        )
    say_next(f"lipei pricing route {tariff_id} --reason WHY")


def export(
    name: Name,
    to: Annotated[Path, typer.Option("--to", help="A folder; made when it is not there.")],
    state: State = DEFAULT_STATE,
) -> None:
    """Write a registered tariff with its evidence and memos into a folder, as it is on record."""
    with calling(state, "pricing", "actuary") as channel:
        request = pb.GetTariffRequest(name=name)
        kept = TariffServiceStub(channel).GetTariff(request, timeout=CALL_S)
    try:
        written(
            to,
            tariff_from(kept.content),
            evidence_from(kept.evidence),
            list(map(_gate, kept.gates)),
        )
    except OSError as error:
        raise Failed(f"{to} cannot be written: {error.strerror}") from None
    except msgspec.DecodeError:
        raise Failed("the service's tariff is of another version of lipei") from None
    say_next(f"lipei pricing diff OLD.json {to / name.partition('@')[0]}.json")


def _gate(told: pb.Gate) -> Gate:
    return Gate(
        name=told.name,
        passed=told.passed,
        figure=told.figure,
        clause=told.clause,
        zh=told.text_zh,
        en=told.text_en,
        faults=tuple(Fault("", "GATE", text) for text in told.faults),
    )


def _money(amount: Money) -> str:
    return f"{grouped_minor(amount.minor_units, amount.currency_code)} {amount.currency_code}"


def _show(found: pb.RegisteredTariff) -> None:
    days = f", {found.first_date} to {found.last_date or '...'}" if found.first_date else ""
    say(f"{found.name}\n{_state(found)}{days}")


def _state(found: pb.RegisteredTariff) -> str:
    return pb.TariffState.Name(found.state).removeprefix("TARIFF_STATE_")


def _event(change: pb.TariffChange) -> str:
    return pb.TariffEvent.Name(change.event).removeprefix("TARIFF_EVENT_")
