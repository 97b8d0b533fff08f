"""A file is read as its writer meant it, or refused with every fault and its line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.common.strict_yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_EVENTS,
    MAX_FAULTS,
    MAX_TOLD,
    Fault,
    StrictYamlError,
    YamlList,
    YamlMap,
    load,
)

Found = list[tuple[int, str, str]]


def refusals(text: str | bytes) -> Found:
    with pytest.raises(StrictYamlError) as refused:
        load(text, "plan.yaml")
    return [(fault.line, fault.path, fault.reason) for fault in refused.value.faults]


def test_plain_values_are_read() -> None:
    text = """\
id: 医保-1
days: 30
less: -5
nothing:
also: null
tilde: ~
yes_is: true
no_is: false
day: 2026-01-01
moment: 2026-01-01T08:30:00+08:00
share: "0.80"
code: 'E11.9'
about: |
  1.5
  two lines
2026-01-01: "8000.00"
list: [a, 1, {b: 2}]
"""
    assert load(text, "plan.yaml") == {
        "id": "医保-1",
        "days": 30,
        "less": -5,
        "nothing": None,
        "also": None,
        "tilde": None,
        "yes_is": True,
        "no_is": False,
        "day": "2026-01-01",
        "moment": "2026-01-01T08:30:00+08:00",
        "share": "0.80",
        "code": "E11.9",
        "about": "1.5\ntwo lines\n",
        "2026-01-01": "8000.00",
        "list": ["a", 1, {"b": 2}],
    }


def test_lines_are_remembered() -> None:
    tree = load("---\na: 1\nb:\n  - x\n  -\n    c: 2\n    d: 3\n", "plan.yaml")
    assert (tree.line, tree.lines) == (2, {"a": 2, "b": 3})
    items = tree["b"]
    assert isinstance(items, YamlList)
    assert (items.line, items.lines) == (4, [4, 6])
    assert isinstance(items[1], YamlMap)
    assert items[1].lines == {"c": 6, "d": 7}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_and_a_byte_order_mark_do_not_move_lines(ending: str) -> None:
    text = "\ufeff" + ending.join(["a: 1", "b: 2", "b: 3", ""])
    assert refusals(text) == refusals(text.encode()) == [(3, "b", "DUPLICATE_KEY")]
    assert load(text.replace("b: 3", "c: x"), "plan.yaml") == {"a": 1, "b": 2, "c": "x"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        *((number, "FLOAT") for number in ("1.5", "-1.5", ".5", "1.", "1e3", "1E400", "1_0.5")),
        *((number, "FLOAT") for number in (".inf", "-.INF", "+.inf", ".nan", ".NaN", "1:30.5")),
        *((number, "SCALAR") for number in ("010", "00", "-01", "0o17", "0x1F", "0b11", "+1")),
        *((number, "SCALAR") for number in ("1_000", "12:30", "190:20:30", "1" * 19)),
        *((digits, "SCALAR") for digits in ("１２", "1２", "-１", "１.５", "١٢", "৪")),
        *((word, "SCALAR") for word in ("yes", "No", "ON", "off", "True", "FALSE", "Null", "=")),
        ("<<", "SCALAR"),
        ("&x 1", "ANCHOR"),
        ("*x", "ANCHOR"),
        ("!!str 5", "TAG"),
        ("!!int '5'", "TAG"),
        ("! 5", "TAG"),
        ("!!python/object/apply:os.system [ls]", "TAG"),
        ("!<tag:yaml.org,2002:str> 5", "TAG"),
        ("!!set {a, b}", "TAG"),
        ("{<<: {b: 1}}", "ANCHOR"),
        ("{[1]: 2}", "KEY_NOT_TEXT"),
        ("{{b: 1}: 2}", "KEY_NOT_TEXT"),
        ("{? : 2}", "KEY_NOT_TEXT"),
        ("{!!str b: 2}", "TAG"),
        ("{&b b: 2}", "ANCHOR"),
        ("{*b : 2}", "KEY_NOT_TEXT"),
        ("{b: 1, b: 1}", "DUPLICATE_KEY"),
        ("{b: 1, 'b': 1}", "DUPLICATE_KEY"),
        ("{1: 1, '1': 1}", "DUPLICATE_KEY"),
        ("{: 2}", "NOT_YAML"),
        ("[", "NOT_YAML"),
        ("'", "NOT_YAML"),
        ("b: c", "NOT_YAML"),
        ("@b", "NOT_YAML"),
        ("%b", "NOT_YAML"),
        ("b\x00", "NOT_YAML"),
        ("b\x07", "NOT_YAML"),
        ("b\ufeff", "NOT_YAML"),
        *((f"b{other}c: 1", "NOT_YAML") for other in ("\x85", "\u2028", "\u2029")),
        *((f"'b{other}c'", "NOT_YAML") for other in ("\x85", "\u2028", "\u2029")),
        ('"\\UFFFFFFFF"', "NOT_YAML"),
        ('"\\xZZ"', "NOT_YAML"),
    ],
)
def test_a_value_that_means_two_things_is_refused_where_it_stands(value: str, reason: str) -> None:
    found = refusals(f"first: 1\nsecond:\n  a: {value}\n")
    assert reason in {fault for _, _, fault in found}
    assert all(line in (3, 4) for line, _, _ in found)  # 4 is the end of the file
    if reason != "NOT_YAML":
        assert all(path.startswith("second.a") for _, path, _ in found)


@pytest.mark.parametrize("value", ["12:30", "yes", "1.5", "010", "１２", "<<", "2026-01-01"])
def test_in_quotes_everything_is_text(value: str) -> None:
    assert load(f"a: '{value}'\nb: \"{value}\"\n", "f") == {"a": value, "b": value}


@pytest.mark.parametrize("value", ["第１条", "１２元", "yes or no", "E10", "1 2", "3-4", "０号"])
def test_text_with_digits_and_words_is_text(value: str) -> None:
    assert load(f"a: {value}\n", "f") == {"a": value}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(1, "", "NOT_A_MAPPING")]),
        ("# only a comment\n", [(1, "", "NOT_A_MAPPING")]),
        ("- a\n", [(1, "", "NOT_A_MAPPING")]),
        ("\n\njust text\n", [(3, "", "NOT_A_MAPPING")]),
        ("a: 1\n---\nb: 2\n", [(2, "", "SEVERAL_DOCUMENTS")]),
        ("---\n---\na: 1\n", [(2, "", "NOT_A_MAPPING"), (2, "", "SEVERAL_DOCUMENTS")]),
        ("%YAML 1.1\n---\na: 1\n", [(1, "", "DIRECTIVE")]),
        ("# c\n%TAG ! tag:x,2000:\n---\na: 1\n", [(2, "", "DIRECTIVE")]),
        ("a: 1\nb:\n\t- 2\n", [(3, "", "NOT_YAML")]),
        ("a: 1\n  b: 2\n", [(2, "", "NOT_YAML")]),
        (b"a: 1\nb: \xff\n", [(2, "", "NOT_UTF8")]),
        ("a: 1\nb: 理赔\n".encode("gb18030"), [(2, "", "NOT_UTF8")]),
        ("a: 1\n".encode("utf-16"), [(1, "", "NOT_UTF8")]),
        ("a: 1\nb: \ud800\n", [(2, "", "NOT_UTF8")]),
        (b"a" * (MAX_BYTES + 1), [(1, "", "TOO_LARGE")]),
        ("理" * (MAX_BYTES // 3 + 1), [(1, "", "TOO_LARGE")]),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(text: str | bytes, found: Found) -> None:
    assert refusals(text) == found


def test_every_fault_is_told_at_once_in_the_files_order() -> None:
    text = """\
