"""How a callback is shown: the call of its constructor."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

from trackside.callbacks import __all__ as BUILT_IN
from trackside.lifecycle.description import described
from trackside.lifecycle.hooks import Callback
from trackside.schedule import Every


class Monitor(Callback[Any]):
    def __init__(
        self,
        value: str = "val/loss",
        every: Every | str = "1 epoch",
        file: Path | str = "file.txt",
        *,
        patience: int = 3,
        names: tuple[str, ...] | None = None,
        hidden: int = 0,
    ) -> None:
        self.value = value
        self.every = Every.parse(every)
        self.file = Path(file)
        self.patience = patience
        self.names = tuple(names or ())
        self._hidden = hidden


@pytest.mark.parametrize(
    ("callback", "shown"),
    [
        (Monitor(), "Monitor()"),
        (Monitor("train/loss"), "Monitor('train/loss')"),
        (Monitor(patience=5), "Monitor(patience=5)"),
        (Monitor("a", "10 steps", Path("b.txt")), "Monitor('a', every='10 steps', file='b.txt')"),
        (Monitor(every=Every(epochs=1)), "Monitor()"),
        (Monitor(names=("a", "b")), "Monitor(names=('a', 'b'))"),
        (Monitor(hidden=1), "Monitor()"),
        (Monitor("x" * 100), f"Monitor('{'x' * 56}...)"),
        (Callback(), "Callback()"),
    ],
)
def test_what_differs_from_the_defaults_is_shown(callback: Callback[Any], shown: str) -> None:
    assert repr(callback) == shown


def test_the_output_of_examples_is_what_they_print() -> None:
    wrong: list[str] = []

    class Runner(doctest.DocTestRunner):
        def report_failure(self, out: Any, test: Any, example: Any, got: str) -> None:
            if example.want:  # most examples show how to make one, not how it is shown
                wrong.append(f"{test.name}: {got.strip()}, not {example.want.strip()}")

        def report_unexpected_exception(self, *arguments: Any) -> None:
            """An optional package is missing."""

    package = importlib.import_module("trackside.callbacks")
    for name in BUILT_IN:
        built_in = getattr(package, name)
        module = importlib.import_module(built_in.__module__)
        for test in doctest.DocTestFinder(recurse=False).find(
            built_in, name, module, globs=dict(vars(module))
        ):
            Runner(verbose=False).run(test)
    assert wrong == []


def test_a_thing_that_can_be_no_key_is_described() -> None:
    class Plain:
        __slots__ = ("__dict__",)
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, size: int = 1) -> None:
            self.size = size

    assert described(Plain(2)) == "Plain(2)"
