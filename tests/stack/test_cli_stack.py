"""Commands against the whole stack as `lipei up` starts it: real servers, one claim to money."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import fhirkit
import pytest
from google.protobuf.json_format import MessageToJson
from pypdf import PdfReader
from sqlalchemy import select, text, update

from services.claims.storage.sealed import person_subject
from services.claims.storage.tables import decision
from services.common.database import Database
from services.common.identity import member_token
from services.common.sealing import SubjectKeys
from services.common.sealing.key_sources import master_keys
from services.common.state import load_or_make_key, read_addresses
from services.pricing.programmes.loader import example_programmes
from stack.installation import MODULES
from tests.forked import Forked
from tests.processes import processes_of
from tests.services.pricing.fitting.renewal.books import people
from tests.services.pricing.reading_requests import reading
from tests.stack.test_cli_pricing_renew import renewal_folder
from tests.stack.test_supervisor import LONGEST_S
from tests.stack.typed import ROOT, Typed, environ, lipei, lipei_process

HOSPITAL = "demo-hospital"
PLAN = ROOT / "services" / "claims" / "plans" / "million-medical.yaml"
TARIFF = "diabetes-hypertension-demo"
DOCUMENT = "990001198003070011"  # 990001 is no existing area
YIBAO, ICD_10 = "urn:lipei:demo:yibao-code", "http://hl7.org/fhir/sid/icd-10"
POLICIES = f"""\
policies:
  - policy_id: p-1
    plan: million-medical
    start_date: 2026-01-01
    last_date: 2026-12-31
    revision: 1
    effective_date: 2026-01-01
    members:
      - member_id: m1
        document: {{kind: CN-ID, number: "{DOCUMENT}"}}
        birth_date: 1980-03-07
        sex: female
        relationship: self
        social_insurance: true
    payee_accounts:
      - holder_name: 张三
        account_number: "6222000000000001"
        bank_code: "102100099996"
        valid_from: 2026-01-01