id: 1.5
terms:
  - {share: 0.8, share: 0.9}
  - &x {days: 010}
  - *x
other: !bad
  deep: {deep: {a: 1, b: yes, a: 2}}
id: again
"""
    assert refusals(text) == [
        (1, "id", "FLOAT"),
        (3, "terms[0].share", "FLOAT"),
        (3, "terms[0].share", "DUPLICATE_KEY"),
        (3, "terms[0].share", "FLOAT"),
        (4, "terms[1]", "ANCHOR"),
        (4, "terms[1].days", "SCALAR"),
        (5, "terms[2]", "ANCHOR"),
        (6, "other", "TAG"),
        (7, "other.deep.deep.a", "DUPLICATE_KEY"),
        (7, "other.deep.deep.b", "SCALAR"),
        (8, "id", "DUPLICATE_KEY"),
    ]


def test_faults_before_a_broken_line_are_told_with_it() -> None:
    assert refusals("a: 1.5\nb: [\n") == [(1, "a", "FLOAT"), (3, "", "NOT_YAML")]


@pytest.mark.parametrize(
    ("sign", "advice"),
    [
        ("\uff1a", "full-width colon"),
        (":\u3000", "full-width blank"),
        (":\u00a0", "does not break"),
    ],
)
def test_a_key_whose_colon_only_looks_like_one_is_told_on_its_own_line(
    sign: str, advice: str
) -> None:
    with pytest.raises(StrictYamlError) as refused:
        load(f"first: 1\nsecond{sign}2\n\nthird: 3\n", "plan.yaml")
    (fault,) = refused.value.faults
    assert (fault.line, fault.reason) == (2, "NOT_YAML")
    assert advice in fault.text


def test_the_message_names_file_line_path_and_advice() -> None:
    with pytest.raises(StrictYamlError) as refused:
        load("share: 0.8\n", "plans/a.yaml")
    assert str(refused.value) == (
        "plans/a.yaml:1: share: put it in quotes: numbers with a point are text here"
    )


def test_depth_has_a_limit() -> None:
    for opened, closed in (("[", "]"), ("{a: ", "}")):
        deepest = "a: " + opened * (MAX_DEPTH - 1) + "1" + closed * (MAX_DEPTH - 1)
        assert load(deepest, "f")
        reasons = [reason for _, _, reason in refusals("a: " + opened * MAX_DEPTH + "1")]
        assert reasons == ["TOO_DEEP"]


@pytest.mark.parametrize("item", ["{}", "a", "[]"])
def test_values_have_a_limit(item: str) -> None:
    """Tiny values take the parser longer than their bytes say."""
    many = f"cases: [{','.join([item] * MAX_EVENTS)}]"
    with pytest.raises(StrictYamlError) as error:
        load(many, "f")
    assert [fault.reason for fault in error.value.faults] == ["TOO_MANY_VALUES"]
    few = f"cases: [{','.join([item] * (MAX_EVENTS // 3))}]"
    assert len(load(few, "f")["cases"]) == MAX_EVENTS // 3


def test_faults_have_a_limit() -> None:
    found = refusals("".join(f"k{i}: 1.5\n" for i in range(MAX_FAULTS + 100)))
    assert len(found) == MAX_FAULTS + 1
    assert (MAX_FAULTS, "", "TOO_MANY_FAULTS") in found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[\n" * 500_000, "TOO_DEEP"),
        ("- " * 500_000, "TOO_DEEP"),
        ("? " * 500_000, "TOO_DEEP"),
        ("a: " + "{a: " * 250_000, "TOO_DEEP"),
        ("---\n" * 250_000, "SEVERAL_DOCUMENTS"),
        ("a: 1.5\n" * 140_000, "TOO_MANY_FAULTS"),
        ("a: " + "1" * 1_000_000, "SCALAR"),
        ("a: " + "１" * 300_000, "SCALAR"),
        ("a: *a " * 100_000, "ANCHOR"),
    ],
)
def test_a_hostile_file_costs_no_more_than_its_size(text: str, reason: str) -> None:
    # A quadratic reader would take 10^11 steps, and the run's time limit would end it.
    assert reason in {fault for _, _, fault in refusals(text)}


def test_a_billion_laughs_are_not_laughed() -> None:
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    found = refusals("\n".join(lines))
    assert {reason for _, _, reason in found} == {"ANCHOR"}
    assert len(found) == 30 + 29 * 10


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc理1.", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=15,
)


def written(value: Any) -> str:
    """The value in flow style, all text in double quotes with every character escaped."""
    if isinstance(value, dict):
        inside = ", ".join(f"{written(k)}: {written(v)}" for k, v in value.items())
        return "{" + inside + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


@given(st.dictionaries(st.text("abc理1.", min_size=1, max_size=4), json_values, max_size=4))
def test_what_is_written_strictly_is_read_back(tree: dict[str, Any]) -> None:
    if tree:
        text = "\n".join(f"{written(key)}: {written(value)}" for key, value in tree.items())
        assert load(text, "f") == tree


PIECES = """a b 0 1 . - : [ ] { } , ' " # & * ! | > % @ ` ? ~ \\ &a *a "\\U FFFFFFFF yes 1e400 １"""
pieces = st.sampled_from(
    [
        *PIECES.split(" "),
        *("\n", "\t", " ", "\r", "\x85", "\u2028", "\ufeff", "\x00", "\ud800"),
        *("  ", "- ", ": ", "? ", "\n ", "---\n", "...\n", "|2-\n"),
        *("!!int ", "<<: ", "%YAML 1.", "%TAG ! "),
    ]
)


