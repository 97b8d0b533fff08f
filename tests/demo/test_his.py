"""The demo's FHIR server is real: it takes a hospital, says what it refuses, and leaves nothing."""

import sys
import time
from pathlib import Path

import httpx
import pytest

from demo import fhir
from demo.his import His, LoadRefused, running_his
from demo.hospital.hospital import generate
from demo.processes import Child, ChildFailed


def test_a_hospital_is_taken_as_it_is_planted_faults_included(tmp_path: Path) -> None:
    resources = fhir.resources(generate(1, people=20, bills=40))
    taken: list[int] = []
    with running_his(tmp_path / "his") as his:
        his.fill(resources, taken.append)
        assert sum(taken) == len(resources)
        assert his.count("Claim") == 40
        answer = httpx.get(f"{his.base_url}/Claim", params={"_count": "200"}, timeout=60)
        held = [entry["resource"]["total"] for entry in answer.json()["entry"]]
        sent = [one["total"] for one in resources if one["resourceType"] == "Claim"]
        assert sorted(map(str, held)) == sorted(map(str, sent))
        base_url = his.base_url
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base_url}/metadata")


def test_a_resource_that_the_server_refuses_is_named(tmp_path: Path) -> None:
    def fill(his: His) -> None:
        his.fill([{"resourceType": "Nonsense", "id": "n1"}], lambda _: None)

    with running_his(tmp_path / "his") as his, pytest.raises(LoadRefused, match="Nonsense/n1"):
        fill(his)


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no room left'); raise SystemExit(3)"]
    with (
        Child("the tester", command, log=tmp_path / "log", cwd=tmp_path) as child,
        pytest.raises(ChildFailed, match=r"the tester ended with exit code 3(.|\n)*no room left"),
    ):
        child.wait_until(lambda: False, within_s=60)


def test_a_child_that_ignores_the_wish_to_stop_is_ended_by_force(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    command = [sys.executable, "-c", f"{stubborn}\ntime.sleep(600)"]
    log = tmp_path / "log"
    with Child("the tester", command, log=log, cwd=tmp_path, grace_s=0.2) as child:
        child.wait_until(lambda: log.read_text() == "1\n", within_s=60)
    assert not child.running


def test_a_child_stops_when_the_demo_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = f"""
import sys, os, signal
from pathlib import Path
from demo.processes import Child
stop = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(print('told', flush=True)))"
child = Child("c", [sys.executable, "-c", stop + "; print('up', flush=True); time.sleep(600)"],
              log=Path({str(log)!r}), cwd=Path("."))
child.wait_until(lambda: "up" in Path({str(log)!r}).read_text(), within_s=60)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = str(Path(__file__).parents[2])
    killed = Child(
        "the demo",
        [sys.executable, "-c", parent],
        log=tmp_path / "parent.log",
        cwd=tmp_path,
        environ={"PYTHONPATH": root},
    )
    with killed:
        deadline = time.monotonic() + 60
        while not log.exists() or "told" not in log.read_text():
            assert time.monotonic() < deadline, killed.tail()
            time.sleep(0.05)
