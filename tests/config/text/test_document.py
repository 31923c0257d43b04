from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.config.text.document import parse, read_file, read_text
from trackside.config.text.problem import Findings


def value_of(text: str) -> Any:
    findings = Findings()
    layer = parse(text, "x.yaml", findings)
    assert not findings, findings.problems[0]
    assert layer is not None
    return layer.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1_000", 1000),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("+12", 12),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1.2.3", "1.2.3"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(value_of(".nan"))


@given(text=st.text(alphabet=st.sampled_from("ab: -[]{}#&*!|>'\"%@`,?\n\t\x00é\\$~<"), max_size=60))
def test_no_text_makes_the_reader_fail_without_saying_where(text: str) -> None:
    findings = Findings()
    layer = read_text(text, "x.yaml", findings)
    assert layer is not None or findings
    for problem in findings.problems:
        assert problem.place is not None
        assert str(problem).startswith("x.yaml:")


def test_a_tag_never_constructs_anything(tmp_path: Path) -> None:
    bait = tmp_path / "bait"
    path = f"!!python/object/apply:pathlib.Path [{bait}]"
    text = f"a: !!python/object/apply:pathlib.Path.touch\n  - {path}\n"
    findings = Findings()
    layer = read_text(text, "x.yaml", findings)
    assert layer is not None
    assert layer.value == {"a": [[str(bait)]]}
    refused = [problem.message.split("`")[1] for problem in findings.problems]
    assert refused == [
        "!!python/object/apply:pathlib.Path.touch",
        "!!python/object/apply:pathlib.Path",
    ]
    assert not bait.exists()


def test_aliases_can_not_multiply_a_file() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    findings = Findings()
    read_text("\n".join(lines), "x.yaml", findings)
    assert len(findings.problems) == 40 + 39 * 2


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    findings = Findings()
    assert read_text("a: " + "[" * 100_000, "x.yaml", findings) is None
    assert findings.problems[0].message == "more than 100 levels of nesting"


def test_a_file_that_is_not_utf_8_is_refused_with_its_line() -> None:
    Path("x.yaml").write_bytes(b"a: 1\nb: \xff\n")
    findings = Findings()
    assert read_file("x.yaml", findings) is None
    assert str(findings.problems[0].place) == "x.yaml:2:1"


def test_a_byte_order_mark_is_no_text() -> None:
    Path("x.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    layer = read_file("x.yaml", Findings())
    assert layer is not None
    assert layer.value == {"a": 1}


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_can_not_be_read_is_told_by_name(name: str) -> None:
    findings = Findings()
    assert read_file(name, findings) is None
    assert findings.problems[0].message.startswith(f"{name}: the file can't be read: ")


def test_a_file_that_is_not_there_is_told_with_the_one_that_was_meant() -> None:
    Path("runs").mkdir()
    Path("runs/train.yaml").write_text("a: 1")
    findings = Findings()
    assert read_file("runs/trian.yaml", findings) is None
    assert read_file("runs/other.yaml", findings) is None
    assert [one.remedy for one in findings.problems] == ["did you mean `runs/train.yaml`?", None]


def test_the_caret_stands_under_what_is_meant_in_a_long_line() -> None:
    findings = Findings()
    read_text("a: " + "x" * 300 + " y: 1", "x.yaml", findings)
    line, caret = findings.problems[0].place.picture()  # type: ignore[union-attr]
    assert len(line) < 200
    assert line[caret.index("^")] == ":"
