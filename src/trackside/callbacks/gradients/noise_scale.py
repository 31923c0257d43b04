"""The gradient noise scale, estimated from the gradients of a small and a large batch."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from trackside.errors import WrongTimeError


def noise_and_signal(
    small_square: Tensor, large_square: Tensor, small: float, large: float
) -> tuple[Tensor, Tensor]:
    """Unbiased estimates of the gradient's variance per sample and of its true squared norm.

    Equations A.2 and A.3 of McCandlish et al., "An empirical model of large-batch training", 2018.

    Args:
        small_square: Squared norm of the mean gradient of the small batch, shape `()`.
        large_square: The same of the large batch.
        small: Samples of the small batch.
        large: Samples of the large batch, more than `small`.

    Returns:
        The trace of the covariance over samples, and the squared norm of the gradient. Each may be
        negative in a single estimate.
    """
    noise = (small_square - large_square) / (1 / small - 1 / large)
    signal = (large * large_square - small * small_square) / (large - small)
    return noise, signal


@final
class Smoothed:
    """Moving averages of noise and signal: a single estimate says little.

    Args:
        smoothing: Share of the past in each, from 0 up to, and without, 1.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self.noise: Tensor | None = None
        self.signal: Tensor | None = None

    def add(self, noise: Tensor, signal: Tensor) -> None:
        """Take one pair of estimates in, unless it isn't finite (an overflow of the loss scale)."""
        if self.noise is None or self.signal is None:
            # Begun at 0, both averages are too small by the same factor, and their ratio is right.
            self.noise, self.signal = torch.zeros_like(noise), torch.zeros_like(signal)
        finite = torch.isfinite(noise) & torch.isfinite(signal)
        self.noise = torch.where(finite, torch.lerp(noise, self.noise, self._smoothing), self.noise)
        self.signal = torch.where(
            finite, torch.lerp(signal, self.signal, self._smoothing), self.signal
        )

    @property
    def scale(self) -> Tensor:
        """The noise scale, in samples: about the batch size above which more stop helping."""
        if self.noise is None or self.signal is None:
            raise WrongTimeError("there is no estimate yet", expected="one call of `add` or more")
        return self.noise / self.signal

    def state_dict(self) -> dict[str, Any]:
        """Both averages."""
        return {} if self.noise is None else {"noise": self.noise, "signal": self.signal}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | None = None) -> None:
        """Restore `state`."""
        self.noise, self.signal = (
            (state["noise"].to(device), state["signal"].to(device)) if state else (None, None)
        )
