"""Whatever has a state of its own comes back where it belongs, on the device or on the host.

One run has all of it: on an accelerator, what came back on the wrong side ends it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tests.callbacks.broken_runs import check_resumes_exactly
from tests.device import NAME
from trackside import Callback, Run, Scheduler, Settings, Trainer
from trackside.callbacks import EMA, SWA, EarlyStopping, MetricPlateau
from trackside.testing import tiny_classification

EPOCHS = 2


class Proxies(nn.Module):
    """A loss with centres that are learned, and a buffer that follows what it has seen."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.eye(3))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        if self.training and scores.requires_grad:
            self.scale.lerp_(scores.detach().abs().mean(), 0.1)
        return F.cross_entropy(scores @ self.centres / self.scale, target)


class Weighted(torchmetrics.Metric):
    """The share of right classes, each with a weight that is a buffer and no state."""

    weights: Tensor
    right: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([1.0, 2.0, 3.0]))
        self.add_state("right", default=torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("seen", default=torch.zeros(()), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        weight = self.weights[target]
        self.right += (weight * (prediction.argmax(1) == target)).sum()
        self.seen += weight.sum()

    def compute(self) -> Tensor:
        return self.right / self.seen


class Logs(Callback[Run]):
    """Values of every kind under one name: after a resume, kept ones stand beside new ones."""

    def on_step_end(self, run: Run) -> None:
        step = run.progress.steps_completed
        weight = next(run.model.parameters()).detach().sum()
        kinds: list[Any] = [0.5, np.float32(0.25), weight, weight.cpu(), torch.tensor(2)]
        run.log("mixed", kinds[step % len(kinds)])
        run.log("number", float(step))


class Watch(Callback[Run]):
    """Has the state of the loss, to be compared; and where tensors of the run are at its end."""

    kinds: set[str]

    def __init__(self, loss: Proxies) -> None:
        self.loss = loss

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The loss has its state back already, by the trainer."""

    def on_fit_end(self, run: Run) -> None:
        states = [value for state in run.optimizer.state.values() for value in state.values()]
        held = [value for value in states if isinstance(value, Tensor)]
        trained = [*run.model.buffers(), *self.loss.parameters(), *self.loss.buffers()]
        self.kinds = {tensor.device.type for tensor in [*held, *trained]}


def make(more: list[Callback[Any]]) -> Trainer:
    task, loss = tiny_classification(), Proxies()
    return Trainer(
        task.model,
        loss=loss,
        optimizer=lambda p: torch.optim.SGD([*p, *loss.parameters()], lr=0.05, momentum=0.9),
        scheduler=Scheduler(
            lambda o: ReduceLROnPlateau(o, patience=0, threshold=0.5),
            monitor="val/loss",
        ),
        metrics={"weighted": Weighted()},
        callbacks=[
            Logs(),
            EMA(0.5, evaluate=False),
            SWA("2 steps", every="1 step"),
            EarlyStopping("val/loss", patience=50),
            MetricPlateau("val/loss", window=1, min_improvement=0.0),
            Watch(loss),
            *more,
        ],
        defaults=False,
        settings=Settings(directory="run", log_every="2 steps"),
    )


def fit(trainer: Trainer) -> Any:
    task = tiny_classification()
    result = trainer.fit(task.train, task.validation, epochs=EPOCHS)
    assert trainer.callbacks[Watch].kinds == {NAME}
    return result


def test_averages_plateaus_histories_generators_and_buffers_go_on_after_a_resume_anywhere() -> None:
    assert check_resumes_exactly(make, fit) >= 6
