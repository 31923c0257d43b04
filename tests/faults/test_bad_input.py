"""What can't work is refused early, in a sentence that says what is wrong, and what to do.

Each row is one mistake; `refused` says where it is found: while the trainer is constructed, when
`fit` is called, or at the first batch. None of them trains a step.
"""

from __future__ import annotations

from collections.abc import Callable as Fn
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tests.faults.figures import Figure
from trackside import (
    Callback,
    Clip,
    Every,
    Output,
    PeriodicCallback,
    Run,
    Scheduler,
    Settings,
    TracksideError,
    Trainer,
)
from trackside.errors import (
    ConfigurationError,
    DataError,
    DuplicateCallbackError,
    LossError,
    MissingRequirementError,
    MonitorError,
    OptimizerError,
    OrderCycleError,
    RegistrationError,
    ScheduleError,
    UnknownHookError,
    UsageError,
)
from trackside.testing import SpyCallback

Fit = dict[str, Any]


def rows(samples: int = 6) -> TensorDataset:
    return TensorDataset(torch.randn(samples, 2), torch.randn(samples, 1))


class Nothing(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


class Texts(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> str:
        return "text"


class Needing(Callback[Run]):
    def __init__(self, path: str) -> None:
        self.path = path


class Misspelt(Callback[Run]):
    def on_train_epch_end(self, run: Run, metrics: Any) -> None: ...


class MisspeltTrainer(Trainer):
    def on_step_ends(self, run: Run) -> None: ...


class Watches(Callback[Run]):
    def __init__(self, *monitors: str) -> None:
        self.monitors = monitors

    logs = ("own/value",)


class After(Callback[Run]):
    runs_after = ("before",)


class Before(Callback[Run]):
    runs_after = (After,)


class Needs(Callback[Run]):
    requires = (Watches,)


class MyRun(Run):
    pass


class Typed(Callback[MyRun]):
    pass


class Beat(PeriodicCallback[Run]):
    pass


class Returns(Trainer):
    """A trainer whose step returns what it is told to."""

    step: Any

    def training_step(self, run: Any, batch: Any) -> Any:
        return self.step(run, batch)


def returning(step: Fn[[Any, Any], Any], **options: Any) -> Fn[..., Trainer]:
    def make(**more: Any) -> Trainer:
        trainer = Returns(**{**more, **options})
        trainer.step = step
        return trainer

    return make


def frozen() -> nn.Module:
    return nn.Linear(2, 1).requires_grad_(False)


def other_sgd() -> SGD:
    return SGD(nn.Linear(2, 1).parameters(), lr=0.1)


def once(samples: int = 6) -> Any:
    return iter(list(DataLoader(rows(samples), batch_size=2)))


SAME = SpyCallback(counts=())

# name: (kind, first line, options of the trainer, arguments of fit)
CONSTRUCTION: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "accumulate of 0": (
        ConfigurationError,
        "accumulate=0 can't be used",
        {"accumulate": 0},
    ),
    "accumulate of 1.5": (
        ConfigurationError,
        "accumulate=1.5 can't be used",
        {"accumulate": 1.5},
    ),
    "unknown precision": (
        ConfigurationError,
        "precision='bf61' doesn't exist",
        {"precision": "bf61"},
    ),
    "unknown device": (
        ConfigurationError,
        "device='gpu' doesn't exist",
        {"settings": Settings(device="gpu")},
    ),
    "device that this machine lacks": (
        ConfigurationError,
        "device='xpu' isn't available on this machine",
        {"settings": Settings(device="xpu")},
    ),
    "metric that can't be called": (
        ConfigurationError,
        "the metric 'accuracy' can't be computed",
        {"metrics": {"accuracy": 3}},
    ),
    "metric class instead of instance": (
        ConfigurationError,
        "the metric 'l1' can't be computed",
        {"metrics": {"l1": nn.L1Loss}},
    ),
    "loss class instead of instance": (
        ConfigurationError,
        "the loss is a class, not a function of prediction and target",
        {"loss": nn.MSELoss},
    ),
    "loss that is text": (ConfigurationError, "loss='mse' can't be used", {"loss": "mse"}),
    "model that is text": (ConfigurationError, "model='resnet' can't be used", {"model": "resnet"}),
    "optimizer that is text": (
        ConfigurationError,
        "optimizer='adam' can't be used",
        {"optimizer": "adam"},
    ),
    "clip of 0": (ConfigurationError, "a clip has one positive limit", {"clip": 0.0}),
    "clip that is text": (ConfigurationError, "clip='1.0' can't be used", {"clip": "1.0"}),
    "misspelt hook": (
        UnknownHookError,
        "`Misspelt.on_train_epch_end` is not a hook: it would never be called.",
        {"callbacks": [Misspelt()]},
    ),
    "misspelt hook of the trainer": (
        UnknownHookError,
        "`MisspeltTrainer.on_step_ends` is not a hook: it would never be called.",
        {"class": MisspeltTrainer},
    ),
    "class instead of a callback": (
        RegistrationError,
        "`Needing` is a class, not a callback",
        {"callbacks": [Needing]},
    ),
    "no callback": (RegistrationError, "3 is not a callback", {"callbacks": [3]}),
    "same instance twice": (
        DuplicateCallbackError,
        "the same instance of `SpyCallback` was added twice",
        {"callbacks": [SAME, SAME]},
    ),
    "circle in the order": (
        OrderCycleError,
        "the order of the callbacks goes in a circle: after -> before -> after",
        {"callbacks": [After(), Before()]},
    ),
    "missing requirement": (
        MissingRequirementError,
        "'needs' needs a callback of class `Watches`",
        {"callbacks": [Needs()]},
    ),
    "run of another kind": (
        MissingRequirementError,
        "`Typed` needs a run that is a `MyRun`, and `run_class` is `Run`",
        {"callbacks": [Typed()]},
    ),
    "default that doesn't exist": (
        ConfigurationError,
        "there is no default callback named 'progres' to remove",
        {"callbacks": {"progres": None}},
    ),
    "schedule that isn't one": (
        ScheduleError,
        "'often' is not a schedule",
        {"class": lambda **_: Settings(log_every="often")},
    ),
}

FIT: dict[str, tuple[type[Exception], str, Fit, dict[str, Any]]] = {
    "no limit": (
        UsageError,
        "`fit` has no limit: it would never end",
        {"epochs": None},
        {},
    ),
    "negative epochs": (UsageError, "epochs=-1 is not a limit", {"epochs": -1}, {}),
    "half an epoch": (UsageError, "epochs=0.5 is not a limit", {"epochs": 0.5}, {}),
    "steps that are text": (UsageError, "steps='10' is not a limit", {"steps": "10"}, {}),
    "no model": (UsageError, "there is no model", {}, {"model": None}),
    "no optimizer": (UsageError, "there is no optimizer", {}, {"optimizer": None}),
    "no loss": (UsageError, "there is no loss", {}, {"loss": None}),
    "data that is nothing": (
        DataError,
        "the data named 'train' can't be passed over",
        {"train": None},
        {},
    ),
    "data that is a tensor": (
        DataError,
        "the data named 'train' can't be passed over",
        {"train": torch.zeros(3, 2)},
        {},
    ),
    "empty data set": (DataError, "the data set named 'train' is empty", {"train": rows(0)}, {}),
    "empty loader": (
        DataError,
        "the data named 'train' is empty",
        {"train": DataLoader(rows(1), batch_size=2, drop_last=True)},
        {},
    ),
    "empty list": (DataError, "the data named 'train' is empty", {"train": []}, {}),
    "empty stream": (DataError, "the data named 'train' gave no batch", {"train": Nothing()}, {}),
    "empty evaluation data": (
        DataError,
        "the data named 'val' is empty",
        {"validation": []},
        {},
    ),
    "iterator that runs out": (
        UsageError,
        "the data named 'train' can be passed over once only",
        {"train": once(), "epochs": 2},
        {},
    ),
    "evaluation data that runs out": (
        UsageError,
        "the data named 'val' can be passed over once only",
        {"validation": once()},
        {},
    ),
    "data name with a slash": (
        UsageError,
        "data can't be named 'a/b'",
        {"validation": {"a/b": rows()}},
        {},
    ),
    "data name that is taken": (
        UsageError,
        "two data sets are named 'train'",
        {"validation": {"train": rows()}},
        {},
    ),
    "two data sets of one name": (
        UsageError,
        "two data sets are named 'val'",
        {"validation": rows(), "data": {"val": rows()}},
        {},
    ),
    "evaluation on two units at once": (
        ScheduleError,
        "a schedule has exactly one unit",
        {"evaluate_every": lambda: Every(steps=1, epochs=1)},
        {},
    ),
    "evaluation on a unit that doesn't exist": (
        ScheduleError,
        "'3 stpes' is not a schedule",
        {"evaluate_every": "3 stpes"},
        {},
    ),
    "optimizer of another model": (
        OptimizerError,
        "the optimizer 'optimizer' holds none of the model's parameters",
        {},
        {"optimizer": other_sgd()},
    ),
    "optimizer that is none": (
        OptimizerError,
        "the optimizer 'optimizer' is not an optimizer",
        {},
        {"optimizer": list},
    ),
    "nothing to train": (
        OptimizerError,
        "nothing in `Linear` can be trained",
        {},
        {"model": frozen},
    ),
    "model that is none": (
        ConfigurationError,
        "the model 'model' is not a torch.nn.Module",
        {},
        {"model": lambda: None},
    ),
    "scheduler that is none": (
        ConfigurationError,
        "the scheduler is not a scheduler",
        {},
        {"scheduler": lambda optimizer: None},
    ),
    "scheduler that moves per batch": (
        ConfigurationError,
        "a scheduler can't move per 'batch'",
        {},
        {"scheduler": lambda: Scheduler(lambda o: StepLR(o, 1), interval="batch")},  # type: ignore[arg-type]
    ),
    "scheduler of another optimizer": (
        ConfigurationError,
        "there is a scheduler for 'optimiser', and no such optimizer",
        {},
        {"scheduler": {"optimiser": lambda o: StepLR(o, 1)}},
    ),
    "monitor that nothing logs": (
        MonitorError,
        "'watches' watches 'val/los', and nothing logs it",
        {"validation": rows()},
        {"callbacks": [Watches("val/los")]},
    ),
    "monitor without evaluation data": (
        MonitorError,
        "'watches' watches 'val/loss', and nothing logs it",
        {},
        {"callbacks": [Watches("val/loss")]},
    ),
    "plateau without evaluation data": (
        MonitorError,
        "'scheduler' watches 'val/loss', and nothing logs it",
        {},
        {"scheduler": ReduceLROnPlateau},
    ),
    "batch that isn't understood": (
        DataError,
        "the batch isn't understood",
        {"train": Texts()},
        {},
    ),
    "batch of three": (
        DataError,
        "the batch isn't understood",
        {"train": TensorDataset(*[torch.zeros(4, 2)] * 3)},
        {},
    ),
    "loss that isn't a scalar": (
        LossError,
        "the loss isn't a scalar",
        {},
        {"loss": nn.MSELoss(reduction="none")},
    ),
    "loss without a gradient": (
        LossError,
        "the loss has no gradient: nothing would be trained",
        {},
        {"loss": lambda prediction, target: prediction.detach().mean()},
    ),
    "loss that is a number": (
        LossError,
        "the loss is not a tensor",
        {},
        {"class": returning(lambda run, batch: Output(0.5))},  # type: ignore[arg-type]
    ),
    "step that returns nothing": (
        LossError,
        "the step returned no loss",
        {},
        {"class": returning(lambda run, batch: None)},
    ),
    "step that returns a mapping without a loss": (
        LossError,
        "the step returned no loss",
        {},
        {"class": returning(lambda run, batch: {"los": 1})},
    ),
}


def options_for(given: dict[str, Any]) -> tuple[Fn[..., Trainer], dict[str, Any]]:
    own = {
        "model": nn.Linear(2, 1),
        "loss": nn.MSELoss(),
        "optimizer": lambda p: SGD(p, lr=0.1),
        "defaults": any(value is None for value in dict(given.get("callbacks") or {}).values())
        if isinstance(given.get("callbacks"), dict)
        else False,
    }
    options = {**own, **given}
    return options.pop("class", Trainer), options


@pytest.mark.parametrize("name", CONSTRUCTION)
def test_it_is_refused_when_the_trainer_is_made(name: str, figure: Figure) -> None:
    figure("R12", "bad inputs refused early, with a clear error")
    kind, message, given = CONSTRUCTION[name]
    make, options = options_for(given)

    with pytest.raises(TracksideError) as caught:
        make(**options)
    assert type(caught.value) is kind
    assert str(caught.value).splitlines()[0] == message


@pytest.mark.parametrize("name", FIT)
def test_it_is_refused_before_a_step_is_done(name: str, figure: Figure) -> None:
    figure("R12", "bad inputs refused early, with a clear error")
    kind, message, arguments, given = FIT[name]
    make, options = options_for(given)
    spy = SpyCallback(counts=("on_attach", "on_step_end", "on_close"))

    def attempt() -> None:
        built = {k: v() if k == "scheduler" and _is_lazy(v) else v for k, v in options.items()}
        trainer = make(**{**built, "callbacks": [*built.get("callbacks", ()), spy]})
        fit = {"train": rows(), "epochs": 1, **arguments}
        every = fit.get("evaluate_every")
        trainer.fit(**{**fit, **({"evaluate_every": every()} if callable(every) else {})})

    with pytest.raises(TracksideError) as caught:
        attempt()
    assert type(caught.value) is kind
    assert str(caught.value).splitlines()[0] == message
    # An empty evaluation is found when it is due; everything else before the first step.
    assert spy.counts["on_step_end"] == 0
    assert spy.counts["on_attach"] == spy.counts["on_close"]


def _is_lazy(value: Any) -> bool:
    return getattr(value, "__name__", "") == "<lambda>" and not value.__code__.co_argcount


def test_there_are_at_least_fifteen() -> None:
    assert len(CONSTRUCTION) + len(FIT) >= 15


# --- what else the messages say ----------------------------------------------------------------


def message_of(**given: Any) -> str:
    fit = given.pop("fit", {})
    make, options = options_for(given)
    with pytest.raises(TracksideError) as caught:
        make(**options).fit(**{"train": rows(), "epochs": 1, **fit})
    return str(caught.value)


def test_a_monitor_error_lists_what_is_logged_and_the_nearest_name() -> None:
    said = message_of(
        callbacks=[Watches("val/los")],
        metrics={"mae": nn.L1Loss()},
        fit={"validation": rows()},
    )

    assert "expected: one of own/value, train/loss, val/loss, val/mae" in said
    assert "did you mean `val/loss`?" in said


def test_a_monitor_of_data_that_is_not_evaluated_tells_how_to_evaluate_it() -> None:
    said = message_of(callbacks=[Watches("test/loss")], fit={"data": {"test": rows()}})

    assert "give 'test' to `fit` as `validation`" in said


def test_a_batch_that_is_not_understood_is_described() -> None:
    said = message_of(fit={"train": TensorDataset(*[torch.zeros(4, 2)] * 3)})

    assert "received: list(float32 (4, 2), float32 (4, 2), float32 (4, 2))" in said
    assert "override `training_step" in said


def test_a_loss_of_a_wrong_shape_is_told_with_its_shape() -> None:
    said = message_of(loss=nn.MSELoss(reduction="none"))

    assert "received: shape (6, 1)" in said
    assert "loss.mean()" in said


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_wrong_loss_is_told_in_every_precision(precision: str) -> None:
    assert message_of(loss=nn.MSELoss(reduction="none"), precision=precision).startswith(
        "the loss isn't a scalar"
    )


# --- the evaluation, and runs within runs ------------------------------------------------------


def test_an_evaluation_loss_that_is_no_scalar_is_told_at_its_first_batch() -> None:
    class Wrong(Trainer):
        def evaluation_step(self, run: Any, batch: Any) -> Any:
            return run.model(batch[0])

    said = message_of(**{"class": Wrong, "fit": {"validation": rows()}})

    assert said.splitlines()[0] == "what is logged as 'val/loss' isn't a single number"


def test_a_logged_value_that_is_no_number_is_told_where_it_is_logged() -> None:
    def log(run: Run) -> None:
        run.log("norms", torch.zeros(3))

    said = message_of(callbacks=[SpyCallback("on_step_start", log, counts=())])

    assert said.splitlines()[0] == "what is logged as 'train/norms' isn't a single number"


def test_metrics_without_a_prediction_are_told() -> None:
    class Wrong(Trainer):
        def evaluation_step(self, run: Any, batch: Any) -> Any:
            return torch.tensor(1.0)

    said = message_of(
        **{"class": Wrong, "metrics": {"l1": nn.L1Loss()}, "fit": {"validation": rows()}}
    )

    assert said.startswith("there are metrics, and the evaluation step returned no prediction")


@pytest.mark.parametrize("hook", ["on_attach", "on_configure_start", "on_step_end", "on_close"])
@pytest.mark.parametrize("mode", ["fit", "evaluate", "predict"])
def test_a_run_within_a_run_is_refused(hook: str, mode: str) -> None:
    caught: list[Exception] = []

    def again(run: Run, *_: Any) -> None:
        try:
            getattr(trainer, mode)(rows(), **({"epochs": 1} if mode == "fit" else {}))
        except UsageError as error:
            caught.append(error)

    make, options = options_for({"callbacks": [SpyCallback(hook, again, counts=())]})
    trainer = make(**options)
    trainer.fit(rows(), epochs=1)

    assert [str(e).splitlines()[0] for e in caught] == [
        f"`{mode}` was called while the same trainer is running"
    ]


@pytest.mark.parametrize("name", ["a/b", "", "train_recent"])
def test_an_evaluation_by_itself_cannot_have_such_a_name(name: str) -> None:
    make, options = options_for({})

    with pytest.raises(UsageError, match="data can't be named"):
        make(**options).evaluate(rows(), name=name)


def test_to_optimize_by_hand_has_to_be_declared() -> None:
    make, options = options_for({})

    with pytest.raises(UsageError, match="outside of a step that optimizes by hand"):
        make(**options).optimize(torch.tensor(1.0), other_sgd())


def test_nothing_can_be_saved_where_nobody_saves() -> None:
    said = message_of(callbacks=[SpyCallback("on_step_end", lambda run: run.save(), counts=())])

    assert said.startswith("'spy_callback' asked for a checkpoint, and nothing saves any")


def test_a_watched_value_that_an_overridden_hook_of_the_trainer_logs_is_accepted() -> None:
    class Logs(Trainer):
        def on_step_end(self, run: Any) -> None:
            run.log("own/thing", 1.0)

    make, options = options_for({"class": Logs, "callbacks": [Watches("own/thing")]})
    assert make(**options).fit(rows(), epochs=1).history.values("own/thing")


def test_a_clip_and_a_tensor_loss_are_no_mistake() -> None:
    make, options = options_for({"clip": Clip(norm=1.0)})
    result = make(**options).fit(rows(), epochs=1)

    assert isinstance(result.history.latest("train/loss"), float)
    assert not isinstance(result.history.latest("train/loss"), Tensor)
