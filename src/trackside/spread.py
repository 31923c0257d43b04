"""Models spread over ranks: what the steps call while training, and what everybody else sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from torch import nn

from trackside.run import Run

if TYPE_CHECKING:
    from trackside.distributed.parallel import Parallel


class Spread:
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
    def in_training(self, run: Run) -> Iterator[None]:
        """Within it, `run.models` are the wrapped ones."""
        own = run.models
        run.models = self.placed
        try:
            yield
        finally:
            run.models = own

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it, gradients stay on their rank: all batches of a step but the last."""
        with ExitStack() as stack:
            for model in self.placed.values():
                if any(parameter.requires_grad for parameter in model.parameters()):
                    stack.enter_context(self.strategy.no_sync(model))
            yield
