"""`lipei consent` and what `lipei his status` says of it, against a bridge of their own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from services.common.state import read_addresses
from services.common.transport.certificates import FOLDER
from services.common.transport.channels import sync_channel
from tests.identities import acting, equip
from tests.services.his_bridge.records import BASE_URL, YIBAO, write_profile
from tests.services.his_bridge.running import running_bridge
from tests.stack.typed import Typed, lipei

LI, WANG, ZHAO = ("k1." + letter * 64 for letter in "abf")
HOSPITAL = "demo-hospital"
FILE = """\
consents:
  - name: hospitals/demo-hospital/consents/paper-1
    member_token: {li}
    recipient: insurers/insurer
    purpose: claim_settlement
    scope: {{contents: [bills], care_types: [inpatient, emergency], first_care_date: 2026-01-01}}
    given_by: member
    giver: person-1
    from_time: 2026-01-01T00:00:00+08:00
    evidence: {{document_sha256: {digest}, channel: paper}}
  - name: hospitals/demo-hospital/consents/paper-2
    member_token: {wang}
    recipient: insurers/insurer
    purpose: health_programme
    scope: {{contents: [readings]}}
    given_by: guardian
    giver: person-2
    member_under_14: true
    from_time: 2026-01-01T00:00:00+08:00
    until_time: 2027-01-01T00:00:00+08:00
    evidence: {{document_sha256: {digest}, channel: electronic}}
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bridge")
    write_profile(folder / "profiles", BASE_URL)
    with running_bridge(folder / "state", folder / "profiles") as bridge:
        found = equip(bridge.state, sandbox=True)
        for kind in ("pem", "key"):  # the tests' one desk of a hospital, as the sandbox names it
            desk = found / FOLDER / f"desk-hospital.{kind}"
            shutil.copy2(desk, desk.with_stem(f"desk-hospital-{HOSPITAL}"))
        yield found


def consent(state: Path, *words: str | Path) -> Typed:
    return lipei("consent", *words, "--state", state)


def test_a_consent_is_granted_shown_listed_and_withdrawn(state: Path, tmp_path: Path) -> None:
    signed = tmp_path / "signed.pdf"
    signed.write_bytes(b"a signature")
    words = [HOSPITAL, LI, "--for", "claim-settlement", "--giver", "person-1", "--id", "desk-1"]
    done = consent(state, "grant", *words, "--document", signed)
    name = f"hospitals/{HOSPITAL}/consents/desk-1"
    first, then = done.out.splitlines()
    assert first == f"{name} is active"
    assert then.startswith(f'it is recorded; no worker of hospital "{HOSPITAL}" runs here')
    shown = json.loads(consent(state, "show", name, "--json").out)
    assert shown["evidence"]["document_sha256"] == hashlib.sha256(b"a signature").hexdigest()
    assert shown["scope"]["contents"] == ["CONSENT_CONTENT_BILLS"]
    listed = consent(state, "list", HOSPITAL, "--member", LI).out
    assert name in listed  # as `show` and `withdraw` take it
    assert listed.splitlines()[-1] == "1 consent"
    nobody = consent(state, "list", HOSPITAL, "--member", WANG).out
    assert nobody == f"no consents of this person at {HOSPITAL}\n"
    gone = consent(state, "withdraw", name, "--document", "ab" * 32, "--channel", "in_person")
    assert gone.out.startswith(f"{name} is withdrawn since ")
    assert "(UTC), with the document\n" in gone.out
    again = consent(state, "withdraw", name, "--document", "cd" * 32).out
    assert again.startswith(f"{name} was withdrawn already, since ")
    assert f"with document {'ab' * 32}; nothing is recorded\nthe document given now is not" in again
    told = consent(state, "show", name).out
    assert "withdrawn" in told
    assert "in person" in told
    unknown = consent(state, "withdraw", f"hospitals/{HOSPITAL}/consents/nobody")
    assert (unknown.code, unknown.said[0]) == (1, "his_bridge: no such consent")


