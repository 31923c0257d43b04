"""Models on several ranks: the user's own modules, and what averages their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import compress
from operator import attrgetter, ne
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from trackside.distributed.rank_checks import FLAGS, Note, disagreement
from trackside.distributed.sharding import Share
from trackside.errors import UsageError
from trackside.machine.accelerator import exact_dtype

if TYPE_CHECKING:
    from trackside.distributed.parallel import Parallel
    from trackside.distributed.world import World

T = TypeVar("T")

_wants = attrgetter("requires_grad")


class Replicas:
    """The models of a run on several ranks.

    Everybody sees the user's own modules, under their own names: steps, callbacks, evaluations and
    checkpoints. A training step is called within the forward pass of the wrapped ones, so that its
    backward pass averages gradients over ranks, whichever parts and methods the step has called.

    Args:
        strategy: How they are spread.
        placed: The models by name, as `strategy.place` returned them.
    """

    def __init__(self, strategy: Parallel, placed: Mapping[str, nn.Module]) -> None:
        self.strategy = strategy
        self.placed = dict(placed)
        self.own = {name: strategy.unwrap(model) for name, model in placed.items()}
        self._parameters = dict(_named_parameters(self.own))
        self._flags = self._wanted()

    def _wanted(self) -> list[bool]:
        return list(map(_wants, self._parameters.values()))

    def averaged_names(self) -> Iterator[str]:
        """Names of the parameters whose gradients are averaged, in their order."""
        return compress(self._parameters, self._flags)

    def follow_flags(self, world: World, step: int) -> None:
        """Average the gradients of those parameters that want them now; a collective.

        Args:
            world: The ranks.
            step: Steps completed.

        Raises:
            DisagreementError: Other parameters want gradients on another rank.
        """
        wanted = self._wanted()
        of_ranks = world.gather([int(flag) for flag in wanted])
        if any(flags != of_ranks[0] for flags in of_ranks):
            names = list(self._parameters)
            note = Note(FLAGS, step, of_ranks[world.rank], names.__getitem__)
            named = [list(zip(names, flags, strict=True)) for flags in of_ranks]
            raise disagreement(note, dict(enumerate(named)))
        if wanted != self._flags:
            self._flags = wanted
            if not self.strategy.follows_flags:
                self.placed = {n: self.strategy.place(m, world) for n, m in self.own.items()}

    def check_flags(self) -> None:
        """Refuse a parameter that was frozen or unfrozen since the epoch began.

        No rank can know here whether the others have done the same: those that haven't would wait
        for its gradient, or abort.

        Raises:
            UsageError: One was.
        """
        if self._wanted() == self._flags:
            return
        name = next(compress(self._parameters, map(ne, self._wanted(), self._flags)))
        done = "unfrozen" if self._parameters[name].requires_grad else "frozen"
        raise UsageError(
            f"{name} was {done} within an epoch: ranks average the gradients of the parameters "
            "that wanted them when it began",
            remedy="freeze and unfreeze in `on_epoch_start`, on every rank; or by the callback "
            "`Unfreeze`, at any step",
        )

    def around(self, call: Callable[[], T], *, begins: bool = True) -> T:
        """The result of `call`, whose backward pass averages gradients; see `Parallel.around`."""
        for model in self.placed.values():
            call = partial(self.strategy.around, model, call, begins=begins)
        return call()

    def without_gradients(self, call: Callable[[], T]) -> T:
        """The result of `call`, which evaluates or predicts, and may call parts of the models.

        Sharded parameters are gathered around it; elsewhere there is nothing to arrange.
        """
        if not self.strategy.forward_is_collective:
            return call()
        results: list[T] = []
        self.around(lambda: results.append(call()))  # not as its result: types stay as they are
        return results[0]

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it, gradients stay on their rank: all batches of a step but the last."""
        with ExitStack() as stack:
            for model in self.placed.values():
                if any(parameter.requires_grad for parameter in model.parameters()):
                    stack.enter_context(self.strategy.no_sync(model))
            yield


def _named_parameters(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    for model_name, model in models.items():
        before = f"{model_name}." if len(models) > 1 else ""
        for name, parameter in model.named_parameters():
            yield before + name, parameter


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
