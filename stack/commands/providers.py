"""`lipei providers ...`: whom an insurer knows, and prices and accounts agreed with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lipei.claims.v1 import policy_pb2
from lipei.claims.v1 import provider_pb2 as pb
from lipei.claims.v1.provider_pb2_grpc import ProviderServiceStub
from services.claims.plans.price_list import load_price_list
from services.common.strict_yaml import StrictYamlError
from stack.commands.calling import CALL_S, Failed, calling, content_of, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, RequestId, State
from stack.commands.price_table import PriceTable, price_table
from stack.commands.printing import (
    counted,
    print_json,
    print_list,
    rows,
    say,
    table,
    when,
    word,
)
from stack.commands.spreadsheet import Encoding
from stack.commands.withheld import pages

app = typer.Typer(
    no_args_is_help=True, help="Providers: who is known, prices, and accounts that two people set."
)
_PAGE = 500
_NOT_REGISTERED = (
    "{} is not on the register: it is known only by a price list that holds, a confirmed account, "
    "or where a policy names it"
)

Account = Annotated[str, typer.Argument(metavar="NAME", help='"providerAccounts/{account}"')]


@app.command()
def register(
    providers: Annotated[
        list[str], typer.Argument(metavar="PROVIDER...", help="As bills write them.")
    ],
    first_day: Annotated[str, typer.Option("--first-day", help="Known from: YYYY-MM-DD.")],
    last_day: Annotated[str, typer.Option("--last-day", help="Known until, if it ends.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it; store nothing.")] = False,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Say on which days providers are known, in the place of what was said of them before.

    From the first on, bills of a provider that is not known on the day of discharge are refused.
    """
    request = pb.RegisterProvidersRequest(
        request_id=fresh_request_id(request_id),
        providers=[
            pb.KnownProvider(provider_id=one, first_day=first_day, last_day=last_day)
            for one in providers
        ],
        dry_run=dry_run,
    )
    with calling(state, "claims", "insurer_intake") as channel:
        answer = ProviderServiceStub(channel).RegisterProviders(request, timeout=CALL_S)
    if as_json:
        print_json(answer)
        return
    would = "would be known" if dry_run else "known"
    until = f" until {last_day}" if last_day else ""
    say(f"{counted(answer.provider_count, 'provider')} {would} from {first_day}{until}")
    if answer.first:
        say("the first ones: bills of providers that are not known are refused from then on")


