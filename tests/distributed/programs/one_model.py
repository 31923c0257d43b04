"""Batch norm on several ranks: which model is evaluated, averaged, saved and resumed.

Arguments: folder, strategy. Each case is a run.
"""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import torch
from claims import claim
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as loss_of
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks import EMA, SWA, Checkpoint, SaveWeights
from trackside.distributed import DDP, FSDP, Parallel
from trackside.distributed.state import whole

RANK = int(os.environ["RANK"])
SAMPLES = 72  # the last batch is smaller, and still has two samples for each of four ranks
INPUTS = torch.randn(SAMPLES, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INPUTS = INPUTS * torch.linspace(0.2, 5, SAMPLES).unsqueeze(1) + torch.linspace(-2, 2, 8)
DATA = TensorDataset(INPUTS, (INPUTS.sum(1, keepdim=True) > 0).double())


class Centre(nn.Module):
    """Subtracts the mean of all that it has seen: a buffer that training depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8, dtype=torch.float64))
        self.mean: Tensor

    def forward(self, inputs: Tensor) -> Tensor:
        centred = inputs - self.mean.clone()
        if self.training:
            self.mean.lerp_(inputs.detach().mean(0), 0.1)
        return centred


class Lookup(nn.Module):
    """Adds a row of a table, whose gradients are sparse."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(2, 8, sparse=True)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = inputs + self.table((inputs[:, 0] > 0).long())
        return found


def net(first: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    return nn.Sequential(first or nn.Identity(), *layers).double()


def batches() -> DataLoader[Any]:
    return DataLoader(DATA, batch_size=16)


def loss_in_one_process(state: dict[str, Tensor]) -> float:
    model = net()
    model.load_state_dict(state)
    with torch.no_grad():
        return loss_of(model.eval()(INPUTS), DATA.tensors[1]).item()


def wholes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: whole(tensor).clone() for name, tensor in state.items()}


class Ends(Callback):
    """Ends the run after an epoch, with a checkpoint of it."""

    def on_epoch_end(self, run: Run, metrics: Any) -> None:
        if run.progress.epochs_completed == 2:
            run.stop("two epochs are done")


def trainer(
    folder: Path,
    callbacks: dict[str, Any],
    strategy: str | Parallel,
    first: nn.Module | None = None,
) -> Trainer:
    return Trainer(
        net(first),
        loss=loss_of,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=callbacks,
        defaults=False,
        seed=0,
        settings=Settings(directory=folder, strategy=strategy),
    )


def judged(folder: Path, strategy: str | Parallel, name: str, average: Any) -> None:
    callbacks = {"checkpoint": Checkpoint(), **({} if average is None else {"average": average})}
    callbacks["weights"] = SaveWeights()
    made = trainer(folder / name, callbacks, strategy)
    result = made.fit(batches(), DATA, epochs=3, batch_size=16)
    state = wholes(made.models["model"].state_dict())
    buffers = {k: v.flatten().tolist() for k, v in state.items() if v.ndim == 1 and "." in k}
    recorded = result.history.latest("val/loss")
    again = made.evaluate(DATA, name="val", batch_size=16)["val/loss"]
    claim(f"{name}: buffers", buffers)
    if isinstance(average, EMA):
        saved = wholes(average.weights())
        claim(f"{name}: losses", [recorded, again, loss_in_one_process(saved)])
        return
    claim(f"{name}: losses", [recorded, again, loss_in_one_process(state)])
    if average is None and RANK == 0:
        file = load_file(folder / name / "weights.safetensors")
        claim("saved", [recorded, loss_in_one_process(file)])
    if isinstance(average, SWA):
        model = net()
        model.load_state_dict(state)
        one = copy.deepcopy(model)
        update_bn(batches(), one)
        names = ("2.running_mean", "2.running_var")
        difference = max((one.state_dict()[n] - state[n]).abs().max().item() for n in names)
        claim("swa: difference from one process", difference)


def digest(made: Trainer) -> list[float]:
    state = wholes(made.models["model"].state_dict())
    return [value for tensor in state.values() for value in tensor.double().flatten().tolist()]


def resumed(folder: Path, strategy: str | Parallel, first: type[nn.Module] = Centre) -> list[bool]:
    """The same training unwatched, evaluated and saved, and interrupted and gone on with."""
    watched = trainer(folder / "watched", {"checkpoint": Checkpoint("3 steps")}, strategy, first())
    watched.fit(batches(), DATA, epochs=3, batch_size=16, evaluate_every="2 steps")
    alone = trainer(folder / "alone", {}, strategy, first())
    alone.fit(batches(), epochs=3)

    def half(*more: Any) -> Trainer:
        named = {"checkpoint": Checkpoint("3 steps"), **({"ends": more[0]} if more else {})}
        return trainer(folder / "half", named, strategy, first())

    half(Ends()).fit(batches(), DATA, epochs=3, batch_size=16)
    again = half()
    again.fit(batches(), DATA, epochs=3, batch_size=16, resume="auto")
    return [digest(alone) == digest(watched), digest(again) == digest(watched)]


def main(folder: Path, strategy: str | Parallel) -> None:
    judged(folder, strategy, "plain", None)
    judged(folder, strategy, "ema", EMA(0.9))
    judged(folder, strategy, "ema-copy", EMA(0.9, buffers="copy"))
    judged(folder, strategy, "swa", SWA("1 epoch"))
    found = [resumed(folder / "usual", strategy)]
    if strategy == "ddp":
        found.append(resumed(folder / "apart", DDP(sync_buffers=False)))
        found.append(resumed(folder / "static", DDP(static_graph=True)))
        found.append(resumed(folder / "sparse", strategy, Lookup))
    claim("unwatched, resumed is the same", found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), FSDP(replicas=2) if sys.argv[2] == "hsdp" else sys.argv[2])
