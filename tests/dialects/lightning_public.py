"""Public callbacks of Lightning, found by search, and callbacks of our own that do the same things.

python -m tests.dialects.lightning_public      writes the table of docs/coming-from/lightning.md
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trackside import Callback as Ours

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from" / "lightning.md"
LIST = Path(__file__).with_suffix(".txt")
HEAD = "| callback | repository | uses | here |\n|---|---|---|---|\n"


@dataclass(frozen=True)
class Public:
    """A callback in a public repository."""

    name: str
    repository: str
    uses: str
    """Hooks and attributes."""
    kind: str = ""
    """Which of `KINDS` does the same."""
    refused: str = ""
    """Why it can't run; empty where it does."""

    @property
    def row(self) -> str:
        here = f"no: {self.refused}" if self.refused else "runs"
        return f"| `{self.name}` | {self.repository} | {self.uses} | {here} |\n"


class Tracker(Ours):
    """Takes what callbacks show."""

    def on_picture(self, run: Any, name: str, picture: Any) -> None:
        """Nothing."""

    def on_histogram(self, run: Any, name: str, histogram: Any) -> None:
        """Nothing."""

    def on_text(self, run: Any, name: str, text: Any) -> None:
        """Nothing."""


class Worked:
    """What a callback notes, to show that it did its work."""

    def __init__(self) -> None:
        self.seen: list[Any] = []


class FreezesParts(Worked):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 0 and hasattr(pl_module, "network"):
            for parameter in pl_module.network.parameters():
                parameter.requires_grad = False
            self.seen.append("frozen")


class NormAfterBackward(Worked):
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        squares = [p.grad.square().sum() for p in pl_module.parameters() if p.grad is not None]
        pl_module.log("train/norm_of_gradients", torch.stack(squares).sum().sqrt())
        self.seen.append(len(squares))


class NormBeforeUpdate(Worked):
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        norms = [p.grad.norm() for group in optimizer.param_groups for p in group["params"]]
        pl_module.log("norm", torch.stack(norms).norm(), on_step=True, on_epoch=False)
        self.seen.append(len(norms))


class Times(Worked):
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.began = time.perf_counter()

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        loss = trainer.callback_metrics["val_loss"].cpu().item()
        self.seen.append((trainer.current_epoch, time.perf_counter() - self.began, loss))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(time.perf_counter() - self.began)

    def on_test_batch_start(self, *given: Any) -> None:
        self.began = time.perf_counter()

    def on_test_batch_end(self, *given: Any) -> None:
        self.seen.append(time.perf_counter() - self.began)


class Rates(Worked):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        for number, optimizer in enumerate(trainer.optimizers):
            for group in optimizer.param_groups:
                pl_module.log(f"rate_{number}", group["lr"])

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        rate = pl_module.trainer.optimizers[0].param_groups[0]["lr"]
        pl_module.log_dict({"rate": rate, "batch": float(batch_idx)})
        self.seen.append(rate)


class AttributesOfModule(Worked):
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.found = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *given: Any) -> None:
        pl_module.found.append(trainer.global_step)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.extend(pl_module.found)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.found.clear()


class Outputs(Worked):
    def on_validation_batch_end(
        self,
        trainer: Any,
        module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.seen.append((batch_idx, dataloader_idx, len(batch[0])))

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        self.seen.append(dict(trainer.logged_metrics))

    def on_test_batch_end(
        self,
        trainer: Any,
        module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        self.seen.append(dataloader_idx)


class Predictions(Worked):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Tensor] = []

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        self.parts.append(outputs)

    def on_predict_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(torch.cat(self.parts).cpu().numpy())
        self.parts = []


class MovingTarget(Worked):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, *given: Any) -> None:
        steps = len(trainer.train_dataloader) * trainer.max_epochs
        share = pl_module.global_step / steps
        for parameter in pl_module.network.parameters():
            parameter.data = (1 - 1e-6 * share) * parameter.data
        self.seen.append(share)


class HistogramsOfData(Worked):
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.every = trainer.log_every_n_steps
        self.handle = pl_module.network.register_forward_hook(self.look)
        self.trainer = trainer

    def look(self, module: Any, given: Any, result: Any) -> None:
        writer = self.trainer.logger.experiment
        writer.add_histogram(tag="output", values=result, global_step=self.trainer.global_step)
        self.seen.append(self.every)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.handle.remove()


