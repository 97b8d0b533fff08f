"""Commands that need nothing running: their faults are sentences, their exit codes 0, 1 and 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from lipei.claims.v1 import decision_pb2, policy_pb2, reason_pb2, recompute_pb2
from lipei.type.v1.money_pb2 import Money
from services.claims.core.decision import ENGINE_VERSION
from services.common.identity import member_token
from services.common.state import load_or_make_key, record_address
from services.common.strict_yaml import StrictYamlError
from stack.cli import command_line
from stack.commands import plans
from stack.commands.options import Language
from stack.commands.policies import doubts
from stack.commands.what_if import told
from stack.commands.withheld import Withheld
from stack.decision_text import adding_up
from stack.message_file import MessageFile, read_messages
from stack.supervisor import only_one
from stack.temporal_server import temporal_server
from tests.identities import equip
from tests.stack.typed import ROOT, environ, lipei, lipei_process

PLANS = ROOT / "services" / "claims" / "plans"

POLICIES = """\
policies:
  - policy_id: p-1
    plan: million-medical
    start_date: 2026-01-01
    last_date: 2026-12-31
    revision: 1
    effective_date: 2026-01-01
    members:
      - member_id: m1
        document: {kind: CN-ID, number: "990001198003070015"}
        birth_date: 1980-03-07
        sex: female
        relationship: self
        social_insurance: true
        disclosed_conditions:
          - {code_prefix: I10, terms: at_share, share: "0.5"}
    payee_accounts:
      - holder_name: 张三
        account_number: "6222000000000001"
        bank_code: "102100099996"
        valid_from: 2026-01-01
