"""Callbacks of other frameworks on one rank or several: what they are told on each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Settings, Trainer
from trackside.dialects import (
    adaptive_neural_network,
    dream_trainer,
    nn_handler,
    noether,
    pytorch_accelerated,
    state_file,
)

FOLDER = Path(sys.argv[1])


def data(samples: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(samples)
    inputs = torch.randn(samples, 2, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def numbered(count: int) -> TensorDataset:
    numbers = torch.arange(count, dtype=torch.float64).reshape(-1, 1)
    return TensorDataset(numbers.repeat(1, 2), numbers)


def fit(*callbacks: Any, epochs: int = 2) -> Any:
    """Train on 10 samples in batches of 4, evaluate 5 in batches of 2."""
    torch.manual_seed(0)
    trainer = Trainer(
        nn.Linear(2, 1).double(),
        loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        callbacks=callbacks,
        defaults=False,
        seed=0,
        settings=Settings(device="cpu", directory=FOLDER, strategy="auto"),
    )
    return trainer.fit(
        DataLoader(data(10), 4, shuffle=True),
        DataLoader(data(5), 2),
        epochs=epochs,
        data={"test": DataLoader(numbered(7), 2)},
    )


class Logs(nn_handler.Callback):
    """The logs of each epoch and of the end, and the rank."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(dict(logs))

    def on_train_end(self, logs: Any = None) -> None:
        assert self.handler is not None
        self.end = dict(logs)
        self.rank, self.size = self.handler._rank, self.handler._world_size
        if self.handler._rank == 0:
            self.handler.save(FOLDER / "rank-zero.pth")


class Saving(adaptive_neural_network.Callback):
    """Saves on every rank, as the example does; one of them writes."""

    def on_epoch_end(self, epoch: int, trainer: Any, logs: Any = None) -> None:
        trainer.save_checkpoint(FOLDER / f"{epoch}.pt")


class Stopping(pytorch_accelerated.TrainerCallback):
    """Ends training from the last rank alone."""

    def on_train_step_end(self, trainer: Any, step: int, **kwargs: Any) -> None:  # type: ignore[override]
        last = trainer._accelerator.process_index == trainer._accelerator.num_processes - 1
        if last and trainer.run_history.current_epoch == 2 and step == 0:
            raise pytorch_accelerated.StopTrainingError("the last rank has enough")


class Gathering(pytorch_accelerated.TrainerCallback):
    """Collects losses of all ranks, and sizes of batches."""

    def on_train_step_end(self, trainer: Any, batch: Any, **kwargs: Any) -> None:  # type: ignore[override]
        config = trainer.run_config
        per_device, total = config["train_per_device_batch_size"], config["train_total_batch_size"]
        if not hasattr(self, "sizes"):
            self.sizes = [len(batch[0]), per_device, total]

    def on_eval_epoch_end(self, trainer: Any, **kwargs: Any) -> None:
        self.loss = trainer.run_history.get_latest_metric("eval_loss_epoch")
        self.losses = trainer.gather(torch.tensor(self.loss)).tolist()


class Predicting(noether.PeriodicDataIteratorCallback):
    """Keeps what it gets of a data set."""

    def process_data(self, batch: Any, **_: Any) -> Any:
        inputs, target = batch
        return {"target": target, "prediction": self.model(inputs), "size": len(inputs)}

    def process_results(self, results: Any, **_: Any) -> None:
        self.targets = results["target"].flatten().tolist()
        self.predictions = results["prediction"].flatten().tolist()
        self.sizes = results["size"].tolist()


class Backwards(Predicting):
    """The same with a sampler of its own."""

    def register_sampler_config(self) -> Any:
        return noether.SamplerIntervalConfig(sampler=[6, 5, 4, 2, 0], batch_size=2)


class Zero(dream_trainer.RankZeroCallback):
    """Counts its calls."""

    calls = 0

    def post_epoch(self) -> None:
        self.calls += 1


class Reducing(dream_trainer.Callback):
    """Averages over the ranks."""

    def pre_launch(self) -> None:
        self.group = torch.distributed.is_initialized()

    def post_train_epoch(self, result: Any) -> None:
        world = self.trainer.world
        self.mean = world.all_reduce(torch.tensor(float(world.rank)), op="mean").item()
        self.loss = world.all_reduce(result["loss"], op="mean")
        self.zero = world.is_global_zero


written: list[str] = []
write = state_file.write


def counted(path: Any, state: Any) -> None:
    """Count the files that this rank writes."""
    written.append(Path(path).name)
    write(path, state)


state_file.write = counted

logs, gathering, zero, reducing = Logs(), Gathering(), Zero(), Reducing()
every: dict[str, Any] = {"every_n_epochs": 1, "dataset_key": "test"}
config = noether.PeriodicDataIteratorCallbackConfig(**every)
predicting, backwards = Predicting(config), Backwards(config)
result = fit(logs, Saving(), gathering, predicting, backwards, zero, reducing)
claim("logs", logs.epochs)
claim("end", logs.end)
claim("rank", [logs.rank, logs.size])
claim("failed", dict(result.failed_callbacks))
claim("gathered", [gathering.loss, gathering.losses])
claim("sizes", gathering.sizes)
claim("written", written)
claim("predicted", [predicting.targets, predicting.predictions, predicting.sizes])
claim("backwards", [backwards.targets, backwards.sizes])
claim("rank zero calls", zero.calls)
claim("reduced", [reducing.group, reducing.mean, reducing.loss, reducing.zero])

stopped = fit(Stopping(), epochs=50)
claim("stopped", [stopped.outcome.step, stopped.outcome.reason])
claim("epoch", state_file.read(FOLDER / "1.pt")["epoch"])
