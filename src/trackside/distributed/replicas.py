"""Models on several ranks: the wrapped module that steps call, the plain one that callbacks see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from trackside.distributed.sharding import Share
from trackside.machine.accelerator import exact_dtype
from trackside.run import Run

if TYPE_CHECKING:
    from trackside.distributed.parallel import Parallel
    from trackside.distributed.world import World


class Replicas:
    """The models of a run on several ranks.

    Callbacks, evaluations and checkpoints see the user's own modules, under their own names. The
    training step, and it alone, sees them wrapped, so that gradients are averaged over ranks.

    Args:
        strategy: How they are spread.
        placed: The models by name, as `strategy.place` returned them.
    """

    def __init__(self, strategy: Parallel, placed: Mapping[str, nn.Module]) -> None:
        self.strategy = strategy
        self.placed = dict(placed)
        self.own = {name: strategy.unwrap(model) for name, model in placed.items()}

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it, gradients stay on their rank: all batches of a step but the last."""
        with ExitStack() as stack:
            for model in self.placed.values():
                if any(parameter.requires_grad for parameter in model.parameters()):
                    stack.enter_context(self.strategy.no_sync(model))
            yield


class StepRun:
    """A run as the training step sees it on several ranks: its models are the wrapped ones.

    Calling these lets gradients be averaged over ranks. Everybody else has the plain models in
    `run.models`; all but the models is the run's own, read or set.

    Args:
        run: The run.
        placed: The wrapped models by name.
    """

    def __init__(self, run: Run, placed: Mapping[str, nn.Module]) -> None:
        model = placed["model"] if "model" in placed else next(iter(placed.values()))
        vars(self).update(_run=run, models=placed, model=model)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_run"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_run"], name, value)


def weigh(
    world: World, share: Share[Any] | None, loss: Tensor, weight: Tensor | float | None = None
) -> tuple[Tensor, Tensor | float | None, Tensor | float]:
    """The mean loss of a rank's batch as it goes into the average over ranks.

    DDP and FSDP average gradients over ranks, each rank alike. So that the average is the gradient
    of the mean over the whole batch, a rank's loss is scaled by its share of the weight: of the
    samples, which is known beforehand, or of what the step returned as `weight` (tokens, say), for
    which the ranks have to be asked.

    Args:
        world: The ranks; with `weight`, all of them have to call.
        share: The part of the global batch; None where each rank has its own data, which counts
            alike on each, unless the step says what it weighs.
        loss: The mean over this rank's batch, shape `()`.
        weight: What the step returned as weight.

    Returns:
        The loss, scaled; the weight in averages, None for samples; and the weight of the batch over
        all ranks, the same on each, which is 1 where nobody knows it.
    """
    if weight is None:
        plain = share is None or share.factor == 1
        total_samples = 1 if share is None else share.total
        return loss if plain or share is None else loss * share.factor, None, total_samples
    if isinstance(weight, Tensor):
        exact = exact_dtype(weight.device)
        weight = weight.detach().reshape(()).to(exact)
    if share is not None and share.samples == 0:
        weight = weight * 0  # a filler
    total = world.all_reduce(weight, "sum")
    factor = weight * world.size / (total + (total == 0))
    scaled = loss * (factor.to(loss.dtype) if isinstance(factor, Tensor) else factor)
    return scaled, weight, total