"""


def read_policy_file(content: bytes, source: str) -> MessageFile[policy_pb2.Policy]:
    return read_messages(content, source, "policies", policy_pb2.Policy)


@pytest.mark.parametrize(
    "words", [["claims", "list"], ["books"], ["status"], ["his", "pull", "h"], ["quote", "t"]]
)
def test_without_a_stack_a_command_says_how_to_start_one(tmp_path: Path, words: list[str]) -> None:
    more = ["--start-date", "2026-01-01"] if words[0] == "quote" else []
    typed = lipei(*words, *more, "--state", tmp_path)
    assert typed.code == 1
    assert typed.said == [f"nothing is running here ({tmp_path}); start with `lipei up`"]


def test_a_service_that_is_gone_is_named_without_a_stack_trace(tmp_path: Path) -> None:
    record_address(equip(tmp_path, sandbox=True), "claims", "127.0.0.1:9")
    typed = lipei("claims", "show", "policies/p/claims/c", env={"LIPEI_STATE": str(tmp_path)})
    assert typed.code == 1
    assert typed.said == ["claims: it does not answer; `lipei status` says what runs"]
    assert lipei("books", "--state", tmp_path).code == 1
    missing = lipei("quote", "t", "--start-date", "2026-01-01", "--state", tmp_path)
    assert missing.said == ["pricing is not running here; `lipei status` says what is"]


@pytest.mark.parametrize(
    "words",
    [
        ["claims", "show"],
        ["nonsense"],
        ["books", "--nonsense"],
        ["plan", "check", "no-such-file.yaml"],
        ["claims", "list", "--in", "perhaps", "--state", "none"],
        ["claims", "submit", "no-such-file.json", "--state", "none"],
        ["claims", "review", "policies/p/claims/c", "--state", "none"],
        ["claims", "review", "policies/p/claims/c", "--accept", "--deny", "1", "--state", "none"],
        ["claims", "review", "policies/p/claims/c", "--units", "1", "--state", "none"],
        ["claims", "review", "policies/p/claims/c", "--deny", "1", "--state", "none"],
        ["claims", "review", "p", "--deny", "1", "--reason", "perhaps", "--state", "none"],
        ["claims", "supply", "policies/p/claims/c", "--tier", "fourth", "--state", "none"],
        ["claims", "supply", "policies/p/claims/c", "--admitted", "at ten", "--state", "none"],
        ["claims", "supply", "p", "--admitted", "2026-06-01T22:30", "--state", "none"],
        ["claims", "supply", "p", "--given", "2026-06-01T22:30+08:00", "--state", "none"],
        ["claims", "supply", "p", "--given", "1=2026-06-01T22:30", "--state", "none"],
        ["claims", "decide-appeal", "p", "--note", "x", "--state", "none"],
        ["claims", "decide-appeal", "p", "--uphold", "--state", "none"],
        ["claims", "adjust", "p", "--state", "none"],
        ["claims", "reverse", "p", "--state", "none"],
        ["claims", "recover", "p", "--write-off", "--state", "none"],
        ["claims", "recover", "p", "--yes", "--state", "none"],
        ["providers", "confirm", "providerAccounts/a", "--state", "none"],
        ["quote", "t", "--start-date", "2026-01-01", "--feature", "age", "--state", "none"],
    ],
)
def test_wrong_use_exits_with_2(words: list[str]) -> None:
    typed = lipei(*words)
    assert typed.code == 2
    assert typed.err


def test_a_command_alone_is_what_it_is_among_all() -> None:
    whole: Any = typer.main.get_command(command_line(""))
    for name, group in whole.commands.items():
        for within, command in getattr(group, "commands", {}).items():
            narrowed: Any = typer.main.get_command(command_line(name, within))
            assert list(narrowed.commands) == [name]
            kept = list(group.commands) if within == "rerun" else [within]
            assert list(narrowed.commands[name].commands) == kept
            alone = narrowed.commands[name].commands[within]
            assert [one.opts for one in alone.params] == [one.opts for one in command.params]
            assert alone.help == command.help
    unknown: Any = typer.main.get_command(command_line("claims", "shwo"))
    assert list(unknown.commands["claims"].commands) == list(whole.commands["claims"].commands)


def test_the_exit_code_is_the_process_s() -> None:
    assert lipei_process("books", "--nonsense").code == 2
    assert lipei_process("books", "--state", "none").code == 1
    assert lipei_process("books", "--help").code == 0


def test_plan_check_names_every_fault_of_every_file_with_its_line(tmp_path: Path) -> None:
    good = (PLANS / "million-medical.yaml").read_text()
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(good.replace("currency: CNY", "currency: XXX\ncolour: red"))
    two.write_text("id: a\nid: b\n")
    typed = lipei("plan", "check", one, PLANS / "million-medical.yaml", two)
    assert typed.code == 1
    line = good.splitlines().index("currency: CNY") + 1
    assert any(said.startswith(f"{one}:{line}: currency") for said in typed.said)
    assert any(said.startswith(f"{one}:{line + 1}: colour") for said in typed.said)
    assert any(said.startswith(f"{two}:2: id") for said in typed.said)
    assert not any("million-medical" in said for said in typed.said)
    assert typed.said[-1] == f"{len(typed.said) - 1} faults"
    found = json.loads(lipei("plan", "check", one, two, "--json").out)["faults"]
    assert len(found) == len(typed.said) - 1
    assert found[0].keys() == {"file", "line", "path", "reason", "text"}


def test_plan_check_checks_the_others_when_one_cannot_be_read(tmp_path: Path) -> None:
    missing, bad = tmp_path / "nosuch.yaml", tmp_path / "bad.yaml"
    bad.write_text("id: a\nid: b\n")
    good = PLANS / "million-medical.yaml"
    typed = lipei("plan", "check", good, missing, bad)
    assert typed.code == 2
    assert f"{missing}: No such file or directory" in typed.said
    assert any(said.startswith(f"{bad}:2: id") for said in typed.said)
    found = json.loads(lipei("plan", "check", good, missing, bad, "--json").out)["faults"]
    assert (found[0]["file"], found[0]["reason"]) == (str(missing), "NOT_READ")
    assert {one["file"] for one in found} == {str(missing), str(bad)}


def test_plan_check_prints_the_first_of_many_faults_and_counts_all(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    good = (PLANS / "million-medical.yaml").read_text()
    bad.write_text(good + "\n" + "".join(f"k{n}: 1\n" for n in range(250)))
    typed = lipei("plan", "check", bad)
    assert (typed.code, len(typed.said)) == (1, 202)
    assert typed.said[-2:] == [f"{bad}: and 50 more", "250 faults"]
    told = lipei("plan", "check", bad, "--json")
    assert (told.code, len(json.loads(told.out)["faults"])) == (1, 250)


def test_plan_check_warns_of_what_no_term_names_and_finds_no_fault(tmp_path: Path) -> None:
    good = (PLANS / "million-medical.yaml").read_text()
    idle = tmp_path / "idle.yaml"
    idle.write_text(good.replace("\ngeneral:", '  "9.9": {zh: 空, en: Idle}\n\ngeneral:', 1))
    line = idle.read_text().splitlines().index('  "9.9": {zh: 空, en: Idle}') + 1
    typed = lipei("plan", "check", idle)
    text = "no term names this clause; it has no effect"
    said = f"{idle}:{line}: warning: clauses.9.9: {text}\n1 without fault\n"
    assert (typed.code, typed.out, typed.err) == (0, said, "")
    told = json.loads(lipei("plan", "check", idle, "--json").out)
    assert told["faults"] == []
    assert [(one["line"], one["reason"]) for one in told["warnings"]] == [(line, "UNUSED")]


def test_the_version_is_told_with_the_engine_that_decides() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    typed = lipei("--version")
    said = f"lipei {project['version']}, engine {ENGINE_VERSION}\n"
    assert (typed.code, typed.out, typed.err) == (0, said, "")


def test_plan_check_warns_of_clocks_that_are_longer_than_the_laws(tmp_path: Path) -> None:
    slow = tmp_path / "slow.yaml"
    good = (PLANS / "million-medical.yaml").read_text()
    clocks = 'clocks: {clause: "5.6", unit: days, decision_days: {2024-01-01: %s}}'
    slow.write_text(f"{good}\n{clocks % 31}\n")
    typed = lipei("plan", "check", slow)
    assert typed.code == 0
    assert "warning: clocks.decision_days.2024-01-01: 31 days are more than the 30" in typed.out
    told = json.loads(lipei("plan", "check", slow, "--json").out)
    assert [one["reason"] for one in told["warnings"]] == ["LONGER_THAN_LAW"]
    slow.write_text(f"{good}\n{clocks % 30}\n")
    assert lipei("plan", "check", slow).out == "1 without fault\n"


def test_plan_check_is_silent_about_good_plans() -> None:
    files = sorted(PLANS.glob("*.yaml"))
    assert len(files) >= 3
    typed = lipei("plan", "check", *files)
    assert (typed.code, typed.out, typed.err) == (0, f"{len(files)} without fault\n", "")


CASES = """\
plan: million-medical
given:
  codes: demo-yibao
  member: {born: 1985-04-20, sex: female, social_insurance: true}
  policy: {first_day: 2025-01-01, last_day: 2025-12-31, covered_since: 2024-01-01}
  providers: {CITY: {tier: tertiary}}
