"""Interpolations that would grow without end are refused before anything is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackside.config.text.expansion import DEEPEST, MOST_CHARACTERS, too_large
from trackside.config.text.layers import read
from trackside.config.text.problem import Findings


def _levels(many: str, first: str = "xxxxxxxxxx", levels: int = 30) -> dict[str, Any]:
    return {"l0": first} | {f"l{i}": many.replace("@", f"${{l{i - 1}}}") for i in range(1, levels)}


GROWING: dict[str, dict[str, Any]] = {
    "text": _levels("@" * 10),
    "twice": _levels("@@"),
    "lists": {"l0": ["x"] * 10} | {f"l{i}": [f"${{l{i - 1}}}"] * 10 for i in range(1, 30)},
    "mappings": {"l0": {"x": "x" * 99}}
    | {f"l{i}": dict.fromkeys("abcdef", f"${{l{i - 1}}}") for i in range(1, 30)},
    "inside one mapping": {"a": _levels("").keys() and {"l0": "x" * 999, "l1": "${a.l0}" * 999}},
    "relative": {"l0": "x" * 999, "l1": "${.l0}" * 999},
    "chosen": {"which": "big", "big": "x" * 9999, "all": "${${which}}" * 99},
    "by a key that is chosen": {"k": "a", "of": {"a": "x" * 9999}, "all": "${of.${k}}" * 99},
    "of a resolver": {"l0": "x" * 9999, "l1": "${oc.select:l0}" * 99},
    "values of a mapping": {"m": {"a": "x" * 9999}, "all": ["${oc.dict.values:m}"] * 99},
    "a long chain": {"l0": "x"} | {f"l{i}": f"${{l{i - 1}}}" for i in range(1, 500)},
}

SMALL: dict[str, dict[str, Any]] = {
    "nothing": {},
    "numbers": {"a": 1, "b": [1.5, None, True]},
    "some references": {"a": "x", "b": "${a}-${a}", "c": ["${b}", {"d": "${.e}", "e": "${b}"}]},
    "itself": {"a": "${a}", "b": {"c": "${b}"}},
    "to nothing": {"a": "${nothing.there}", "b": "${oc.env:NAME,default}"},
    "escaped": {"a": "x" * 9999, "b": "\\${a}" * 999},
    "large without references": {"a": ["x" * 1000] * 1000},
    "many small": {f"v{i}": "${a}" for i in range(2000)} | {"a": "x"},
}


@pytest.mark.parametrize("written", GROWING.values(), ids=GROWING)
def test_what_grows_without_end_is_refused(written: dict[str, Any]) -> None:
    assert too_large(written)


@pytest.mark.parametrize("written", SMALL.values(), ids=SMALL)
def test_what_stays_small_is_not(written: dict[str, Any]) -> None:
    assert too_large(written) == {}


@pytest.mark.parametrize("name", ["text", "twice", "lists", "mappings", "a long chain"])
def test_a_file_that_grows_is_refused_at_its_place(name: str) -> None:
    import yaml

    Path("run.yaml").write_text(yaml.safe_dump(GROWING[name], sort_keys=False))
    findings = Findings()
    document = read(["run.yaml"], [], findings)
    (problem,) = findings.problems
    assert problem.message.startswith("this can't be filled in")
    assert problem.place is not None
    assert len(str(document.value)) < 40 * MOST_CHARACTERS


def test_chains_may_be_as_long_as_a_person_writes_them() -> None:
    chain = {"l0": "x"} | {f"l{i}": f"${{l{i - 1}}}" for i in range(1, DEEPEST - 1)}
    assert too_large(chain) == {}
