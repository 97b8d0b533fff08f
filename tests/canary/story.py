"""A whole installation with the canary's data put into every input, and what came out of it."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

from google.protobuf.json_format import MessageToJson

from demo.insurer import MOVING
from lipei.claims.v1 import claims_pb2
from services.common.identity import member_token
from services.common.settings import member_token_key_file
from services.common.state import load_or_make_key, read_addresses
from services.common.transport.certificates import Identity, load_identity
from stack.commands.acting import acting_as, identity_for, mint_token
from stack.installation import MODULES
from tests.canary.bad_calls import bad_calls
from tests.canary.planted import BUSINESS, HEALTH, PERSON
from tests.canary.search import files_below, of_process
from tests.forked import Forked
from tests.services.his_bridge import records
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.pricing.reading_requests import SHANGHAI, reading
from tests.stack.typed import ROOT, Typed, environ, lipei

HOSPITAL = "demo-hospital"
LONGEST_S = 120.0  # only so that a broken stack fails instead of hanging
PLAN = ROOT / "services" / "claims" / "plans" / "million-medical.yaml"
MOVING_STATES = {claims_pb2.ClaimState.Name(state) for state in MOVING}
POLICIES = f"""\
policies:
  - policy_id: {BUSINESS["policy"]}
    plan: million-medical
    start_date: 2026-01-01
    last_date: 2026-12-31
    revision: 1
    effective_date: 2026-01-01
    members:
      - member_id: m1
        document: {{kind: CN-ID, number: "{PERSON["identity number"]}"}}
        birth_date: 1968-02-29
        sex: female
        relationship: self
        social_insurance: true
    payee_accounts:
      - holder_name: {PERSON["name"]}
        account_number: "{PERSON["account number"]}"
        bank_code: "102100099996"
        valid_from: 2026-01-01
