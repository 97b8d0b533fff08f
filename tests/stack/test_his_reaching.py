"""What `lipei his add` says of a source's place is what a pull and `lipei his test` find there."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.his_bridge.main import EXAMPLE_PROFILES
from services.his_bridge.profiles.loader import PullLimits, SourceProfile, parse_profile
from services.his_bridge.sources import wire
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql import SqlSource
from services.his_bridge.sources.sql.faults import _TEXTS as SQL_TEXTS
from stack.commands.his_reaching import reached
from tests.services.his_bridge.receiving.test_mllp_tls import mint
from tests.services.his_bridge.records import BASE_URL, PROFILE
from tests.services.his_bridge.sources.odd_server import odd_server
from tests.services.his_bridge.sources.test_http import over_tls

Answer = tuple[int, dict[str, str], bytes]
QUICK = PullLimits(attempts=1, timeout_s=5)


def fhir(base_url: str) -> SourceProfile:
    found = parse_profile(PROFILE.replace(BASE_URL, base_url).encode(), "p.yaml", {})
    return msgspec.structs.replace(found, limits=QUICK)


def of_a_pull(profile: SourceProfile, kind: str = "Claim") -> SourceFault:
    """What a pull of that source ends with."""

    async def fetched() -> None:
        source = SqlSource(profile) if profile.dialect == "sql_rows" else FhirRest(profile)
        try:
            await source.fetch(kind, None)
        finally:
            await source.close()

    with pytest.raises(SourceFault) as caught:
        asyncio.run(fetched())
    return caught.value


def test_a_server_that_lets_us_in_is_asked_for_no_record() -> None:
    with odd_server(tells_total=True) as server:
        server.write("b1")
        said = reached(fhir(server.base_url), running=False)
        assert said.endswith(" answers, lets us in, and can be searched for Claim, Observation")
        assert [query for query in server.requests if "_summary" not in query] == []
    # One that cannot count is asked for one, as a sweep asks.
    with odd_server(refuses=frozenset({"_summary"})) as server:
        assert "can be searched" in reached(fhir(server.base_url), running=False)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((401, {}, b""), "SOURCE_REFUSES"),
        ((403, {}, b""), "SOURCE_REFUSES"),
        ((404, {}, b""), "SOURCE_GONE"),
        ((302, {"Location": "/login"}, b""), "SOURCE_UNEXPECTED"),
        ((200, {}, b"<html>please log in</html>"), "SOURCE_NOT_FHIR"),
        ((200, {}, b'{"resourceType": "CapabilityStatement"}'), "SOURCE_NOT_FHIR"),
        ((503, {}, b""), "SOURCE_BUSY"),
    ],
)
def test_a_server_that_answers_otherwise_is_told_as_a_pull_tells_it(
    answer: Answer, reason: str
) -> None:
    with odd_server(script=[answer] * 20) as server:
        profile = fhir(server.base_url)
        fault = of_a_pull(profile)
        said = reached(profile, running=False)
    assert fault.reason == reason
    assert said.endswith(f" answers, and cannot be read: {fault.text} [{reason}]")


def test_a_port_that_takes_connections_and_says_nothing_is_no_source_that_answers() -> None:
    with odd_server(script=[(502, {}, b"")] * 20) as server:
        said = reached(fhir(server.base_url), running=False)
        assert (
            " takes connections, and no answer that can be used comes (the source answered 502"
            in said
        )
        port = server.base_url.split("/")[2]
        said = reached(sql(f"postgresql://lipei@{port}/his"), running=False)
    assert said.startswith(f"{port} takes connections, and no answer that can be used comes")
    assert said.endswith("(the database cannot be reached): check host and port [SOURCE_AWAY]")


@contextmanager
def trusted(file: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SSL_CERT_FILE", file)
    wire._trust.cache_clear()
    try:
        yield
    finally:
        wire._trust.cache_clear()


@pytest.mark.parametrize(
    ("trusts", "change", "said"),
    [
        (False, {}, "is of no authority that this machine trusts"),
        (True, {"ends_in": timedelta(minutes=-1)}, "ran out"),
        (True, {"address": "127.0.0.2"}, "is for another address than the profile's"),
        (True, {}, "is no FHIR searchset"),  # the control: it is believed
    ],
    ids=["unknown", "ran-out", "anothers", "good"],
)
def test_a_certificate_that_is_not_believed_is_told_by_what_is_wrong_with_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusts: bool,
    change: dict[str, Any],
    said: str,
) -> None:
    files, other = mint(tmp_path, "his", **change), mint(tmp_path, "other")
    file = files.certificate if trusts else other.certificate
    with trusted(file, monkeypatch), over_tls(files) as (url, _):
        assert said in reached(fhir(url), running=False)
        assert said in of_a_pull(fhir(url)).text


def test_a_port_that_speaks_no_tls_is_told_so() -> None:
    with odd_server() as server:
        profile = fhir(server.base_url.replace("http://", "https://"))
        fault = of_a_pull(profile)
        assert (fault.reason, fault.retry_after_s) == ("SOURCE_TLS_REFUSED", None)
        assert "speaks no TLS at this port" in reached(profile, running=False)


def sql(url: str) -> SourceProfile:
    file = EXAMPLE_PROFILES / "examples" / "general-hospital.yaml"
    environ = {"LIPEI_HIS_BRIDGE_SQL_URL_GENERAL_HOSPITAL": url}
    return msgspec.structs.replace(
        parse_profile(file.read_bytes(), str(file), environ), limits=QUICK
    )


def test_a_database_is_looked_at_as_a_pull_looks(tmp_path: Path) -> None:
    place = tmp_path / "his.db"
    profile = sql(f"sqlite:///{place}")
    assert reached(profile, running=False) == f"{place} cannot be read"
    with sqlite3.connect(place) as made:
        made.execute("CREATE TABLE V_LIPEI_BILL (BILL_NO TEXT)")
    made.close()
    fault = of_a_pull(profile, "Bill")
    assert fault.reason == "SOURCE_SHAPE"
    said = reached(profile, running=False)
    assert said == f"{place} answers, and cannot be read: {fault.text} [SOURCE_SHAPE]"
    assert "there is no table or view V_LIPEI_BILL_LINE" in said
    assert "V_LIPEI_BILL has no column" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SSL error: certificate verify failed", "SOURCE_CERTIFICATE_REFUSED"),
        (
            'root certificate file "~/.postgresql/root.crt" does not exist',
            "SOURCE_CERTIFICATE_REFUSED",
        ),
        (
            'server certificate for "db" does not match host name "10.0.0.8"',
            "SOURCE_CERTIFICATE_REFUSED",
        ),
        ("server does not support SSL, but SSL was required", "SOURCE_TLS_REFUSED"),
        ("connection timeout expired", "SOURCE_AWAY"),
        ('database "his" does not exist', "SOURCE_REFUSES"),  # the controls
        ("canceling statement due to statement timeout", "SOURCE_TOO_SLOW"),
    ],
)
def test_a_database_s_certificate_is_no_login_that_was_refused(text: str, reason: str) -> None:
    assert next(found for found, pattern in SQL_TEXTS if pattern.search(text)) == reason


def test_a_folder_that_a_pull_would_not_enter_is_told(tmp_path: Path) -> None:
    file = EXAMPLE_PROFILES / "examples" / "folder-hospital.yaml"
    folder = tmp_path.resolve() / "drop"
    folder.mkdir(mode=0o750)
    content = file.read_text("utf-8").replace("/srv/lipei/folder-hospital", str(folder))
    profile = parse_profile(content.encode(), str(file), {})
    assert "is there; the bridge makes" in reached(profile, running=False)
    assert list(folder.iterdir()) == []
    folder.chmod(0o777)
    assert "everybody may write into the folder" in reached(profile, running=False)
    assert "[SOURCE_FOLDER_UNSAFE]" in reached(profile, running=False)
