"""A learning rate that warms up, stays, and decays; how long it stays can be decided late."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trackside.errors import ConfigurationError, did_you_mean
from trackside.progress import whole_number

Decay = Literal["linear", "cosine", "sqrt"]


@final
@dataclass(frozen=True)
class Phases:
    """Warm-up, stable phase and decay, counted in moves of the scheduler.

    Raises:
        ConfigurationError: A phase that isn't a whole number, or no decay at all.
    """

    warmup: int
    """Moves until the full rate."""
    stable: int
    """Moves at the full rate."""
    decay: int
    """Moves from the full rate to the final one, 1 or more."""
    shape: Decay = "linear"
    """How it decays: in a straight line, as half a cosine, or as one minus a root."""
    final: float = 0.0
    """Share of the full rate that is left at the end, from 0 up to, and without, 1."""

    def __post_init__(self) -> None:
        whole_number(self.warmup, "warmup_steps")
        whole_number(self.stable, "stable_steps")
        whole_number(self.decay, "decay_steps", at_least=1)
        if self.shape not in get_args(Decay):
            raise ConfigurationError(
                f"a learning rate can't decay as {self.shape!r}",
                remedy=did_you_mean(str(self.shape), get_args(Decay)),
                option="shape",
            )
        if not 0 <= self.final < 1:
            raise ConfigurationError(
                f"final={self.final} isn't a share of the full rate that decay could end with",
                expected="from 0 up to, and without, 1",
                option="final",
            )

    @property
    def decay_start(self) -> int:
        """Moves before the decay begins."""
        return self.warmup + self.stable

    @property
    def decay_end(self) -> int:
        """Moves after which it is over."""
        return self.decay_start + self.decay

    def factor(self, moves: int) -> float:
        """Share of the full rate that the next update has after so many moves, from 0 to 1."""
        if moves < self.warmup:
            return (moves + 1) / self.warmup
        if moves <= self.decay_start:
            return 1.0
        if moves >= self.decay_end:
            return self.final
        done = (moves - self.decay_start) / self.decay
        left = {
            "linear": 1 - done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "sqrt": 1 - math.sqrt(done),
        }[self.shape]
        return self.final + (1 - self.final) * left


@final
class WarmupStableDecayLR(LRScheduler):
    """Warms the learning rate up in a straight line, keeps it, and lets it decay.

    Named `warmup_stable_decay` in `LRScheduler` and in configuration files. It moves after each
    step.
    The phases belong to the configuration and not to a checkpoint: a run can go on from a
    checkpoint before its decay with a longer stable phase, as if it had always been that long.
    `StableDecayCheckpoints` keeps these checkpoints.

    Args:
        optimizer: Whose rates are changed; each group keeps its own as the full rate.
        warmup_steps: Updates until the full rate; 0 begins with it.
        stable_steps: Updates at the full rate.
        decay_steps: Updates from the full rate to the final one, 1 or more.
        shape: `linear`, `cosine`, or `sqrt`: one minus a root, steep at first.
        final: Share of the full rate that is left at the end, from 0 up to, and without, 1.
        last_epoch: Moves made already; -1 starts fresh.

    Raises:
        ConfigurationError: Phases that aren't whole numbers, no such shape, `final` out of range.

    Example:
        >>> WarmupStableDecayLR(optimizer, 500, 8_000, 1_500, shape="sqrt")

    Hu et al., "MiniCPM", 2024; Hägele et al., "Scaling laws and compute-optimal training beyond
    fixed training durations", 2024, for `sqrt`.
    """

    interval = "step"
    """After what it moves, where nobody says."""

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        stable_steps: int,
        decay_steps: int,
        *,
        shape: Decay = "linear",
        final: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.phases = Phases(warmup_steps, stable_steps, decay_steps, shape, final)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rate of each group for the next update."""
        factor = self.phases.factor(self.last_epoch)
        return [rate * factor for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the position; not how long the phases are."""
        return {name: value for name, value in super().state_dict().items() if name != "phases"}
