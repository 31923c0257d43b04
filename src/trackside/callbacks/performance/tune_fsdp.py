"""TuneFSDP: sharded blocks that are gathered before their turn."""

from __future__ import annotations

import logging
from typing import Any, Literal, final

from torch import nn
from torch.utils.hooks import RemovableHandle

from trackside.callbacks.performance.prefetching import backward_prefetches, forward_prefetches
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.progress import whole_number
from trackside.run import Run

logger = logging.getLogger("trackside")


@final
class TuneFSDP(Callback):
    """Sets which others the blocks of a sharded model gather while they compute.

    For models under `strategy="fsdp"`; where nothing is sharded, it says so and does nothing. Each
    block gathered ahead hides communication behind computation and takes its memory earlier.

    Args:
        forward: Blocks gathered ahead in the forward pass; 0 leaves it to torch.
        backward: Blocks gathered ahead in the backward pass; 0 leaves it to torch, which gathers
            one.
        order: Whether blocks run in the order `observed` in the first step, or in that of their
            `definition` in the model.

    Raises:
        ConfigurationError: A number of blocks that isn't one, or an unknown order.

    Example:
        >>> TuneFSDP(forward=2, backward=2)
    """

    effect = "changes"

    def __init__(
        self,
        *,
        forward: int = 1,
        backward: int = 1,
        order: Literal["observed", "definition"] = "observed",
    ) -> None:
        if order not in ("observed", "definition"):
            raise ConfigurationError(
                f"order={order!r} can't be used",
                expected="'observed' or 'definition'",
                option="order",
            )
        self.forward = whole_number(forward, "forward")
        self.backward = whole_number(backward, "backward")
        self.order = order
        self.blocks: list[nn.Module] = []
        """Sharded blocks, in the order in which they run, once it is known."""
        self._watching: list[RemovableHandle] = []

    def on_fit_start(self, run: Run) -> None:
        sharded = [m for model in run.models.values() for m in model.modules() if _is_sharded(m)]
        self.blocks = []
        if not sharded:
            logger.warning("TuneFSDP has nothing to tune: no module is sharded by FSDP")
        elif self.order == "definition":
            self.blocks = sharded
            self._tune()
        else:
            self._watching = [m.register_forward_pre_hook(self._saw) for m in sharded]

    def _saw(self, block: nn.Module, arguments: Any) -> None:
        if block not in self.blocks:  # a block may run several times
            self.blocks.append(block)

    def on_step_end(self, run: Run) -> None:
        if self._watching:
            self._stop_watching()
            self._tune()

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._stop_watching()

    def _stop_watching(self) -> None:
        watching, self._watching = self._watching, []
        for handle in watching:
            handle.remove()

    def _tune(self) -> None:
        block: Any
        for block, ahead in forward_prefetches(self.blocks, self.forward):
            if self.forward:
                block.set_modules_to_forward_prefetch(ahead)
        for block, ahead in backward_prefetches(self.blocks, self.backward):
            if self.backward:
                block.set_modules_to_backward_prefetch(ahead)
        logger.info("%d sharded blocks gather others ahead of their turn", len(self.blocks))


def _is_sharded(module: nn.Module) -> bool:
    # Told without importing torch's FSDP, which takes longer than all of Trackside.
    return hasattr(module, "set_modules_to_forward_prefetch")
