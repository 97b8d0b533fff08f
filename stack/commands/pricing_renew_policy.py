"""`lipei pricing renew policy`: one policy's renewal under a finished book's factor, explained."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1.money_pb2 import Money
from services.common.money import currency_exponent, minor_units, parse_decimal
from services.pricing.core.renewal import BOOK_FORMAT
from services.pricing.core.tariff import MILLION, Collar
from stack.commands.calling import Failed, calling, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, RequestId, State
from stack.commands.pricing_handover import certified_day, hand_over_one, successor_of
from stack.commands.quote import (
    CreditMember,
    CreditProgramme,
    Features,
    features_of,
    print_quote,
)
from stack.commands.readings import (
    DEFAULT_ZONE,
    ExpiringStartDate,
    TimeZone,
    participation_if_any,
)
from stack.commands.withheld import ask


class _Manifest(msgspec.Struct, frozen=True):
    """What one policy takes of a book's manifest.json."""

    format: int
    tariff: str
    currency: str
    collar: Collar
    off_balance_billionths: int


def policy(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    policy: Annotated[str, typer.Argument(help="The policy that expires.")],
    start_date: Annotated[str, typer.Option("--start-date", help="First new day, YYYY-MM-DD.")],
    expiring_last_date: Annotated[
        str, typer.Option("--expiring-last-date", help="Last day of its cover, YYYY-MM-DD.")
    ],
    expiring_premium: Annotated[
        str,
        typer.Option(
            "--expiring-premium",
            help="Expiring premium without credit, rerated to the new cover, e.g. 3500.00.",
        ),
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", help="manifest.json of the book's renewal: tariff, collar, factor."
        ),
    ] = None,
    tariff: Annotated[
        str, typer.Option("--tariff", help="Without a manifest: {tariff} or {tariff}@sha256:{hash}")
    ] = "",
    currency: Annotated[str, typer.Option("--currency", help="Without a manifest.")] = "CNY",
    collar: Annotated[
        str,
        typer.Option(
            "--collar",
            metavar="LEAST,GREATEST,SOURCE",
            help="Without a manifest, where the tariff states none or a narrower one holds.",
        ),
    ] = "",
    feature: Features = None,
    member: CreditMember = "",
    programme: CreditProgramme = "",
    time_zone: TimeZone = DEFAULT_ZONE,
    expiring_start_date: ExpiringStartDate = "",
    hand_over: Annotated[
        Path | None,
        typer.Option(
            "--hand-over",
            metavar="FILE",
            help="Import the policy that renews this one, of these policies, into claims with the"
            " tier that was earned.",
        ),
    ] = None,
    certified: Annotated[
        str, typer.Option("--certified", help="The day on which that tier was certified.")
    ] = "",
    request_id: RequestId = "",
    lang: Lang = Language.EN,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Renew one policy as its book was renewed, and explain every step. Binds nobody.

    Without --manifest the off-balance factor is 1. With --member and --programme the member's
    readings may earn a credit and an outcome tier; with --hand-over claims gets the tier, with next
    year's policy. Nothing else changes a policy.
    """
    if (manifest is None) != bool(tariff) or (manifest and collar):
        text = "give --manifest, or --tariff and, where the tariff states none, --collar"
        raise Failed(text, exit_code=2)
    policy = policy.removeprefix("policies/")
    if (hand_over is None) != (not certified) or (hand_over and (not member or as_json)):
        text = "--hand-over goes with --certified, --member and --programme, and without --json"
        raise Failed(text, exit_code=2)
    # Whatever is wrong with file or day is said before anything is renewed.
    successor = None if hand_over is None else successor_of(hand_over, policy)
    day = certified_day(certified) if certified else None
    request = pb.RenewPolicyRequest(
        request_id=fresh_request_id(request_id),
        parent=f"policies/{policy}",
        tariff=tariff,
        start_date=start_date,
        features=features_of(feature or []),
        participation=participation_if_any(member, programme, time_zone, expiring_start_date),
    )
    if collar:
        request.collar.CopyFrom(_stated(collar))
    if manifest is not None:
        currency = _from_book(manifest, request)
    request.expiring.last_date = expiring_last_date
    money = _money(expiring_premium, currency)
    request.expiring.rerated_premium_without_credit.CopyFrom(money)
    with calling(state, "pricing", "chief_actuary") as channel:
        given, held_back = ask(PricingServiceStub(channel).RenewPolicy, request)
    print_quote(given.quote, held_back.below("quote"), lang, as_json=as_json)
    if successor is not None and day is not None:
        if held_back.paths & {"quote", "quote.renewal", "quote.renewal.outcome_tier"}:
            raise Failed("the outcome tier is withheld from you; nothing was handed over")
        hand_over_one(policy, successor, given.quote.renewal.outcome_tier, day, state)


def _from_book(path: Path, request: pb.RenewPolicyRequest) -> str:
    """Tariff, collar and factor of a finished renewal into the request; its currency."""
    try:
        content = path.read_bytes()
        found = msgspec.json.decode(content, type=_Manifest)
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}; `lipei pricing renew` writes it"
        raise Failed(text, exit_code=2) from None
    except msgspec.DecodeError:
        raise Failed(f"{path} is no manifest of a renewal", exit_code=2) from None
    if found.format != BOOK_FORMAT:
        # Its factor was found by another way of reckoning: a premium might be a fen off its book's.
        raise Failed(
            f"{path}: its format is {found.format}, and this version of lipei renews by format "
            f"{BOOK_FORMAT}: a premium might differ from its book's by a fen. Renew the book anew "
            "(`lipei pricing renew`), or this policy with the version that renewed its book",
            exit_code=2,
        )
    digest = hashlib.sha256(content).hexdigest()
    request.tariff = found.tariff
    request.collar.CopyFrom(
        pb.RenewalCollar(
            least_millionths=found.collar.least_millionths,
            greatest_millionths=found.collar.greatest_millionths,
            source=found.collar.source,
        )
    )
    request.off_balance.factor_billionths = found.off_balance_billionths
    request.off_balance.source = f"manifest.json sha256:{digest}"
    return found.currency


def _stated(text: str) -> pb.RenewalCollar:
    least, _, rest = text.partition(",")
    greatest, _, source = rest.partition(",")
    return pb.RenewalCollar(
        least_millionths=_millionths(least),
        greatest_millionths=_millionths(greatest),
        source=source,
    )


def _millionths(text: str) -> int:
    try:
        return int(parse_decimal(text, places=6, what="a multiple") * MILLION)
    except ValueError as error:
        raise Failed(f"--collar: {error}; write 0.85,1.25,who decided it", exit_code=2) from None


def _money(text: str, currency: str) -> Money:
    try:
        places = currency_exponent(currency)
    except KeyError:
        text = "--currency: is none that policies are priced in; write CNY, for example"
        raise Failed(text, exit_code=2) from None
    try:
        amount = parse_decimal(text, places=places, what="--expiring-premium")
        return Money(currency_code=currency, minor_units=minor_units(amount, currency))
    except ValueError as error:
        raise Failed(str(error), exit_code=2) from None