"""


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.1)


class Stack:
    """`lipei up` on a state directory of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.state = folder / "state"
        profiles = folder / "profiles"
        profiles.mkdir(exist_ok=True)
        shutil.copy(ROOT / "services" / "his_bridge" / "profiles" / f"{HOSPITAL}.yaml", profiles)
        self.words = ["up", "--state", str(self.state), "--profiles", str(profiles)]
        self.out = folder / "up.out"
        self.process = Forked(
            "stack.cli",
            *self.words,
            environ=environ(LIPEI_PULL_INTERVAL_S="3600", **settings),
            out=self.out,
            err=self.out,
            imported=MODULES,
        )

    def until_ready(self) -> None:
        ready = self.state / "ready"

        def stands() -> bool:
            assert self.process.poll() is None, self.out.read_text()
            return ready.exists() and ready.read_text() == f"{self.process.pid}\n"

        until(stands)

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(LONGEST_S)

    def pids(self) -> dict[str, int]:
        """The process of each part; 0 while there is none."""
        accounts = json.loads((self.state / "processes.json").read_text())
        return {name: account["pid"] for name, account in accounts.items()}

    def lipei(self, *words: str | Path) -> Typed:
        return lipei(*words, "--state", self.state)

    def json(self, *words: str | Path) -> Any:
        typed = self.lipei(*words, "--json")
        assert typed.code == 0, typed.err
        return json.loads(typed.out)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def with_tiers(folder: Path) -> Path:
    """The programme of blood pressure, whose runs earn the tiers of the plan that pays by them."""
    folder.mkdir()
    name = "hypertension-pressure.yaml"
    written = (example_programmes() / name).read_text("utf-8")
    tiers = "outcome_tiers: {2018-01-01: {from_months: {1: improving, 3: controlled}, source: it}}"
    (folder / name).write_text(f"{written}{tiers}\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("installation")
    running = Stack(
        folder,
        LIPEI_PRICING_PROGRAMMES=str(with_tiers(folder / "programmes")),
        LIPEI_PRICING_CREDIT_CAP="0.20",
        LIPEI_PRICING_CREDIT_CAP_SOURCE="a regulation",
    )
    try:
        running.until_ready()
        yield running
    finally:
        pids = running.pids()
        code = running.stop(signal.SIGTERM)
        left = [pid for pid in pids.values() if alive(pid)]
    assert (code, left) == (0, []), running.out.read_text()
    assert not (running.state / "ready").exists()
    assert read_addresses(running.state) == {}
    typed = running.lipei("books")
    assert typed.said == [f"nothing is running here ({running.state}); start with `lipei up`"]


def money(minor_units: int) -> dict[str, str]:
    return {"currency_code": "CNY", "minor_units": str(minor_units)}


def charge(number: int, code: str, quantity: str, price: str, billed: int) -> dict[str, Any]:
    return {
        "number": number,
        "code": {"system": YIBAO, "code": code},
        "quantity": quantity,
        "unit_price": price,
        "billed": money(billed),
    }


def bill(stack: Stack, number: str, **changes: Any) -> dict[str, Any]:
    """Ten days in a tertiary hospital; social insurance paid 12,000 yuan."""
    key = load_or_make_key(stack.state / "keys" / "member_token.key")
    return {
        "bill_number": number,
        "provider_id": "H99000100001",
        "hospital_tier": "HOSPITAL_TIER_TERTIARY",
        "kind": "BILL_KIND_FINAL",
        "member_token": member_token("CN-ID", DOCUMENT, key=key, key_version="k1"),
        "care_type": "CARE_TYPE_INPATIENT",
        "start_time": "2026-06-01T02:00:00Z",
        "end_time": "2026-06-11T02:00:00Z",
        "time_zone": "Asia/Shanghai",
        "diagnoses": [
            {"number": 1, "code": {"system": ICD_10, "code": "K35.8"}, "principal": True}
        ],
        "lines": [
            charge(1, "001109000030000", "10", "100.00", 1_000_00),
            charge(2, "003105000010000", "1", "300.00", 300_00),  # dental: excluded
            charge(3, "003301000010000", "1", "28700.005", 28_700_01),
        ],
        "total": money(30_000_01),
        "social_insurance": {"used": True, "fund_paid": money(12_000_00)},
    } | changes


def submitted(stack: Stack, tmp_path: Path, content: dict[str, Any]) -> dict[str, Any]:
    file = tmp_path / "bill.json"
    file.write_text(json.dumps(content))
    (claim,) = stack.json("claims", "submit", file)["claims"]
    found: dict[str, Any] = claim
    return found


@pytest.fixture(scope="module")
def claim(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a paid claim."""
    folder = tmp_path_factory.mktemp("claim")
    (folder / "policies.yaml").write_text(POLICIES)
    assert stack.json("plan", "publish", PLAN)["plan_version"].startswith("million-medical@sha256:")
    assert stack.json("policies", "import", folder / "policies.yaml")["created"] == 1
    name: str = submitted(stack, folder, bill(stack, "B-1"))["name"]
    until(lambda: stack.json("claims", "show", name)["state"] == "CLAIM_STATE_PAID")
    return name


def test_up_prints_addresses_and_the_temporal_ui(stack: Stack) -> None:
    until(lambda: "Ready." in stack.out.read_text())  # printed just after the file stands
    said = stack.out.read_text()
    addresses = read_addresses(stack.state)
    for part in ("claims", "his_bridge", "pricing", "bank", "temporal", "temporal_ui"):
        assert addresses[part] in said
        assert "127.0.0.1:" in addresses[part]
    assert f"worker:hospital-{HOSPITAL}" in said


def test_status_asks_every_part(stack: Stack) -> None:
    found = stack.json("status")
    assert found["ready"] is True
    assert {part["name"] for part in found["parts"] if part["answers"]} == {
        *("temporal", "temporal_ui", "bank", "claims", "his_bridge", "pricing"),
        *("worker:claims", f"worker:hospital-{HOSPITAL}", "witness:hospital", "witness:insurer"),
    }
    assert "no" not in stack.lipei("status").out.split()


def test_nothing_in_the_state_is_for_others(stack: Stack, claim: str) -> None:
    open_to_others = [
        path
        for path in (stack.state, *stack.state.rglob("*"))
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert open_to_others == []
    keys = [path.name for path in (stack.state / "keys").glob("[!.]*")]
    logs = [f"{name}_evidence" for name in ("claims", "his_bridge", "pricing")]
    signers = [*logs, "witness_hospital", "witness_insurer"]
    assert sorted(keys) == sorted(
        [
            *("evidence_pseudonym.key", "master_keys.json", "member_token.key"),
            *("study_pseudonym.key", "temporal_codec.key"),
            *(f"{name}.{kind}" for name in signers for kind in ("key", "vkey")),
        ]
    )


def test_policies_that_are_known_change_nothing(stack: Stack, claim: str, tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(POLICIES)
    assert stack.lipei("policies", "import", file).out == "0 created, 0 revised, 1 unchanged\n"
    file.write_text(POLICIES.replace("p-1", "p-2").replace("m1", "m2"))
    dry = stack.lipei("policies", "import", file, "--dry-run")
    assert dry.out == "1 would be created, 0 would be revised, 0 unchanged\n"
    assert stack.lipei("policies", "import", file, "--dry-run").out == dry.out
    warning = f"{file}:10: warning: policies[0].members[0].document.number: its check digit"
    assert dry.err.startswith(warning)
    assert DOCUMENT not in dry.err


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_faults_that_claims_finds_come_with_the_file_s_line(
    stack: Stack, claim: str, tmp_path: Path, words: list[str]
) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(POLICIES.replace("1980-03-07", "1980-02-30").replace("p-1", "Policy 1"))
    typed = stack.lipei("policies", "import", file, *words)
    assert typed.code == 1
    assert [said.partition(": ")[0] for said in typed.said[:-1]] == [f"{file}:2", f"{file}:11"]
    assert typed.said[-1] == "2 faults; nothing was stored"
    assert DOCUMENT not in typed.err


def test_show_says_who_bears_what_and_why(stack: Stack, claim: str) -> None:
    shown = stack.lipei("claims", "show", claim).out
    for word in ("28700.01", "7700.01", "9404.04", "deductible", "4.2", "payment sent", "paid"):
        assert word in shown
    assert claim in stack.lipei("claims", "list", "p-1", "--in", "paid").out
    assert stack.json("claims", "list", "--in", "denied") == {"claims": [], "next_page_token": ""}


@pytest.mark.parametrize(
    ("lang", "there", "absent"),
    [
        (
            "zh",
            ["第 2 行", "条款 4.2", "保险人 7700.01", "住院"],
            ["Line 2", "insurer", "inpatient"],
        ),
        (
            "en",
            ["Line 2", "clause 4.2", "insurer 7700.01", "inpatient"],
            ["第 2 行", "保险人", "住院"],
        ),
        ("both", ["第 2 行", "Line 2", "insurer 保险人 7700.01"], []),
    ],
)
def test_explain_adds_up_to_the_fen_in_both_languages(
    stack: Stack, claim: str, lang: str, there: list[str], absent: list[str]
) -> None:
    typed = stack.lipei("claims", "explain", claim, "--lang", lang)
    assert typed.code == 0
    assert all(text in typed.out for text in there)
    assert not any(text in typed.out for text in absent)
    proof = typed.out.splitlines()[-1]
    total, _, terms = proof.partition(" = ")
    assert total.split()[-2:] == ["30000.01", "CNY"]
    assert [term.split()[-1] for term in terms.split(" + ")] == [
        *("7700.01", "12000.00", "10300.00", "0.00")
    ]
    assert stack.json("claims", "explain", claim)["adds_up"] is True


@pytest.mark.parametrize("form", ["fhir-eob", "fhir-claimresponse", "html", "pdf", "json"])
def test_an_explanation_is_written_for_its_reader_only(
    stack: Stack, claim: str, form: str, tmp_path: Path
) -> None:
    out = tmp_path / "told"
    typed = stack.lipei("claims", "explain", claim, "--format", form, "--out", out, "--lang", "zh")
    assert typed.code == 0, typed.err
    content = out.read_bytes()
    assert f"{out}: {len(content)} bytes" in typed.out
    assert out.stat().st_mode & 0o777 == 0o600
    if form == "pdf":
        assert "理赔说明书" in PdfReader(out).pages[0].extract_text()
        return
    for there in (claim, "条款 4.2"):
        assert there in content.decode()
    if form.startswith("fhir"):
        assert fhirkit.validate(content) == []
        printed = stack.lipei("claims", "explain", claim, "--format", form).out
        assert printed.encode() == content + b"\n"


def test_what_cannot_be_written_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    nobody = ("--state", tmp_path)
    name = "policies/p-1/claims/c"
    pdf = lipei("claims", "explain", name, "--format", "pdf", *nobody)
    assert (pdf.code, pdf.said) == (2, ["a PDF is no text: say where to write it with --out FILE"])
    plain = lipei("claims", "explain", name, "--out", tmp_path / "told", *nobody)
    assert (plain.code, plain.said) == (2, ["--out needs a --format other than text"])


def test_the_manual_s_example_bill_becomes_a_claim(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    example = {kind: manual.split(f"```{kind}\n")[1].split("```")[0] for kind in ("yaml", "json")}
    (tmp_path / "policies.yaml").write_text(example["yaml"])
    assert stack.json("policies", "import", tmp_path / "policies.yaml")["created"] == 1
    number = example["yaml"].split('number: "')[1].split('"')[0]
    token = stack.lipei("members", "token", "--kind", "CN-ID", number).out.strip()
    content = json.loads(example["json"].replace("TOKEN", token))
    decided = submitted(stack, tmp_path, content)
    assert decided["decision"]["benefit"]["minor_units"] == "800000"
    explained = stack.lipei("claims", "explain", decided["name"], "--lang", "zh").out
    assert decided["name"] in explained
    assert all(text in explained for text in ("部分赔付", "免赔额", "医保已付"))


def insured(stack: Stack, tmp_path: Path, policy: str, number: str) -> str:
    """The token of a person under a policy of their own."""
    text = POLICIES.replace("p-1", policy).replace(DOCUMENT, number)
    (tmp_path / "policies.yaml").write_text(text)
    assert stack.json("policies", "import", tmp_path / "policies.yaml")["created"] == 1
    key = load_or_make_key(stack.state / "keys" / "member_token.key")
    return member_token("CN-ID", number, key=key, key_version="k1")


def acting(stack: Stack, name: str) -> str:
    """The option by which somebody acts on a claim as it stands."""
    return f"--revision {stack.json('claims', 'show', name)['revision']}"


def stands(stack: Stack, name: str) -> str:
    state: str = stack.json("claims", "show", name)["state"]
    return state.removeprefix("CLAIM_STATE_").lower()


def test_a_large_claim_is_reviewed_paid_reversed_and_recovered(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    large = {
        "member_token": insured(stack, tmp_path, "p-7", "990001198003070054"),
        "lines": [charge(1, "XC0300000000001", "10", "20000.00", 200_000_00)],
        "total": money(200_000_00),
        "social_insurance": {"used": True, "fund_paid": money(0)},
    }
    name = submitted(stack, tmp_path, bill(stack, "B-large", **large))["name"]
    queue = stack.lipei("claims", "pended", "p-7")
    missing = [
        one
        for one in (name, "above automatic payment", "5.6", "30", "minimum due in", "60")
        if one not in queue.out
    ]
    assert missing == [], queue.out + queue.err
    assert f"next: lipei claims review {name} --accept --revision " in queue.out.splitlines()[-1]
    shown = stack.lipei("claims", "show", name).out
    assert "60 days until the undisputed minimum is due" in shown
    words = ["claims", "review", name, "--units", "1=6", "--clause", "5.6", "--note", "seen"]
    blind = stack.lipei(*words)
    assert (blind.code, "above automatic payment" in blind.err) == (2, True)
    assert blind.said[-1] == f"repeat the command with {acting(stack, name)}"
    assert stands(stack, name) == "pended_review"
    words += acting(stack, name).split()
    bare = stack.lipei(*words[:5], *words[-2:])
    assert bare.code == 1
    assert "name a clause of the plan" in bare.err
    done = stack.lipei(*words)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{name}: payable, benefit 110000.00")
    late = stack.lipei("claims", "review", name, "--accept", "--revision", "1")
    assert (late.code, "the claim has changed since you looked at it" in late.err) == (1, True)
    assert stack.lipei("claims", "replay", name).code == 0
    until(lambda: stands(stack, name) == "paid")
    back = stack.lipei("claims", "reverse", name, "--note", "x", *acting(stack, name).split())
    assert (
        f"next: lipei claims recover {name} --reference REF --value-date DAY --revision "
        in back.out.splitlines()[-1]
    )
    assert "110000.00 CNY are to be recovered" in stack.lipei("claims", "show", name).out
    today = datetime.now(UTC).date().isoformat()
    entry = ("--reference", "RF18/1", "--value-date", today)
    got_back = ["claims", "recover", name, *entry, *acting(stack, name).split()]
    unasked = stack.lipei(*got_back)
    assert (unasked.code, "110000.00 CNY to be recovered" in unasked.err) == (2, True)
    nowhere = stack.lipei(*got_back, "--account", "abc", "--yes")
    assert (nowhere.code, "the accounts: main [UNKNOWN_ACCOUNT]" in nowhere.err) == (1, True)
    part = stack.lipei(*got_back, "--amount", "10000.00", "--yes")
    assert "100000.00 CNY to be recovered" in part.out, part.err
    again = stack.lipei("claims", "recover", name, *entry, "--yes")
    assert (again.code, "this transfer is in the books already" in again.err) == (1, True)
    rest = ("--reference", "RF18/2", "--value-date", today)
    assert stack.lipei("claims", "recover", name, *rest, "--yes").code == 0
    assert stands(stack, name) == "recovered"
    shown = stack.lipei("claims", "list", "p-7").out
    assert "net paid" in shown
    assert shown.count("110000.00 CNY") == 3  # benefit, paid, came back
    assert "0.00 CNY" in shown.split("110000.00 CNY")[-1]
    books = stack.json("books")
    assert (books["ledger_sum_minor_units"], books["payout_mismatches"]) == ("0", "0")


def test_a_refusal_waits_for_its_notice_until_one_is_recorded(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    large = {
        "member_token": insured(stack, tmp_path, "p-11", "990001198003070097"),
        "lines": [charge(1, "XC0300000000001", "10", "20000.00", 200_000_00)],
        "total": money(200_000_00),
        "social_insurance": {"used": True, "fund_paid": money(0)},
    }
    name = submitted(stack, tmp_path, bill(stack, "B-refused", **large))["name"]
    told = ("--deny", "1", "--reason", "medical_necessity", "--clause", "5.6")
    refused = stack.lipei("claims", "review", name, *told, *acting(stack, name).split())
    seen = acting(stack, name)
    wanted = f"next: lipei claims notice {name} --sent DAY --by WAY {seen}"
    assert refused.out.splitlines()[-1] == wanted, refused.err
    waiting = stack.json("claims", "notices", "p-11")["claims"]
    assert [(one["name"], one["notice_days_left"]) for one in waiting] == [(name, 3)]
    assert name in stack.lipei("claims", "notices").out
    day = stack.json("claims", "show", name)["notice_due_day"]
    to_come = ("claims", "notice", name, "--sent", day, *seen.split())
    assert "no way: letter, message" in stack.lipei(*to_come, "--by", "pigeon").err
    assert "when the claim was denied" in stack.lipei(*to_come, "--by", "letter").err
    sent = str(date.fromisoformat(day) - timedelta(days=3))
    done = stack.lipei("claims", "notice", name, "--sent", sent, "--by", "letter", *seen.split())
    assert done.code == 0, done.err
    assert "no notice of a refusal is due" in stack.lipei("claims", "notices", "p-11").out
    assert "no payment is late" in stack.lipei("claims", "unpaid", "p-11").out
    assert "no bill fails" in stack.lipei("claims", "failing").out
    assert stack.json("claims", "failing")["failing_bills"] == []
    shown = stack.lipei("claims", "show", name).out
    assert f"the notice went out on {sent}: by post or courier, recorded by sandbox" in shown


def test_a_price_list_and_an_account_of_a_provider_come_by_commands(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    coded = 'system: demo-yibao, code: "001109000030000", unit: CNY'
    head = "format: 1\nprovider: H99000100009\ncurrency: CNY\nfirst_day: 2026-01-01\nprices:\n"
    entry = f'  - {{{coded}, values: {{2026-01-01: "80.00"}}}}\n'
    prices.write_text(head + entry + entry)
    twice = stack.lipei("providers", "prices", prices)
    assert (twice.code, twice.said[0].startswith(f"{prices}:7:")) == (1, True), twice.err
    assert twice.said[-1] == "1 fault; nothing was stored"
    prices.write_text(head + entry)
    assert "would hold 1 code" in stack.lipei("providers", "prices", prices, "--dry-run").out
    exported = tmp_path / "prices.csv"
    heading = "code,unit,price,effective,deletion,name"
    row = '001109000030000,CNY,80.00,20260101,,"床位费，普通"'
    exported.write_bytes(f"{heading}\r\n{row}\r\n".encode("gb18030"))
    beside = ("--provider", "H99000100009", "--currency", "CNY", "--first-day", "2026-01-01")
    taken = stack.json("providers", "prices", exported, *beside, "--system", "demo-yibao")
    assert stack.json("providers", "prices", prices) == taken
    assert taken["price_count"] == 1
    small = {
        "provider_id": "H99000100009",
        "member_token": insured(stack, tmp_path, "p-10", "990001198003070089"),
        "lines": [charge(1, "001109000030000", "10", "100.00", 1_000_00)],
        "total": money(1_000_00),
        "social_insurance": {"used": True, "fund_paid": money(0)},
    }
    found = submitted(stack, tmp_path, bill(stack, "B-priced", **small))
    assert found["decision"]["allowed"] == money(800_00)
    told = ("--holder", "示例医院", "--account", "6222777700000001", "--bank", "104100000004")
    made = stack.json("providers", "propose", "H99000100009", *told, "--from", "2026-01-01")
    name = made["account"]["name"]
    silent = stack.lipei("providers", "confirm", name)
    assert (silent.code, "state the number" in silent.err) == (2, True)
    own = ("providers", "confirm", name, "--account", "6222777700000001")
    alone = stack.lipei(*own)  # in another role, and the same person
    assert (alone.code, "somebody else must confirm an account" in alone.err) == (1, True)
    assert "lipei --person NAME" in alone.err
    second = ("--person", "second")
    other = stack.lipei(*second, "providers", "confirm", name, "--account", "6222777700000002")
    assert (other.code, "another number than you have" in other.err) == (1, True)
    right = stack.lipei(*second, "providers", "confirm", name, "--account", "6222777700000001")
    assert right.code == 0, right.err
    listed = stack.lipei("providers", "accounts", "H99000100009").out
    assert all(one in listed for one in (name, "confirmed", "2026-01-01"))
    assert "62227777" not in listed


def test_bills_of_providers_that_are_not_registered_are_refused(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    assert "no register: every provider is known" in stack.lipei("providers", "known").out
    known = ("H99000100001", "H99000100009")  # whose bills other tests hand in
    told = ("providers", "register", *known, "--first-day", "2020-01-01")
    trial = stack.lipei(*told, "--dry-run").out
    assert "2 providers would be known from 2020-01-01" in trial
    done = stack.lipei(*told)
    assert (done.code, "refused from then on" in done.out) == (0, True), done.err
    listed = stack.lipei("providers", "known").out
    assert all(one in listed for one in known)
    assert known[0] in stack.lipei("providers", "known", known[0]).out
    elsewhere = stack.lipei("providers", "known", "H99000199999").out
    assert "H99000199999 is not on the register" in elsewhere
    assert "every provider is known" not in elsewhere
    ended = ("--first-day", "2026-01-02", "--last-day", "2026-01-01")
    assert "must not lie before first_day" in stack.lipei("providers", "register", "X", *ended).err
    file = tmp_path / "bill.json"
    file.write_text(json.dumps(bill(stack, "B-elsewhere", provider_id="H99000199999")))
    refused = stack.lipei("claims", "submit", file)
    assert refused.code == 1
    assert "H99000199999 is not known on" in refused.err
    file.write_text(json.dumps(bill(stack, "B-elsewhere")))
    assert stack.lipei("claims", "submit", file).code == 0


def test_in_chinese_no_table_speaks_english(stack: Stack, claim: str) -> None:
    shown = stack.lipei("claims", "explain", claim, "--lang", "zh").out
    english = ("claim ", "bill ", "state", "paid", "billed", "benefit", "taken", "borne", "plan ")
    assert [one for one in (*english, "output", "amounts", "reason", "group") if one in shown] == []
    assert "已支付" in shown


def test_papers_and_an_appeal_are_taken_in(stack: Stack, claim: str, tmp_path: Path) -> None:
    unknown = bill(stack, "B-papers")
    unknown["member_token"] = insured(stack, tmp_path, "p-8", "990001198003070070")
    del unknown["social_insurance"]
    name = submitted(stack, tmp_path, unknown)["name"]
    assert stands(stack, name) == "pended_info"
    assert "papers are awaited until 2028-06-10" in stack.lipei("claims", "show", name).out
    bare = stack.lipei("claims", "supply", name, *acting(stack, name).split())
    assert bare.code == 2
    assert "; awaited: lines 1, 3: whether social insurance settled the bill" in bare.err
    assert "--social-insurance" in bare.err
    wrong = stack.lipei("claims", "supply", name, "--care-type", "asleep")
    assert (wrong.code, "inpatient" in wrong.err) == (2, True)
    short = stack.lipei(
        *("claims", "supply", name, "--referral", "--liability", "nobody"),
        *("--licence", "community-centre", "--prescribed", "1=2026-01-05T09:30+08:00"),
        *acting(stack, name).split(),
    )
    assert "still awaited: lines 1, 3: whether social insurance settled the bill" in short.out, (
        short.err
    )
    queue = stack.lipei("claims", "pended", "p-8").out
    (row,) = (one for one in queue.splitlines() if one.strip().startswith(name))
    assert "lines 1, 3: whether social insurance settled the bill" in row
    assert "up to " in row
    assert "是否经医保结算" in stack.lipei("claims", "pended", "p-8", "--lang", "zh").out
    paper = tmp_path / "settlement.txt"
    paper.write_text("settled")
    told = ("--social-insurance", "--fund-paid", "12000.00", "--paper", paper)
    done = stack.lipei("claims", "supply", name, *told, *acting(stack, name).split())
    assert done.code == 0, done.err
    until(lambda: stands(stack, name) == "paid")
    seen = acting(stack, name).split()
    assert stack.lipei("claims", "appeal", name, "--note", "too little", *seen).code == 0
    decide = ("claims", "decide-appeal", name, "--note", "x")
    alone = stack.lipei(*decide, "--overturn", *acting(stack, name).split())
    assert (alone.code, "another must" in alone.err) == (1, True)
    assert "lipei --person NAME" in alone.err
    second = ("--person", "second")
    over = stack.lipei(*second, *decide, "--overturn", *acting(stack, name).split())
    assert over.code == 0, over.err
    queue = stack.lipei("claims", "pended", "p-8").out
    (row,) = (one for one in queue.splitlines() if one.strip().startswith(name))
    assert "a person, as the decision was overturned" in row
    wrong = stack.lipei("claims", "reverse", name, "--note", "x", *acting(stack, name).split())
    assert wrong.code == 1
    assert "CLAIM_STATE_" not in wrong.err
    assert f"lipei claims review {name}" in wrong.err


def test_times_and_an_emergency_are_supplied_and_a_pended_claim_says_what_nobody_bears_yet(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    unknown = bill(stack, "B-times", start_time="2026-05-31T16:00:00Z")  # midnight: the day alone
    unknown["member_token"] = insured(stack, tmp_path, "p-13", "990001198003070107")
    del unknown["social_insurance"]
    name = submitted(stack, tmp_path, unknown)["name"]
    times = ("--admitted", "2026-06-01T22:30+08:00", "--given", "1=2026-06-11T09:00+08:00")
    others = stack.lipei(
        *("claims", "supply", name, "--admitted", "2026-06-02T01:30+08:00", "--emergency"),
        *acting(stack, name).split(),
    )
    assert (others.code, "facts.start_time" in others.err) == (1, True), others.err
    told = stack.lipei(
        "claims", "supply", name, *times, "--emergency", *acting(stack, name).split()
    )
    assert "still awaited" in told.out, told.err
    again = stack.lipei("claims", "supply", name, *times, *acting(stack, name).split())
    known = ("facts.start_time", "facts.lines[0].service_time", "STATED_ALREADY")
    assert (again.code, [one for one in known if one not in again.err]) == (1, []), again.err
    explained = stack.lipei("claims", "explain", name, "--lang", "en").out
    assert "patient 300.00 + provider 0.00 + not decided yet 29700.01" in explained
    rows = [one for one in explained.splitlines() if "fact missing" in one and " pended " in one]
    assert len(rows) == 2, explained
    assert all("not decided yet" in one and " patient " not in one for one in rows), rows
    july = {"start_time": "2026-06-30T16:00:00Z", "end_time": "2026-07-11T02:00:00Z"}
    submitted(stack, tmp_path, {**unknown, "bill_number": "B-times-too", **july})
    waiting = stack.lipei("claims", "pended", "p-13").out
    nexts = [one for one in waiting.splitlines() if one.startswith("next: lipei claims supply ")]
    assert len({one.split()[4] for one in nexts}) == 2, waiting


def test_a_list_says_where_it_goes_on_and_which_policy_is_unknown(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    token = insured(stack, tmp_path, "p-12", "990001198003070091")
    for number in ("B-one", "B-two"):
        submitted(stack, tmp_path, bill(stack, number, member_token=token))
    everything = stack.json("claims", "list", "p-12")
    # By name: from one list to the next their payouts go on.
    names = [one["name"] for one in everything["claims"]]
    assert (len(names), everything["next_page_token"]) == (2, "")
    first = stack.json("claims", "list", "p-12", "--most", "1")
    rest = stack.json("claims", "list", "p-12", "--page-token", first["next_page_token"])
    assert [one["name"] for one in [*first["claims"], *rest["claims"]]] == names
    assert (
        "the first 1; --most asks for more"
        in stack.lipei("claims", "list", "p-12", "--most", "1").out
    )
    unknown = stack.lipei("claims", "list", "p-99")
    assert (unknown.code, "no such policy" in unknown.err) == (1, True)


def test_books_are_balanced(stack: Stack, claim: str) -> None:
    found = stack.json("books")
    assert found["ledger_sum_minor_units"] == "0"
    assert found["conservation_violations"] == "0"
    assert found["payout_mismatches"] == "0"
    assert int(found["paid_count"]) >= 1
    assert "bank:main" in stack.lipei("books").out


def test_an_unknown_claim_is_said_to_be_unknown(stack: Stack) -> None:
    for verb in ("show", "explain", "replay"):
        name = "policies/p-1/claims/none"
        typed = stack.lipei("claims", verb, name)
        if verb == "replay":  # says of which claim, for it takes several; 1 is its alarm
            assert typed.code == 3
            assert typed.said[0] == f"{name}: claims: no such claim"
            continue
        assert typed.code == 1
        assert typed.said == ["claims: no such claim", f"  name: {name}"]


def test_a_bad_bill_is_refused_with_every_fault_on_its_line(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    file = tmp_path / "bill.json"
    file.write_text(json.dumps(bill(stack, "B-2", total=money(-1), time_zone="Nowhere")))
    typed = stack.lipei("claims", "submit", file)
    assert typed.code == 1
    assert typed.said[0] == f"claims refused: {len(typed.said) - 1} faults"
    assert any(said.startswith("  bill.total") for said in typed.said)
    assert any(said.startswith("  bill.time_zone") for said in typed.said)
    file.write_text(json.dumps(bill(stack, "B-2", colour="red")))
    assert "colour" in stack.lipei("claims", "submit", file).err
    file.write_text("{")
    assert stack.lipei("claims", "submit", file).code == 1


def test_quote_explains_a_premium_that_adds_up(stack: Stack) -> None:
    features = ["age=52", "sex=F", "condition=type2_diabetes", "hba1c_percent=7.2"]
    words = ["quote", TARIFF, "--start-date", "2026-06-01"]
    asked = [*words, *(word for feature in features for word in ("--feature", feature))]
    typed = stack.lipei(*asked)
    assert typed.code == 0
    # The premium is the tariff's own golden quote.
    assert typed.out.splitlines()[-1].startswith("premium 3,453.71 CNY = sum of the differences")
    assert stack.json(*asked)["premium"]["minor_units"] == "345371"
    wrong = stack.lipei(*words, "--feature", "age=soon", "--feature", "shoe_size=43")
    assert wrong.code == 1
    assert wrong.said[0].startswith("pricing refused: ")
    assert len(wrong.said) > 2


def test_a_hospital_s_bridge_answers_for_its_bills(stack: Stack) -> None:
    status = json.loads(stack.lipei("his", "status", HOSPITAL, "--json").out)
    assert (status["released"], status["quarantined"]) == (0, 0)
    assert stack.lipei("his", "quarantine", HOSPITAL).out.startswith("nothing is in quarantine")
    unknown = stack.lipei("his", "pull", "elsewhere")
    assert unknown.code == 1
    assert unknown.said == [f'no hospital "elsewhere" here; the hospitals: {HOSPITAL}']
    assert stack.lipei("his", "pull", HOSPITAL, "--no-wait").code == 0
    assert stack.lipei("his", "pull", HOSPITAL, "--readings", "--no-wait").code == 0


def test_a_what_if_shows_the_difference_by_claim_and_reason(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    deductible = '    values: {2024-01-01: "10000.00"}\n\nshares:'
    old = PLAN.read_text("utf-8")
    assert old.count(deductible) == 1
    new = tmp_path / "new.yaml"
    new.write_text(old.replace(deductible, deductible.replace("10000", "12000")), "utf-8")
    out = tmp_path / "claims.csv"
    words = ("claims", "what-if", "--plan", new, "--from", "2020-01-01", "--to", "2099-12-31")
    typed = stack.lipei(*words, "--out", out)
    assert typed.code == 0, typed.err
    assert "that move most" in typed.out
    assert claim in typed.out
    assert "Members: withheld from this role" in typed.out
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    (row,) = [line for line in out.read_text("utf-8").splitlines() if line.startswith(claim)]
    assert ",withheld," in row
    assert row.endswith(",down,withheld,")  # by no earlier engine
    told = stack.json(*words)
    assert int(told["before"]["minor_units"]) > int(told["after"]["minor_units"])
    assert told["members_that_move"] == "withheld"
    seen = lipei("--as", "senior_adjuster", *words, "--state", stack.state, "--json")
    assert json.loads(seen.out)["members_that_move"][0]["member"].startswith("members/")
    nobody = stack.lipei(*words[:-3], "1999-01-01", "--to", "1999-12-31")
    assert "days on which claims were received" in nobody.out
    (own_id,) = [one for one in old.splitlines() if one.startswith("id: ")]
    new.write_text(old.replace(own_id, "id: never-published"), "utf-8")
    refused = stack.lipei(*words)
    assert (refused.code, "--instead-of PLAN" in refused.err) == (1, True), refused.err
    new.write_text(old.replace("format: 1", "format: 9"), "utf-8")
    refused = stack.lipei(*words)
    line = old.splitlines().index("format: 1") + 1
    assert (refused.code, refused.said[0].startswith(f"{new}:{line}:")) == (1, True), refused.err
    shown = stack.json("claims", "show", claim)
    assert shown["decision"]["plan_version"] == told["instead_of"][0] != told["plan_version"]


def test_replay_gives_the_stored_hash_and_finds_an_altered_output(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    shown = stack.json("claims", "show", claim)["decision"]
    typed = stack.lipei("claims", "replay", claim)
    assert typed.code == 0
    assert shown["output_hash"] in typed.out
    day = {"start_time": "2026-06-20T02:00:00Z", "end_time": "2026-06-20T03:00:00Z"}
    visit = {
        "lines": [charge(1, "001102000010000", "1", "50.00", 50_00)],
        "total": money(50_00),
        "care_type": "CARE_TYPE_OUTPATIENT",
        "social_insurance": {"used": True, "fund_paid": money(0)},
    }
    other = submitted(stack, tmp_path, bill(stack, "B-3", **visit, **day))["name"]
    assert stack.lipei("claims", "replay", other).code == 0
    alter(stack.state, other)
    altered = stack.lipei("claims", "replay", other)
    assert altered.code == 1
    assert "the stored decision is not what its inputs give" in altered.said[0]
    assert stack.lipei("claims", "replay", claim, other).code == 1
    assert stack.lipei("claims", "replay", claim, f"{claim}0").code == 3  # unknown: no alarm
    told = stack.json("claims", "replay", claim, claim)["replays"]
    assert [one["name"] for one in told] == [claim, claim]
    assert stack.lipei("claims", "replay", claim).code == 0


def test_everything_stored_is_replayed_and_a_run_goes_on(stack: Stack, claim: str) -> None:
    # Other tests alter decisions of their own, and are found; this claim's is not among them.
    told = stack.lipei("claims", "replay")
    found = json.loads(stack.lipei("claims", "replay", "--json").out)
    assert found["same"] >= 1
    assert claim not in {one["name"] for one in found["differences"]}
    assert told.code == (1 if found["differences"] else 0)
    assert f"recomputed by engine {found['recomputed_by']}: the same" in told.out
    assert stack.lipei("claims", "replay", "--after", "x").code == 3
    assert stack.lipei("claims", "replay", claim, "--after", "x").code == 2


def alter(state: Path, claim: str) -> None:
    """Change a stored decision as only somebody with the database and the keys in hands can."""
    database = Database(f"sqlite:///{state / 'claims.db'}")
    keys = SubjectKeys(master_keys(state), now_us=lambda: 0)
    with database.writing() as connection:
        connection.execute(text("DROP TRIGGER decision_no_update"))
        mine = decision.c.claim_id == claim.rpartition("/")[2]
        row = connection.execute(select(decision).where(mine)).one()
        place = {"table": "decision", "column": "output", "row": row.id}
        subject = person_subject(row.person_id)
        sealer = keys.sealer(connection)
        said = sealer.open(row.output, **place, subject=subject)
        forged = said.replace(b"4000", b"4100")
        assert forged != said
        sealed = sealer.seal(forged, **place, subject=subject)
        connection.execute(update(decision).where(mine).values(output=sealed))
    database.close()


def test_a_second_up_on_the_same_state_is_refused(stack: Stack) -> None:
    typed = lipei_process(*stack.words)
    assert typed.code == 1
    assert "lipei is already up on" in typed.err
    assert stack.json("status")["ready"] is True


def test_claims_that_is_killed_comes_back_where_its_workers_look_for_it(
    stack: Stack, claim: str, tmp_path: Path
) -> None:
    before = read_addresses(stack.state)["claims"]
    killed = stack.pids()["claims"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: stack.pids()["claims"] not in (0, killed))
    stack.until_ready()
    assert read_addresses(stack.state)["claims"] == before
    visit = {
        "lines": [charge(1, "001102000010000", "1", "70.00", 70_00)],
        "total": money(70_00),
        "care_type": "CARE_TYPE_OUTPATIENT",
        "start_time": "2026-07-20T02:00:00Z",
        "end_time": "2026-07-20T03:00:00Z",
        "social_insurance": {"used": True, "fund_paid": money(0)},
    }
    decided = submitted(stack, tmp_path, bill(stack, "B-4", **visit))
    # The deductible is used up; a tertiary hospital's outpatients get 80 %.
    assert decided["decision"]["benefit"]["minor_units"] == "5600"


@pytest.mark.fault
def test_killing_lipei_up_leaves_no_process_and_the_next_start_goes_on(tmp_path: Path) -> None:
    first = Stack(tmp_path)
    try:
        first.until_ready()
        pids = list(first.pids().values())
        assert len(pids) == 9
        assert all(alive(pid) for pid in pids)
    finally:
        first.stop(signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids))
    assert processes_of(first.state) == []
    again = Stack(tmp_path)
    try:
        again.until_ready()
    finally:
        code = again.stop(signal.SIGINT)
    assert code == 0


def test_master_keys_are_rotated_under_the_running_services(stack: Stack, claim: str) -> None:
    def in_use() -> dict[str, dict[str, int]]:
        found = stack.json("keys", "status")
        return {
            service: {use["key_id"]: int(use.get("subject_keys", 0)) for use in uses}
            for service, uses in found.items()
        }

    before = in_use()
    assert before.keys() == {"claims", "his_bridge", "pricing"}
    assert all(uses.keys() == {"m1"} for uses in before.values())
    assert stack.lipei("keys", "retire", "m1").code == 1
    nobodys = stack.lipei("keys", "retire", "m9")
    assert (nobodys.code, "no master key is called m9" in nobodys.err) == (2, True)
    rotated = stack.lipei("keys", "rotate")
    assert rotated.code == 0, rotated.err
    assert "the current master key is m2" in rotated.out
    assert in_use() == {service: {"m2": uses["m1"]} for service, uses in before.items()}
    assert stack.lipei("keys", "retire", "m2").said == [
        f"{service}: {uses['m1']} subjects' keys are wrapped under it; rotate first"
        for service, uses in before.items()
    ]
    asked = lipei("keys", "retire", "m1", "--state", stack.state, stdin="n\n")
    assert asked.code == 1
    assert "Every backup of them from before the rotation can be read by nobody" in asked.out
    assert "m1 is retired" not in asked.out
    assert stack.lipei("keys", "retire", "m1", "--yes").code == 0
    assert stack.json("claims", "replay", claim)["output_hash"]
    assert stack.lipei("keys", "rotate", "--resume").code == 0
    assert stack.lipei("keys", "renew", "--older-than-days", "0").code == 0
    assert stack.json("claims", "replay", claim)["output_hash"]
    assert stack.json("status")["ready"] is True


def said_beforehand(stack: Stack, token: str, name: str) -> None:
    """What an erasure would do is said, and nothing is done."""
    dry = ("members", "erase", "--token", token, "--dry-run", "--ground")
    kept = stack.lipei(*dry, "retention-over")
    assert (kept.code, any("until: 2032-01-01" in line for line in kept.said)) == (1, True)
    would = stack.lipei(*dry, "ordered", "--order", "court/2026-17")
    assert would.code == 0, would.err
    assert "claims: 2 keys would be destroyed; 1 claim of members/" in would.out
    assert "policies/p-9, which insure nobody else, would be gone" in would.out
    assert stack.lipei("claims", "explain", name).code == 0


def test_a_person_is_erased_everywhere(stack: Stack, claim: str, tmp_path: Path) -> None:
    number = "990001198003070038"
    policy = POLICIES.replace("p-1", "p-9").replace(DOCUMENT, number)
    (tmp_path / "policies.yaml").write_text(policy)
    assert stack.json("policies", "import", tmp_path / "policies.yaml")["created"] == 1
    key = load_or_make_key(stack.state / "keys" / "member_token.key")
    token = member_token("CN-ID", number, key=key, key_version="k1")
    small = {
        "member_token": token,
        "lines": [charge(1, "001109000030000", "1", "100.00", 100_00)],
        "total": money(100_00),
        "social_insurance": {"used": True, "fund_paid": money(0)},
    }
    name = submitted(stack, tmp_path, bill(stack, "B-erased", **small))["name"]
    until(lambda: stack.json("claims", "show", name)["state"] == "CLAIM_STATE_CLOSED_ZERO")
    said_beforehand(stack, token, name)
    erase = ("members", "erase", "--token", token, "--yes", "--ground")
    kept = stack.lipei(*erase, "retention-over")
    assert kept.code == 1
    assert any("until: 2032-01-01" in line for line in kept.said)
    assert stack.lipei("claims", "replay", name).code == 0
    done = stack.lipei(*erase, "ordered", "--order", "court/2026-17")
    assert done.code == 0, done.err
    assert "claims: 2 keys destroyed; 1 claim of members/" in done.out
    assert "policies/p-9" in done.out
    assert "pricing: nothing is kept about this member" in done.out
    assert "pricing, in the member's name: nothing is kept about this member" in done.out
    assert f"his_bridge of {HOSPITAL}: nothing is kept about this member" in done.out
    assert token not in done.out + done.err
    explained = stack.lipei("claims", "explain", name)
    assert explained.code == 1
    assert explained.said[0].startswith("claims: the person's data was erased")
    replayed = stack.lipei("claims", "replay", name, claim)  # no alarm
    assert replayed.code == 0, replayed.err
    assert replayed.out.startswith(f"{name}: the person's data was erased; nothing is left")
    assert f"{claim}: the same decision" in replayed.out
    listed = stack.json("members", "erasures")
    assert {one: len(found) for one, found in listed.items()} == {
        "claims": 1,
        "pricing": 0,
        "his_bridge": 0,
    }
    (erasure,) = listed["claims"]
    assert (erasure["ground"], erasure["role"]) == ("ordered court/2026-17", "senior_adjuster")
    assert erasure["member"] in done.out
    assert "senior_adjuster" in stack.lipei("members", "erasures").out
    unchanged = stack.lipei("policies", "import", tmp_path / "policies.yaml")
    first, said = unchanged.out.splitlines()
    assert first == "0 created, 0 revised, 1 unchanged"
    assert "member m1 of p-9 was erased on 20" in said
    assert "raise the revision and give another member_id" in said
    shown = stack.lipei("claims", "show", name)
    assert "the person's data was erased" in shown.out
    assert "B-erased" not in stack.lipei("claims", "list").out
    assert name in stack.lipei("claims", "list").out
    assert stack.lipei("books").code == 0
    assert stack.json("claims", "replay", claim)["output_hash"]
    again = stack.lipei(*erase, "ordered", "--order", "court/2026-17")
    assert (again.code, again.out.count("nothing is kept")) == (0, 4)


NEXT_YEAR = """\
  - policy_id: p-41
    previous_policy_id: p-40
    plan: hypertension-tiers
    start_date: 2026-01-01
    last_date: 2026-12-31
    revision: 1
    effective_date: 2026-01-01
    members:
      - member_id: m40
        document: {kind: CN-ID, number: "990001196506150017"}
        birth_date: 1965-06-15
        sex: female
        relationship: self
        social_insurance: true
        disclosed_conditions: [{code_prefix: I10, terms: covered}]
        outcome_tier: {tier: improving, certified_date: 2024-12-10}
    payee_accounts:
      - holder_name: 张三
        account_number: "6222000000000001"
        bank_code: "102100099996"
        valid_from: 2025-01-01
"""


def token(stack: Stack, document: str) -> str:
    key = load_or_make_key(stack.state / "keys" / "member_token.key")
    return member_token("CN-ID", document, key=key, key_version="k1")


def drugs(
    stack: Stack, number: str, day: str, document: str = "990001196506150017"
) -> dict[str, Any]:
    """Two packs of a blood-pressure drug at 85.50 yuan, for a month."""
    line = charge(1, "XC09CAL078A001010100001", "2", "85.50", 171_00) | {"days_supply": 30}
    code = {"number": 1, "code": {"system": ICD_10, "code": "I10"}, "principal": True}
    return bill(stack, number) | {
        "member_token": token(stack, document),
        "care_type": "CARE_TYPE_CHRONIC",
        "start_time": f"{day}T02:00:00Z",
        "end_time": f"{day}T02:30:00Z",
        "diagnoses": [code],
        "lines": [line],
        "total": money(171_00),
        "social_insurance": {"used": True, "fund_paid": money(0)},
    }


def test_a_book_s_renewal_hands_its_outcome_tiers_to_claims_which_pay_by_them_from_that_day_on(
    stack: Stack, tmp_path: Path
) -> None:
    plan = ROOT / "services" / "claims" / "plans" / "hypertension-tiers.yaml"
    assert stack.lipei("plan", "publish", plan).code == 0
    expiring = NEXT_YEAR.replace("p-41", "p-40").replace("    previous_policy_id: p-40\n", "")
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("policies:\n" + expiring.replace("2026-", "2025-"))
    assert stack.json("policies", "import", old)["created"] == 1
    # Others make the book large enough to be balanced inside the collar.
    book = [{**row, "outcome_tier": None} for row in people(200)]
    book[7] |= {"policy_id": "p-40", "outcome_tier": "controlled"}
    folder = renewal_folder(tmp_path / "tariff", book)
    renewed = lipei("pricing", "renew", "-f", folder)
    assert renewed.code == 0, renewed.err
    assert "or `lipei pricing renew hand-over NEXT-YEAR.yaml --certified DAY -f" in renewed.out
    unknown = NEXT_YEAR.replace("p-41", "p-43").replace("p-40", "p-42")
    faulty = NEXT_YEAR.replace("p-41", "p-44").replace("1965-06-15\n", "1965-02-30\n")
    new.write_text("policies:\n" + unknown + NEXT_YEAR + faulty)
    words = ("pricing", "renew", "hand-over", new, "--certified", "2025-12-20", "-f", folder)
    done = stack.lipei(*words)
    told = "1 created, 0 revised, 0 unchanged; 1 with an outcome tier certified on 2025-12-20"
    assert done.out == f"{told}; 2 refused\n"
    assert [line.rpartition("[")[2] for line in done.said] == ["NOT_RENEWED]", "IMPOSSIBLE_DATE]"]
    assert done.code == 1
    assert stack.lipei(*words).out == done.out, "the same request gets the same answer"
    paid = {}
    for day in ("2025-06-10", "2026-06-10"):
        decided = submitted(stack, tmp_path, drugs(stack, f"B-{day}", day))
        paid[day] = int(decided["decision"]["benefit"]["minor_units"])
    assert paid == {"2025-06-10": 136_80, "2026-06-10": 153_90}, "eight tenths, then nine"


def test_one_policy_s_renewal_hands_the_tier_that_its_readings_earned_to_claims_in_one_step(
    stack: Stack, tmp_path: Path
) -> None:
    plan = ROOT / "services" / "claims" / "plans" / "hypertension-tiers.yaml"
    assert stack.lipei("plan", "publish", plan).code == 0
    document = "990001196506150025"
    next_year = NEXT_YEAR
    names = {"p-41": "p-51", "p-40": "p-50", "m40": "m50", "990001196506150017": document}
    for old, new in names.items():
        next_year = next_year.replace(old, new)
    expiring = next_year.replace("p-51", "p-50").replace("    previous_policy_id: p-50\n", "")
    before = tmp_path / "old.yaml"
    before.write_text("policies:\n" + expiring.replace("2026-", "2025-"))
    assert stack.json("policies", "import", before)["created"] == 1
    others = NEXT_YEAR.replace("p-41", "p-61").replace("p-40", "p-60")
    file, readings = tmp_path / "new.yaml", tmp_path / "readings.jsonl"
    file.write_text("policies:\n" + others + next_year)
    mine = token(stack, document)
    readings.write_text(
        "".join(
            MessageToJson(
                reading(mine, f"{month}-{day}-{kind}", kind, value, f"{month}-{day} 07:00"),
                indent=None,
            )
            + "\n"
            for month in ("2025-03", "2025-04", "2025-05")
            for day in ("03", "10", "17")
            for kind, value in (("systolic", "124"), ("diastolic", "76"))
        )
    )
    recorded = stack.lipei("readings", "record", readings)
    assert recorded.code == 0, recorded.err
    words: list[str | Path] = [
        *("pricing", "renew", "policy", "p-50", "--start-date", "2026-01-01"),
        *("--expiring-last-date", "2025-12-31", "--expiring-premium", "3500.00"),
        *("--tariff", TARIFF, "--collar", "0.85,1.25,a test"),
        *("--feature", "age=60", "--feature", "sex=F", "--feature", "condition=hypertension"),
        *("--member", mine, "--programme", "hypertension-pressure", "--hand-over", file),
    ]
    for wrong in (["--certified", "soon"], [], ["--certified", "2025-12-20", "--json"]):
        refused = stack.lipei(*words, *wrong)
        assert refused.code == 2
        assert "--certified" in refused.err
    file.write_text("policies:\n" + others)
    refused = stack.lipei(*words, "--certified", "2025-12-20")
    assert refused.code == 2
    assert "0 policies that renew p-50" in refused.err
    file.write_text("policies:\n" + others + next_year)
    done = stack.lipei(*words, "--certified", "2025-12-20")
    assert done.code == 0, done.err
    assert "outcome tier controlled" in done.out
    told = "1 created, 0 revised, 0 unchanged; 1 with an outcome tier certified on 2025-12-20"
    assert done.out.endswith(f"{told}; 0 refused\n"), "the file's other policy is left alone"
    decided = submitted(stack, tmp_path, drugs(stack, "B-one-step", "2026-06-10", document))
    assert int(decided["decision"]["benefit"]["minor_units"]) == 153_90, "nine tenths: controlled"
