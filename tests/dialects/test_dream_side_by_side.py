"""The callbacks that Dream Trainer ships, in its own trainer and in Trackside, on one task.

The same recorder stands behind each of them in both: events come in the same order, with the same
counters, batches and losses; the weights are the same at the end.

Of its package, 0.3.0, the module `registry` is needed and is in no package that it requires. One
class of it is imported, for exports alone: `torch.nn.Module` stands in for it here.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Dataset

from tests.dialects.compared import DREAM
from trackside import Settings, Trainer

if "registry" not in sys.modules:
    sys.modules["registry"] = ModuleType("registry")
    sys.modules["registry"].Module = nn.Module  # type: ignore[attr-defined]
callbacks = pytest.importorskip("dream_trainer.callbacks")

from dream_trainer import DreamTrainer, DreamTrainerConfig  # noqa: E402 - after the stand-in
from dream_trainer.configs import (  # noqa: E402
    CheckpointParameters,
    DeviceParameters,
    TrainingParameters,
)
from dream_trainer.trainer.abstract import AbstractTrainer  # noqa: E402

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

EPOCHS, BATCH_SIZE = 2, 4
HOOKS = [name for name in vars(callbacks.Callback) if name.startswith(("pre_", "post_"))]
OF_LOADING = "post_load_state_dict"
LOGGED: list[Any] = []


class Rows(Dataset[Any]):
    """Sums of two numbers, as mappings."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(count, 2, generator=generator)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.inputs[index], "y": self.inputs[index].sum(0, keepdim=True)}


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The data to train on, and that of the validation."""
    return DataLoader(Rows(12, 1), BATCH_SIZE), DataLoader(Rows(8, 2), BATCH_SIZE)


def model_of_the_task() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def loss_of(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.mse_loss(model(batch["x"]), batch["y"])


class World:
    """One process on a CPU: what their trainer asks of its world, which wants an accelerator."""

    device, world_mesh = torch.device("cpu"), None
    dp_size, is_global_zero = 1, True

    def launch(self) -> None:
        store = distributed.HashStore()  # type: ignore[attr-defined]
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)

    def barrier(self) -> None: ...
    def set_pg_timeouts(self, timeout: Any) -> None: ...

    @contextmanager
    def train_context(self) -> Iterator[None]:
        yield

    def get_total_norm(self, parameters: Any, **_: Any) -> Tensor:
        return nn.utils.get_total_norm([p.grad for p in parameters])


class TheirTrainer(DreamTrainer):  # type: ignore[misc]
    """Their trainer, without its world and without Weights & Biases."""

    def __init__(self, config: Any, model: nn.Module) -> None:
        self.callbacks_of_config = config.callbacks
        self.config, self.callbacks = config, config.callbacks
        self.seed, self.project, self.group = 0, config.project, config.group
        self.experiment, self.device_parameters = config.experiment, config.device_parameters
        self.training_parameters, self.world = config.training_parameters, World()
        self.global_step = self.current_epoch = self.local_batches = self._local_step = 0
        self.training = self.is_sanity_validation = False
        self.model = model
        self.callbacks.initialize(self)

    def configure(self) -> None: ...

    def setup(self) -> None:
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self._loaders = loaders()

    train_dataloader = property(lambda self: self._loaders[0])
    val_dataloader = property(lambda self: self._loaders[1])

    def named_models(self) -> Any:
        return {"model": self.model}

    def named_optimizers(self) -> Any:
        return {"optimizer": self.optimizer}

    def named_schedulers(self) -> Any:
        return {}

    def named_metrics(self) -> Any:
        return {}

    def get_model(self, name: str) -> nn.Module:
        return self.named_models()[name]

    def get_module(self, fqn: str) -> nn.Module:
        return self.model

    def get_model_by_optimizer(self, name: str) -> nn.Module:
        return self.model

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = loss_of(self.model, batch)
        loss.backward()
        if not self.is_accumulating_gradients:
            self.step(self.optimizer)
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": loss_of(self.model, batch)}

    def log_config(self, config: Any) -> None: ...
    def finish(self, exit_code: int = 0) -> None: ...

    def log_dict(self, logs: Any, **_: Any) -> None:
        LOGGED.append((self.global_step, dict(logs)))


TheirTrainer.__abstractmethods__ = frozenset()  # what sets up is done by `setup`


class OurTrainer(Trainer):
    """Ours, with the same step."""

    def training_step(self, run: Any, batch: Any) -> Any:
        return {"loss": loss_of(run.model, batch)}

    evaluation_step = training_step


def recorder() -> Any:
    """A callback of theirs that notes each hook, with the counters and what it gets."""

    def noting(hook: str) -> Any:
        def noted(self: Any, *given: Any) -> None:
            values: list[Any] = [self.trainer.global_step, self.trainer.local_batches]
            values.append(self.trainer.current_epoch)
            values.append(self.trainer.training)
            for one in given:
                if isinstance(one, dict) and "loss" in one and not hook.endswith("_epoch"):
                    values.append(round(float(one["loss"]), 5))
                elif isinstance(one, dict) and "x" in one:
                    values.append(len(one["x"]))
                elif isinstance(one, int):
                    values.append(one)
            early = hook in ("pre_launch", "pre_configure", "post_configure", "pre_setup")
            self.seen.append((hook, [] if early else values))

        return noted

    hooks = {hook: noting(hook) for hook in HOOKS if hook != OF_LOADING}
    kind = type("Recorder", (callbacks.Callback,), {"_dependency": AbstractTrainer, **hooks})
    found = kind()
    found.seen = []
    return found


def kept_by(built_in: Any) -> dict[str, Any]:
    """Averages that a callback keeps."""
    return {name: one.state_dict() for name, one in getattr(built_in, "ema_models", {}).items()}


def theirs(name: str, model: nn.Module) -> tuple[list[Any], dict[str, Any]]:
    noting, built_in = recorder(), made_of(name)
    config = DreamTrainerConfig(
        project="project",
        group="group",
        experiment="experiment",
        device_parameters=DeviceParameters(),
        training_parameters=TrainingParameters(n_epochs=EPOCHS),
        callbacks=callbacks.CallbackCollection([noting, built_in]),
    )
    LOGGED.clear()
    try:
        TheirTrainer(config, model).fit()
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return list(noting.seen), kept_by(built_in)


def ours(name: str, model: nn.Module) -> tuple[list[Any], dict[str, Any]]:
    noting, built_in = recorder(), made_of(name)
    trainer = OurTrainer(
        model,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        callbacks=[noting, built_in],
        defaults=False,
        settings=Settings(device="cpu", directory="run"),
    )
    train, validation = loaders()
    trainer.fit(train, validation, epochs=EPOCHS)
    return list(noting.seen), kept_by(built_in)


def made_of(name: str) -> Any:
    options = dict(DREAM[name].options)
    if "config" in options:
        options["config"] = CheckpointParameters(**options["config"])
    return getattr(callbacks, name)(**options)


def test_every_callback_of_the_package_is_in_the_table() -> None:
    bases = ("Callback", "RankZeroCallback", "CallbackCollection", "Fp8QuantizeConfig")
    assert set(callbacks.__all__) - set(bases) == set(DREAM)


RUN_HERE = [name for name, case in DREAM.items() if not case.refused and not case.needs]


@pytest.mark.parametrize("name", RUN_HERE)
def test_events_and_values_are_those_of_their_own_trainer(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    first = model_of_the_task()
    second = copy.deepcopy(first)

    expected, average = theirs(name, first)
    seen, kept = ours(name, second)

    assert [hook for hook, _ in seen] == [hook for hook, _ in expected]
    assert seen == expected
    torch.testing.assert_close(kept, average)
    torch.testing.assert_close(first.state_dict(), second.state_dict())


@pytest.mark.parametrize("name", [name for name, case in DREAM.items() if case.refused])
def test_one_that_reaches_into_their_trainer_is_refused_with_the_native_way(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AttributeError, match=DREAM[name].refused):
        ours(name, model_of_the_task())
