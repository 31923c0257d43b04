"""Runs that crash in ten ways, each at a step or epoch of its own, and leave a capsule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.proof.programs import history, made, network, points, provenance
from trackside import Callback, Program, Run, Settings, Trainer, program
from trackside.callbacks import Checkpoint, CrashCapsule
from trackside.run import Evaluation

STEPS_OF_AN_EPOCH = 8


class Broken(Exception):
    """The crash."""


class Steps(Trainer):
    """Breaks in a step, by its number."""

    how = ""
    at = -1

    def training_step(self, run: Run, batch: Any) -> Any:
        output = super().training_step(run, batch)
        if run.progress.steps_completed + 1 != self.at:
            return output
        if self.how == "step":
            raise Broken(f"loss {output.loss.item()!r}")
        if self.how == "shapes":
            return output.loss + torch.ones(3) @ torch.ones(2)
        if self.how in ("nan raised", "nan stopped"):
            return output._replace(loss=output.loss * float("nan"))
        return output

    def optimizer_step(self, run: Run, optimizer: Any) -> None:
        if self.how == "optimizer" and run.progress.steps_completed + 1 == self.at:
            raise Broken(f"update {next(iter(run.model.parameters())).sum().item()!r}")
        optimizer.step()


class Listener(Callback[Run]):
    """Breaks in a hook, at one step."""

    def __init__(self, how: str, at: int) -> None:
        self.how, self.at = how, at

    def _break(self, run: Run, hook: str, step: int) -> None:
        if self.how == hook and step == self.at:
            raise Broken(f"{hook} with {next(iter(run.model.parameters())).sum().item()!r}")

    def on_epoch_start(self, run: Run) -> None:
        self._break(run, "on_epoch_start", run.progress.steps_completed)

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self._break(run, "on_batch_end", run.progress.steps_completed + 1)

    def on_step_end(self, run: Run) -> None:
        self._break(run, "on_step_end", run.progress.steps_completed)

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        if self.how == "on_evaluation_end" and run.progress.steps_completed >= self.at:
            raise Broken(f"evaluated {evaluation.metrics['val/loss']!r}")


class Rows:
    """Rows of which one can't be read."""

    def __init__(self, bad: int | None) -> None:
        self.inputs, self.target = points(64, 0).tensors
        self.bad = bad

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.bad:
            raise Broken(f"row {index} can't be read")
        return self.inputs[index], self.target[index]


KINDS = (
    "step",
    "shapes",
    "optimizer",
    "on_batch_end",
    "on_step_end",
    "on_evaluation_end",
    "metric",
    "data",
    "nan raised",
    "nan stopped",
)


@program
def crashing(
    directory: str, how: str, at: int = 10, data: bool = True, limit: float = 5
) -> Program:
    """A run of 24 steps that crashes.

    Args:
        directory: Its folder.
        how: One of `KINDS`.
        at: The step at which it does; for data, the row.
        data: Whether the capsule keeps the batch.
        limit: Its most megabytes.
    """
    plain = made(directory)

    def metric(prediction: Tensor, target: Tensor) -> Tensor:
        if how == "metric" and trainer._run is not None:
            steps = trainer._run.progress.steps_completed
            if steps >= at:
                raise Broken(f"metric after {steps} steps")
        return (prediction.argmax(1) == target).float().mean()

    kind: Any = type("Crashing", (Steps,), {"how": how, "at": at})
    policy: Any = {"nan raised": "raise", "nan stopped": "stop"}.get(how)
    trainer: Trainer = kind(
        network,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.05),
        metrics={"accuracy": metric},
        callbacks={
            "checkpoint": Checkpoint(every="7 steps", keep_last=None, background=False),
            "provenance": provenance(),
            "history": history(),
            "listener": Listener(how, at),
            "capsule": CrashCapsule(data=data, limit_megabytes=limit),
        },
        settings=Settings(
            device="cpu",
            directory=plain.settings.directory,
            log_every="1 step",
            non_finite=policy,
        ),
        defaults=False,
        seed=at,
    )
    rows = Rows(at if how == "data" else None)
    loader: DataLoader[Any] = DataLoader(rows, batch_size=8, shuffle=True)  # type: ignore[arg-type]
    return Program(trainer, loader, points(16, 1), options={"epochs": 3})
