"""Running statistics of batch norm, measured again over the training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trackside.data.batches import move
from trackside.machine.accelerator import exact_dtype
from trackside.run import Run
from trackside.step.modes import evaluation_mode

STATISTICS = ("running_mean", "running_var")


def norms(models: Mapping[str, nn.Module]) -> dict[str, _BatchNorm]:
    """All batch norms that keep running statistics, by `model.layer.norm`."""
    return {
        f"{name}.{path}".rstrip("."): module
        for name, model in models.items()
        for path, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def statistics(models: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The running means and variances themselves, by `model.layer.norm.running_mean`."""
    return {f"{n}.{s}": getattr(norm, s) for n, norm in norms(models).items() for s in STATISTICS}


def measure(run: Run, models: Mapping[str, nn.Module], most_batches: int | None) -> None:
    """Set the running statistics of `models` to their plain mean over batches of training data.

    On several ranks, they take turns with whole batches: the statistics are those that one process
    measures. Dropout is off meanwhile: the statistics are for evaluation. Position in the data,
    generators, modes of modules and their counts of batches are afterwards what they were before.

    Args:
        run: The run; its `predict_step` passes the batches through.
        models: Their batch norms are measured.
        most_batches: How many batches at most; None takes a whole pass.
    """
    with (
        evaluation_mode(run.models),
        _averaging(norms(models)),
        run.discarding(),
        torch.no_grad(),
        run.precision.autocast or nullcontext(),
        run.data["train"].aside(whole=True, limit=most_batches) as batches,
    ):
        for batch in batches:
            with nullcontext() if batch.origin.counts else _unmeasured(models):
                run.steps.predict_step(run, move(batch.data, run.device))
        if run.world.size > 1:
            _average_over_ranks(run, models)


def _average_over_ranks(run: Run, models: Mapping[str, nn.Module]) -> None:
    """Let the statistics be the mean over the batches of all ranks, each batch counting alike."""
    measured = statistics(models)
    sums: dict[str, Tensor] = {}
    for name, norm in norms(models).items():
        counted = _count(norm)
        batches = counted.to(exact_dtype(counted.device))
        sums[name] = batches
        for kind in STATISTICS:
            sums[f"{name}.{kind}"] = measured[f"{name}.{kind}"].to(batches.dtype) * batches
    total = run.world.all_reduce(sums, "sum")
    for name in norms(models):
        for kind in STATISTICS if total[name] > 0 else ():
            measured[f"{name}.{kind}"].copy_(total[f"{name}.{kind}"] / total[name])


@contextmanager
def _unmeasured(models: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, a batch leaves no trace in the statistics: it fills up the ranks' last round."""
    live = [*statistics(models).values(), *map(_count, norms(models).values())]
    kept = [tensor.clone() for tensor in live]
    yield
    for tensor, former in zip(live, kept, strict=True):
        tensor.copy_(former)


@contextmanager
def _averaging(norms: Mapping[str, _BatchNorm]) -> Iterator[None]:
    """Inside, the norms take the plain mean over all batches that they see."""
    # None of the three is a setting of the model's own: each is put back.
    former = [(norm, norm.momentum, norm.training, _count(norm).clone()) for norm in norms.values()]
    try:
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None
            norm.training = True
        yield
    finally:
        for norm, momentum, training, count in former:
            norm.momentum = momentum
            norm.training = training
            _count(norm).copy_(count)


def _count(norm: _BatchNorm) -> Tensor:
    assert norm.num_batches_tracked is not None, "kept together with running_mean"
    return norm.num_batches_tracked
