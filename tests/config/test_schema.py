from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml

from tests.config.files import good
from trackside.config.builtin_callbacks import builtin_callbacks
from trackside.config.checking.kinds import CALLBACKS
from trackside.config.checking.options import options_of
from trackside.config.experiment.sections import SECTIONS
from trackside.config.schema import as_text, file_schema

ROOT = Path(__file__).parents[2]
PINNED = (ROOT / "constraints.txt").read_text().split()


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found = file_schema()
    jsonschema.Draft7Validator.check_schema(found)
    return found


def wrongs(schema: dict[str, Any], text: str) -> list[str]:
    validator = jsonschema.Draft7Validator(schema)
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


def test_every_section_is_in_the_schema(schema: dict[str, Any]) -> None:
    assert list(schema["properties"]) == list(SECTIONS)


def test_the_schema_is_plain_json(schema: dict[str, Any]) -> None:
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema


@pytest.mark.skipif(
    f"torch=={torch.__version__.split('+')[0]}" not in PINNED,
    reason="the schema has the options of the pinned torch's optimizers; others have more or fewer",
)
def test_the_committed_schema_is_up_to_date(schema: dict[str, Any]) -> None:
    committed = (ROOT / "trackside.schema.json").read_text(encoding="utf-8")
    made = as_text(schema)

    assert json.loads(made) == schema
    differing = set(made.splitlines()) ^ set(committed.splitlines())
    shown = sorted({line.split(":")[0].strip() for line in differing})
    assert committed == made, f"run `make schema`, and commit what it changes: {shown}"


@pytest.mark.parametrize("name", sorted(builtin_callbacks()))
def test_every_option_of_every_callback_is_in_the_schema(schema: dict[str, Any], name: str) -> None:
    properties = schema["definitions"][f"callback.{name}"]["properties"]
    assert options_of(CALLBACKS.resolve(name)).table.keys() <= properties.keys()


@pytest.mark.parametrize(
    "more",
    [
        "",
        "callbacks: {early_stopping: {monitor: val/loss, patience: 3}}\n",
        "callbacks: {progress: null, mine: {kind: my.Callback, anything: 1}}\n",
        "callbacks:\n  - early_stopping\n  - {kind: early_stopping, monitor: val/loss}\n",
        "callbacks: {checkpoint: {every_n_epochs: 2}}\n",
        "callbacks: {checkpoint: {every: '${data.batch_size}'}}\n",
        "scheduler: {kind: step, step_size: 3, interval: step}\n",
        "evaluate: val\n",
        "evaluate: [val]\n",
    ],
)
def test_a_right_file_is_right_by_the_schema(schema: dict[str, Any], more: str) -> None:
    assert wrongs(schema, good(more=more)) == []


@pytest.mark.parametrize(
    ("change", "more"),
    [
        (("optimizer:", "optimiser:"), ""),
        (("lr: 0.1", "learning_rate: 0.1"), ""),
        (("lr: 0.1", "lr: fast"), ""),
        (("epochs: 1", "epoch: 1"), ""),
        (("epochs: 1", "epochs: many"), ""),
        (("seed: 1", "seed: one"), ""),
        (("seed: 1", "seed: 2"), "callbacks: {early_stopping: {patiense: 3}}\n"),
        (("seed: 1", "seed: 2"), "callbacks:\n  - {kind: early_stopping, patience: x}\n"),
        (("seed: 1", "seed: 2"), "callbacks: {mine: {patience: 3}}\n"),
        (("seed: 1", "seed: 2"), "scheduler: {kind: step, gamma: 0.1}\n"),
    ],
)
def test_a_wrong_file_is_wrong_by_the_schema(
    schema: dict[str, Any], change: tuple[str, str], more: str
) -> None:
    assert wrongs(schema, good(change, more=more))


EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_right_by_the_schema_and_says_where_it_is(
    schema: dict[str, Any], path: Path
) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=../trackside.schema.json\n")
    assert wrongs(schema, text.replace("3e-3", "3.0e-3")) == []
