"""An error is kept with the lines of one's own code that it passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trackside import Settings
from trackside.callbacks.reporting.error_places import LONGEST_NOTE, notes_of, places_of
from trackside.testing import tiny_regression

HERE = Path(__file__)


def raised(call: Any) -> BaseException:
    with pytest.raises(ValueError) as caught:
        call()
    return caught.value


def inner() -> None:
    raise ValueError("wrong")


def outer() -> None:
    inner()


def test_lines_are_named_from_the_innermost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parent)
    first, second = places_of(raised(outer))[:2]

    assert first.endswith(" in inner")
    assert second.endswith(" in outer")
    assert first.startswith(f"{HERE.name}:")


def test_a_file_elsewhere_is_named_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert places_of(raised(outer))[0].startswith(f"{HERE}:")


def test_lines_of_packages_and_of_python_are_left_out() -> None:
    wrong = raised(lambda: nn.Linear(2, 1).load_state_dict({"a": inner_of(json.loads)}))

    assert places_of(wrong)[0].endswith(" in inner_of")


def inner_of(call: Any) -> object:
    return call("{")


def test_the_newest_lines_are_kept_of_a_deep_error() -> None:
    def dive(depth: int) -> None:
        if not depth:
            raise ValueError("deep")
        dive(depth - 1)

    assert len(places_of(raised(lambda: dive(50)))) == 5


def test_notes_are_kept_by_their_first_line_and_short() -> None:
    error = ValueError()
    for note in ("one\nand more", "x" * 1000, "three", "four"):
        error.add_note(note)

    assert notes_of(error) == ["one", "x" * LONGEST_NOTE, "three"]
    assert notes_of(ValueError()) == []


def test_the_outcome_of_a_run_has_them(tmp_path: Path) -> None:
    class Breaks(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x[:, :1])

    task = tiny_regression()
    task.model = Breaks(2, 1)
    trainer = task.trainer(defaults=True, settings=Settings(directory=tmp_path))
    with pytest.raises(RuntimeError):
        trainer.fit(task.train, epochs=1)

    kept = json.loads((tmp_path / "outcome.json").read_text())
    assert kept["places"][0].endswith(" in forward")
    assert kept["notes"][0].startswith("`training_step` got the batch")


def test_the_outcome_of_a_run_without_an_error_has_none(tmp_path: Path) -> None:
    task = tiny_regression()
    task.trainer(defaults=True, settings=Settings(directory=tmp_path)).fit(task.train, epochs=1)

    assert "places" not in json.loads((tmp_path / "outcome.json").read_text())
