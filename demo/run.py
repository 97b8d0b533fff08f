"""One run of the demo, from an empty state to checked results, on real servers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demo import bank, screen
from demo.bridge import Bridge
from demo.checks import checks
from demo.comparison import compare
from demo.figures import quote_worth_showing, worth_explaining
from demo.his import running_his
from demo.hospital.hospital import Hospital
from demo.insurer import MOVING, UNDECIDED, Insurer
from demo.pricing import MemberQuote, Pricing, Recorded
from demo.processes import Child, ChildFailed
from demo.progress import Reporter, Snapshot
from demo.reads import counted
from demo.report.page import write_page
from demo.results import Results
from demo.scenario import PLANS, PROVIDERS_SINCE, Scenario
from demo.stack import Stack, fresh_state, started_stack
from demo.summary import summary, unexpected
from demo.truth_file import write_truth
from lipei.claims.v1 import claims_pb2

# Bills and members that a failed run names on the screen; summary.json has all.
_SHOWN = 10
# What a run leaves beside the state.
_LEFT = ("truth.json", "summary.json", "report.html")
_POLL_S = 1.0
# Nothing moved for so long: something hangs, and waiting longer helps nobody.
_STALL_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where a run keeps its state and leaves its results."""

    state: Path
    out: Path


def play(
    scenario: Scenario,
    folders: Folders,
    reporter: Reporter,
    *,
    keep: bool,
    up: type[Child] = Child,
) -> Results:
    """Fill a hospital, start the stack, let bills become money, and show what came of it.

    Writes truth.json before anything starts, where the truth is known, and summary.json and
    report.html at the end. Everything that was started is stopped before this returns or raises;
    with `keep` only when the person says so by Ctrl-C. `lipei up` runs as `up`.

    Raises: ChildFailed, CallRefused, LoadRefused, StateRefused.
    """
    begun = time.monotonic()
    state = fresh_state(folders.state)
    for name in _LEFT:  # another run's results would look like this one's
        (folders.out / name).unlink(missing_ok=True)
    reporter.say(scenario.title)
    if scenario.generated is not None:
        write_truth(folders.out / "truth.json", scenario.generated)
    with (
        running_his(state / "his") as his,
        started_stack(state, scenario.hospital, his.base_url, up) as stack,
    ):
        # The stack comes up while the hospital is being filled.
        title = "Filling the hospital's FHIR server"
        with reporter.bar(title, len(scenario.resources)) as done:
            his.fill(scenario.resources, done)
        stack.wait()
        reporter.say("Temporal, the services, the workers and the sandbox bank are ready")
        results = _settle(scenario, stack, his.child, reporter, begun)
        explained = _explained(results, stack)
        results = replace(results, reads=counted(stack))
        folders.out.mkdir(parents=True, exist_ok=True)
        _write(folders.out / "summary.json", results)
        _show(results, explained, stack, folders, reporter, keep=keep)
        if keep:
            _wait_for_ctrl_c(stack, reporter)
    return results


def _explained(results: Results, stack: Stack) -> claims_pb2.ExplainClaimResponse | None:
    """One claim in the insurer's own words."""
    claim = worth_explaining(results)
    if claim is None:
        return None
    with Insurer(stack.addresses["claims"], stack.identity) as insurer:
        return insurer.explain(claim.name)


def _show(
    results: Results,
    explained: claims_pb2.ExplainClaimResponse | None,
    stack: Stack,
    folders: Folders,
    reporter: Reporter,
    *,
    keep: bool,
) -> None:
    """The screen and the page."""
    claim = explained.claim if explained else None
    quote = quote_worth_showing(results.quotes)
    asked = [
        (f"{kind}: {what}", f".venv/bin/lipei {command}")
        for kind, what, command in _commands(results, claim, quote)
    ]
    hints = _hints(stack, folders, asked if keep else [])
    write_page(folders.out / "report.html", results, explained, hints)
    screen.show(results, explained, reporter, hints=hints)


