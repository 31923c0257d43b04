"""The trainer is bit for bit the loop that one would write by hand with the same seed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from tests.device import DEVICE, NAME
from tests.plans import Plan, plans
from trackside import Callback, Clip, Run, Scheduler, Settings, Trainer, accuracy
from trackside.testing import Recorder, SpyCallback

EPOCHS = 3
SEED = 7


def network(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))
    return layers.to(DEVICE)


def data(samples: int = 42, batch_size: int = 8, **options: Any) -> DataLoader[Any]:
    """42 in batches of 8: the last one has 2, and accumulation by 4 leaves two batches over."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 6, generator=generator)
    target = torch.randint(3, (samples,), generator=generator)
    return DataLoader(TensorDataset(inputs, target), batch_size=batch_size, shuffle=True, **options)


def by_hand(
    model: nn.Module,
    loader: DataLoader[Any],
    optimizer: torch.optim.Optimizer,
    *,
    accumulate: int = 1,
    clip: float | None = None,
    clip_value: float | None = None,
    autocast: torch.dtype | None = None,
    per_step: Any = None,
    per_epoch: Any = None,
) -> list[Tensor]:
    """A plain PyTorch loop; the loss of every batch."""
    losses = []
    torch.manual_seed(SEED)
    model.train()
    for _ in range(EPOCHS):
        total = len(loader)
        for number, batch in enumerate(loader):
            inputs, target = (part.to(DEVICE) for part in batch)
            window_start = number - number % accumulate
            window = min(accumulate, total - window_start)
            around = torch.autocast(NAME, dtype=autocast) if autocast else contextlib.nullcontext()
            with around:
                loss = nn.functional.cross_entropy(model(inputs), target)
            losses.append(loss.detach().clone())
            # Each batch counts by its samples: in proportion to the first, put right at the end.
            if number == window_start:
                first, seen = len(target), 0
            seen += len(target)
            same = len(target) == first
            (loss / window if same else loss * (len(target) / (first * window))).backward()
            if number - window_start + 1 == window:
                if seen != first * window:
                    for parameter in model.parameters():
                        if parameter.grad is not None:
                            parameter.grad *= first * window / seen
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                if clip_value is not None:
                    nn.utils.clip_grad_value_(model.parameters(), clip_value)
                optimizer.step()
                optimizer.zero_grad()
                if per_step is not None:
                    per_step.step()
        if per_epoch is not None:
            per_epoch.step()
    return losses


