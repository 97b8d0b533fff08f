"""From a hand-made fit to an active tariff that quotes, by command, on a running service."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openpyxl
import pytest

from services.pricing.fitting.models.fit_result import fit_bytes
from services.pricing.fitting.report.validation import Validated, validated_bytes
from services.pricing.fitting.run_card import digest
from services.pricing.fitting.selection.choice import selection_from
from services.pricing.fitting.selection.workbook import HEADER_ROW, PLACE
from services.pricing.tariffs.loader import load_tariff
from tests.identities import equip
from tests.services.pricing.fitting.selection.hand_made import YAML, hand_made, validated
from tests.services.pricing.process import serving
from tests.stack.typed import Typed, lipei

_CAP = {"LIPEI_PRICING_CREDIT_CAP": "0.30", "LIPEI_PRICING_CREDIT_CAP_SOURCE": "a regulation"}
ID = "hand-made"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("state")
    with serving(made, _CAP):
        yield equip(made, sandbox=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pricing")
    (made / "fit").mkdir()
    (made / "fit" / "fit.json").write_bytes(fit_bytes(hand_made()))
    (made / "pricing.yaml").write_text(YAML, "utf-8")
    return made


def typed(*words: str | Path, person: str = "", code: int = 0) -> Typed:
    done = lipei(*words, env={"LIPEI_PERSON": person} if person else {})
    assert done.code == code, (done.out, done.err)
    return done


def told(out: str, *said: str) -> None:
    for one in said:
        assert one in out


def edit(book: Path, value: object, reason: str) -> None:
    made = openpyxl.load_workbook(book)
    selected: Any = made["injury"].cell(HEADER_ROW + 1, PLACE["selected"])
    because: Any = made["injury"].cell(HEADER_ROW + 1, PLACE["reason"])
    selected.value, because.value = value, reason or None
    content = io.BytesIO()
    made.save(content)
    book.write_bytes(content.getvalue())


def test_select_says_what_the_departures_do_to_expected_claims(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "fit.json").write_bytes((folder / "fit" / "fit.json").read_bytes())
    (tmp_path / "pricing.yaml").write_text(YAML, "utf-8")
    assert "effect" not in typed("pricing", "select", "-f", tmp_path).out
    edit(tmp_path / "select" / "relativities.xlsx", 0.95, "fewer accidents among the young")
    chosen = typed("pricing", "select", "-f", tmp_path).out
    assert "before bases are moved: inpatient +0.00%, outpatient +0.00%, injury -" in chosen
    assert "all causes -" in chosen
    assert "outside its 95 %" not in chosen
    edit(tmp_path / "select" / "relativities.xlsx", 0.15, "a slip")
    chosen_far = typed("pricing", "select", "-f", tmp_path).out
    assert "selected 0.15 lies outside its 95 % interval, " in chosen_far
    assert max(map(len, chosen.splitlines())) < 200, "a pipe takes lines, no table"


def test_an_insurer_without_tariffs_is_told_how_to_get_one(state: Path) -> None:
    told = typed("pricing", "tariffs", "unheard-of", "--state", state).out
    assert told == ("no tariff under the id unheard-of yet; `lipei pricing propose` hands one in\n")


def test_from_a_fit_to_an_active_tariff_that_quotes(folder: Path, state: Path) -> None:
    first = typed("pricing", "select", "-f", folder)
    book = folder / "select" / "relativities.xlsx"
    told(first.out, "49 cells, 0 selected otherwise", "lipei pricing propose")
    edit(book, 0.95, "")
    refused = typed("pricing", "select", "-f", folder, code=2)
    assert f"injury!P{HEADER_ROW + 1}: must say why" in refused.err
    edit(book, 0.95, "fewer accidents among the young")
    chosen = typed("pricing", "select", "-f", folder)
    assert "fewer accidents among the young" in chosen.out
    kept = selection_from((folder / "select" / "selection.json").read_bytes())
    assert kept.changed == 1

    edit(book, 0.90, "later than the selection")
    stale = typed("pricing", "propose", "-f", folder, "--no-send", code=2)
    assert "was changed after select/selection.json" in stale.err
    edit(book, 0.90, "")
    broken = typed("pricing", "propose", "-f", folder, "--no-send", code=2)
    assert "no tariff was made" in broken.err
    edit(book, 0.95, "fewer accidents among the young")
    offline = typed("pricing", "propose", "-f", folder, "--no-send")
    file = folder / "tariff" / f"{ID}.json"
    rates = load_tariff(file.read_bytes(), file.name)
    assert rates.version in offline.out
    assert "golden_quotes" in offline.out
    again = file.read_bytes()
    sent = typed("pricing", "propose", "-f", folder, "--state", state, person="li")
    step = f"`lipei --person NAME pricing approve {rates.version} --reason WHY`"
    told(sent.out, "PROPOSED: two other people", step)
    assert file.read_bytes() == again
    names = {path.name for path in (folder / "tariff").iterdir()}
    memos = {f"{ID}.memo.{lang}.{kind}" for lang in ("zh", "en") for kind in ("md", "html")}
    assert names == {f"{ID}.json", f"{ID}.evidence.json", *memos}
    card = json.loads(max((folder / "runs").glob("*-propose.json")).read_bytes())
    assert f"tariff/{ID}.json" in card["outputs"]

    _approved(rates.version, state)
    where = ("--state", state)
    name = rates.version
    golden = rates.tariff.golden_quotes[0]
    features = [word for one in golden.features.items() for word in ("--feature", "=".join(one))]
    asked: list[str | Path] = ["pricing", "quote", ID, "--start-date", "2099-01-01", *features]
    asked += [*where, "--json"]
    quote = json.loads(typed(*asked).out)
    assert int(quote["premium"]["minor_units"]) == golden.premium_minor
    assert quote["tariff"] == name
    shown = typed(*asked[:-1])
    assert shown.out.endswith("next: `lipei pricing renew -f FOLDER`\n")
    _exported(folder, name, again, where)
    retired = typed("pricing", "retire", name, "--reason", "over", *where).out
    told(retired, "RETIRED", f"next: `lipei pricing tariffs {ID}`")
    assert "no such tariff" in typed(*asked, code=1).err


def _exported(folder: Path, name: str, tariff: bytes, where: tuple[str, Path]) -> None:
    """What is on record is what was proposed, memos too."""
    to = folder / "exported"
    exported = typed("pricing", "export", name, "--to", to, *where)
    assert exported.out.splitlines()[1] == f"next: `lipei pricing diff OLD.json {to / ID}.json`"
    assert (to / f"{ID}.json").read_bytes() == tariff
    for language in ("zh", "en"):
        memo = f"{ID}.memo.{language}.md"
        assert (to / memo).read_bytes() == (folder / "tariff" / memo).read_bytes()


def _approved(name: str, state: Path) -> None:
    """Two people approve, neither who has proposed; a chief actuary activates."""
    where = ("--state", state)
    why = ("--reason", "looked at")
    same = typed("pricing", "approve", name, *why, *where, person="li", code=1)
    told(same.err, "not the other person", "lipei --person NAME")
    # A person who may not is told so, and nothing before it or after what to do.
    assert same.out == ""
    assert "not the other person" in same.said[0]
    assert "lipei --person NAME" in same.said[-1]
    endorsed = typed("pricing", "approve", name, *why, *where, person="wang").out
    assert "ENDORSED" in endorsed
    assert endorsed.index("gates passed") < endorsed.index("ENDORSED")
    assert f"`lipei --person NAME pricing approve {name} --reason WHY`" in endorsed
    early = typed("pricing", "activate", name, *why, *where, code=1)
    assert "endorsed" in early.err
    approved = typed("pricing", "approve", name, *why, *where, person="zhao").out
    assert "APPROVED" in approved
    assert f"`lipei pricing activate {name} --first 2" in approved
    active = typed("pricing", "activate", name, *why, "--first", "2099-01-01", *where)
    assert "ACTIVE, 2099-01-01" in active.out
    # The printed step prices as it stands.
    step = active.out.rpartition("next: `lipei ")[2].rstrip("`\n").split(" ")
    assert typed(*step, "--json", *where).code == 0
    assert "--feature" in step
    assert "age=52" in step

    listed = typed("pricing", "tariffs", *where)
    for said in (name, "ACTIVE", "propose li", "li", "wang", "zhao"):
        assert said in listed.out
    assert f"next: `lipei pricing export {name} --to FOLDER`" in listed.out


def test_a_challenger_in_the_shadow(folder: Path, state: Path) -> None:
    names = []
    for profit in ("0.05", "0.06"):
        yaml = YAML.replace("id: hand-made", f"id: pair\n  profit: '{profit}'")
        (folder / "pricing.yaml").write_text(yaml, "utf-8")
        typed("pricing", "select", "--fresh", "-f", folder)
        typed("pricing", "propose", "-f", folder, "--state", state, person="li")
        names.append(load_tariff((folder / "tariff" / "pair.json").read_bytes(), "").version)
        (folder / "tariff" / "pair.json").rename(folder / f"pair-{profit}.json")
        for person in ("wang", "zhao"):
            typed("pricing", "approve", names[-1], "--reason", "r", "--state", state, person=person)
    where = ("--state", state)
    typed("pricing", "activate", names[0], "--reason", "r", *where)
    said = ("--challenger", names[1], "--shadow", "--share", "0", "--reason", "r", *where)
    assert "in the shadow" in typed("pricing", "route", "pair", *said).out
    facts = ("age=52", "sex=F", "condition=type2_diabetes")
    features = [word for fact in facts for word in ("--feature", fact)]
    quote = typed("quote", "pair", "--start-date", "2099-01-01", *features, *where)
    assert "next:" not in quote.out, "of `lipei quote` the premium stands last"
    assert names[0] in quote.out
    assert names[1] not in quote.out
    beside = typed("pricing", "shadows", "pair", *where)
    assert "1 quote; the challenger would charge +1.2" in beside.out
    assert "next: `lipei pricing route pair --reason WHY`" in beside.out
    over = typed("pricing", "route", "pair", "--reason", "r", *where).out
    assert "no experiment" in over
    assert "next: `lipei pricing tariffs pair`" in over

    files = (folder / "pair-0.05.json", folder / "pair-0.06.json")
    told = typed("pricing", "diff", *files, code=1)
    assert f"next: `lipei --person NAME pricing approve {names[1]} --reason WHY`" in told.out
    assert "profit: 0.05 → 0.06" in told.out
    assert "利润占比：0.05 → 0.06" in told.out
    assert "woman of 52" in told.out
    profiles = folder / "profiles.yaml"
    profiles.write_text('young man: {age: "20", sex: M, condition: hypertension}\n', "utf-8")
    more = typed("pricing", "diff", *files, "--profiles", profiles, "--json", code=1)
    assert "young man" in [one["name"] for one in json.loads(more.out)["effects"]]
    typed("pricing", "diff", files[0], files[0])  # nothing changes


def test_what_is_missing_or_broken_is_told_in_sentences(tmp_path: Path) -> None:
    (tmp_path / "pricing.yaml").write_text("format: 1\n", "utf-8")
    nothing = typed("pricing", "select", "-f", tmp_path, code=2)
    assert "`lipei pricing fit` makes it" in nothing.err
    (tmp_path / "fit").mkdir()
    broken = fit_bytes(hand_made()).replace(b'"estimate":-2.1', b'"estimate":null', 1)
    (tmp_path / "fit" / "fit.json").write_bytes(broken)
    nan = typed("pricing", "select", "-f", tmp_path, code=2)
    assert "is not as `lipei pricing fit` writes it" in nan.err
    assert "estimate" in nan.err
    (tmp_path / "fit" / "fit.json").write_bytes(fit_bytes(hand_made()))
    typed("pricing", "select", "-f", tmp_path)
    uncapped = typed("pricing", "propose", "-f", tmp_path, "--no-send", code=2)
    assert "tariff.credit_cap: must be set" in uncapped.err
    assert not (tmp_path / "tariff").exists()


def test_a_fit_that_did_not_converge_is_proposed_to_nobody(folder: Path, tmp_path: Path) -> None:
    content = fit_bytes(hand_made()).replace(b'"converged":true', b'"converged":false', 1)
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "fit.json").write_bytes(content)
    (tmp_path / "pricing.yaml").write_text(YAML, "utf-8")
    typed("pricing", "select", "-f", tmp_path)
    stopped = typed("pricing", "propose", "-f", tmp_path, code=1)
    assert "    evidence.inpatient.frequency: did not converge" in stopped.out
    assert "1 gate not passed; nothing was written" in stopped.err
    assert not (tmp_path / "tariff").exists()


def test_a_proposal_takes_the_report_of_its_own_fit_and_selection_only(tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "fit.json").write_bytes(fit_bytes(hand_made()))
    (tmp_path / "pricing.yaml").write_text(YAML, "utf-8")
    chosen = typed("pricing", "select", "-f", tmp_path)
    told(chosen.out, "`lipei pricing report`", "next: `lipei pricing propose")
    memo = tmp_path / "tariff" / f"{ID}.memo.en.md"

    def proposed() -> tuple[str, str]:
        done = typed("pricing", "propose", "--no-send", "-f", tmp_path)
        return done.out, memo.read_text("utf-8")

    said, filed = proposed()
    assert "the memo has no validation results" in said
    assert "Open: there is no validation report" in filed
    report = tmp_path / "report" / "validation.json"
    report.parent.mkdir()
    found = Validated(
        fit_sha256=digest(tmp_path / "fit" / "fit.json"),
        selection_sha256=digest(tmp_path / "select" / "selection.json"),
        validation=validated(),
    )
    report.write_bytes(validated_bytes(found))
    said, filed = proposed()
    assert "no validation results" not in said
    assert "the last year, held out" in filed
    older = msgspec.structs.replace(found, selection_sha256="0" * 64)
    report.write_bytes(validated_bytes(older))
    said, filed = proposed()
    assert "report/ is of another fit or selection" in said
    assert "Open: there is no validation report" in filed
