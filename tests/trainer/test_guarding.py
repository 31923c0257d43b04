"""Guards of hooks: the observer that changes something is named, and so is a hook that waits."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from trackside import Callback, Settings, Trainer
from trackside.errors import ObserverError
from trackside.lifecycle.member import Member
from trackside.testing import ScriptedRun, tiny_classification
from trackside.trainer.guarding import ObserverGuard


class Observes(Callback[Any]):
    """Does something in a hook that it should not do."""

    effect = "observes"

    def __init__(self, act: Callable[[Any], Any]) -> None:
        self.act = act

    def on_batch_end(self, run: Any, batch: Any, output: Any) -> None:
        self.act(run)


class Unsaid(Observes):
    effect = None  # type: ignore[assignment]


class Replaces(Callback[Any]):
    effect = "observes"

    def on_batch_start(self, run: Any, batch: Any) -> Any:
        return [*batch]


class Scales(Callback[Any]):
    """Scales the batch in place for a picture."""

    effect = "observes"

    def on_batch_end(self, run: Any, batch: Any, output: Any) -> None:
        batch[0].mul_(2)


@dataclass
class Pair:
    """A batch that is no container of Python's."""

    inputs: torch.Tensor


class ScalesPair(Callback[Any]):
    """Scales a batch that is an object of a dataclass."""

    effect = "observes"

    def on_batch_end(self, run: Any, batch: Any, output: Any) -> None:
        batch.inputs.mul_(2)


class Fails(Callback[Any]):
    effect = "observes"
    on_error = "warn"

    def on_batch_end(self, run: Any, batch: Any, output: Any) -> None:
        torch.rand(1)


def fit(*callbacks: Callback[Any], guard: Any = "observers") -> Trainer:
    task = tiny_classification()
    trainer = Trainer(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=callbacks,
        defaults=False,
        settings=Settings(guard=guard, device="cpu"),
    )
    trainer.fit(task.train, steps=2)
    return trainer


def first(run: Any) -> torch.Tensor:
    found: torch.Tensor = next(iter(run.model.parameters()))
    return found


def gradient(run: Any) -> torch.Tensor:
    found = first(run).grad
    assert found is not None
    return found


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "weights": (lambda run: first(run).mul_(1.5), "of model"),
    "weights behind autograd": (lambda run: first(run).data.mul_(1.5), "of model"),
    "one bit": (lambda run: first(run).view(torch.int32).add_(1), "of model"),
    "a gradient": (lambda run: gradient(run).mul_(2), "the gradient of"),
    "no gradient": (lambda run: run.model.zero_grad(), "the gradient of"),
    "modes": (lambda run: run.model.eval(), "the modes of model"),
    "frozen": (lambda run: first(run).requires_grad_(False), "wants a gradient"),
    "torch's generator": (lambda run: torch.rand(1), "the random generator of torch"),
    "numpy's generator": (lambda run: np.random.rand(), "the random generator of numpy"),
    "Python's generator": (lambda run: random.random(), "the random generator of python"),
    "a learning rate": (
        lambda run: run.optimizer.param_groups[0].update(lr=9.0),
        "options of group 0",
    ),
    "a stop": (lambda run: run.stop("enough"), "it asked for something"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_observer_that_changes_something_is_named_with_its_hook(what: str) -> None:
    act, words = CHANGES[what]
    with pytest.raises(ObserverError, match=rf"'observes'.*`on_batch_end` changed .*{words}"):
        fit(Observes(act))


@pytest.mark.parametrize("kind", [Replaces, Scales])
def test_the_batch_is_guarded_too(kind: type[Callback[Any]]) -> None:
    with pytest.raises(ObserverError):
        fit(kind())


def test_a_callback_that_warns_of_errors_is_not_forgiven_that() -> None:
    with pytest.raises(ObserverError):
        fit(Fails())


def test_an_observer_that_only_reads_passes() -> None:
    trainer = fit(Observes(lambda run: (first(run).sum().item(), gradient(run).norm().item())))

    assert trainer.result is not None


def test_without_a_guard_nobody_looks() -> None:
    assert fit(Observes(lambda run: torch.rand(1)), guard=None).result is not None


@pytest.mark.parametrize("effect", ["steers", "changes"])
def test_one_that_says_that_it_changes_training_may(effect: Any) -> None:
    callback = Observes(lambda run: torch.rand(1))
    callback.effect = effect

    assert fit(callback).result is not None


def test_one_that_says_nothing_is_reported_as_not_guarded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    callback = Unsaid(lambda run: torch.rand(1))
    fit(callback)

    assert caplog.text.count("'unsaid' doesn't declare its effect: it isn't guarded") == 1


def test_each_place_that_waits_is_reported_once_with_callback_hook_file_and_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def act(run: Any) -> None:
        first(run).sum().item()

    fit(Observes(act), guard="waits")

    line = act.__code__.co_firstlineno + 1
    words = f"callback 'observes' waits for the device in `on_batch_end`: item at {__file__}:{line}"
    assert caplog.text.count(words) == 1


def test_tensors_of_any_batch_are_compared() -> None:
    run = ScriptedRun(ScalesPair())
    guard = ObserverGuard(run)
    member = Member("scales_pair", ScalesPair())
    call = guard(member, "on_batch_end", member.callback.on_batch_end)

    with pytest.raises(ObserverError, match="a tensor of its argument 1"):
        call(run, Pair(torch.ones(2)), None)