def test_who_grants_the_same_twice_is_told_what_stands_already(state: Path) -> None:
    def granted(name: str, *more: str) -> list[str]:
        words = [HOSPITAL, ZHAO, "--giver", "person-3", "--document", "ab" * 32, "--id", name]
        done = consent(state, "grant", *words, *more)
        assert (done.code, done.err) == (0, "")
        return [line for line in done.out.splitlines() if line.startswith("the same stands")]

    names = f"hospitals/{HOSPITAL}/consents"
    assert granted("one", "--for", "claim-settlement") == []
    # Something else, for whatever it differs in, is not the same.
    assert granted("narrower", "--for", "claim-settlement", "--care", "inpatient") == []
    assert granted("programme", "--for", "health-programme") == []
    (hint,) = granted("two", "--for", "claim-settlement")
    assert hint.startswith(f"the same stands already: {names}/one, active from ")
    # Neither was changed by it.
    for name in ("one", "two"):
        shown = json.loads(consent(state, "show", f"{names}/{name}", "--json").out)
        assert shown["state"] == "CONSENT_STATE_ACTIVE"
        assert [event["kind"] for event in shown["events"]] == ["grant"]
        consent(state, "withdraw", f"{names}/{name}")
    assert granted("three", "--for", "claim-settlement") == []  # what was withdrawn stands no more


def test_a_file_is_recorded_once_and_its_faults_have_lines(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "consents.yaml"
    content = FILE.format(li=LI, wang=WANG, digest="ab" * 32)
    file.write_text(content)
    trial = consent(state, "import", HOSPITAL, file, "--dry-run")
    assert trial.out == "2 would be recorded, 0 known\n"
    done = consent(state, "import", HOSPITAL, file)
    assert done.out.splitlines()[0] == "2 recorded, 0 known"
    again = consent(state, "import", HOSPITAL, file, "--json")
    assert json.loads(again.out) == {"granted_count": 0, "known_count": 2}

    file.write_text(
        content.replace("paper-1", "paper-3")
        .replace("given_by: guardian", "given_by: member")
        .replace("person-1", "11010119900307002X")
    )
    bad = consent(state, "import", HOSPITAL, file)
    assert bad.code == 1
    assert [line.split(": ")[:2] for line in bad.said[:-1]] == [
        [f"{file}:8", "consents[0].giver"],
        [f"{file}:16", "consents[1].given_by"],
    ]
    assert bad.said[-1] == "2 faults; nothing was stored"
    assert "11010119900307002X" not in bad.err
    assert "paper-3" not in consent(state, "list", HOSPITAL).out

    file.write_text(
        content.replace("[bills]", "[everything]")
        .replace("2026-01-01T00:00:00+08:00", "2026-01-01")
        .replace("giver: person-2", "who: person-2")
    )
    bad = consent(state, "import", HOSPITAL, file)
    assert [line.split(": ")[0].rpartition(":")[2] for line in bad.said] == ["6", "9", "17", "19"]
    assert all(word in bad.err for word in ("bills, readings", "zone", "known: name"))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--for", "everything", "--for everything: give one of claim_settlement, "),
        ("--of", "x-rays", "--of x-rays: give one of bills, readings"),
        ("--until", "2027-01-01", "--until 2027-01-01: give a moment with its zone"),
        ("--document", "nowhere.pdf", "nowhere.pdf: No such file or directory"),
    ],
)
def test_wrong_words_are_told(state: Path, option: str, value: str, said: str) -> None:
    words = [HOSPITAL, LI, "--for", "claim-settlement", "--giver", "p", "--document", "ab" * 32]
    typed = consent(state, "grant", *words, option, value)
    assert typed.code == 2
    assert typed.said[0].startswith(said)


