from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tests.dialects.training import fit
from trackside import Callback, Run
from trackside.errors import UsageError
from trackside.trainer.frozen import Frozen


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.__setitem__("a", 2),
        lambda values: values["inner"].__setitem__("b", 2),
        lambda values: values.__delitem__("a"),
        lambda values: values.update(a=2),
        lambda values: values.pop("a"),
        lambda values: values.setdefault("c", 3),
        lambda values: values.clear(),
        lambda values: values.popitem(),
        lambda values: values.__ior__({"a": 2}),
    ],
)
def test_nothing_can_be_changed(change: Callable[[Any], Any]) -> None:
    values = Frozen({"a": 1, "inner": {"b": 1}}, "run.config")

    with pytest.raises(UsageError, match=r"run\.config can't be changed"):
        change(values)
    assert values == {"a": 1, "inner": {"b": 1}}


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, dict, lambda values: pickle.loads(pickle.dumps(values))],
)
def test_a_copy_can_be_changed(copied: Callable[[Any], Any]) -> None:
    values = copied(Frozen({"a": 1}, "run.config"))
    values["a"] = 2

    assert values == {"a": 2}


def test_it_is_written_as_json() -> None:
    assert json.dumps(Frozen({"a": {"b": [1]}}, "run.config")) == '{"a": {"b": [1]}}'


def test_the_configuration_of_a_run_is_read_and_not_changed() -> None:
    class Changes(Callback):
        def on_fit_start(self, run: Run) -> None:
            assert run.config["seed"] == 0
            run.config["seed"] = 5  # type: ignore[index]

    with pytest.raises(UsageError, match=r"run\.config can't be changed"):
        fit(Changes(), epochs=1)
