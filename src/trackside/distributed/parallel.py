"""How a model is spread over the ranks: what every strategy can do, and the one for one process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, final

from torch import nn
from torch.optim import Optimizer

from trackside.errors import OptimizerError

if TYPE_CHECKING:
    from trackside.distributed.world import World

T = TypeVar("T")

ModelSource = nn.Module | Callable[[], nn.Module]
"""A model, or what makes one; a factory lets `FSDP` build it without memory first."""


class Call:
    """A call that a placed module runs as its forward pass, with all that is arranged around it.

    Args:
        run: What to do there.
    """

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run


class Passes(nn.Module):
    """A module that runs a `Call` as its forward pass, and anything else through the model.

    The model inside stays the user's own: its parts and methods may be called within the `Call`,
    in any order, as in one process.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # Where torch looks for names that a model wants to keep apart.
        left_out: list[str] = getattr(model, "_ddp_params_and_buffers_to_ignore", [])
        self._ddp_params_and_buffers_to_ignore = [f"model.{name}" for name in left_out]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the `Call`, or pass everything on."""
        if args and isinstance(args[0], Call):
            return args[0].run()
        return self.model(*args, **kwargs)


class Parallel(ABC):
    """A way to spread models over the ranks of a world."""

    forward_is_collective: bool
    """Whether every rank has to call the model equally often, also without gradients: then a rank
    that is out of evaluation batches calls it on a filler (`sharding.evaluation_share`)."""

    follows_flags: bool = True
    """Whether a placed model averages the gradients of those parameters that want them by now.
    Otherwise of those that wanted them when it was placed."""

    @property
    def keeps_buffers(self) -> bool:
        """Whether each rank keeps its own buffers from step to step (statistics of batch norm)."""
        return True

    def shard_of(self, world: World) -> tuple[int, int] | None:
        """Number of the parts that this rank holds, of how many, where other ranks hold the same.

        None: nothing of what is sharded is there twice.
        """
        return None

    def build(self, factory: Callable[[], nn.Module]) -> nn.Module:
        """The model that `factory` makes, for `place`; it may have no memory before."""
        return factory()

    @abstractmethod
    def place(self, source: ModelSource, world: World) -> nn.Module:
        """The model on the device of its rank, and spread; every rank calls it.

        Ranks start with the weights of rank 0. Optimizers made before need `follow` afterwards.
        """

    def around(self, model: nn.Module, call: Callable[[], T], *, begins: bool = True) -> T:
        """The result of `call`, whose backward pass averages the gradients of `model` over ranks.

        Args:
            model: As `place` returned it.
            call: Passes of the model, of its parts or methods, as often as it likes.
            begins: Whether a step begins with it: buffers are then brought to what they should be.
        """
        return call()

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
