"""`lipei identity ...` and the roles that commands act in, against a server that says who calls."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from services.common.refusals import RpcFault
from services.common.state import record_address
from services.common.transport.certificates import FOLDER
from services.common.transport.names import desk_uri, integration_uri
from stack.commands.acting import identity_for
from stack.commands.calling import sentences
from stack.commands.failing import Failed
from tests.identities import DOMAIN
from tests.services.common.access.listening import World, mirror
from tests.stack.typed import lipei

HOSPITAL = "general"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    typed = lipei("identity", "mint", "--hospital", HOSPITAL, "--state", tmp_path / "state")
    assert typed.code == 0, typed.err
    return tmp_path / "state"


def test_what_is_minted_is_listed_and_a_second_time_stands(state: Path) -> None:
    typed = lipei("identity", "list", "--json", "--state", state)
    found = {one["process"]: one for one in json.loads(typed.out)["certificates"]}
    assert {"claims", "his_bridge", "pricing", "settlement", "hospital-general"} <= set(found)
    assert found["hospital-general"]["name"] == integration_uri(DOMAIN, HOSPITAL)
    assert not any(one["revoked"] for one in found.values())
    again = lipei("identity", "mint", "--hospital", HOSPITAL, "--state", state)
    assert "nothing, all of it stands" in again.out


def test_a_revoked_certificate_is_said_to_be_revoked(state: Path) -> None:
    typed = lipei("identity", "revoke", "hospital-general", "--state", state)
    assert typed.code == 0
    assert "revoked: hospital-general" in typed.out
    listed = json.loads(lipei("identity", "list", "--json", "--state", state).out)
    assert [one["process"] for one in listed["certificates"] if one["revoked"]] == [
        "hospital-general"
    ]
    again = lipei("identity", "revoke", "hospital-general", "--state", state)
    assert (again.code, len(again.said)) == (1, 1)


def test_a_certificate_is_issued_for_another_machine(state: Path, tmp_path: Path) -> None:
    uri = desk_uri(DOMAIN, "insurer", "insurer", label="clerk-7")
    out = tmp_path / "out"
    typed = lipei("identity", "issue", uri, "--out", out, "--state", state)
    assert typed.code == 0, typed.err
    assert sorted(file.name for file in out.iterdir()) == [
        "ca.pem",
        "clerk-7.key",
        "clerk-7.pem",
        "revoked.pem",
    ]
    assert stat.S_IMODE((out / "clerk-7.key").stat().st_mode) == 0o600
    bad = lipei("identity", "issue", "spiffe://x/y", "--out", out, "--state", state)
    assert bad.code == 2
    assert "not a name of this trust domain" in bad.err
    outside = lipei(
        *("identity", "issue", uri, "--process", "../x", "--out", out, "--state", state)
    )
    assert outside.code == 2


def test_where_certificates_are_brought_nothing_is_minted(state: Path) -> None:
    (state / FOLDER / "ca.key").unlink()
    for words in (["mint"], ["list"], ["revoke", "claims"]):
        typed = lipei("identity", *words, "--state", state)
        assert (typed.code, typed.said) == (
            1,
            ["certificates here are the operator's own; nothing is minted or revoked"],
        )


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("king", "king is no role; the roles: actuary, adjuster"),
        ("member", "say of whom: --as member:NAME"),
        ("hospital_records", "say of whom: --as hospital_records:NAME"),
        ("service", "machines have no token"),
        ("auditor:insurer", "say of whom: --as auditor:hospital/ID, --as auditor:insurer/ID"),
        ("operator:member/x", "or --as operator for the installation's own"),
        ("operator:hospital/", "say of whom: --as operator:hospital/ID"),
    ],
)
def test_a_role_that_nobody_can_have_is_a_sentence(state: Path, role: str, words: str) -> None:
    typed = lipei("identity", "token", role, "--state", state)
    assert typed.code in {1, 2}
    assert words in typed.err


def test_a_command_without_certificate_or_with_an_unknown_role_says_so(state: Path) -> None:
    record_address(state, "claims", "127.0.0.1:9")
    unknown = lipei("--as", "king", "claims", "list", "--state", state)
    assert (unknown.code, len(unknown.said)) == (2, 1)
    stranger = lipei("--as", "hospital_records:nowhere", "claims", "list", "--state", state)
    assert stranger.code == 1
    assert "desk-hospital-nowhere.pem is missing" in stranger.err
    assert stranger.said[-1].startswith("name a role by --as")


def test_what_no_call_can_be_made_with_is_wrong_use(state: Path) -> None:
    record_address(state, "claims", "127.0.0.1:9")
    for words, said in (
        (
            ("--purpose", "张三", "claims", "list"),
            (
                "--purpose: is none that there is; adjuster's are: "
                "claim-review, complaint, member-request"
            ),
        ),
        (
            ("--as", "member:k1.0", "claims", "list"),
            "--as member:TOKEN: is no member token; `lipei members token` makes it of a number",
        ),
        (
            ("claims", "list", "--as", "operator"),
            "--as stands before the command: lipei --as ROLE claims ...",
        ),
        (
            ("--as", "operator", "claims", "list", "--purpose=audit"),
            "--purpose stands before the command: lipei --purpose PURPOSE claims ...",
        ),
    ):
        typed = lipei(*words, "--state", state)
        assert (typed.code, typed.out, typed.said) == (2, "", [said])
    # The control: before the command both are taken, and the service is called.
    well = lipei("--as", "adjuster", "--purpose", "complaint", "claims", "list", "--state", state)
    assert well.code == 1


def test_a_command_acts_in_its_own_role_or_in_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "LIPEI_AS",
        "LIPEI_PURPOSE",
        "LIPEI_TOKEN_FILE",
        "LIPEI_TOKEN_ISSUER",
        "LIPEI_TLS_CA_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    state = tmp_path / "state"
    world = World(state)
    assert lipei("identity", "mint", "--hospital", HOSPITAL, "--state", state).code == 0
    with mirror(world.identity("claims"), world.identification()) as claims:
        assert claims.who(identity_for(state, "adjuster"))["roles"] == ["ROLE_ADJUSTER"]
        records = claims.who(identity_for(state, "hospital_records", hospital=HOSPITAL))
        assert (records["roles"], records["hospital"]) == (["ROLE_HOSPITAL_RECORDS"], HOSPITAL)
        partner = claims.who(identity_for(state, "partner"))
        assert (partner["partner"], partner["insurer"]) == ("partner", None)
        monkeypatch.setenv("LIPEI_AS", "auditor")
        auditor = claims.who(identity_for(state, "adjuster"))
        assert (auditor["roles"], auditor["insurer"]) == (["ROLE_AUDITOR"], None)
        assert auditor["uri"] == desk_uri(DOMAIN, "auditor", label="lipei")
        monkeypatch.setenv("LIPEI_AS", "auditor:insurer/insurer")
        assert claims.who(identity_for(state, "adjuster"))["insurer"] == "insurer"
        monkeypatch.setenv("LIPEI_AS", f"operator:hospital/{HOSPITAL}")
        operator = claims.who(identity_for(state, "adjuster"))
        assert (operator["roles"], operator["hospital"]) == (["ROLE_OPERATOR"], HOSPITAL)
        monkeypatch.setenv("LIPEI_AS", "operator")
        monkeypatch.setenv("LIPEI_PURPOSE", "incident")
        operator = claims.who(identity_for(state, "adjuster"))
        assert (operator["hospital"], operator["purpose"]) == (None, "incident")
        monkeypatch.delenv("LIPEI_PURPOSE")
        monkeypatch.setenv("LIPEI_AS", "hospital_integration:general")
        machine = claims.who(identity_for(state, "adjuster"))
        assert machine["uri"] == integration_uri(DOMAIN, HOSPITAL)
        monkeypatch.setenv("LIPEI_AS", "member:k1." + "a" * 64)
        assert claims.who(identity_for(state, "adjuster"))["member"] == "k1." + "a" * 64


def test_the_sandbox_has_a_second_person_who_is_one_in_every_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LIPEI_AS", "LIPEI_PERSON", "LIPEI_TOKEN_FILE", "LIPEI_TOKEN_ISSUER"):
        monkeypatch.delenv(name, raising=False)
    state = tmp_path / "state"
    world = World(state)
    assert lipei("identity", "mint", "--state", state).code == 0
    with mirror(world.identity("claims"), world.identification()) as claims:

        def subjects() -> set[str]:
            roles = ("adjuster", "senior_adjuster", "payments")
            return {claims.who(identity_for(state, role))["subject"] for role in roles}

        assert subjects() == {"sandbox"}
        monkeypatch.setenv("LIPEI_PERSON", "second")
        assert subjects() == {"second"}
    bad = lipei("--person", "Bo B.", "identity", "token", "adjuster", "--state", state)
    assert (bad.code, "--person: 1 to 32 of" in bad.err) == (2, True)
    # Only the sandbox's own tokens say who somebody is at will.
    for env in ({"LIPEI_TOKEN_FILE": "token"}, {"LIPEI_TOKEN_ISSUER": "https://issuer.example"}):
        elsewhere = lipei(
            *("--person", "second", "identity", "token", "adjuster", "--state", state), env=env
        )
        assert (elsewhere.code, "yours says who you are" in elsewhere.err) == (2, True)


def test_who_may_not_do_it_alone_is_told_how_another_person_does(state: Path) -> None:
    (hint,) = (one for one in refusal("SAME_PERSON") if "lipei " in one)
    option, name, *_ = hint.partition("lipei ")[2].split()
    assert (option, name) == ("--person", "NAME")
    # What it says is what the command line takes.
    bad = lipei(option, "Bo B.", "identity", "token", "adjuster", "--state", state)
    assert "--person: 1 to 32 of" in bad.err
    assert not [one for one in refusal("WRONG_STATE") if "--person" in one]


def refusal(reason: str) -> list[str]:
    code = grpc.StatusCode.FAILED_PRECONDITION
    return sentences("claims", RpcFault(code, reason, "somebody else must", (), None, {}))


def test_elsewhere_the_token_comes_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    world = World(state)
    assert lipei("identity", "mint", "--state", state).code == 0
    monkeypatch.delenv("LIPEI_AS", raising=False)
    monkeypatch.setenv("LIPEI_TOKEN_ISSUER", "https://lipei.local/sandbox-issuer")
    with pytest.raises(Failed, match="set LIPEI_TOKEN_FILE"):
        identity_for(state, "payments")
    token = world.issuer.token(
        subject="clerk",
        roles=["payments"],
        tenant="insurer",
        tenant_name="insurer",
        certificate_sha256=world.identity("desk-insurer").material.sha256,
    )
    file = tmp_path / "token"
    file.write_text(token + "\n")
    monkeypatch.setenv("LIPEI_TOKEN_FILE", str(file))
    with mirror(world.identity("claims"), world.identification()) as claims:
        assert claims.who(identity_for(state, "payments"))["subject"] == "clerk"


def test_status_says_whose_certificate_is_no_good_and_what_to_do(state: Path) -> None:
    record_address(state, f"worker:hospital-{HOSPITAL}", str(os.getpid()))
    good = lipei("status", "--json", "--state", state)
    assert [part["certificate"] for part in json.loads(good.out)["parts"]] == [""]
    lipei("identity", "revoke", f"hospital-{HOSPITAL}", "--state", state)
    typed = lipei("status", "--state", state)
    assert typed.code == 1
    assert "revoked" in typed.out
    (said,) = typed.said
    assert said.startswith(f"worker:hospital-{HOSPITAL}: its certificate was revoked")
    assert "`lipei up` anew" in said
    assert said.endswith("[CERTIFICATE_REVOKED]")


def test_one_name_works_for_issue_and_revoke(state: Path, tmp_path: Path) -> None:
    uri = integration_uri(DOMAIN, HOSPITAL)
    for name in (f"hospital-{HOSPITAL}", uri):
        out = tmp_path / name.rpartition("/")[2]
        process = ["--process", "mine"]
        typed = lipei("identity", "issue", name, "--out", out, *process, "--state", state)
        assert typed.code == 0, typed.err
        issued = x509.load_pem_x509_certificate((out / "mine.pem").read_bytes())
        assert uri in str(issued.extensions.get_extension_for_class(x509.SubjectAlternativeName))
        assert lipei("identity", "revoke", name, "--state", state).code == 0
    for what in ("hospital", "hospital/general", "claims/"):
        unknown = lipei("identity", "issue", what, "--out", tmp_path, "--state", state)
        assert (unknown.code, "no process of `lipei identity list`" in unknown.err) == (2, True)
    for command in ("issue", "revoke"):
        shown = lipei("identity", command, "--help").out
        assert "as `list` prints them" in " ".join(shown.replace("│", " ").split())


def test_an_unknown_hospital_is_answered_with_those_that_are_here(state: Path) -> None:
    record_address(state, "his_bridge", "127.0.0.1:9")
    for words in (["his", "status", "nowhere"], ["consent", "list", "nowhere"]):
        typed = lipei(*words, "--state", state)
        assert (typed.code, typed.said) == (
            1,
            [f'no hospital "nowhere" here; the hospitals: {HOSPITAL}'],
        )


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["mint"],
        ["issue", "claims", "--out", "out"],
        ["revoke", "claims"],
        ["token", "operator"],
    ],
    ids=lambda words: words[0],
)
def test_a_state_that_cannot_be_made_is_named_and_no_trace_is_shown(
    tmp_path: Path, words: list[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, and no folder")
    typed = lipei("identity", *words, "--state", taken / "state")
    assert (typed.code, typed.out) == (2, "")
    (said,) = typed.said
    assert said.startswith(f"the state directory {taken / 'state'} cannot be used: Not a directory")


def test_a_state_that_cannot_be_read_is_named_and_no_trace_is_shown(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file, and no folder")
    typed = lipei("identity", "list", "--state", tmp_path)
    assert (typed.code, typed.out) == (2, "")
    (said,) = typed.said
    assert said.startswith(f"the state directory {tmp_path} cannot be used: ")


def test_a_folder_that_takes_no_certificate_is_named(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("a file, and no folder")
    typed = lipei("identity", "issue", "claims", "--out", out, "--state", state)
    assert (typed.code, typed.out) == (2, "")
    (said,) = typed.said
    assert said.startswith(f"--out {out} cannot be written: ")