def test_an_erased_persons_consent_says_so_and_nothing_else(state: Path) -> None:
    erased = "k1." + "c" * 64
    words = [HOSPITAL, erased, "--for", "claim-settlement", "--giver", "person-3", "--id", "gone"]
    assert consent(state, "grant", *words, "--document", "ab" * 32).code == 0
    name = f"hospitals/{HOSPITAL}/consents/gone"
    assert "any" in consent(state, "show", name).out
    desk = acting("desk-hospital", "hospital_records")
    with sync_channel(read_addresses(state)["his_bridge"], desk, "his_bridge") as channel:
        HisBridgeServiceStub(channel).EraseMember(
            pb.EraseMemberRequest(
                request_id="e1", member=f"members/{erased}", hospital=f"hospitals/{HOSPITAL}"
            ),
            timeout=60,
        )
    shown = consent(state, "show", name).out
    assert "erased" in shown
    assert not any(word in shown for word in ("any", "unspecified", "until", erased))
    (line,) = [one for one in consent(state, "list", HOSPITAL).out.splitlines() if name in one]
    assert line.split().count("erased") == 2  # whose, and its state
    assert "unspecified" not in line


def test_what_is_not_there_is_a_sentence(state: Path) -> None:
    for words, said in (
        (["his", "held"], "nothing is held or withheld for want of a consent\n"),
        (["his", "quarantine"], "nothing is in quarantine\n"),
        (["his", "unmapped"], "no record waits for a code\n"),
        (
            ["his", "replay"],
            "0 records read once more: 0 released, 0 held, 0 in quarantine again\n",
        ),
        (["his", "features"], "no bills; of fewer than 20 that may be studied none is shown\n"),
    ):
        assert lipei(*words, HOSPITAL, "--state", state).out == said


def test_the_status_counts_what_is_held(state: Path) -> None:
    shown = json.loads(lipei("his", "status", HOSPITAL, "--state", state, "--json").out)
    stands = ("pending", "taken", "refused", "withheld", "erased")
    assert shown["released"] == sum(shown[one] for one in stands) == 0
    assert shown["held"] == 0
    assert [one["held_count"] for one in shown["source"]] == [0, 0]


def test_a_source_that_is_away_is_told_in_sentences(state: Path) -> None:
    tried = lipei("his", "test", HOSPITAL, "--state", state)
    assert tried.code == 1
    assert [line.partition(":")[0] for line in tried.said] == ["bills", "readings"]
    assert all("[SOURCE_AWAY]" in line for line in tried.said)
    compared = lipei("his", "reconcile", HOSPITAL, "--state", state)
    assert compared.code == 1
    assert compared.said[0].startswith("his_bridge: ")


def test_a_table_of_codes_is_loaded_and_rehearsed(state: Path, tmp_path: Path) -> None:
    table = tmp_path / "codes.csv"
    table.write_text("local_code,standard_code\nA1,250101001\n")
    words: list[str | Path] = [
        "his",
        "map",
        HOSPITAL,
        table,
        "--kind",
        "services",
        "--version",
        "2026-01",
    ]
    words += ["--from", "urn:test:local", "--to", YIBAO, "--state", state]
    trial = lipei(*words, "--dry-run")
    assert trial.out == (
        "1 code: would be 1 added, 0 changed, 0 removed; 0 records would be read once more\n"
    )
    assert not trial.said  # the profile names the system
    assert lipei(*words).out == "1 code: 1 added, 0 changed, 0 removed; 0 records read once more\n"
    # A system of which nothing here has heard is loaded, and said aloud.
    words[words.index("--from") + 1] = "urn:test:locale"
    mistyped = lipei(*words, "--dry-run")
    assert mistyped.code == 0
    (said,) = mistyped.said
    assert said == (
        "warning: nothing here knows the system urn:test:locale: no record waits for a code of it, "
        "and the profile does not name it"
    )
    # Whatever is wrong, with the options and with the rows of the file, is said at once.
    words[words.index("--to") + 1] = "urn:test:nobody"
    words[words.index("--version") + 1] = "a b"
    table.write_text(
        f"local_code,standard_code\nA1,250101001\nA2\n,250101002\nA1,250101003\nA4,{'9' * 101}\n"
    )
    refused = lipei(*words)
    assert refused.code == 1
    assert [line.partition(": ")[0] for line in refused.said] == [
        "--version",
        "--to",
        *(f"{table}:{line}" for line in (3, 4, 5, 6)),
        "6 faults; nothing was loaded",
    ]