@app.command()
def known(
    provider: Annotated[str, typer.Argument(metavar="[PROVIDER]", help="All when absent.")] = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List the register of providers, what was said last first. Changes nothing."""
    request = pb.ListProvidersRequest(provider_id=provider, page_size=_PAGE)
    found: list[pb.KnownProvider] = []
    nothing = "no register: every provider is known"
    with calling(state, "claims", "insurer_intake") as channel:
        stub = ProviderServiceStub(channel)
        for page, _ in pages(stub.ListProviders, request):
            found += page.providers
        if provider and not found:
            anybody = stub.ListProviders(pb.ListProvidersRequest(page_size=1), timeout=CALL_S)
            if anybody.providers:
                nothing = _NOT_REGISTERED.format(provider)
    if as_json:
        print_json(pb.ListProvidersResponse(providers=found))
        return
    made = table("provider", "first day", "last day")
    lines = ((one.provider_id, one.first_day, one.last_day) for one in found)
    print_list(rows(made, lines), nothing)


@app.command()
def prices(  # noqa: PLR0913, PLR0917 -- an option each
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML, or a table .csv; see docs/plans.md.")
    ],
    provider: Annotated[str, typer.Option("--provider", help="Of a .csv: as bills write it.")] = "",
    currency: Annotated[str, typer.Option("--currency", help="Of a .csv: such as CNY.")] = "",
    first_day: Annotated[str, typer.Option("--first-day", help="Of a .csv: YYYY-MM-DD.")] = "",
    last_day: Annotated[str, typer.Option("--last-day", help="Of a .csv, when it ends.")] = "",
    system: Annotated[
        str, typer.Option("--system", help="Of a .csv: its code system, if no column names it.")
    ] = "",
    encoding: Annotated[
        Encoding | None, typer.Option("--encoding", help="Of a .csv; found out when left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it; store nothing.")] = False,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Import a provider's price list in the place of the one before. Decides no claim anew."""
    head = {"provider": provider, "currency": currency, "first_day": first_day}
    told = [(key, one) for key, one in {**head, "last_day": last_day}.items() if one]
    content = content_of(file)
    if file.suffix.lower() == ".csv":
        missing = [f"--{key.replace('_', '-')}" for key, one in head.items() if not one]
        if missing:
            raise Failed(f"{file}: a table needs {', '.join(missing)} beside it", exit_code=2)
        content = _of_table(content, str(file), told, system, encoding)
    elif told or system or encoding:
        text = "it says these itself; leave out what is for a .csv"
        raise Failed(f"{file}: {text}", exit_code=2)
    else:
        _checked(content, str(file))
    request = pb.ImportPriceListRequest(
        request_id=fresh_request_id(request_id), yaml=content, dry_run=dry_run
    )
    with calling(state, "claims", "insurer_intake") as channel:
        answer = ProviderServiceStub(channel).ImportPriceList(request, timeout=CALL_S)
    if as_json:
        print_json(answer)
        return
    would = "would hold" if dry_run else "hold"
    codes = counted(answer.price_count, "code")
    say(f"the prices of {answer.provider_id} {would} {codes}; list {answer.price_list_hash}")


def _checked(content: bytes, source: str, table: PriceTable | None = None) -> None:
    """Refuse a list that cannot be read, with the lines of the file that the person wrote."""
    try:
        load_price_list(content, source)
    except StrictYamlError as error:
        faults = error.faults if table is None else [table.in_table(f) for f in error.faults]
        raise _refused(StrictYamlError(faults, source)) from None


def _of_table(
    content: bytes,
    source: str,
    told: list[tuple[str, str]],
    system: str,
    encoding: Encoding | None,
) -> bytes:
    try:
        table = price_table(content, source, told, system, encoding or "")
    except StrictYamlError as error:
        raise _refused(error) from None
    _checked(table.yaml, source, table)
    return table.yaml


def _refused(error: StrictYamlError) -> Failed:
    count = counted(len(error.faults), "fault")
    return Failed(*str(error).splitlines(), f"{count}; nothing was stored")


@app.command()
def propose(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="As bills write it.")],
    holder: Annotated[str, typer.Option("--holder", help="Whose account it is.")],
    account: Annotated[
        str,
        typer.Option("--account", help='The account\'s number; "-" reads it from standard input.'),
    ],
    bank: Annotated[str, typer.Option("--bank", help="CNAPS code or BIC.")],
    valid_from: Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD.")],
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Propose the account that a provider is paid to. Nothing is paid until somebody confirms."""
    told = policy_pb2.PayeeAccount(
        holder_name=holder, account_number=_read(account), bank_code=bank, valid_from=valid_from
    )
    request = pb.ProposeProviderAccountRequest(
        request_id=fresh_request_id(request_id), provider_id=provider, account=told
    )
    with calling(state, "claims", "insurer_intake") as channel:
        answer = ProviderServiceStub(channel).ProposeProviderAccount(request, timeout=CALL_S)
    if as_json:
        print_json(answer)
        return
    say(f"{answer.account.name}: {_state(answer.account)}")
    say(f"next: lipei providers confirm {answer.account.name} --account -   (somebody else)")


@app.command()
def confirm(
    name: Account,
    reject: Annotated[
        bool, typer.Option("--reject", help="Reject it, with a --note; withdraw your own.")
    ] = False,
    note: Annotated[str, typer.Option("--note", help="Why it is rejected; about no person.")] = "",
    account: Annotated[
        str,
        typer.Option(
            "--account",
            help="The number as you have it from the provider, which is compared and never shown;"
            ' "-" reads it from standard input.',
        ),
    ] = "",
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Confirm an account that somebody else has proposed; claims that waited for it are paid."""
    if not reject and not account:
        text = "state the number as you have it from the provider: --account, or --reject"
        raise Failed(text, exit_code=2)
    request = pb.ConfirmProviderAccountRequest(
        name=name,
        request_id=fresh_request_id(request_id),
        reject=reject,
        note=note,
        account_number=_read(account),
    )
    with calling(state, "claims", "payments") as channel:
        answer = ProviderServiceStub(channel).ConfirmProviderAccount(request, timeout=CALL_S)
    if as_json:
        print_json(answer)
        return
    say(f"{answer.account.name}: {_state(answer.account)}, from {answer.account.valid_from}")


@app.command()
def accounts(
    provider: Annotated[str, typer.Argument(metavar="[PROVIDER]", help="All when absent.")] = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List accounts of providers, newest first, without their numbers. Changes nothing."""
    request = pb.ListProviderAccountsRequest(provider_id=provider, page_size=_PAGE)
    found: list[pb.ProviderAccount] = []
    with calling(state, "claims", "payments") as channel:
        for page, _ in pages(ProviderServiceStub(channel).ListProviderAccounts, request):
            found += page.accounts
    if as_json:
        print_json(pb.ListProviderAccountsResponse(accounts=found))
        return
    made = table(
        "account", "provider", "from", "state", "proposed (UTC)", "by", "decided by", "why"
    )
    lines = (
        (
            *(one.name, one.provider_id, one.valid_from, _state(one), when(one.propose_time)),
            *(one.proposer, one.decider, one.note),
        )
        for one in found
    )
    print_list(rows(made, lines), "no accounts")


def _state(account: pb.ProviderAccount) -> str:
    return word(pb.ProviderAccountState, account.state)


def _read(number: str) -> str:
    return sys.stdin.readline().strip() if number == "-" else number
