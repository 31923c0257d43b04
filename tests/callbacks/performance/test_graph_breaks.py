"""GraphBreaks says why a model can't be compiled in one piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trackside import Callback, Settings, Trainer
from trackside.callbacks.performance.graph_breaks import GraphBreaks
from trackside.testing import tiny_classification

# torch.compile itself, not ours to change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")

REPORT = Path("run/graph_breaks.txt")


class Breaking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = tiny_classification().model

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        torch._dynamo.graph_break()
        return self.layers(x)


def fit(model: nn.Module, *callbacks: Callback, **settings: Any) -> list[Tensor]:
    task = tiny_classification()
    trainer = Trainer(
        model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=callbacks,
        defaults=False,
        seed=0,
        settings=Settings(directory="run", **settings),
    )
    trainer.fit(task.train, steps=2)
    return list(model.state_dict().values())


@pytest.mark.not_standin("torch.compile")
def test_a_model_that_is_not_compiled_is_explained() -> None:
    fit(Breaking(), GraphBreaks())
    text = REPORT.read_text()

    assert "graph breaks: 1" in text
    assert "graphs: 2" in text
    assert "test_graph_breaks.py" in text


def test_the_trial_leaves_weights_buffers_and_generators_alone() -> None:
    tried, plain = fit(Breaking(), GraphBreaks()), fit(Breaking())

    assert all(torch.equal(a, b) for a, b in zip(tried, plain, strict=True))


@pytest.mark.not_standin("torch.compile")
def test_of_a_compiled_model_the_counts_of_its_compilation_are_told() -> None:
    torch._dynamo.reset()
    fit(Breaking(), GraphBreaks(), compile={"backend": "eager"})
    text = REPORT.read_text()

    assert "graph breaks: 0" not in text
    assert "unique_graphs: 2" in text