class Averages(Worked):
    """Averaged weights in validations and checkpoints."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.average = [p.detach().clone() for p in pl_module.parameters()]
        self.kept: list[Tensor] = []

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        for average, parameter in zip(self.average, pl_module.parameters(), strict=True):
            average.lerp_(parameter.detach(), 0.1)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.kept = [p.detach().clone() for p in pl_module.parameters()]
        for average, parameter in zip(self.average, pl_module.parameters(), strict=True):
            parameter.data.copy_(average)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        for kept, parameter in zip(self.kept, pl_module.parameters(), strict=True):
            parameter.data.copy_(kept)
        self.seen.append(len(self.kept))

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        checkpoint["average"] = {"values": self.average}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        self.average = checkpoint["average"]["values"]


class Histograms(Worked):
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        for name, parameter in pl_module.named_parameters():
            if parameter.requires_grad:
                writer = trainer.logger.experiment
                writer.add_histogram(f"{name}_grad", parameter.grad, trainer.global_step)
        self.seen.append(trainer.is_last_batch)

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        unused: int = 0,
    ) -> None:
        for name, parameter in pl_module.named_parameters():
            trainer.logger.experiment.add_histogram(name, parameter, pl_module.current_epoch)


class Files(Worked):
    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            folder = Path(trainer.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"weights-{trainer.current_epoch}.txt"
            path.write_text(str(sorted(pl_module.state_dict())))
            self.seen.append(path)


class EpochOfData(Worked):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.train_dataloader.dataset.epoch = trainer.current_epoch
        self.seen.append(trainer.datamodule)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any, unused: Any = None) -> None:
        self.seen.append(trainer.train_dataloader.dataset.epoch)


class Memory(Worked):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.began, self.device = time.perf_counter(), trainer.strategy.root_device

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append((batch_idx, self.device.type))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        seconds = trainer.strategy.reduce(torch.tensor(time.perf_counter() - self.began))
        self.seen.append(float(seconds) + trainer.strategy.reduce(1.0))

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, *given: Any, **named: Any
    ) -> None:
        if outputs is not None:
            outputs.clear()


class Metrics(Worked):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._keep(trainer)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._keep(trainer)
        print(f"epoch {trainer.current_epoch}, step {trainer.global_step}")
        print(f"loss: {trainer.callback_metrics['val_loss']:.4f}")

    def _keep(self, trainer: Any) -> None:
        if not trainer.sanity_checking:
            self.seen.append({n: float(value) for n, value in trainer.callback_metrics.items()})


class Pictures(Worked):
    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pictures = torch.rand(2, 1, 4, 4)
        pl_module.logger.experiment.add_images("reconstructions", pictures)
        self.seen.append(pl_module.training)


class LogsItself(Worked):
    log: Any

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        print("training begins")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *given: Any) -> None:
        self.log("own", 11.0)
        self.seen.append(float(trainer.callback_metrics["own"]))


class StopsWhenWorse(Worked):
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        value = trainer.callback_metrics.get("val_loss")
        self.seen.append(float(value))
        stop = trainer.is_global_zero and trainer.current_epoch >= 1
        if trainer.strategy.broadcast(stop):
            trainer.should_stop = True


class MixesBatches(Worked):
    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        points, target = batch
        order = torch.arange(len(points)).flip(0)
        points.mul_(0.9).add_(points[order].clone(), alpha=0.1)
        self.seen.append(len(target))


KINDS: dict[str, type[Worked]] = {
    kind.__name__: kind
    for kind in (
        *(FreezesParts, NormAfterBackward, NormBeforeUpdate, Times, Rates, AttributesOfModule),
        *(Outputs, Predictions, MovingTarget, HistogramsOfData, Averages, Histograms, Files),
        *(EpochOfData, Memory, Metrics, Pictures, LogsItself, StopsWhenWorse, MixesBatches),
    )
}
"""Callbacks of our own that do what public ones do, without a base class."""


def made(kind: str, base: type) -> Any:
    """A callback of that kind, of a base class of Lightning's."""
    return type(kind, (KINDS[kind], base), {})()


def _read() -> tuple[Public, ...]:
    lines = LIST.read_text().splitlines()[1:]
    return tuple(Public(*line.split("\t")) for line in lines)


PUBLIC = _read()
"""Callbacks as they were found, with what they use."""


def table() -> str:
    """The table of the page."""
    return HEAD + "".join(one.row for one in PUBLIC)


def with_table(text: str) -> str:
    """The page with the table as it is here."""
    return re.sub(re.escape(HEAD) + r"(\|.*\|\n)*", lambda _: table(), text)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