@given(st.lists(pieces, max_size=60).map("".join) | st.text(max_size=40) | st.binary(max_size=40))
@example("a: 1\n...\n%YAML 2.0\n---\n")
@example("%YAML 9.9\n---\na: 1")
@example("%YAML 1.\n---\na: 1")
@example("!<")
@example("a: !!\n")
def test_any_input_is_read_or_refused_and_nothing_else(text: str | bytes) -> None:
    tree: Any = None
    faults = []
    try:
        tree = load(text, "f")
    except StrictYamlError as refused:
        faults = refused.faults
    assert (tree is None) == bool(faults)
    assert all(fault.line >= 1 and fault.text for fault in faults)
    assert_plain(tree)


def assert_plain(value: Any) -> None:
    if isinstance(value, YamlMap):
        assert value.lines.keys() == value.keys()
        for key, inner in value.items():
            assert type(key) is str
            assert_plain(inner)
    elif isinstance(value, YamlList):
        assert len(value.lines) == len(value)
        for inner in value:
            assert_plain(inner)
    else:
        assert value is None or type(value) in (str, int, bool)


def test_of_many_faults_the_first_are_told_and_none_is_lost() -> None:
    faults = [Fault("", n, "R", "t") for n in range(1, MAX_TOLD + 4)]
    error = StrictYamlError(faults, "f")
    assert (len(str(error).splitlines()), error.faults) == (MAX_TOLD + 1, faults)
    assert str(error).splitlines()[-2:] == [f"f:{MAX_TOLD}: t", "f: and 3 more"]
    assert str(StrictYamlError(faults[:MAX_TOLD], "f")).endswith(f"f:{MAX_TOLD}: t")
