"""How a model is spread over the ranks: what every strategy can do, and the one for one process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, final

from torch import nn
from torch.optim import Optimizer

from trackside.errors import OptimizerError

if TYPE_CHECKING:
    from trackside.distributed.world import World

ModelSource = nn.Module | Callable[[], nn.Module]
"""A model, or what makes one; a factory lets `FSDP` build it without memory first."""


class Parallel(ABC):
    """A way to spread models over the ranks of a world."""

    forward_is_collective: bool
    """Whether every rank has to call the model equally often, also without gradients: then a rank
    that is out of evaluation batches calls it on a filler (`sharding.evaluation_share`)."""

    def build(self, factory: Callable[[], nn.Module]) -> nn.Module:
        """The model that `factory` makes, for `place`; it may have no memory before."""
        return factory()

    @abstractmethod
    def place(self, source: ModelSource, world: World) -> nn.Module:
        """The model on the device of its rank, and spread; every rank calls it.

        Ranks start with the weights of rank 0. Optimizers made before need `follow` afterwards.
        """

    @abstractmethod
    def no_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within it, gradients add up on each rank alone: all but the last batch of a step."""

    @abstractmethod
    def unwrap(self, model: nn.Module) -> nn.Module:
        """The user's own module: the one to evaluate with, and whose names are in checkpoints."""


@final
class OneProcess(Parallel):
    """The model as it is, on the device."""

    forward_is_collective = False

    def place(self, source: ModelSource, world: World) -> nn.Module:
        """Build it if need be, and move it."""
        return build(source).to(world.device)

    def no_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Nothing to leave out."""
        return nullcontext()

    def unwrap(self, model: nn.Module) -> nn.Module:
        """`model`."""
        return model


def build(source: ModelSource) -> nn.Module:
    """The model that `source` is or makes."""
    return source if isinstance(source, nn.Module) else source()


def follow(
    optimizers: Iterable[Optimizer], before: nn.Module | dict[str, nn.Parameter], after: nn.Module
) -> None:
    """Let optimizers that were made for a model's parameters train those that replaced them.

    Sharding puts new parameters in the place of the old ones, under the same names.

    Args:
        optimizers: Optimizers that have made no step yet.
        before: `dict(model.named_parameters())` from before.
        after: The placed model, unwrapped.

    Raises:
        OptimizerError: An optimizer has state already, which belongs to the old parameters.
    """
    former = before if isinstance(before, dict) else dict(before.named_parameters())
    now = dict(after.named_parameters())
    replaced = {id(old): now[name] for name, old in former.items() if name in now}
    for optimizer in optimizers:
        if optimizer.state:
            raise OptimizerError(
                "an optimizer made steps before its model was sharded",
                remedy="make the optimizer, or load its state, after the model is placed",
            )
        for group in optimizer.param_groups:
            group["params"] = [replaced.get(id(p), p) for p in group["params"]]
