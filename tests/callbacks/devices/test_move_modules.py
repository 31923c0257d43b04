"""MoveModules puts parts where they are wanted, and back where that is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.device import NAME
from trackside import Callback, Trainer
from trackside.callbacks.averaging.ema import EMA
from trackside.callbacks.devices.move_modules import MoveModules
from trackside.errors import ConfigurationError
from trackside.run import Run
from trackside.testing import tiny_regression

# The meta device stands for an accelerator: it can be moved to, and nothing can be computed on it.


class Critic(nn.Linear):
    """Keeps in mind where it was sent, and stays."""

    def to(self, device: torch.device) -> Critic:  # type: ignore[override]
        self.sent = [*getattr(self, "sent", []), device.type]
        return self


class WithTeacher(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Linear(2, 1)
        self.teacher = nn.Linear(2, 1).requires_grad_(False)
        self.register_buffer("scale", torch.ones(1))
        self.critic = Critic(2, 1).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x)


class Places(Callback):
    """Where the teacher is, whenever somebody could look."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def _look(self, when: str, run: Run) -> None:
        teacher: Any = run.model.teacher
        self.seen.append((when, teacher.weight.device.type))

    def on_step_start(self, run: Run) -> None:
        self._look("step", run)

    def on_evaluation_batch_start(self, run: Run, evaluation: Any, batch: Any) -> None:
        self._look("evaluation", run)

    def on_close(self, run: Run, outcome: Any) -> None:
        self._look("close", run)


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    task = tiny_regression()
    given: dict[str, Any] = {"loss": task.loss, "optimizer": task.optimizer, **options}
    return Trainer(WithTeacher(), callbacks=callbacks, defaults=False, **given)


def test_a_part_of_the_model_moves_for_good() -> None:
    task, places = tiny_regression(), Places()
    trainer(MoveModules({"model.teacher": "meta"}), places).fit(task.train, steps=1)

    assert places.seen == [("step", "meta"), ("close", "meta")]


def test_a_part_can_be_there_during_evaluations_only() -> None:
    task, move = tiny_regression(), MoveModules({"model.critic": "meta"}, when="evaluation")
    running = trainer(move)
    running.fit(task.train, task.validation, epochs=2)

    assert running.model.critic.sent == ["meta", NAME, "meta", NAME]


def test_it_comes_back_when_an_evaluation_breaks() -> None:
    class Breaking(Callback):
        def on_evaluation_batch_start(self, run: Run, evaluation: Any, batch: Any) -> None:
            raise ValueError("broken")

    task, move = tiny_regression(), MoveModules({"model.critic": "meta"}, when="evaluation")
    running = trainer(move, Breaking())
    with pytest.raises(ValueError, match="broken"):
        running.fit(task.train, task.validation, epochs=1)

    assert running.model.critic.sent == ["meta", NAME]


def test_a_loss_with_weights_of_its_own_moves_to_the_device_of_the_run() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight: Tensor
            self.register_buffer("weight", torch.ones(1, device="meta"))

        def to(self, device: Any) -> Loss:  # type: ignore[override]
            self.register_buffer("weight", torch.ones(1).to(device))
            return self

        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            return (self.weight * (prediction - target)).square().mean()

    task = tiny_regression()
    result = trainer(MoveModules({"loss": "run"}), loss=Loss()).fit(task.train, steps=1)

    assert result.outcome.step == 1


def test_averages_move_after_they_are_made() -> None:
    task, ema = tiny_regression(), EMA(every="2 epochs", evaluate=False)
    trainer(MoveModules({"callbacks.ema": "meta"}), ema).fit(task.train, steps=1)

    assert all(t.is_meta for t in ema.state_dict()["averages"]["0.999"].values())


def test_a_buffer_moves_as_well() -> None:
    running = trainer(MoveModules({"model.scale": "meta"}))
    running.fit(tiny_regression().train, steps=1)

    assert running.model.scale.is_meta


def test_it_moves_for_an_evaluation_alone() -> None:
    places = Places()
    trainer(MoveModules({"model.teacher": "meta"}), places).evaluate(tiny_regression().validation)

    assert {device for _, device in places.seen} == {"meta"}


@pytest.mark.parametrize(
    ("modules", "when", "message"),
    [
        ({"model.pupil": "cpu"}, "setup", "names nothing"),
        ({"model.student.in_features": "cpu"}, "setup", "can't be moved"),
        ({"model.student.weight": "cpu"}, "setup", "can't be moved"),
        ({"callbacks.ema": "cpu"}, "evaluation", "device"),
    ],
)
def test_what_can_not_be_moved_is_refused(modules: Any, when: Any, message: str) -> None:
    task = tiny_regression()
    running = trainer(MoveModules(modules, when=when), EMA(every="2 epochs", evaluate=False))

    with pytest.raises(ConfigurationError, match=message):
        running.fit(task.train, task.validation, epochs=1)


@pytest.mark.parametrize(
    "options",
    [{"modules": {}}, {"modules": {"loss": "gpu"}}, {"modules": {"loss": "cpu"}, "when": "now"}],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        MoveModules(**options)
