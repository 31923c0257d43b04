from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from trackside.config import load

pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, importable as it is from its own folder."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    return importlib.import_module("digits")


def test_the_file_reaches_97_of_100_on_the_test_split(digits: ModuleType) -> None:
    finished = load(EXAMPLES / "digits.yaml").run("by_file")
    assert finished.metrics["test/accuracy"] >= 0.97


def test_the_program_is_bitwise_the_run_of_the_file(digits: ModuleType) -> None:
    by_file = load(EXAMPLES / "digits.yaml", ["trainer.epochs=2"]).run("by_file")
    by_hand, metrics = digits.main(epochs=2)
    assert by_file.metrics == metrics
    for name in ("train/loss", "val/loss", "val/accuracy"):
        assert by_file.result.history.values(name) == by_hand.history.values(name)
    assert by_file.result.outcome.step == by_hand.outcome.step


def test_the_splits_are_disjoint_and_whole(digits: ModuleType) -> None:
    data = sys.modules["digits_data"]
    splits = [data.digits(name).tensors[0].flatten(1) for name in data.SIZES]
    assert sum(len(one) for one in splits) == 1_797
    assert torch.cat(splits).unique(dim=0).shape[0] == 1_797
