"""`compile=True`: one graph per mode of the model, whatever listens; none of our code breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import EMA, ClipGradients, GradientNorm, Histograms, Unfreeze
from trackside.testing import Task, tiny_classification


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class InEveryHook(Callback[Any]):
    """Listens within steps, replaces batches, logs, and stands around each step."""

    def on_step_start(self, run: Run) -> None:
        """Nothing."""

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        return tuple(batch)

    def on_backward_end(self, run: Run, loss: Any) -> None:
        run.log("scaled", loss * 2)

    def on_step_end(self, run: Run) -> None:
        """Nothing."""

    def step_context(self, run: Run) -> Any:
        return torch.profiler.record_function("step")


def even() -> Task:
    """Batches of one size: another size is another graph, in a loop written by hand too."""
    return tiny_classification(samples=32, batch_size=8)


def graphs(task: Task, *callbacks: Callback[Any], **options: Any) -> int:
    """Graphs that are compiled in a run of three epochs with evaluations."""
    counter = CompileCounter()
    task.trainer(
        callbacks=callbacks,
        settings=Settings(compile={"backend": counter}, directory="run", log_every="3 steps"),
        **options,
    ).fit(task.train, task.validation, epochs=3)
    return int(counter.frame_count)


CASES: dict[str, Callable[[], tuple[list[Callback[Any]], dict[str, Any]]]] = {
    "default callbacks": lambda: ([], {"defaults": True}),
    "listening everywhere": lambda: ([InEveryHook()], {}),
    "changing weights and gradients": lambda: (
        [EMA(0.9), ClipGradients(norm=0.1), GradientNorm("1 step"), Histograms("4 steps")],
        {},
    ),
    "accumulation": lambda: ([], {"accumulate": 2}),
}


@pytest.mark.not_standin("torch.compile")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_callbacks_cause_no_recompilation(case: Any) -> None:
    callbacks, options = case()

    assert graphs(even(), *callbacks, **options) == 2, "one for training, one for evaluation"
    assert not counters["graph_break"]


@pytest.mark.not_standin("torch.compile")
@pytest.mark.skipif(
    torch.__version__ < "2.9", reason="compiles one graph for frozen and thawed parameters alike"
)
def test_a_callback_that_changes_what_is_computed_is_seen() -> None:
    # The comparison can fail: thawing layers is another graph.
    assert graphs(even(), Unfreeze({"0": "2 steps"})) > 2


@pytest.mark.not_standin("torch.compile")
def test_a_break_in_the_model_is_seen() -> None:
    class Breaking(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            torch._dynamo.graph_break()
            return super().forward(inputs)

    task = even()
    task.model = Breaking(4, 3)
    graphs(task)
    assert counters["graph_break"]


@pytest.mark.not_standin("torch.compile")
def test_the_step_itself_compiles_into_one_graph() -> None:
    """Prediction and loss together, for who overrides `training_step` to compile all of it."""
    counter = CompileCounter()

    class Compiled(Trainer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._step = torch.compile(super().training_step, backend=counter, fullgraph=True)

        def training_step(self, run: Any, batch: Any) -> Any:
            return self._step(run, batch)

    task = even()
    trainer = Compiled(task.model, loss=task.loss, optimizer=task.optimizer, defaults=False)
    trainer.fit(task.train, epochs=2)

    assert counter.frame_count == 1


def test_a_compiled_model_computes_what_it_would_compute_otherwise() -> None:
    weights = []
    for compiled in (False, {"backend": "eager"}):
        task = even()
        settings = Settings(compile=compiled, directory="run")
        task.trainer(settings=settings).fit(task.train, epochs=2)
        weights.append(task.weights)
    assert torch.equal(*weights)
