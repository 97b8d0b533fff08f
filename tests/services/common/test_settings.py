"""A setting that nobody reads stops the start, and every setting is known by its one list."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.process_settings import LipeiSettings, faults_of
from services.common.settings import (
    KNOWN,
    KNOWN_PREFIXES,
    PREFIX,
    UnknownSetting,
    connection_age_s,
    master_key_command,
    master_key_file,
    member_token_key_file,
    member_token_key_version,
    refuse_unknown,
    temporal_codec_key_file,
    trust_domain,
)

ROOT = Path(__file__).parents[3]


class ExampleSettings(LipeiSettings):
    """Settings of a service that does not exist."""

    claims_max_in_flight: int = 8


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("LIPEI_STAT", "LIPEI_STAT is not a setting; did you mean LIPEI_STATE?"),
        ("LIPEI_CLAIMS_ADRESS", "did you mean LIPEI_CLAIMS_ADDRESS?"),
        ("LIPEI_MASTER_KEY", "did you mean LIPEI_MASTER_KEY_FILE?"),
        ("LIPEI_XYZZY", "LIPEI_XYZZY is not a setting"),
        ("lipei_state", "did you mean LIPEI_STATE?"),  # pydantic would read it
        ("LIPEI_state", "did you mean LIPEI_STATE?"),
        ("LIPEI_", "LIPEI_ is not a setting"),
        ("LIPEI_HIS_BRIDGE_BASE_URL_", "is not a setting"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(name: str, advice: str) -> None:
    with pytest.raises(UnknownSetting, match=re.escape(advice)) as refused:
        refuse_unknown({name: "secret-value", "LIPEI_STATE": "/x"})
    assert "secret-value" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_all_unknown_settings_are_told_at_once() -> None:
    with pytest.raises(UnknownSetting) as refused:
        refuse_unknown({"LIPEI_B": "", "LIPEI_A": "", "TEMPORAL_ADDRESS": "", "HOME": ""})
    assert [line.split()[0] for line in str(refused.value).splitlines()] == ["LIPEI_A", "LIPEI_B"]


def test_known_settings_and_those_of_others_are_let_be() -> None:
    known = {PREFIX + name: "x" for name in KNOWN}
    hospital = {f"{PREFIX}{prefix}GENERAL": "x" for prefix in KNOWN_PREFIXES}
    refuse_unknown({**known, **hospital, "TEMPORAL_ADDRESS": "x", "XLIPEI_STAT": "x"})


def test_the_environment_itself_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIPEI_NO_SUCH", "x")
    with pytest.raises(UnknownSetting, match="LIPEI_NO_SUCH"):
        refuse_unknown()


def test_a_value_that_cannot_be_used_is_told_without_the_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIPEI_CLAIMS_MAX_IN_FLIGHT", "s3cret")
    monkeypatch.setenv("LIPEI_LOG_LEVEL", "s3cret")
    with pytest.raises(ValidationError) as refused:
        ExampleSettings()
    told = sorted(faults_of(refused.value))
    assert [line.partition(":")[0] for line in told] == [
        "LIPEI_CLAIMS_MAX_IN_FLIGHT",
        "LIPEI_LOG_LEVEL",
    ]
    assert "s3cret" not in "".join(told)


def test_settings_come_from_the_environment_and_do_not_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIPEI_STATE", "/somewhere")
    settings = ExampleSettings()
    assert (settings.state, settings.claims_max_in_flight) == (Path("/somewhere"), 8)
    with pytest.raises(ValidationError):
        setattr(settings, "claims_max_in_flight", 9)  # noqa: B010 - mypy sees that it is frozen


def test_key_files_stand_in_the_state_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Path("/state")
    for variable in ("MEMBER_TOKEN_KEY_FILE", "MASTER_KEY_FILE", "TEMPORAL_CODEC_KEY_FILE"):
        monkeypatch.delenv(PREFIX + variable, raising=False)
    assert member_token_key_file(state) == state / "keys" / "member_token.key"
    assert master_key_file(state) == state / "keys" / "master_keys.json"
    assert temporal_codec_key_file(state) == state / "keys" / "temporal_codec.key"
    monkeypatch.setenv("LIPEI_MASTER_KEY_FILE", "/run/secrets/master")
    assert master_key_file(state) == Path("/run/secrets/master")


def test_the_command_for_the_master_keys_has_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIPEI_MASTER_KEY_COMMAND", raising=False)
    assert master_key_command() == ""
    monkeypatch.setenv("LIPEI_MASTER_KEY_COMMAND", "vault kv get lipei")
    assert master_key_command() == "vault kv get lipei"


def test_the_key_version_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIPEI_MEMBER_TOKEN_KEY_VERSION", raising=False)
    assert member_token_key_version() == "k1"
    monkeypatch.setenv("LIPEI_MEMBER_TOKEN_KEY_VERSION", "k2")
    assert member_token_key_version() == "k2"


@cache
def _code() -> tuple[frozenset[str], Counter[str]]:
    """Fields of settings classes, and how often each text constant stands in the code."""
    fields: set[str] = set()
    texts: Counter[str] = Counter()
    for package in ("services", "workflows", "stack"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts[node.value] += 1
                if isinstance(node, ast.ClassDef) and _is_settings(node):
                    fields |= {
                        field.target.id.upper()
                        for field in node.body
                        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                    }
    return frozenset(fields), texts


def _is_settings(node: ast.ClassDef) -> bool:
    return any(
        isinstance(b, ast.Name) and b.id in {"LipeiSettings", "BaseSettings"} for b in node.bases
    )


def _named_in_texts() -> set[str]:
    name = re.compile(rf"\b{PREFIX}([A-Z][A-Z0-9_]*[A-Z0-9])\b")
    return {found for text in _code()[1] for found in name.findall(text)}


def test_every_setting_that_code_reads_is_known() -> None:
    fields, _ = _code()
    assert {"STATE", "LOG_LEVEL"} <= fields
    families = tuple(prefix.rstrip("_") for prefix in KNOWN_PREFIXES)
    unknown = {
        n for n in fields | _named_in_texts() if n not in KNOWN and not n.startswith(families)
    }
    assert unknown == set()


def test_every_known_setting_is_read_somewhere() -> None:
    fields, texts = _code()
    # Once it stands in KNOWN itself; key_file() and its like are handed the name without prefix.
    handed_over = {name for name in KNOWN if texts[name] > 1}
    assert set(KNOWN) - fields - _named_in_texts() - handed_over == set()


@pytest.mark.parametrize("domain", ["", "Lipei.local", "lipei..local", "-x", "a b", "x" * 201])
def test_a_trust_domain_is_a_dns_name(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIPEI_TRUST_DOMAIN", domain)
    with pytest.raises(UnknownSetting, match="LIPEI_TRUST_DOMAIN must be a DNS name"):
        trust_domain()
    monkeypatch.setenv("LIPEI_TRUST_DOMAIN", "claims.example-insurer.cn")
    assert trust_domain() == "claims.example-insurer.cn"
    monkeypatch.delenv("LIPEI_TRUST_DOMAIN")
    assert trust_domain() == "lipei.local"


@pytest.mark.parametrize("age", ["", "0", "-1", "1.5", "86401", "ten", "٣"])
def test_the_age_of_connections_is_a_number_of_seconds(
    age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIPEI_CONNECTION_AGE_S", age)
    with pytest.raises(UnknownSetting, match="LIPEI_CONNECTION_AGE_S must be 1 to 86400"):
        connection_age_s()
    monkeypatch.delenv("LIPEI_CONNECTION_AGE_S")
    assert connection_age_s() == 600
