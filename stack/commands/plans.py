"""`lipei plan ...`: check a plan file, tell it in words, test it on cases, publish it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lipei.claims.v1.claims_pb2 import PublishPlanRequest
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from services.claims.core.canonical import plan_version
from services.claims.core.plan import Plan
from services.claims.plans.cases import run_cases
from services.claims.plans.in_words import diff as difference
from services.claims.plans.in_words import explain as explanation
from services.claims.plans.legal_days import longer_than_law
from services.claims.plans.loader import load_plan
from services.claims.plans.schema import case_schema, plan_schema
from services.claims.plans.seen_by_nobody import paid_unseen
from services.claims.plans.unused import unused
from services.common.strict_yaml import Fault, StrictYamlError
from stack.commands.calling import CALL_S, Failed, calling, content_of, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, State, spoken
from stack.commands.printing import counted, print_json, say

app = typer.Typer(no_args_is_help=True, help="Plan files: check, explain, compare, test, publish.")

# What a value can do to arithmetic on it, beyond the faults that the readers know.
_UNREADABLE = (ArithmeticError, ValueError, LookupError, TypeError, RecursionError)

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file (YAML).")]


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Plan files (YAML).")],
    as_json: AsJson = False,
) -> None:
    """Check plan files: every fault with file and line. Needs nothing that runs.

    Of a file with more than 200 faults the first are printed; --json has them all.

    Warns of code sets, clauses and papers that no term names, of an outcome tier that one term
    alone names, of clocks that give more days than the law, and of benefits above `four_eyes` that
    are paid though nobody looks; a warning is no fault. A file that cannot be read is told beside
    the others' faults (exit 2).
    """
    faults: list[str] = []
    found: list[dict[str, object]] = []
    warnings: list[str] = []
    warned: list[dict[str, object]] = []
    unread = False
    for file in files:
        try:
            content = content_of(file)
            plan = load_plan(content, str(file))
            doubts = (
                *unused(plan, content, str(file)),
                *longer_than_law(plan, content, str(file)),
                *paid_unseen(plan, content, str(file)),
            )
            warnings += [f"{file}:{one.line}: warning: {one.where}{one.text}" for one in doubts]
            warned += [_told(file, one) for one in doubts]
        except StrictYamlError as error:
            faults += str(error).splitlines()
            found += [_told(file, one) for one in error.faults]
        except Failed as error:
            faults += error.lines
            text = "; ".join(error.lines)
            found.append(_told(file, Fault(path="", line=1, reason="NOT_READ", text=text)))
            unread = True
        except _UNREADABLE as error:
            faults.append(_unreadable(file, error))
            found.append(
                {"file": str(file), "line": 1, "path": "", "reason": "UNREADABLE"}
                | {"text": faults[-1]}
            )
    if as_json:
        print_json({"faults": found, "warnings": warned})
    else:
        for warning in warnings:
            say(warning)
    if faults:
        count = counted(len(found), "fault")
        raise Failed(*faults, count, exit_code=2 if unread else 1)
    if not as_json:
        say(f"{len(files)} without fault")


def _told(file: Path, fault: Fault) -> dict[str, object]:
    """A fault or warning for machines."""
    return {
        "file": str(file),
        "line": fault.line,
        "path": fault.path,
        "reason": fault.reason,
        "text": fault.text,
    }


@app.command()
def schema(
    of_cases: Annotated[bool, typer.Option("--cases", help="Of case files.")] = False,
) -> None:
    """Print the JSON Schema (2020-12) of plan files, for editors; or that of case files."""
    typer.echo(
        json.dumps(case_schema() if of_cases else plan_schema(), indent=1, ensure_ascii=False)
    )


@app.command("test")
def run_tests(
    plan: PlanFile,
    cases: Annotated[list[Path], typer.Argument(metavar="CASES...", help="Case files (YAML).")],
) -> None:
    """Decide an actuary's cases under a plan file and say where they differ.

    Needs nothing that runs; stores nothing. Exit 1 when a case differs.
    """
    terms = plan_in(plan)
    faults: list[str] = []
    differ = 0
    for file in cases:
        try:
            report = run_cases(terms, content_of(file), str(file))
        except StrictYamlError as error:
            faults += str(error).splitlines()
            continue
        except _UNREADABLE as error:
            faults.append(_unreadable(file, error))
            continue
        say("\n".join(report.lines()))
        differ += not report.passed
    if faults:
        raise Failed(*faults)
    if differ:
        raise Failed(f"{differ} of {len(cases)} files with cases that differ")


@app.command()
def explain(file: PlanFile, lang: Lang = Language.BOTH, as_json: AsJson = False) -> None:
    """Tell a plan in plain words: every term with its clause, every value with its days.

    Needs nothing that runs; stores nothing.
    """
    plan = plan_in(file)
    if as_json:
        print_json({"plan_version": plan_version(plan), "terms": _paragraphs(plan, lang)})
        return
    for language in spoken(lang):
        say("\n".join(explanation.lines(plan, language)))


def _paragraphs(plan: Plan, lang: Language) -> list[dict[str, object]]:
    return [
        {"place": one.place, "clause": one.clause}
        | {language: getattr(one.said, language) for language in spoken(lang)}
        for one in explanation.explain(plan)
    ]


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A plan file (YAML).")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The plan file that follows it.")],
    lang: Lang = Language.BOTH,
    as_json: AsJson = False,
) -> None:
    """Tell what changes between two plans, for whom, from when, and whether they gain by it.

    Compares what they say, not how they are written. Exit 0 when they say the same, 1 when
    something changes, 2 when a file cannot be read. Needs nothing that runs; stores nothing.
    """
    before, after = (plan_in(file, exit_code=2) for file in (old, new))
    changes = difference.diff(before, after)
    versions = plan_version(before), plan_version(after)
    if as_json:
        told = [one.told(spoken(lang)) for one in changes]
        print_json({"old": versions[0], "new": versions[1], "changes": told})
    else:
        say(f"{versions[0]}\n{versions[1]}")
        for language in spoken(lang):
            say("\n" + "\n".join(difference.lines(changes, language)))
    if changes:
        raise typer.Exit(1)


def plan_in(file: Path, exit_code: int = 1) -> Plan:
    """The plan in a file.

    Raises: Failed with every fault, file and line.
    """
    try:
        return load_plan(content_of(file), str(file))
    except StrictYamlError as error:
        raise Failed(*str(error).splitlines(), exit_code=exit_code) from None
    except _UNREADABLE as error:
        raise Failed(_unreadable(file, error), exit_code=exit_code) from None


def _unreadable(file: Path, error: Exception) -> str:
    return f"{file}:1: a value in it cannot be computed with ({type(error).__name__})"


@app.command()
def publish(file: PlanFile, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Publish a plan file under the hash of its content. A published version never changes."""
    plan_in(file)  # faults come with the file's lines, before anything is asked
    content = content_of(file)
    with calling(state, "claims", "insurer_intake") as channel:
        request = PublishPlanRequest(request_id=fresh_request_id(), yaml=content)
        answer = ClaimsServiceStub(channel).PublishPlan(request, timeout=CALL_S)
    if as_json:
        print_json(answer)
    else:
        say(answer.plan_version)
