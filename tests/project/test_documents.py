"""Documents keep their word: one word per concept, links that lead somewhere, real targets."""

import re
from collections import Counter
from pathlib import Path

import pytest

from lipei.claims.v1 import claims_pb2
from lipei.type.v1 import bill_pb2
from services.claims.core.review import DENIALS
from services.common.settings import KNOWN, KNOWN_PREFIXES, PREFIX

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)")


def glossary() -> list[tuple[str, str]]:
    """English and Chinese of each row."""
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    words = [(row[0].strip(), row[1].strip()) for row in rows]
    return [row for row in words if row[0] not in ("English", "---")]


@pytest.mark.parametrize("column", [0, 1])
def test_a_word_stands_for_one_concept(column: int) -> None:
    counts = Counter(row[column] for row in glossary())
    assert {word for word, count in counts.items() if count > 1} == set()


def test_every_concept_has_its_chinese() -> None:
    without = {
        english for english, chinese in glossary() if not re.search(r"[\u4e00-\u9fff]", chinese)
    }
    assert without == set()


@pytest.mark.parametrize(
    "words",
    [claims_pb2.ClaimState.keys(), bill_pb2.BillKind.keys()],
    ids=["ClaimState", "BillKind"],
)
def test_the_wire_speaks_the_glossary(words: list[str]) -> None:
    prefix = words[0].removesuffix("UNSPECIFIED")
    spoken = {word.removeprefix(prefix).replace("_", " ").lower() for word in words[1:]}
    assert spoken - {english for english, _ in glossary()} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    targets = [link for link in LINK.findall(document.read_text("utf-8")) if "://" not in link]
    assert [link for link in targets if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_names_targets_that_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    known = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", (ROOT / name).read_text("utf-8")))
    assert {"demo", "test"} <= named <= known


def settings_in(document: str) -> set[str]:
    """The settings that a document names; `{A,B}` stands for each, `{HOSPITAL}` for anything."""
    named = set()
    for written in re.findall(r"\bLIPEI_(?:[A-Z_]|\{[A-Z_,]+\})+", document):
        before, brace, rest = written.partition("{")
        inside, _, after = rest.partition("}")
        endings = inside.split(",") if "," in inside else [""]
        named |= {f"{before}{ending}{after}" for ending in endings} if brace else {written}
    return named


def test_the_manual_names_every_setting_and_no_other() -> None:
    named = settings_in((ROOT / "docs" / "operating.md").read_text("utf-8"))
    assert named == {PREFIX + name for name in (*KNOWN, *KNOWN_PREFIXES)}


def test_the_reasons_for_which_a_person_may_deny_a_line_are_listed() -> None:
    text = (ROOT / "docs" / "life-cycle.md").read_text("utf-8")
    listed = re.findall(r"`(\w+)`", text.partition("`--reason` is one of ")[2].partition("\n\n")[0])
    assert sorted(listed) == sorted(reason.name.lower() for reason in DENIALS)


def test_the_path_of_a_claim_names_every_module_of_claims_once() -> None:
    text = (ROOT / "docs" / "path-of-a-claim.md").read_text("utf-8")
    rows = text.partition("| what | modules |")[2].partition("\n\n")[0]
    there = {path.stem for path in (ROOT / "services" / "claims").glob("[!_]*.py")}
    assert Counter(re.findall(r"`(\w+)`", rows)) == Counter(there)