def _settle(
    scenario: Scenario, stack: Stack, his: Child, reporter: Reporter, begun: float
) -> Results:
    addresses, hospital = stack.addresses, scenario.generated
    with (
        Insurer(addresses["claims"], stack.identity) as insurer,
        Bridge(
            addresses["his_bridge"],
            scenario.hospital,
            stack.identity("hospital_records", scenario.hospital),
        ) as bridge,
        Pricing(
            addresses["pricing"],
            stack.member_token,
            [
                stack.identity("partner"),
                stack.identity("chief_actuary"),
                stack.identity("hospital_integration", scenario.hospital),
            ],
        ) as pricing,
    ):
        _set_terms(scenario, insurer, reporter)
        acts = stack.record_consents(scenario.hospital, scenario.consenting)
        reporter.say(
            f"The hospital recorded {acts} consents of {len(scenario.consenting)} people: "
            "to settling claims, to health programmes and to studies"
        )
        stack.start_pull(scenario.hospital)
        home = 0
        if hospital is not None:
            stack.start_pull(scenario.hospital, "readings")
            home = _send_home_readings(hospital, pricing, reporter)
        _follow(scenario, (stack.child, his), reporter, insurer, bridge)
        # Before some of them are shown to nobody any more.
        seen = {one.bill.bill_number: one.receive_time for one in bridge.bills()}
        refusals, pulled = bridge.refusals(), bridge.pulled()
        _withdraw(scenario, stack, reporter)
        claims, quarantine, held = insurer.claims(anew=True), bridge.quarantine(), bridge.held()
        results = Results(
            scenario=scenario,
            pulled=pulled,
            claims=claims,
            books=insurer.books(),
            quarantine=quarantine,
            refusals=refusals,
            held=held,
            bank_book=bank.book(addresses["bank"]),
            elapsed_s=time.monotonic() - begun,
            seen=seen,
        )
        if hospital is None:
            return results
        stack.child.wait_until(
            lambda: stack.has_pulled(scenario.hospital, "readings"), within_s=_STALL_S
        )
        quotes = _quote(hospital, pricing, reporter)
        return replace(
            results,
            comparison=compare(hospital.truth, claims, quarantine, refusals, held),
            recorded=Recorded(
                home=home,
                pulled=pricing.known(bridge.readings()),
                coach_tasks=pricing.coach_tasks(),
            ),
            quotes=quotes,
            elapsed_s=time.monotonic() - begun,
        )


def _withdraw(scenario: Scenario, stack: Stack, reporter: Reporter) -> None:
    """Some people withdraw their consent while their claims wait; returns when the insurer knows.

    Raises: ChildFailed when it does not get to know.
    """
    if not scenario.withdrawing:
        return
    acts = stack.withdraw_consents(scenario.hospital, scenario.withdrawing)
    stack.start_pull(scenario.hospital, "withdrawals")
    stack.child.wait_until(
        lambda: stack.has_pulled(scenario.hospital, "withdrawals"), within_s=_STALL_S
    )
    reporter.say(f"{acts} people withdrew their consent to settling claims; the insurer was told")


def _send_home_readings(hospital: Hospital, pricing: Pricing, reporter: Reporter) -> int:
    """What people measured at home goes to the insurer at once; how many readings were new."""
    title = "Recording what people measured at home"
    with reporter.bar(title, len(hospital.home_readings)) as done:
        return pricing.record(hospital.home_readings, done)


def _quote(hospital: Hospital, pricing: Pricing, reporter: Reporter) -> list[MemberQuote]:
    """Every programme member's premiums."""
    quotes = []
    with reporter.bar("Quoting next year's premiums", len(hospital.participants)) as done:
        for quote in pricing.quotes(hospital):
            quotes.append(quote)
            done(1)
    return quotes


def _set_terms(scenario: Scenario, insurer: Insurer, reporter: Reporter) -> None:
    """Providers and plans first, then policies, each batch checked by a dry run."""
    if scenario.providers:
        known = insurer.register(scenario.providers, PROVIDERS_SINCE)
        reporter.say(f"Registered {known} providers: bills of any other are refused")
    for plan in scenario.plans:
        version = insurer.publish(PLANS / f"{plan}.yaml")
        reporter.say(f"Published plan {version[: len(plan) + 20]}…")
    for policies in scenario.policies:
        trial = insurer.import_policies(policies, dry_run=True)
        done = insurer.import_policies(policies, dry_run=False)
        people = sum(len(policy.members) for policy in policies)
        reporter.say(
            f"Policies from {min(policy.start_date for policy in policies)}: the dry run found "
            f"{len(trial.faults)} faults; imported {done.created} with {people} people"
        )


