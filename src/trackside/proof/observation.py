"""Observation of one step: its batches, losses, gradients, activations, and what isn't finite."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.callbacks.gradients.norms import total_norm
from trackside.data.batches import changed, fields_of, parts_of
from trackside.lifecycle.hooks import Callback
from trackside.loop.state import TRAIN
from trackside.models.naming import named_parameters, prefixed
from trackside.progress import TrainingBatch
from trackside.proof.per_sample import losses_of_samples
from trackside.run import Run
from trackside.step.output import as_output


@dataclass(slots=True)
class Activation:
    """Output of one module in a step."""

    module: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    non_finite: int = 0
    """Values in it that are NaN or infinite."""


@dataclass(slots=True)
class ObservedBatch:
    """One batch of a step."""

    batch: TrainingBatch
    loss: float | None = None
    sample_losses: list[float] | None = None
    """The loss of each sample, in the order of the batch; None where the loss doesn't show it."""

    def ranked(self) -> list[tuple[int, float]]:
        """Pairs (place in the batch, loss), the largest loss first, NaN before all."""
        pairs = list(enumerate(self.sample_losses or ()))
        return sorted(pairs, key=lambda pair: -pair[1] if pair[1] == pair[1] else -float("inf"))


@dataclass(slots=True)
class Observation:
    """Values of one step. Norms are Euclidean."""

    step: int
    epoch: int = 0
    batches: list[ObservedBatch] = field(default_factory=list)
    gradient_norm: float | None = None
    """Of all parameters, before clipping; None with fp16, whose gradients are scaled then."""
    applied_gradient_norm: float | None = None
    """Of all parameters, as they were applied."""
    module_gradient_norms: dict[str, float] = field(default_factory=dict)
    """As applied, by module that has parameters itself."""
    group_gradient_norms: dict[str, float] = field(default_factory=dict)
    """As applied, by parameter group of the optimizers."""
    learning_rates: dict[str, float] = field(default_factory=dict)
    """By parameter group, as used in the step."""
    activations: list[Activation] = field(default_factory=list)
    """In the order in which modules gave them."""
    non_finite: dict[str, int] = field(default_factory=dict)
    """Values that are NaN or infinite, by tensor: `batch`, `gradient of layer.weight`, ..."""
    seconds: float = 0.0
    """Time of the step, its observation included."""

    @property
    def loss(self) -> float | None:
        """The mean of the losses of its batches."""
        known = [one.loss for one in self.batches if one.loss is not None]
        return sum(known) / len(known) if known else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "loss": self.loss}


class _HasLoss(Protocol):
    loss: Any


class Observer(Callback[Run]):
    """Observes the steps that it hears, and keeps the last.

    Args:
        trainer: Its loss is taken apart for single samples.
        keep_batches: Whether to keep copies of the batches, on the host.
    """

    def __init__(self, trainer: _HasLoss, *, keep_batches: bool = False) -> None:
        self.trainer = trainer
        self.keep_batches = keep_batches
        self.seen = Observation(0)
        self.batches: list[Any] = []
        """Copies of the batches, where they are kept."""
        self._hooks: list[Any] = []
        self._began = 0.0

    def on_step_start(self, run: Run) -> None:
        """A step begins: nothing is known of it yet."""
        self._began = time.perf_counter()
        self.seen = Observation(run.progress.steps_completed + 1, run.progress.epochs_completed)
        self.batches.clear()
        for before, model in prefixed(run.models):
            for name, module in model.named_modules():
                listener = partial(self._gave, before + name)
                self._hooks.append(module.register_forward_hook(listener))
        self.seen.learning_rates = {name: float(g["lr"]) for name, g in run.parameter_groups}

    def on_batch_start(self, run: Run, batch: Any) -> None:
        """Note which batch it is."""
        progress = run.progress
        known = run.data[TRAIN].identify(
            progress.epochs_completed, progress.epoch_batches_completed
        )
        self.seen.batches.append(ObservedBatch(known))
        self._count("batch", *(part for part in parts_of(batch) if isinstance(part, Tensor)))
        if self.keep_batches:
            self.batches.append(changed(batch, _on_host))

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        """Note the norm of what is accumulated by now."""
        if run.precision.scaler is None:
            self.seen.gradient_norm = _norm(p for _, p in named_parameters(run.models))

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        """Note the loss, and that of each sample."""
        found, seen = as_output(output), self.seen.batches[-1]
        seen.loss = float(found.loss.detach())
        self._count("loss", found.loss)
        with torch.no_grad():
            each = losses_of_samples(self.trainer.loss, found.prediction, found.target)
        seen.sample_losses = None if each is None else each.tolist()

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        """Note the gradients as they are applied."""
        parameters = dict(named_parameters(run.models))
        self.seen.applied_gradient_norm = _norm(parameters.values())
        by_module: dict[str, list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            by_module.setdefault(name.rpartition(".")[0], []).append(parameter)
            if parameter.grad is not None:
                self._count(f"gradient of {name}", parameter.grad)
        norms = {name: _norm(some) for name, some in by_module.items()}
        groups = {name: _norm(group["params"]) for name, group in run.parameter_groups}
        self.seen.module_gradient_norms = _known(norms)
        self.seen.group_gradient_norms = _known(groups)

    def on_step_end(self, run: Run) -> None:
        """The step is over."""
        for name, parameter in named_parameters(run.models):
            self._count(f"{name} after the step", parameter)
        self.seen.seconds = time.perf_counter() - self._began
        self._let_go()

    def on_close(self, run: Run, outcome: Any) -> None:
        """Leave the modules as they were."""
        self._let_go()

    def _let_go(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _gave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        for part in parts_of(output):
            if isinstance(part, Tensor):
                bad = _bad(part)
                dtype = str(part.dtype).removeprefix("torch.")
                kind = type(module).__name__
                found = Activation(name or "model", kind, dtype, tuple(part.shape), bad)
                self.seen.activations.append(found)

    def _count(self, name: str, *tensors: Tensor) -> None:
        bad = sum(map(_bad, tensors))
        if bad:
            self.seen.non_finite[name] = self.seen.non_finite.get(name, 0) + bad


def _bad(tensor: Tensor) -> int:
    """How many of its values are NaN or infinite."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    return int((~torch.isfinite(tensor.detach())).sum())


def _norm(parameters: Any) -> float | None:
    """The norm of the gradients; None where there are none."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return float(total_norm(gradients)) if gradients else None


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _on_host(part: Any) -> Any:
    """A copy on the host, of a tensor or an object that moves itself."""
    return part.detach().to("cpu", copy=True) if isinstance(part, Tensor) else part.to("cpu")


def named_tensors(batch: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch by their place in it: `0`, `1`, or `image`, `boxes.0`."""
    if isinstance(batch, Tensor):
        yield prefix or "batch", batch
    elif isinstance(batch, Mapping):
        for key, part in batch.items():
            yield from named_tensors(part, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(batch, (tuple, list)):
        for number, part in enumerate(batch):
            yield from named_tensors(part, f"{prefix}.{number}" if prefix else str(number))
    else:
        for name in fields_of(batch):
            part = getattr(batch, name)
            yield from named_tensors(part, f"{prefix}.{name}" if prefix else name)
