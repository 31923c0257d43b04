"""Which way the steps of a run go is said before the first, and refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from tests.recorded_graphs import RecordedGraphs
from trackside import Callback, ConfigurationError, Run, Settings, Trainer
from trackside.loop.ways import chosen_way
from trackside.step import capturing, compiling


@pytest.fixture(autouse=True)
def with_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "lacks_compiler", lambda: None)
    monkeypatch.setattr(compiling, "BACKEND", "eager")


class Looks(Callback[Run]):
    """Notes the way, and ends the run before its first step."""

    def __init__(self, asked: Any) -> None:
        self.asked = asked
        self.way = ""

    def on_fit_start(self, run: Run) -> None:
        self.way = chosen_way(run, self.asked, compiles_models=False)
        run.stop("seen")


def looked(step: Any, kind: type[Trainer] = Trainer, **options: Any) -> str:
    """The way that a run of these options takes."""
    looks = Looks(step)
    settings = options.pop("settings", {})
    given: dict[str, Any] = {
        "model": nn.Linear(1, 2),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": lambda p: SGD(p, lr=0.1, momentum=0.9),
        "defaults": False,
        "callbacks": [looks],
        **options,
    }
    places = Settings(device="cpu", directory="run", step=step, **settings)
    batch = (torch.ones(2, 1), torch.zeros(2, dtype=torch.long))
    kind(**given, settings=places).fit([batch] * 3, epochs=2)
    return looks.way


class OwnBackward(Trainer):
    """Adds gradients in a way of its own."""

    def backward(self, run: Any, loss: Tensor) -> None:
        (2 * loss).backward()


class OwnUpdate(Trainer):
    """Updates in a way of its own."""

    def optimizer_step(self, run: Any, optimizer: Any) -> None:
        optimizer.step()


class ByHand(Trainer):
    """Optimizes by hand."""

    manual_optimization = True

    def training_step(self, run: Any, batch: Any) -> Any:
        loss = run.model(batch[0]).sum()
        self.optimize(loss, run.optimizer)
        return loss


class Own(SGD):
    """An optimizer that isn't torch's."""


def hooked(parameters: Any) -> SGD:
    optimizer = SGD(parameters, lr=0.1)
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


def replaced(parameters: Any) -> SGD:
    optimizer = SGD(parameters, lr=0.1)
    optimizer.step = lambda closure=None: None  # type: ignore[method-assign]
    return optimizer


REFUSED: dict[str, tuple[type[Trainer], dict[str, Any]]] = {
    "has its own `backward`": (OwnBackward, {}),
    "has its own `optimizer_step`": (OwnUpdate, {}),
    "optimizes by hand": (ByHand, {"loss": None}),
    "decides on the host": (Trainer, {"precision": "fp16"}),
    "compiles the models already": (Trainer, {"settings": {"compile": {"backend": "eager"}}}),
    "Own isn't one of torch's": (Trainer, {"optimizer": lambda p: Own(p, lr=0.1)}),
    "has hooks of torch around its step": (Trainer, {"optimizer": hooked}),
    "the `step` of this SGD was replaced": (Trainer, {"optimizer": replaced}),
    "OneCycleLR moves the momentum": (
        Trainer,
        {"scheduler": lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=9)},
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_steps_that_can_t_be_compiled_are_refused_with_the_reason(reason: str) -> None:
    kind, options = REFUSED[reason]
    with pytest.raises(ConfigurationError, match=reason):
        looked("compiled", kind, **options)


def test_without_a_compiler_they_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "lacks_compiler", lambda: "there is no C++ compiler")
    with pytest.raises(ConfigurationError, match="there is no C\\+\\+ compiler"):
        looked("compiled")


def test_auto_goes_the_eager_way_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trackside")
    assert looked("auto", OwnUpdate) == (
        "eager, all 6 steps: the trainer has its own `optimizer_step`"
    )
    assert "steps are not compiled: the trainer has its own `optimizer_step`" in caplog.text


def test_auto_compiles_where_that_can_be_done() -> None:
    way = looked("auto")
    assert way == "compiled, all 6 steps: callbacks are called between the compiled parts"


def test_a_cycle_that_leaves_the_momentum_alone_is_compiled() -> None:
    def once(optimizer: Any) -> OneCycleLR:
        return OneCycleLR(optimizer, 0.1, total_steps=9, cycle_momentum=False)

    assert looked("compiled", scheduler=once).startswith("compiled")


def fused(parameters: Any) -> SGD:
    return SGD(parameters, lr=0.1, fused=True)


class Listens(Callback[Run]):
    """Hears the inside of each step."""

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        """Nothing."""


def test_captured_steps_are_refused_on_other_devices() -> None:
    with pytest.raises(ConfigurationError, match="that is for CUDA, and the device is cpu"):
        looked("captured", optimizer=fused)


def test_they_want_an_optimizer_whose_numbers_are_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(capturing.GRAPHS, "cpu", RecordedGraphs)
    with pytest.raises(ConfigurationError, match=r"on the host \(give it fused=True\)"):
        looked("captured")
    with pytest.raises(ConfigurationError, match=r"on the host .*fused=True or capturable=True"):
        looked("captured", optimizer=lambda p: torch.optim.AdamW(p))


@pytest.mark.parametrize(
    ("options", "way"),
    [
        ({}, "captured, all 6 steps but the first 3 of each shape of batch"),
        ({"accumulate": 2}, "eager, all 4 steps: each has 2 batches"),
        ({"callbacks": [Listens()]}, "eager, all 6 steps: heard in their inside by listens"),
    ],
)
def test_it_is_said_how_many_steps_are_captured(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], way: str
) -> None:
    monkeypatch.setitem(capturing.GRAPHS, "cpu", RecordedGraphs)
    looks = Looks("captured")
    given = [looks, *options.pop("callbacks", [])]
    looked("captured", optimizer=fused, **options, callbacks=given)
    assert looks.way == way


def test_an_unknown_way_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="step='compile' doesn't exist") as refused:
        Settings(step="compile")  # type: ignore[arg-type]
    assert "compiled" in str(refused.value)