def _follow(
    scenario: Scenario,
    parts: Sequence[Child],
    reporter: Reporter,
    insurer: Insurer,
    bridge: Bridge,
) -> None:
    """Return when every bill is answered for and every claim rests.

    Raises: ChildFailed when a part ends, or nothing moves any more.
    """
    expected = scenario.expected
    last, moved = None, time.monotonic()
    with reporter.board(expected.bills) as board:
        while True:
            for part in parts:
                part.must_run()
            pulled, claims = bridge.pulled(), insurer.claims()
            undecided = sum(claim.state in UNDECIDED for claim in claims)
            moving = sum(claim.state in MOVING for claim in claims)
            now = Snapshot(
                # A pull brings hundreds at once; claims are opened one by one.
                bills=len(claims) + pulled.refused + pulled.quarantined + pulled.held,
                quarantined=pulled.quarantined,
                claims=len(claims),
                decided=len(claims) - undecided,
                owed=sum(claim.decision.benefit.minor_units > 0 for claim in claims),
                paid=sum(claim.HasField("pay_time") for claim in claims),
            )
            board(now)
            if pulled.bills >= expected.bills and not pulled.pending and not moving:
                return
            state = (now, pulled.pending, moving)
            if state != last:
                last, moved = state, time.monotonic()
            elif time.monotonic() - moved > _STALL_S:
                raise ChildFailed(
                    f"Nothing moved for {_STALL_S:.0f} s: {pulled.bills} of {expected.bills} bills "
                    f"pulled and {moving} claims are on their way.\n"
                    f"Logs of every part: {parts[0].log.parent}\n"
                    + "\n".join(part.tail() for part in parts)
                )
            time.sleep(_POLL_S)


def _hints(
    stack: Stack, folders: Folders, asked: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Where to look next: what, and the file, command or address; `asked` of what is running."""
    out, state = _from_here(folders.out), _from_here(folders.state)
    files = [
        ("this run as a page", str(out / "report.html")),
        ("numbers", str(out / "summary.json")),
        ("logs", str(state / "logs")),
    ]
    if not asked:
        return [*files, ("to look inside, keep the stack running", "make demo ARGS=--keep")]
    return [
        *files,
        ("every workflow in Temporal's UI", stack.addresses.get("temporal_ui", "not running")),
        ("first, for the commands below", f"export LIPEI_STATE={state}"),
        *asked,
    ]


def _commands(
    results: Results, claim: claims_pb2.Claim | None, quote: MemberQuote | None
) -> Iterator[tuple[str, str, str]]:
    """What each user would ask of the running stack: whom it is for, what it shows, the command."""
    if claim is not None:
        yield "insurer", "the claim above in words", f"claims explain {claim.name}"
        yield "insurer", "the same decision again", f"claims replay {claim.name}"
        yield "insurer", "what waits for a person", "claims list --in pended_review"
    hospital = results.scenario.hospital
    yield "hospital", "how its source stands", f"his status {hospital}"
    yield "hospital", "what was set aside, and why", f"his quarantine {hospital}"
    if quote is not None:
        member = quote.member.removeprefix("members/")
        about = f"--programme {quote.participant.programme} --renewal {quote.after.start_date}"
        command = f"--as chief_actuary readings months {member} {about}"
        yield "actuary", "the months behind the premium above", command


def _from_here(path: Path) -> Path:
    """The path as a person in the current folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _write(path: Path, results: Results) -> None:
    text = json.dumps(summary(results), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _wait_for_ctrl_c(stack: Stack, reporter: Reporter) -> None:
    reporter.say("The stack goes on running; Ctrl-C stops it.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stack.child.must_run()
            time.sleep(_POLL_S)


def failures(results: Results) -> list[str]:
    """Sentences about the checks that do not hold, and the first bills and members behind them."""
    failed = [f"{check.name}: {check.found}" for check in checks(results) if not check.holds]
    where = unexpected(results)
    more = len(where) - _SHOWN
    return [*failed, *where[:_SHOWN], *([f"and {more} more: summary.json"] if more > 0 else [])]