cases:
  - case: A small stay disappears in the deductible
    events:
      - claim: B1
        provider: CITY
        care: inpatient
        from: 2025-03-01
        to: 2025-03-06
        diagnoses: [K35.8]
        social_insurance: {used: true, paid: "9000.00"}
        lines: [{code: "003310040200000", price: "16905.00"}]
        expect: {paid_by: {prior_payer: "9000.00", patient: "7905.00"}}
"""


def test_plan_test_says_where_a_plan_decides_otherwise(tmp_path: Path) -> None:
    plan = PLANS / "million-medical.yaml"
    good, wrong, bad = (tmp_path / f"{name}.yaml" for name in ("good", "wrong", "bad"))
    good.write_text(CASES)
    typed = lipei("plan", "test", plan, good)
    assert (typed.code, typed.err) == (0, "")
    assert typed.out.endswith("1 cases, 1 agree, 0 differ\n")
    wrong.write_text(CASES.replace('patient: "7905.00"', 'patient: "7904.99", insurer: "0.01"'))
    typed = lipei("plan", "test", plan, good, wrong)
    assert typed.code == 1
    assert f"    {wrong}:8: after B1: " in typed.out
    assert typed.said == ["1 of 2 files with cases that differ"]
    bad.write_text(CASES.replace("care:", "caer:"))
    typed = lipei("plan", "test", plan, bad)
    assert typed.code == 1
    assert any(said.startswith(f"{bad}:12: ") for said in typed.said)


def test_plan_diff_ends_as_diff_does(tmp_path: Path) -> None:
    old, new, bad = PLANS / "million-medical.yaml", tmp_path / "new.yaml", tmp_path / "bad.yaml"
    text = old.read_text()
    new.write_text(text.replace('2024-01-01: "10000.00"', '2024-01-01: "12000.00"', 1))
    bad.write_text(text.replace("currency: CNY", "currency: XXX"))
    same = lipei("plan", "diff", old, old)
    assert (same.code, same.said) == (0, [])
    assert "没有变化。" in same.out
    assert "Nothing changes for anybody." in same.out
    typed = lipei("plan", "diff", old, new, "--lang", "en")
    assert (typed.code, typed.said) == (1, [])
    assert "CNY 10000.00 → CNY 12000.00 (worse for the insured)" in typed.out
    assert "免赔额" not in typed.out.replace("年度免赔额", "")
    told = json.loads(lipei("plan", "diff", old, new, "--json").out)
    assert [(one["place"], one["effect"]) for one in told["changes"]] == [
        ("deductibles/yearly-deductible", "worse")
    ]
    assert told["old"] != told["new"]
    typed = lipei("plan", "diff", old, bad)
    assert typed.code == 2
    assert typed.said[0].startswith(f"{bad}:")
    assert lipei("plan", "diff", old).code == 2


def test_plan_explain_tells_every_clause_in_the_language_asked_for() -> None:
    plan = PLANS / "million-medical.yaml"
    zh = lipei("plan", "explain", plan, "--lang", "zh")
    assert (zh.code, zh.err) == (0, "")
    assert "先由被保险人承担 10000.00 元" in zh.out
    both = lipei("plan", "explain", plan)
    assert zh.out.strip() in both.out
    assert "The insured bears CNY 10000.00 first" in both.out
    terms = json.loads(lipei("plan", "explain", plan, "--json").out)["terms"]
    assert {"place", "clause", "zh", "en"} == terms[0].keys()


@pytest.mark.parametrize("broken", [ArithmeticError("x"), IndexError("x"), ValueError("x")])
def test_a_plan_command_never_shows_a_stack_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Exception
) -> None:
    def fail(*_: object) -> None:
        raise broken

    plan, cases = PLANS / "million-medical.yaml", tmp_path / "cases.yaml"
    cases.write_text(CASES)
    said = f"a value in it cannot be computed with ({type(broken).__name__})"
    monkeypatch.setattr(plans, "run_cases", fail)
    typed = lipei("plan", "test", plan, cases)
    assert (typed.code, typed.said) == (1, [f"{cases}:1: {said}"])
    monkeypatch.setattr(plans, "load_plan", fail)
    typed = lipei("plan", "check", plan)
    assert (typed.code, typed.said) == (1, [f"{plan}:1: {said}", "1 fault"])
    assert lipei("plan", "test", plan, cases).said == [f"{plan}:1: {said}"]


def test_a_member_token_is_the_one_under_the_installation_s_key(tmp_path: Path) -> None:
    words = ["members", "token", "--kind", "CN-ID", "--state", str(tmp_path)]
    number = "990001198003070015"
    assert lipei(*words, number).code == 1  # no key: one made here would fit no bill
    assert not (tmp_path / "keys").exists()
    key = load_or_make_key(tmp_path / "keys" / "member_token.key")
    expected = member_token("CN-ID", number, key=key, key_version="k1") + "\n"
    assert lipei(*words, number).out == expected
    assert lipei(*words, "-", stdin=f"{number}\n").out == expected
    assert lipei(*words, "-", stdin="\n").code == 2


@pytest.mark.parametrize(
    ("kind", "number", "fault"),
    [
        ("CN-ID", "99000119800307001", "NUMBER: a CN-ID has 18 characters, this has 17"),
        ("CN-ID", "990001198003070014", "NUMBER: its check digit does not fit the other 17"),
        ("CN-ID", "990001198013070015", "NUMBER: its characters 7 to 14 are no day of birth"),
        ("CN-ID", "9900011980030700A5", "NUMBER: a CN-ID is 17 digits and a last digit or X"),
        ("CN-ID", "990001800307001", "NUMBER: 15 digits are a CN-ID of the first generation"),
        ("PASSPORT", "E1", "NUMBER: a PASSPORT has 5 to 15 letters and digits"),
        ("US-SSN", "12345678", "NUMBER: a US-SSN is 9 digits"),
        ("MRN:urn:general", " - ", "NUMBER: holds no letter or digit"),
        ("CNID", "990001198003070015", "--kind CNID: is no kind that is known here; the kinds: "),
    ],
)
def test_a_document_that_is_none_is_named_by_its_fault(
    tmp_path: Path, kind: str, number: str, fault: str
) -> None:
    load_or_make_key(tmp_path / "keys" / "member_token.key")
    words = ["members", "token", "--state", str(tmp_path), "--kind", kind, "--", number]
    typed = lipei(*words)
    assert (typed.code, typed.out) == (2, "")
    assert typed.said[0].startswith(fault)
    assert number not in typed.err
    if number.strip(" -"):
        assert lipei(*words[:2], "--unchecked", *words[2:]).out.startswith("k1.")


def test_whoever_erases_hears_of_faults_before_being_asked(tmp_path: Path) -> None:
    record_address(tmp_path, "claims", "127.0.0.1:9")
    erase = ["members", "erase", "--state", str(tmp_path), "--token", "k1." + "a" * 64, "--ground"]
    bad = lipei(*erase, "ordered", "--order", "the court's letter", stdin="n\n")
    assert (bad.code, bad.out) == (2, "")
    assert bad.said[0].startswith("--order: name the order by its file number")
    odd = lipei(*erase, "retention-over", "--order", "court/17", "--token", "Li", stdin="n\n")
    assert [line.split(":")[0] for line in odd.said] == ["--token", "--order"]
    asked = lipei(*erase, "ordered", "--order", "court/17", stdin="y\n")
    assert "Erase this person?" not in asked.out  # nobody can say what would go
    assert asked.code == 1


def test_files_of_a_killed_up_are_not_taken_for_a_running_one(tmp_path: Path) -> None:
    record_address(tmp_path, "claims", "127.0.0.1:9")
    (tmp_path / "ready").write_text("1\n")
    account = {"state": "ready", "pid": 1, "restarts": 0, "last_word": ""}
    (tmp_path / "processes.json").write_text(json.dumps({"claims": account}))
    typed = lipei("status", "--state", tmp_path)
    assert typed.code == 1
    assert typed.said == [f"nothing is running here ({tmp_path}); start with `lipei up`"]
    assert "ready" not in typed.out
    with only_one(tmp_path):
        held = lipei("status", "--state", tmp_path)
    assert held.said[0].startswith("no answer from: claims")
    assert "ready" in held.out


def test_a_policy_file_is_read_as_the_wire_says() -> None:
    read = read_policy_file(POLICIES.encode(), "p.yaml")
    (policy,) = read.messages
    assert policy.members[0].document.number == "990001198003070015"
    assert policy.members[0].social_insurance is True
    assert policy.members[0].disclosed_conditions[0].share == "0.5"
    assert policy.payee_accounts[0].holder_name == "张三"
    without = read_policy_file(
        POLICIES.replace("        social_insurance: true\n", "").encode(), ""
    )
    assert not without.messages[0].members[0].HasField("social_insurance")


def test_a_violation_of_the_service_is_led_back_to_its_line() -> None:
    read = read_policy_file(POLICIES.encode(), "p.yaml")
    lines = POLICIES.splitlines()
    assert lines[read.line_of("policies[0].members[0].birth_date") - 1].strip().startswith("birth")
    # What is missing has no line of its own: the nearest thing that lacks it has.
    assert read.line_of("policies[0].members[0].outcome_tier.tier") == 9
    assert read.line_of("policies[0].previous_policy_id") == 2
    assert read.line_of("request_id") == 1


def test_faults_of_a_policy_file_are_all_told_at_once() -> None:
    text = (
        POLICIES.replace("effective_date", "efective_date")
        .replace('"990001198003070015"', "990001198003070011")
        .replace("female", "woman")
        .replace("social_insurance: true", 'social_insurance: "true"')
        .replace("revision: 1", 'revision: "1"')
    )
    with pytest.raises(StrictYamlError) as refused:
        read_policy_file((text + "  - 7\nmore: 1\n").encode(), "p.yaml")
    assert [(fault.line, fault.reason) for fault in refused.value.faults] == [
        (6, "WRONG_TYPE"),
        (7, "UNKNOWN_KEY"),
        (10, "WRONG_TYPE"),
        (12, "NOT_ONE_OF"),
        (14, "WRONG_TYPE"),
        (22, "NOT_A_MAPPING"),
        (23, "UNKNOWN_KEY"),
    ]
    assert "did you mean effective_date?" in str(refused.value)
    assert "990001198003070015" not in str(refused.value)


def test_what_readers_of_yaml_disagree_about_hides_no_other_fault() -> None:
    text = POLICIES.replace("female", "woman").replace(": true", ": yes")
    with pytest.raises(StrictYamlError) as refused:
        read_policy_file(text.replace("revision: 1", 'revision: "1"').encode(), "p.yaml")
    assert [(fault.line, fault.reason) for fault in refused.value.faults] == [
        (6, "WRONG_TYPE"),
        (12, "NOT_ONE_OF"),
        (14, "SCALAR"),
    ]
    with pytest.raises(StrictYamlError) as alone:
        read_policy_file(POLICIES.replace(": true", ": yes").encode(), "p.yaml")
    assert [fault.reason for fault in alone.value.faults] == ["SCALAR"]


def test_faults_of_form_end_with_their_number_and_that_nothing_was_stored(tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(POLICIES.replace("female", "woman").replace(": true", ": yes"))
    typed = lipei("policies", "import", file, "--state", tmp_path)
    assert typed.code == 1
    assert typed.said[-1] == "2 faults; nothing was stored"
    assert len(typed.said) == 3


@pytest.mark.parametrize(
    ("old", "new", "doubt"),
    [
        ("0023", "0024", "its check digit does not fit the other 17; one of them is mistyped"),
        ("1980-03-07", "1980-03-08", "the day of birth in it is not birth_date"),
        ("female", "male", "its 17th digit, even of a woman's number and odd of a man's, is not"),
        ("0023", "23", "a CN-ID has 18 characters, this has 16"),
        ("CN-ID", "CNID", "CNID: is no kind that is known here"),
    ],
)
def test_a_document_that_is_mistyped_is_warned_of_without_its_number(
    old: str, new: str, doubt: str
) -> None:
    good = POLICIES.replace("990001198003070015", "990001198003070023")  # a woman's
    assert not list(doubts(Path("p.yaml"), read_policy_file(good.encode(), "p.yaml")))
    mistyped = read_policy_file(good.replace(old, new).encode(), "p.yaml")
    (warning,) = doubts(Path("p.yaml"), mistyped)
    assert warning.startswith(
        f"p.yaml:10: warning: policies[0].members[0].document.number: {doubt}"
    )
    assert "99000119800307" not in warning


@pytest.mark.parametrize(
    "text", ["policies: []\n", "policies:\n", "other: 1\n", "policies: {a: 1}\n"]
)
def test_a_policy_file_without_policies_is_refused(text: str) -> None:
    with pytest.raises(StrictYamlError) as refused:
        read_policy_file(text.encode(), "p.yaml")
    assert "NO_POLICIES" in {fault.reason for fault in refused.value.faults}


def test_up_refuses_a_setting_that_nobody_reads(tmp_path: Path) -> None:
    typed = lipei_process(
        "up", "--state", tmp_path / "s", env={"LIPEI_CLAIM_ADDRESS": "127.0.0.1:1"}
    )
    assert typed.code == 2
    assert typed.said == [
        "LIPEI_CLAIM_ADDRESS is not a setting; did you mean LIPEI_CLAIMS_ADDRESS?"
    ]


def test_up_refuses_bad_profiles_before_it_starts_anything(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    state = tmp_path / "s"
    assert lipei_process("up", "--state", state, "--profiles", profiles).code == 1
    (profiles / "general.yaml").write_text("hospital: general\nhospitall: 1\n")
    typed = lipei_process("up", "--state", state, "--profiles", profiles)
    assert typed.code == 1
    assert any(said.startswith("general.yaml:2: hospitall") for said in typed.said)
    assert not (state / "logs").exists()


@pytest.mark.parametrize("variable", ["TEMPORAL_ADDRESS", "LIPEI_BANK_URL"])
def test_up_says_what_does_not_answer_elsewhere(tmp_path: Path, variable: str) -> None:
    value = "http://127.0.0.1:9" if variable == "LIPEI_BANK_URL" else "127.0.0.1:9"
    typed = lipei_process("up", "--state", tmp_path / "s", env={variable: value})
    assert typed.code == 1
    assert typed.said == [f"{variable} is set and does not answer; start it or unset it"]


def test_up_does_not_take_a_folder_that_others_read_and_use(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letters.txt").touch()
    typed = lipei_process("up", "--state", tmp_path)
    assert typed.code == 1
    assert "holds something else already" in typed.err
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_temporal_writes_its_configuration_into_the_state(tmp_path: Path) -> None:
    given = temporal_server(tmp_path, stage=0).prepare().environ
    for variable in ("HOME", "XDG_CONFIG_HOME"):
        assert Path(given[variable]).is_relative_to(tmp_path)
        assert Path(given[variable]).is_dir()


def test_the_demo_says_where_it_lives_when_it_is_not_here(tmp_path: Path) -> None:
    """An installed package has `stack` but no `demo`."""
    shutil.copytree(ROOT / "stack", tmp_path / "stack")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "stack.cli", "demo", "--data", "x"],
        env=environ(PYTHONPATH=f"{tmp_path}:{ROOT}:{ROOT / 'protos'}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "the demo is not part of the installed package; "
        "run `make demo` in a checkout of the repository\n"
    )


def test_the_demo_gets_its_options_untouched() -> None:
    typed = lipei_process("demo", "--people", "3")
    assert typed.code == 2
    assert "the demo hospital needs at least 20 people" in typed.err


def test_the_demo_names_a_folder_that_is_not_there() -> None:
    typed = lipei_process("demo", "--data", "/nonexistent-folder")
    assert typed.code == 2
    assert "no such folder: /nonexistent-folder" in typed.err


def decision(**changes: int) -> decision_pb2.Decision:
    def yuan(amount: int) -> Money:
        return Money(currency_code="CNY", minor_units=amount)

    amounts = {"billed": 10_001, "insurer": 8_000, "patient": 2_001, "benefit": 8_000} | changes
    shares = [
        decision_pb2.BearerShare(
            bearer=decision_pb2.BEARER_INSURER,
            reason=reason_pb2.REASON_BENEFIT,
            clause="2.1",
            amount=yuan(amounts["insurer"]),
        ),
        decision_pb2.BearerShare(
            bearer=decision_pb2.BEARER_PATIENT,
            reason=reason_pb2.REASON_COINSURANCE,
            clause="2.5",
            amount=yuan(amounts["patient"]),
        ),
    ]
    line = decision_pb2.DecisionLine(
        number=1, billed=yuan(10_001), benefit=yuan(amounts["benefit"]), shares=shares
    )
    return decision_pb2.Decision(billed=yuan(amounts["billed"]), benefit=yuan(8_000), lines=[line])


def test_a_decision_that_adds_up_is_shown_to_the_fen() -> None:
    sums = adding_up(decision(), Language.EN)
    assert sums.holds
    assert sums.lines == (
        "billed 100.01 CNY = insurer 80.00 + prior payer 0.00 + patient 20.01 + provider 0.00",
    )


@pytest.mark.parametrize("what", ["billed", "insurer", "patient", "benefit"])
def test_one_fen_too_many_anywhere_does_not_add_up(what: str) -> None:
    good = {"billed": 10_001, "insurer": 8_000, "patient": 2_001, "benefit": 8_000}
    sums = adding_up(decision(**{what: good[what] + 1}), Language.EN)
    assert not sums.holds
    assert " = " not in sums.lines[0]


@pytest.mark.parametrize("half", [("--member", "t"), ("--programme", "p")])
def test_a_credit_is_of_a_member_in_a_programme(half: tuple[str, str]) -> None:
    typed = lipei("quote", "t", "--start-date", "2026-01-01", *half)
    assert (typed.code, typed.said) == (2, ["--member and --programme go together"])


def test_a_what_if_says_what_is_the_engines_doing_and_not_the_plans() -> None:
    def yuan(fen: int) -> Money:
        return Money(currency_code="CNY", minor_units=fen)

    summary = recompute_pb2.WhatIfSummary(
        claims=3, members=2, before=yuan(1_000), after=yuan(5_000)
    )
    summary.claims_that_move.add(
        name="policies/p/claims/1",
        before=yuan(0),
        after=yuan(4_000),
        change=recompute_pb2.WHAT_IF_CHANGE_NEWLY_PAID,
    )
    assert "engine" not in _what_if_lines(summary)
    summary.engine_count = 1
    summary.engine_before.CopyFrom(yuan(0))
    summary.engine_after.CopyFrom(yuan(4_000))
    summary.claims_that_move[0].todays_engine.CopyFrom(yuan(4_000))
    lines = _what_if_lines(summary)
    assert "too: 1 claim, 0.00 CNY -> 40.00 CNY (+40.00)" in lines
    assert "newly paid; by today's engine under its own plan 40.00 CNY" in lines


def _what_if_lines(summary: recompute_pb2.WhatIfSummary) -> str:
    found = []
    for part in told(summary, Withheld()):
        cells = (
            [] if isinstance(part, str) else [cell for one in part.columns for cell in one.cells]
        )
        found.append(part if isinstance(part, str) else " ".join(map(str, cells)))
    return "\n".join(found)
