"""ParameterSchedule sets what its address names, as a function of progress."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.callbacks.broken_runs import check_resumes_exactly
from trackside import Callback, Settings, Trainer
from trackside.callbacks.scheduling.parameter_schedule import ParameterSchedule
from trackside.errors import ConfigurationError, ScheduleError
from trackside.run import Run
from trackside.schedule import Every
from trackside.testing import tiny_classification, tiny_regression


class Seen(Callback):
    """What `read` says while each batch goes through the model."""

    def __init__(self, read: Any) -> None:
        self.read = read
        self.values: list[float] = []

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.values.append(self.read(run))


def seen(schedule: ParameterSchedule, read: Any, **limits: Any) -> list[float]:
    task, values = tiny_classification(), Seen(read)
    trainer = task.trainer(callbacks=[schedule, values])
    trainer.fit(task.train, task.validation, **(limits or {"epochs": 2}))
    return values.values


def test_an_attribute_inside_the_model_is_moved_step_by_step() -> None:
    schedule = ParameterSchedule("model.3.p", "linear", 0.4, 0.0, length="4 steps")

    assert seen(schedule, lambda run: run.model[3].p) == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0])


def test_the_loss_can_be_moved() -> None:
    schedule = ParameterSchedule("loss.label_smoothing", "step", 0.4, period="3 steps", factor=0.5)
    found = seen(schedule, lambda run: run.steps.loss.label_smoothing)

    assert found == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.2, 0.2])


def test_all_groups_of_the_optimizer_are_moved_or_one() -> None:
    schedule = ParameterSchedule(
        "optimizer.weight_decay", "multi_step", 1.0, factor=0.1, milestones=["1 epoch"]
    )
    found = seen(schedule, lambda run: run.optimizer.param_groups[0]["weight_decay"])

    assert found == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1, 0.1])
    one = ParameterSchedule("optimizer.0.lr", "constant", 0.007)
    assert seen(one, lambda run: run.optimizer.param_groups[0]["lr"]) == [0.007] * 6


def test_a_milestone_may_be_a_schedule() -> None:
    schedule = ParameterSchedule(
        "model.3.p", "multi_step", 0.4, factor=0.5, milestones=[Every(steps=3), "5 steps"]
    )

    assert schedule.curve.milestones == (3.0, 5.0)


def test_without_a_length_the_way_is_what_is_left_of_the_run() -> None:
    schedule = ParameterSchedule("model.3.p", "linear", 0.4, 0.0, begin="2 steps")
    found = seen(schedule, lambda run: run.model[3].p)

    assert found == pytest.approx([0.4, 0.4, 0.4, 0.3, 0.2, 0.1])


@pytest.mark.cpu("a model that is moved has other tensors")
def test_a_tensor_keeps_its_identity() -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 1)
            self.scale: torch.Tensor
            self.register_buffer("scale", torch.ones(()))

    task = tiny_regression()
    model = Scaled()
    scale = model.scale
    schedule = ParameterSchedule("model.scale", "constant", 2.5)
    trainer = Trainer(
        model, loss=task.loss, optimizer=task.optimizer, callbacks=[schedule], defaults=False
    )
    trainer.fit(task.train, steps=1)

    assert scale is model.scale
    assert model.scale.item() == 2.5


def test_a_whole_number_stays_whole() -> None:
    class Counting(nn.Linear):
        heads = 4

    task = tiny_regression()
    model = Counting(2, 1)
    schedule = ParameterSchedule("model.heads", "linear", 4, 1, length="6 steps")
    trainer = Trainer(
        model, loss=task.loss, optimizer=task.optimizer, callbacks=[schedule], defaults=False
    )
    history = trainer.fit(task.train, steps=3).history

    assert model.heads == 2
    assert isinstance(model.heads, int)
    assert history.latest("schedule/model.heads") == 2


def test_a_curve_of_decimal_numbers_is_not_rounded_where_the_default_is_whole() -> None:
    schedule = ParameterSchedule("model.1.p", "constant", 0.5)
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0))
    task = tiny_regression()
    Trainer(
        model, loss=task.loss, optimizer=task.optimizer, callbacks=[schedule], defaults=False
    ).fit(task.train, steps=1)

    assert model[1].p == 0.5


def test_an_option_of_an_optimizer_is_never_rounded() -> None:
    task = tiny_regression()
    schedule = ParameterSchedule("optimizer.weight_decay", "linear", 0, 1, length="4 steps")
    seen = Seen(lambda run: run.optimizer.param_groups[0]["weight_decay"])
    trainer = task.trainer(
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1), callbacks=[schedule, seen]
    )
    history = trainer.fit(task.train, steps=3).history

    assert seen.values == [0.0, 0.25, 0.5]
    assert history.latest("schedule/optimizer.weight_decay") == 0.75


def test_the_value_is_recorded() -> None:
    task = tiny_regression()
    schedule = ParameterSchedule("optimizer.momentum", "linear", 0.9, 0.5, length="4 steps")
    trainer = task.trainer(callbacks=[schedule], settings=Settings(log_every="2 steps"))
    history = trainer.fit(task.train, steps=4).history

    points = dict(history.points("schedule/optimizer.momentum"))
    assert points == pytest.approx({2: 0.7, 3: 0.6, 4: 0.5})


def test_a_resumed_run_goes_on_along_the_curve() -> None:
    def make(more: list[Callback]) -> Trainer:
        callbacks = [
            ParameterSchedule("model.3.p", "cosine", 0.5, 0.0),
            ParameterSchedule("optimizer.weight_decay", "linear", 0.5, 0.0, length="2 epochs"),
        ]
        callbacks[1].name = "decay"
        return tiny_classification().trainer(callbacks=[*callbacks, *more])

    task = tiny_classification()
    check_resumes_exactly(make, lambda t: t.fit(task.train, task.validation, epochs=3), every_th=2)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("model.head", "names nothing"),
        ("modle.3.p", "did you mean `model`"),
        ("model.3.q", "one of: inplace, p, training"),
        ("loss.label_smoting", "did you mean `label_smoothing`"),
        ("optimizer.momentun", "names nothing"),
        ("optimizer.3.lr", "a number below 1"),
        ("optimizers.adam.lr", "did you mean|one of"),
        ("callbacks.emma", "did you mean|one of"),
        ("model.0", "can't be moved"),
        ("model.3.inplace", "can't be moved"),
        ("model.0.weight", "can't be moved"),
    ],
)
def test_what_can_not_be_moved_is_refused_before_the_first_step(address: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        seen(ParameterSchedule(address, "constant", 0.1), lambda run: 0)


def test_a_run_of_unknown_length_needs_a_length() -> None:
    schedule = ParameterSchedule("model.3.p", "linear", 0.4, 0.0, begin="7 steps")

    with pytest.raises(ConfigurationError, match="say it"):
        seen(schedule, lambda run: 0)


@pytest.mark.parametrize(
    "options",
    [
        {"begin": "1 epoch", "length": "100 steps"},
        {"length": "10 seconds"},
        {"length": "1 epoch or 10 steps"},
    ],
    ids=str,
)
def test_several_units_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ScheduleError, match="one unit"):
        ParameterSchedule("model.p", "linear", 1.0, 0.0, **options)
