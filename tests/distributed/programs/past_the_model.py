"""Steps that call a model in every way, and what is said of those that can't be trained on ranks.

Arguments: folder, strategy. Each case is a run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from claims import claim
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from trackside import Callback, Run, Settings, TracksideError, Trainer
from trackside.distributed import DDP, leave
from trackside.distributed.state import whole

RANK = int(os.environ["RANK"])
INPUTS = torch.randn(48, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = INPUTS.sum(1, keepdim=True)
EPOCHS, BATCH, RATE = 2, 12, 0.05


class Net(nn.Module):
    """Two layers, of which a step may call each, or a method."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 1)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.encoded(inputs))
        return found

    def encoded(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.body(inputs).tanh()
        return found

    def loss_of(self, inputs: Tensor, target: Tensor) -> Tensor:
        return mse_loss(self.head(self.encoded(inputs)), target)


class Plain(Trainer):
    def training_step(self, run: Run, batch: Any) -> Any:
        return mse_loss(run.model(batch[0]), batch[1])


class Own(Trainer):
    def training_step(self, run: Run, batch: Any) -> Any:
        return mse_loss(self.model(batch[0]), batch[1])


class Method(Trainer):
    def training_step(self, run: Any, batch: Any) -> Any:
        return run.model.loss_of(*batch)


class Parts(Trainer):
    def training_step(self, run: Any, batch: Any) -> Any:
        return mse_loss(self.predict_step(run, batch), batch[1])

    def evaluation_step(self, run: Any, batch: Any) -> Any:
        return mse_loss(self.predict_step(run, batch), batch[1])

    def predict_step(self, run: Any, batch: Any) -> Any:
        return run.model.head(self.model.body(batch[0]).tanh())


class Optimized(Trainer):
    manual_optimization = True

    def training_step(self, run: Any, batch: Any) -> Any:
        loss = mse_loss(self.model(batch[0]), batch[1])
        self.optimize(loss, run.optimizer)
        return loss.detach()


class ByHand(Trainer):
    manual_optimization = True

    def training_step(self, run: Any, batch: Any) -> Any:
        loss = mse_loss(run.model(batch[0]), batch[1])
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.optimizer.zero_grad()
        return loss.detach()


class Unfreezes(Callback):
    """Lets the body learn from a moment on."""

    def __init__(self, epochs: int | None = None, steps: int | None = None, on: int = -1) -> None:
        self.epochs = epochs
        self.steps = steps
        self.on = on

    def on_configure_end(self, run: Any) -> None:
        run.model.body.requires_grad_(False)

    def on_epoch_start(self, run: Any) -> None:
        if self.on in (-1, RANK) and run.progress.epochs_completed == self.epochs:
            run.model.body.requires_grad_(True)

    def on_step_start(self, run: Any) -> None:
        if run.progress.steps_completed == self.steps:
            run.model.body.requires_grad_(True)


def trainer(
    kind: type[Trainer], folder: Path, model: Any, callbacks: Any = (), **options: Any
) -> Trainer:
    strategy = options.pop("strategy", sys.argv[2])
    return kind(
        model,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=RATE),
        callbacks=callbacks,
        defaults=False,
        seed=0,
        settings=Settings(directory=folder, strategy=strategy),
        **options,
    )


def all_of(made: Trainer) -> Trainer:
    """The trainer, whose optimizer holds frozen parameters as well."""
    made.optimizer = lambda _: torch.optim.SGD(made.model.parameters(), lr=RATE)
    return made


def trained(made: Trainer, **limits: Any) -> list[float] | str:
    """All weights after training, or the text of the error."""
    data = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=BATCH)
    try:
        made.fit(data, **(limits or {"epochs": EPOCHS}))
    except TracksideError as error:
        leave(failed=True)
        return f"{type(error).__name__}: {error}"
    parameters = made.models["model"].parameters()
    return [value for parameter in parameters for value in whole(parameter).flatten().tolist()]


def expected(accumulate: int = 1, frozen_epochs: int = 0) -> list[float]:
    """The weights of the loop that everybody writes, in one process."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for epoch in range(EPOCHS):
        model.body.requires_grad_(epoch >= frozen_epochs)
        for start in range(0, len(INPUTS), BATCH * accumulate):
            rows = slice(start, start + BATCH * accumulate)
            mse_loss(model(INPUTS[rows]), TARGETS[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
    return [value for p in model.parameters() for value in p.detach().flatten().tolist()]


class Two(nn.Module):
    """Two heads, of which a step calls one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 1).double(), nn.Linear(4, 1).double()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.first(inputs)
        return found


class Elsewhere(Trainer):
    """Trains a module that is no part of a model."""

    def configure_optimizers(self, run: Any) -> Any:
        self.extra = nn.Linear(1, 1).double()
        return torch.optim.SGD([*run.model.parameters(), *self.extra.parameters()], lr=RATE)


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 2 + RANK), nn.Linear(2 + RANK, 1)).double()


def main(folder: Path, sharded: bool) -> None:
    for kind in (Plain, Own, Method, Parts, Optimized, ByHand):
        claim(kind.__name__, trained(trainer(kind, folder, Net)))
    parts, data = trainer(Parts, folder, Net), TensorDataset(INPUTS[:20], TARGETS[:20])
    claim("evaluated", parts.evaluate(data, batch_size=4)["test/loss"])
    claim("predicted", parts.predict(data, batch_size=4).flatten().tolist())
    with torch.no_grad():
        found = Net()(INPUTS[:20])
    claim("untrained", [mse_loss(found, TARGETS[:20]).item(), found.flatten().tolist()])
    claim("accumulated", trained(trainer(Parts, folder, Net, accumulate=2)))
    claim("unfrozen", trained(all_of(trainer(Plain, folder, Net, [Unfreezes(epochs=1)]))))
    claim("by hand", [expected(), expected(accumulate=2), expected(frozen_epochs=1)])
    cases: dict[str, Callable[[], Trainer]] = {
        "unfrozen within an epoch": lambda: all_of(
            trainer(Plain, folder, Net, [Unfreezes(steps=2)])
        ),
        "unfrozen on one rank": lambda: all_of(
            trainer(Plain, folder, Net, [Unfreezes(epochs=1, on=1)])
        ),
        "elsewhere": lambda: trainer(Elsewhere, folder, Net),
        "shapes": lambda: trainer(Plain, folder, wide()),
        "unused": lambda: trainer(Plain, folder, Two),
    }
    for name, make in cases.items():
        claim(name, trained(make()))
    if not sharded:
        static = {"strategy": DDP(static_graph=True), "accumulate": 2}
        claim("static", trained(trainer(Plain, folder, Net, **static)))
        looking = {"strategy": DDP(find_unused_parameters=True)}
        claim("looked for", trained(trainer(Plain, folder, Two, **looking)))
        claim("the last step", trained(trainer(Plain, folder, Two), steps=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "fsdp")
