from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.files import good, write
from trackside.config import ExperimentError, load
from trackside.config.text.layers import Document, kept_override, merge, read, split_arguments
from trackside.config.text.problem import Findings

KEYS = st.sampled_from(["a", "b", "c", "kind"])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from(["x", "y", "1e-3", "on", "100 steps"])
)
TREES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=4)


def laid_on(below: Any, above: Any) -> Any:
    """The rule of the documentation, written down a second time."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    if "kind" in below and "kind" in above and below["kind"] != above["kind"]:
        return above
    return {
        key: laid_on(below[key], above[key])
        if key in below and key in above
        else above.get(key, below.get(key))
        for key in {**below, **above}
    }


def document(*texts: str, overrides: list[str] | None = None) -> Document:
    findings = Findings()
    names = [write(text, f"{index}.yaml") for index, text in enumerate(texts)]
    found = read(names, overrides or [], findings)
    findings.stop_if_any()
    return found


# --- merging -----------------------------------------------------------------------------------


@given(below=MAPPINGS, above=MAPPINGS)
def test_a_later_file_is_laid_on_an_earlier_one_as_documented(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    top = {"kind": below.get("kind")} if below.keys() & above.keys() & {"kind"} else {}
    above = {**above, **top}  # the top of a file is no `kind:`'s mapping
    before = copy.deepcopy((below, above))
    assert merge(below, above) == laid_on(below, above)
    assert (below, above) == before


@given(below=MAPPINGS, key=KEYS, inner=KEYS, value=TREES)
def test_an_override_is_what_a_file_with_that_one_key_would_be(
    below: dict[str, Any], key: str, inner: str, value: Any
) -> None:
    if key == "kind" or inner == "kind":
        return  # an override changes the kind alone; a file's mapping of another kind replaces
    text = json.dumps(below)
    if not isinstance(below.get(key), dict | None):
        return
    findings = Findings()
    by_override = read([write(text)], [f"{key}.{inner}={json.dumps(value)}"], findings).value
    assert not findings
    assert by_override == laid_on(below, {key: {inner: value}})


@given(files=st.lists(MAPPINGS.map(lambda m: {**m, "kind": "k"}), min_size=1, max_size=4))
def test_several_files_are_laid_on_one_another_in_their_order(files: list[dict[str, Any]]) -> None:
    expected: Any = {}
    for one in files:
        expected = laid_on(expected, one)
    assert document(*map(json.dumps, files)).value == expected


@given(tree=MAPPINGS)
def test_a_file_means_what_json_means(tree: dict[str, Any]) -> None:
    if tree:
        assert document(json.dumps(tree)).value == tree


def test_another_kind_replaces_the_mapping_and_the_same_kind_merges() -> None:
    base = "optimizer: {kind: adamw, lr: 0.1, eps: 1e-6}\n"
    other = document(base, "optimizer: {kind: sgd, momentum: 0.9}\n")
    same = document(base, "optimizer: {kind: adamw, lr: 0.2}\n")
    assert other.value["optimizer"] == {"kind": "sgd", "momentum": 0.9}
    assert same.value["optimizer"] == {"kind": "adamw", "lr": 0.2, "eps": 1e-6}


def test_an_override_of_the_kind_keeps_the_options() -> None:
    changed = document("optimizer: {kind: adamw, lr: 0.1}\n", overrides=["optimizer.kind=sgd"])
    assert changed.value["optimizer"] == {"kind": "sgd", "lr": 0.1}


def test_missing_in_a_later_file_keeps_the_earlier_value() -> None:
    assert document("seed: 3\n", "seed: ???\n").value == {"seed": 3}


# --- callbacks ---------------------------------------------------------------------------------

CALLBACKS = "callbacks:\n  - kind: a.EarlyStopping\n    patience: 3\n  - ema\n"


def test_a_list_of_callbacks_is_a_map_by_name() -> None:
    assert document(CALLBACKS).value["callbacks"] == {
        "early_stopping": {"kind": "a.EarlyStopping", "patience": 3},
        "ema": {"kind": "ema"},
    }


def test_a_map_in_a_later_file_changes_and_removes_callbacks_of_a_list() -> None:
    later = "callbacks: {early_stopping: {patience: 9}, ema: null, progress: null}\n"
    assert document(CALLBACKS, later).value["callbacks"] == {
        "early_stopping": {"kind": "a.EarlyStopping", "patience": 9},
        "ema": None,
        "progress": None,
    }


def test_a_list_in_a_later_file_replaces_all_callbacks_below() -> None:
    found = document(CALLBACKS, "callbacks: [{kind: timer, name: clock}]\n")
    assert found.value["callbacks"] == {"clock": {"kind": "timer"}}


@pytest.mark.parametrize("key", ["early_stopping", "0"])
def test_an_override_changes_one_field_of_one_callback(key: str) -> None:
    found = document(CALLBACKS, overrides=[f"callbacks.{key}.patience=9"])
    assert found.value["callbacks"]["early_stopping"]["patience"] == 9
    assert found.value["callbacks"]["ema"] == {"kind": "ema"}


@pytest.mark.parametrize("override", ["~callbacks.ema", "callbacks.ema=null"])
def test_an_override_removes_a_callback(override: str) -> None:
    found = document(CALLBACKS, overrides=[override])
    assert found.value["callbacks"].get("ema") is None


def test_a_default_that_no_file_names_can_be_removed_by_name() -> None:
    assert document("seed: 1\n", overrides=["callbacks.progress=null"]).value["callbacks"] == {
        "progress": None
    }
    assert (
        document(CALLBACKS, overrides=["~callbacks.progress"]).value["callbacks"]["progress"]
        is None
    )


# --- overrides ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=5", {"a": {"b": 5, "c": [1, 2]}}),
        ("a.b=1e-3", {"a": {"b": 1e-3, "c": [1, 2]}}),
        ("a.b=", {"a": {"b": None, "c": [1, 2]}}),
        ("a.b=100 steps", {"a": {"b": "100 steps", "c": [1, 2]}}),
        ("a.b=x=y", {"a": {"b": "x=y", "c": [1, 2]}}),
        ("a.c.1=9", {"a": {"b": 0, "c": [1, 9]}}),
        ("a.c=[3]", {"a": {"b": 0, "c": [3]}}),
        ("a={b: 7}", {"a": {"b": 7, "c": [1, 2]}}),
        ("~a.b", {"a": {"c": [1, 2]}}),
        ("~a.c.0", {"a": {"b": 0, "c": [2]}}),
        ("d.e.f=true", {"a": {"b": 0, "c": [1, 2]}, "d": {"e": {"f": True}}}),
        ("a.d=${a.b}", {"a": {"b": 0, "c": [1, 2], "d": 0}}),
    ],
)
def test_an_override_sets_or_removes_one_value(override: str, expected: dict[str, Any]) -> None:
    assert document("a: {b: 0, c: [1, 2]}\n", overrides=[override]).value == expected


def test_overrides_are_carried_out_in_their_order() -> None:
    found = document("a: 1\n", overrides=["b={c: 1}", "b.c=2", "~a"])
    assert found.value == {"b": {"c": 2}}


def test_files_and_overrides_may_stand_mixed() -> None:
    files, overrides = split_arguments(["a.yaml", "x=1", "b.yaml", "~y"])
    assert (files, overrides) == (["a.yaml", "b.yaml"], ["x=1", "~y"])


# --- places ------------------------------------------------------------------------------------


def test_every_value_remembers_the_file_and_line_it_came_from() -> None:
    found = document(
        "a:\n  b: 1\n  c: [1, 2]\n", "a:\n\n  c: [3]\n", overrides=["d.e=4", "a.f={g: 5}"]
    )
    assert str(found.place(("a", "b"))) == "0.yaml:2:6"
    assert str(found.place(("a", "b"), key=True)) == "0.yaml:2:3"
    assert str(found.place(("a", "c", 0))) == "1.yaml:3:7"
    for path in (("d", "e"), ("a", "f", "g")):
        place = found.place(path)
        assert place is not None
        assert place.source == "command line"
    place = found.place(("a", "f", "g"))
    assert place is not None
    assert place.excerpt[place.column - 1 :][: place.length] == "5"


def test_places_follow_the_items_when_one_is_removed_from_a_list() -> None:
    found = document("a:\n  - 1\n  - 2\n  - 3\n", overrides=["~a.1"])
    assert [str(found.place(("a", index))) for index in (0, 1)] == ["0.yaml:2:5", "0.yaml:4:5"]


def test_what_was_written_for_an_interpolated_value_is_known() -> None:
    found = document("a: 2\nb: ${a}\n")
    assert found.value["b"] == 2
    assert found.interpolation(("b",)) == "${a}"
    assert found.interpolation(("a",)) is None


# --- interpolation -----------------------------------------------------------------------------


def test_interpolation_reaches_over_files_and_into_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RATE", "0.5")
    found = document(
        "a: {b: ${c.d}, e: 'x-${c.d}-y', f: ${.b}}\n".replace("${c.d},", "'${c.d}',").replace(
            "${.b}", "'${.b}'"
        ),
        "c: {d: 3}\nrate: ${oc.decode:${oc.env:RATE}}\ntext: ${oc.env:RATE}\nraw: \\${c.d}\n",
    )
    assert found.value == {
        "a": {"b": 3, "e": "x-3-y", "f": 3},
        "c": {"d": 3},
        "rate": 0.5,
        "text": "0.5",
        "raw": "${c.d}",
    }


def test_a_whole_mapping_can_be_interpolated() -> None:
    found = document("teacher: {kind: x, width: 2}\nmodel: ${teacher}\n")
    assert found.value["model"] == {"kind": "x", "width": 2}


def test_a_mapping_that_holds_itself_is_refused() -> None:
    with pytest.raises(ExperimentError, match="refers to itself"):
        document("a: {b: '${c}'}\nc: {d: '${a}'}\n")


def test_a_mistake_that_only_an_override_makes_is_placed_there() -> None:
    write(good())

    with pytest.raises(ExperimentError) as raised:
        load("run.yaml", ["calbacks.x=1"])

    assert str(raised.value).startswith("command line: calbacks: `calbacks` is not a section")


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("trainer.epochs=4", "trainer.epochs=4"),
        ("~scheduler", "~scheduler"),
        ("callbacks.x.api_key=abcdefgh", "callbacks.x.api_key=???"),
        ("callbacks.x={kind: own.Callback, api_key: abcdefgh}", "callbacks.x=???"),
        ("callbacks.x.api_key=${oc.env:A_KEY}", "callbacks.x.api_key=${oc.env:A_KEY}"),
        ("callbacks.x.kind=own.Callback", "callbacks.x.kind=own.Callback"),
    ],
)
def test_an_override_is_kept_without_what_is_secret(
    override: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "abc-and-so-on")
    beside = ["callbacks.x.api_key=other"] if override.endswith("kind=own.Callback") else []
    text = good() + "scheduler: {kind: constant}\n"
    document = read([write(text)], [*beside, override], findings := Findings())
    findings.stop_if_any()

    assert kept_override(override, document) == kept