class Losses(Callback[Run]):
    """Keeps the loss of every batch."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.losses.append(output.loss.detach().clone())


def adam(parameters: Any) -> Adam:
    return Adam(parameters, lr=0.01)


def sgd(parameters: Any) -> SGD:
    return SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)


def one_cycle(optimizer: Any) -> OneCycleLR:
    return OneCycleLR(optimizer, max_lr=0.1, total_steps=EPOCHS * 6)


def step_lr(optimizer: Any) -> StepLR:
    return StepLR(optimizer, step_size=1, gamma=0.5)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # name: options of the trainer, of the loop by hand, and of network, optimizer, data
    "plain": ({}, {}, {}),
    "momentum": ({}, {}, {"optimizer": sgd}),
    "accumulation": ({"accumulate": 4}, {"accumulate": 4}, {}),
    "accumulation beyond the epoch": ({"accumulate": 9}, {"accumulate": 9}, {}),
    "clipped norm": ({"clip": 0.3}, {"clip": 0.3}, {}),
    "clipped value": ({"clip": Clip(value=0.01)}, {"clip_value": 0.01}, {}),
    "bf16": ({"precision": "bf16"}, {"autocast": torch.bfloat16}, {}),
    "scheduler per step": (
        {"scheduler": Scheduler(one_cycle, interval="step")},
        {"per_step": one_cycle},
        {},
    ),
    "scheduler per epoch": ({"scheduler": step_lr}, {"per_epoch": step_lr}, {}),
    "dropout": ({}, {}, {"dropout": 0.5}),
    "dropped last batch": ({}, {}, {"data": {"drop_last": True}}),
    "everything": (
        {"accumulate": 4, "clip": 0.3, "precision": "bf16", "scheduler": step_lr},
        {"accumulate": 4, "clip": 0.3, "autocast": torch.bfloat16, "per_epoch": step_lr},
        {"dropout": 0.5, "optimizer": sgd},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_and_weights_have_the_same_bits(name: str) -> None:
    options, hand, parts = CASES[name]
    make: Callable[[Any], Any] = parts.get("optimizer", adam)
    loader = data(**parts.get("data", {}))

    expected_model = network(parts.get("dropout", 0.0))
    optimizer = make(expected_model.parameters())
    hand = {k: v(optimizer) if k in ("per_step", "per_epoch") else v for k, v in hand.items()}
    expected = by_hand(expected_model, loader, optimizer, **hand)

    model, losses = network(parts.get("dropout", 0.0)), Losses()
    trainer = Trainer(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=make,
        callbacks=[losses],
        defaults=False,
        seed=SEED,
        **options,
    )
    trainer.fit(loader, epochs=EPOCHS)

    assert len(losses.losses) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(losses.losses, expected, strict=True))
    for a, b in zip(model.parameters(), expected_model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_control_fails_where_something_differs() -> None:
    loader = data()
    first, second = network(), network()
    by_hand(first, loader, adam(first.parameters()))
    by_hand(second, loader, adam(second.parameters()), clip=0.3)

    assert not torch.equal(next(first.parameters()), next(second.parameters()))


# --- observers change nothing ------------------------------------------------------------------


def trained(validation: Any = None, callbacks: Any = (), **options: Any) -> Tensor:
    model = network(dropout=0.5)
    trainer = Trainer(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=adam,
        seed=SEED,
        callbacks=callbacks,
        **{"defaults": False, "settings": Settings(directory="run"), **options},
    )
    trainer.fit(data(), validation, epochs=EPOCHS)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Draws(Callback[Run]):
    """Takes random numbers wherever it is not in the way of training."""

    def on_evaluation_batch_end(self, run: Run, *_: Any) -> None:
        torch.rand(3)


OBSERVED: dict[str, dict[str, Any]] = {
    "evaluation": {"validation": data(20)},
    "two evaluations": {"validation": {"a": data(20), "b": data(9)}},
    "evaluation that draws": {"validation": data(20), "callbacks": [Draws()]},
    "metrics": {"validation": data(20), "metrics": {"accuracy": accuracy}},
    "recorder": {"callbacks": [Recorder(), SpyCallback()]},
    "defaults": {"validation": data(20), "defaults": True},
    "records of every step": {"settings": Settings(directory="run", log_every="1 step")},
}


@pytest.mark.parametrize("name", OBSERVED)
def test_observers_leave_the_weights_bitwise_as_they_are(name: str) -> None:
    assert torch.equal(trained(), trained(**OBSERVED[name]))


@settings(max_examples=25, phases=(Phase.generate, Phase.shrink))
@given(plan=plans())
def test_evaluations_on_any_schedule_leave_the_weights_as_they_are(plan: Plan) -> None:
    weights: list[Any] = []
    for one in (plan, dataclasses.replace(plan, evaluations=())):
        trainer = one.trainer()
        one.fit(trainer)
        weights.append(trainer.models["model"].weight)
    assert torch.equal(*weights)


def test_a_generator_shared_by_training_and_evaluation_data_is_left_as_it_was() -> None:
    weights = []
    for evaluated in (False, True):
        shared = torch.Generator().manual_seed(3)
        train, val = data(generator=shared), data(20, generator=shared)
        model = network()
        trainer = Trainer(
            model, loss=nn.CrossEntropyLoss(), optimizer=adam, defaults=False, seed=SEED
        )
        schedule: Any = {"evaluate_every": "2 steps"} if evaluated else {}
        trainer.fit(train, val if evaluated else None, epochs=EPOCHS, **schedule)
        weights.append(next(model.parameters()))

    assert torch.equal(*weights)


def test_evaluation_leaves_modes_gradients_and_generators_as_they_were() -> None:
    seen: list[Any] = []

    def look(run: Run, *_: Any) -> None:
        modes = [m.training for m in run.model.modules()]
        seen.append((modes, torch.get_rng_state(), torch.is_grad_enabled()))

    def freeze(run: Run) -> None:
        run.model[2].eval()  # type: ignore[index]

    callbacks = [
        SpyCallback("on_fit_start", freeze, counts=()),
        SpyCallback("on_train_epoch_end", look, counts=()),
        SpyCallback("on_evaluation_end", lambda run, e: seen.append(run.model.training), counts=()),
        SpyCallback("on_epoch_end", look, counts=()),
    ]
    for number, callback in enumerate(callbacks):
        callback.name = f"c{number}"
    trainer = Trainer(
        network(0.5),
        loss=nn.CrossEntropyLoss(),
        optimizer=adam,
        defaults=False,
        callbacks=callbacks,
    )
    trainer.fit(data(), data(20), epochs=1)

    before, inside, after = seen
    assert inside is False
    assert before[0] == after[0] == [True, True, True, False, True]
    assert torch.equal(before[1], after[1])


# --- means -------------------------------------------------------------------------------------


@settings(max_examples=25, phases=(Phase.generate, Phase.shrink))
@given(
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 9),
    accumulate=st.integers(1, 4),
    validation=st.integers(1, 30),
)
def test_epoch_means_are_the_sample_weighted_means(
    samples: int, batch_size: int, accumulate: int, validation: int
) -> None:
    model = network()
    trainer = Trainer(
        model,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: SGD(p, lr=0.0),  # so that the whole epoch has the same weights
        metrics={"accuracy": accuracy},
        defaults=False,
        accumulate=accumulate,
    )
    train = data(samples, batch_size)
    val = DataLoader(data(validation).dataset, batch_size=batch_size)
    history = trainer.fit(train, val, epochs=1).history

    for name, loader in (("train", train), ("val", val)):
        tensors = loader.dataset.tensors  # type: ignore[attr-defined]
        inputs, target = (tensor.to(DEVICE) for tensor in tensors)
        with torch.no_grad():
            exact = nn.functional.cross_entropy(model(inputs).double(), target)
        (mean,) = history.values(f"{name}/loss")
        assert abs(mean - exact.item()) < 1e-6 * max(1.0, abs(exact.item()))
    right = (model(inputs).argmax(1) == target).double().mean().item()
    assert abs(history.values("val/accuracy")[0] - right) < 1e-12


def test_a_weight_that_the_step_returns_counts_instead_of_samples() -> None:
    from trackside import Output

    class Tokens(Trainer):
        def training_step(self, run: Any, batch: Any) -> Output:
            inputs, weight = batch
            loss = run.model(inputs).sum() * 0 + inputs.mean()
            return Output(loss, weight=weight.sum())

    inputs = torch.tensor([[1.0], [2.0], [4.0]])
    weights = torch.tensor([1.0, 5.0, 2.0])
    trainer = Tokens(nn.Linear(1, 1), optimizer=adam, defaults=False)
    history = trainer.fit(
        DataLoader(TensorDataset(inputs, weights), batch_size=1), epochs=1
    ).history

    assert history.values("train/loss") == pytest.approx([(1 + 10 + 8) / 8], abs=1e-12)


def test_batches_whose_number_is_not_known_have_the_same_share_as_those_that_are() -> None:
    batches = list(DataLoader(data().dataset, batch_size=8))
    weights = []
    for known in (True, False):
        model = network()
        trainer = Trainer(
            model, loss=nn.CrossEntropyLoss(), optimizer=adam, defaults=False, accumulate=4
        )
        train: Any = batches if known else _Endless(batches)
        trainer.fit(train, epochs=2)
        weights.append(next(model.parameters()))

    assert torch.equal(*weights)


class _Endless:
    def __init__(self, batches: list[Any], promised: int | None = None) -> None:
        self._batches = batches

    def __iter__(self) -> Any:
        return iter(self._batches)


class _Promising(_Endless):
    """Promises fewer batches than it gives."""

    def __len__(self) -> int:
        return 4


def test_more_batches_than_promised_still_have_their_share() -> None:
    model = network()
    trainer = Trainer(
        model, loss=nn.CrossEntropyLoss(), optimizer=adam, defaults=False, accumulate=2
    )
    trainer.fit(_Promising(list(DataLoader(data().dataset, batch_size=8))), epochs=1)

    assert all(torch.isfinite(p).all() for p in model.parameters())
