from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.config.files import good, write
from tests.config.parts import Color, Everything, Range
from trackside.config import ExperimentError, load
from trackside.config.checking.fitting import check
from trackside.config.checking.options import Options, docs_of, options_of, summary_of
from trackside.config.checking.wording import describe
from trackside.schedule import Every


def made(options: str) -> dict[str, Any]:
    """What `Everything` receives when it is made with `options`."""
    write(good(more=f"metrics: {{all: {{kind: tests.config.parts.Everything, {options}}}}}\n"))
    everything = load("run.yaml").metrics["all"].build()
    assert isinstance(everything, Everything)
    return everything.given


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("count: 5", 5),
        ("share: 1", 1.0),
        ("share: 1e-3", 1e-3),
        ("word: '5'", "5"),
        ("flag: true", True),
        ("mode: max", "max"),
        ("path: a/b", Path("a/b")),
        ("path: null", None),
        ("pair: [1, 2.5]", (1.0, 2.5)),
        ("words: [a, b]", ["a", "b"]),
        ("by_name: {a: 1}", {"a": 1}),
        ("color: blue", Color.BLUE),
        ("either: 3", 3),
        ("either: x", "x"),
        ("every: 100 steps", Every(steps=100)),
        ("every: 2 minutes or 1 epoch", Every(seconds=120) | Every(epochs=1)),
        ("every: {steps: 5, last: true}", Every(steps=5, last=True)),
        ("every_n_epochs: 3", Every(epochs=3)),
        ("every_n_updates: 3", Every(steps=3)),
        ("every_n_samples: 50_000", Every(samples=50_000)),
        ("limits: {low: -1}", Range(low=-1.0)),
        ("device: cpu", torch.device("cpu")),
        ("dtype: bfloat16", torch.bfloat16),
        ("anything: {a: [1, x]}", {"a": [1, "x"]}),
    ],
)
def test_a_value_arrives_as_the_constructor_wants_it(option: str, value: object) -> None:
    found = made(option)
    name = "every" if option.startswith("every") else option.partition(":")[0]
    assert found[name] == value
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    "option",
    [
        "count: '5'",
        "count: 5.0",
        "count: true",
        "share: '0.5'",
        "share: true",
        "word: 5",
        "flag: 1",
        "flag: 'true'",
        "mode: Max",
        "path: 5",
        "pair: [1]",
        "pair: [1, 2, 3]",
        "words: ab",
        "words: [1]",
        "by_name: {a: x}",
        "by_name: [a]",
        "color: green",
        "either: 1.5",
        "every: often",
        "limits: {low: x}",
        "limits: 3",
        "device: gpuu",
        "dtype: float33",
        "module: 3",
        "function: relu",
    ],
)
def test_a_value_of_another_type_is_refused_at_its_option(option: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        made(option)
    (problem,) = caught.value.problems
    name = option.partition(":")[0]
    assert problem.path[:3] == ("metrics", "all", name)
    assert problem.expected


def test_kinds_may_be_nested_anywhere() -> None:
    found = made(
        "module: {kind: Sequential, args: [{kind: Linear, in_features: 2, out_features: 3}, "
        "{kind: torch.nn.ReLU}]}, modules: [{kind: Tanh}], "
        "anything: {deep: [{kind: tests.config.parts.Range, high: 2}]}"
    )
    assert [type(layer).__name__ for layer in found["module"]] == ["Linear", "ReLU"]
    assert isinstance(found["modules"][0], torch.nn.Tanh)
    assert found["anything"] == {"deep": [Range(high=2.0)]}


def test_a_partial_kind_is_a_function_with_some_options_filled_in() -> None:
    found = made("function: {kind: torch.nn.functional.leaky_relu, partial: true, inplace: false}")
    assert found["function"](torch.tensor(-1.0)) == pytest.approx(-0.01)


def test_a_class_of_another_base_is_refused() -> None:
    with pytest.raises(ExperimentError, match="expected: a Module"):
        made("module: {kind: tests.config.parts.Range}")


def test_a_hint_that_can_not_be_evaluated_is_left_to_the_constructor() -> None:
    def function(a: NoSuchName, b: int) -> None: ...  # type: ignore[name-defined] # noqa: F821

    table = options_of(function).table
    assert table["a"].hint is Any
    assert table["b"].hint is int


def test_a_callable_without_a_signature_takes_anything() -> None:
    assert options_of(dict) == Options(open=True)


def test_options_handed_on_to_the_base_are_known_with_their_types() -> None:
    class Base:
        def __init__(self, width: int, depth: int = 2) -> None: ...

    class Child(Base):
        def __init__(self, name: str, **rest: Any) -> None:
            super().__init__(**rest)

    options = options_of(Child)
    assert list(options.table) == ["name", "width", "depth"]
    assert options.table["width"].hint is int
    assert options.open


def test_what_the_docstring_says_of_an_option_is_found() -> None:
    class Documented:
        """Does something,
        in two lines.

        Args:
            width: How wide, in pixels;
                at least 1.
            depth (int): How deep.

        Raises:
            ValueError: Never.
        """

        def __init__(self, width: int, depth: int) -> None: ...

    assert docs_of(Documented) == {
        "width": "How wide, in pixels; at least 1.",
        "depth": "How deep.",
    }
    assert summary_of(Documented) == "Does something, in two lines."


def test_hints_are_told_in_words() -> None:
    words = {name: describe(option.hint) for name, option in options_of(Everything).table.items()}
    assert words == {
        "count": "a whole number",
        "share": "a number",
        "word": "text",
        "flag": "true or false",
        "mode": "one of min, max",
        "path": "a path or null",
        "pair": "a list of 2: a number, a number",
        "words": "a list, each item text",
        "by_name": "a mapping, each value a whole number or null",
        "color": "one of red, blue",
        "either": "a whole number or text",
        "every": "a schedule such as `100 steps`, `1 epoch` or `10 minutes`",
        "limits": "a Range (a mapping with `kind:`) or null",
        "module": "a Module (a mapping with `kind:`) or null",
        "modules": "a list, each item a Module (a mapping with `kind:`)",
        "function": "a function (a mapping with `kind:`) or null",
        "device": "a device such as cpu, cuda or cuda:1 or null",
        "dtype": "a dtype such as float32 or bfloat16",
        "anything": "any value",
    }


def test_limits_in_annotations_are_held() -> None:
    from typing import Annotated

    from pydantic import Field

    hint = Annotated[int, Field(ge=1)]
    assert check(1, hint, lambda _: False) == (1, [])
    (mismatch,) = check(0, hint, lambda _: False)[1]
    assert mismatch.expected == "a whole number of at least 1"


def test_every_hint_of_the_trainer_is_understood() -> None:
    from trackside.config.checking.trainer_options import trainer_options

    for option in trainer_options().options.table.values():
        assert describe(option.hint) != "any value", option.name
        assert option.doc, f"`{option.name}` has no description"
        assert option.default is not inspect.Parameter.empty