"""


class Canary:
    """A running installation, fed. What was heard of it stands in `heard`."""

    def __init__(self, folder: Path, his: FhirServer, without: str = "") -> None:
        self.folder = folder
        self.state = folder / "state"
        self.heard: list[tuple[str, str]] = []  # who said it, and what
        self._his = his
        records.write_profile(folder / "profiles", his.base_url)
        command = ["stack.cli", "up"]
        if without:
            command = ["tests.canary.installation", "--without", without]
        command += ["--state", str(self.state), "--profiles", str(folder / "profiles")]
        self.out = folder / "up.out"
        self.process = Forked(
            *command,
            environ=environ(LIPEI_PULL_INTERVAL_S="3600"),
            out=self.out,
            err=self.out,
            imported=MODULES,
        )
        self._until((self.state / "ready").exists)

    @property
    def token(self) -> str:
        """The member token of the canary's person."""
        key = load_or_make_key(member_token_key_file(self.state))
        number = PERSON["identity number"]
        return member_token("CN-ID", number, key=key, key_version="k1")

    def feed(self) -> None:
        """Plant everything in every input, and wait until it was worked through."""
        self._at_the_hospital()
        self._policies()  # before any consent: a bill that nobody insures is refused for good
        self._consents()
        self._bill_by_hand()
        self._readings_and_quote()
        self.lipei("his", "pull", HOSPITAL)
        self.lipei("his", "pull", HOSPITAL, "--readings")
        self._until(self._worked_through)
        self._appeal()
        self._bad_inputs()

    def _appeal(self) -> None:
        """The member objects, and intake writes down why."""
        listed = json.loads(self.lipei("claims", "list", BUSINESS["policy"], "--json").out)
        ended = ("CLAIM_STATE_PAID", "CLAIM_STATE_CLOSED_ZERO", "CLAIM_STATE_DENIED")
        claim = next(one for one in listed["claims"] if one["state"] in ended)
        name, seen = claim["name"], ("--revision", str(claim["revision"]))
        done = self.lipei("claims", "appeal", name, "--note", PERSON["note"], *seen)
        assert done.code == 0, done.err
        assert f"next: lipei claims decide-appeal {name}" in done.out
        assert self.lipei("claims", "pended").code == 0

    def _consents(self) -> None:
        """The person consents to everything; once with a number of theirs where an id belongs."""
        signed = self.folder / "signed.txt"
        signed.write_text(f"{PERSON['name']} {PERSON['identity number']}")  # only its hash is kept
        for purpose in ("claim-settlement", "health-programme", "deidentified-study"):
            words = ["consent", "grant", HOSPITAL, self.token, "--for", purpose]
            words += ["--document", str(signed), "--giver"]
            for giver, code in ((PERSON["identity number"], 1), ("person-1", 0)):
                assert self.lipei(*words, giver).code == code

    def lipei(self, *words: str | Path, stdin: str = "") -> Typed:
        """A command; what it says on standard error was heard."""
        done = lipei(*words, "--state", self.state, stdin=stdin)
        self.heard.append((f"lipei {' '.join(map(str, words[:2]))}", done.err))
        return done

    def secrets(self) -> dict[str, bytes]:
        """Keys and tokens of this installation, by kind: what opens a door."""
        found: dict[str, bytes] = {"member token": self.token.encode()}
        for path in sorted((self.state / "keys").glob("*.key")):
            text = path.read_text().strip()
            held = json.loads(text)["keys"] if text.startswith("{") else [{"key": text}]
            for number, entry in enumerate(entry for entry in held if entry.get("key")):
                found[f"{path.stem} key {number}"] = bytes.fromhex(entry["key"])
                found[f"{path.stem} key {number} in hex"] = entry["key"].encode()
        for path in sorted((self.state / "tls").glob("*.key")):
            text = path.read_text().strip()
            # Of a PEM the last but one line: the first one begins as that of any key.
            part = json.loads(text)["d"] if text.startswith("{") else text.splitlines()[-2]
            found[f"private key of {path.stem}"] = part.encode()
        found["bearer token"] = self.bearer.encode()
        return found

    def places(self) -> Iterator[tuple[str, bytes]]:
        """Where to look: the state directory, running processes, and what was heard."""
        for name, data in files_below(self.state):
            yield f"state/{name}", data
        yield "what `lipei up` prints", self.out.read_bytes()
        for source, said in self.heard:
            yield f"errors received from {source}", said.encode()
        accounts = json.loads((self.state / "processes.json").read_text())
        for name, account in accounts.items():
            for part, data in of_process(account["pid"]):
                yield f"{part} of {name}", data
        for part, data in of_process(self.process.pid):
            yield f"{part} of lipei up", data

    def stop(self) -> None:
        """As an operator would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(LONGEST_S)

    def _until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + LONGEST_S
        while not condition():
            assert self.process.poll() is None, self.out.read_text()
            assert time.monotonic() < give_up, self.heard[-1:]
            time.sleep(0.2)

    def _worked_through(self) -> bool:
        told = self.lipei("claims", "list", BUSINESS["policy"], "--json")
        claims = json.loads(told.out)["claims"] if told.code == 0 else []
        status = self.lipei("his", "status", HOSPITAL, "--json")
        released = json.loads(status.out)["released"] if status.out else 0
        return (
            released > 0
            and len(claims) > 1
            and not MOVING_STATES & {claim["state"] for claim in claims}
        )

    def _at_the_hospital(self) -> None:
        person = records.patient(number=PERSON["identity number"], name=PERSON["name"])
        person["name"].append({"text": PERSON["western name"]})
        person["telecom"] = [{"value": PERSON["phone"]}, {"value": PERSON["e-mail"]}]
        person["address"] = [{"text": PERSON["address"]}]
        person["identifier"][0]["value"] = PERSON["medical record number"]
        bill = records.claim()
        bill["identifier"][0]["value"] = HEALTH["hospital's bill number"]
        bill["note"] = [{"text": f"{PERSON['note']}，电话{PERSON['phone']}"}]
        bill["text"] = {"status": "generated", "div": f"<div>{PERSON['name']}</div>"}
        bill["item"][0]["productOrService"]["coding"][0]["display"] = HEALTH["line display"]
        condition = records.condition()
        condition["code"]["coding"][0]["display"] = HEALTH["diagnosis display"]
        # A bill that cannot be released: its record waits in quarantine with all of it inside.
        bad = {**records.claim("bad"), "total": {"value": 1, "currency": "CNY"}}
        bad["note"] = bill["note"]
        measured = records.observation()
        measured["note"] = [{"text": PERSON["note"]}]
        around = [person, records.organization(), condition, records.encounter()]
        self._his.put([*around, bill, bad, measured])

    def _policies(self) -> None:
        assert self.lipei("plan", "publish", PLAN).code == 0
        file = self.folder / "policies.yaml"
        file.write_text(POLICIES)
        done = self.lipei("policies", "import", file)
        assert done.code == 0, done.err
        self.lipei("members", "token", "--kind", "CN-ID", "-", stdin=PERSON["identity number"])

    def _bill_by_hand(self) -> None:
        def money(minor_units: int) -> dict[str, str]:
            return {"currency_code": "CNY", "minor_units": str(minor_units)}

        def code(system: str, code: str, display: str) -> dict[str, str]:
            return {"system": system, "code": code, "display": display}

        diagnosis = code(records.ICD_10, "K35.8", HEALTH["diagnosis display"])
        line = code(records.YIBAO, "003301000010000", HEALTH["line display"])
        bill = {
            "bill_number": HEALTH["bill number"],
            "provider_id": "H99000100001",
            "hospital_tier": "HOSPITAL_TIER_TERTIARY",
            "kind": "BILL_KIND_FINAL",
            "member_token": self.token,
            "care_type": "CARE_TYPE_INPATIENT",
            "start_time": "2026-06-01T02:00:00Z",
            "end_time": "2026-06-11T02:00:00Z",
            "time_zone": "Asia/Shanghai",
            "diagnoses": [{"number": 1, "code": diagnosis, "principal": True}],
            "lines": [
                {
                    "number": 1,
                    "code": line,
                    "quantity": "1",
                    "unit_price": "29000.00",
                    "billed": money(2_900_000),
                }
            ],
            "total": money(2_900_000),
            "social_insurance": {"used": True, "fund_paid": money(1_200_000)},
        }
        file = self.folder / "bill.json"
        file.write_text(json.dumps(bill))
        done = self.lipei("claims", "submit", file)
        assert done.code == 0, done.err

    def _readings_and_quote(self) -> None:
        # Of the last days: what a person types may not have been received long ago.
        day = datetime.now(SHANGHAI) - timedelta(days=1)
        at = day.strftime("%Y-%m-%d %H:%M")
        told = reading(self.token, "r1", "systolic", HEALTH["reading"], at, by="TYPED")
        told.ClearField("receive_time")
        file = self.folder / "readings.jsonl"
        file.write_text(MessageToJson(told, indent=None) + "\n")
        self.lipei("readings", "record", file)
        words = ["quote", "diabetes-hypertension-demo", "--start-date", "2026-07-01"]
        facts = ["age=58", "sex=F", "condition=type2_diabetes", "glucose_mmol_l=7.1"]
        self.lipei(*words, *(word for fact in facts for word in ("--feature", fact)))
        note = f"note={PERSON['note']}"
        self.lipei(*words, "--member", self.token, "--programme", "x", "--feature", note)

    def _bad_inputs(self) -> None:
        """The canary's data where they do not belong: each answer is heard."""
        everything = [*PERSON.values(), *HEALTH.values()]
        for number, value in enumerate(everything):
            file = self.folder / f"bad-{number}.yaml"
            text = POLICIES.replace("sex: female", f"sex: {value}")
            text = text.replace("relationship: self", f'relationship: "{value}"')
            file.write_text(text.replace("1968-02-29", f'"{value}"'))
            assert self.lipei("policies", "import", file).code != 0
        addresses = read_addresses(self.state)
        for value in (*everything, self.token):
            self.heard += bad_calls(addresses, self._as, value, token=self.bearer)

    def _as(self, role: str) -> Identity:
        named = f"{role}:{self.token}" if role == "member" else role
        with mock.patch.dict(os.environ, {**environ(), "LIPEI_AS": named}, clear=True):
            return identity_for(self.state, role, hospital=HOSPITAL)

    @functools.cached_property
    def bearer(self) -> str:
        """A good token of a person, which must not be found anywhere."""
        acting = acting_as("adjuster")
        return mint_token(self.state, acting, load_identity(self.state, acting.process))


@contextmanager
def fed(folder: Path, without: str = "") -> Iterator[Canary]:
    """A canary that was fed and runs."""
    with fhir_server(folder / "his") as his:
        canary = Canary(folder, his, without)
        try:
            canary.feed()
            yield canary
        finally:
            canary.stop()
