"""GradientNoise: about how large a batch would have to be."""

from __future__ import annotations

from typing import Any, Literal, final

from torch import Tensor

from trackside.callbacks.gradients.noise_scale import Smoothed, noise_and_signal
from trackside.callbacks.gradients.norms import total_norm
from trackside.distributed.gradients import values_of
from trackside.distributed.state import is_sharded
from trackside.errors import ConfigurationError, UsageError
from trackside.lifecycle.during_steps import DuringSteps
from trackside.lifecycle.hooks import Callback
from trackside.machine.accelerator import exact_dtype
from trackside.run import Run
from trackside.schedule import Schedule


@final
class GradientNoise(Callback):
    """Logs the gradient noise scale, `grad/noise_scale`, in samples.

    It compares the gradient of the first batch of a step with that of the whole step, so the
    trainer has to accumulate at least two batches. Far below the noise scale, a batch twice as
    large saves nearly half of the steps; far above, it saves nothing. A single estimate says
    little, and a negative one that it is noise: look at it after many steps.

    Args:
        every: In which steps to estimate; counts steps.
        smoothing: Share of the past in the averages of noise and signal, from 0 up to, and
            without, 1. 0.95 looks back about twenty estimates.

    Raises:
        ConfigurationError: `smoothing` out of range.
        UsageError: Found when training starts: no accumulation, or sharded parameters, which have
            no gradient before the last batch of a step.

    Example:
        >>> GradientNoise(every="10 steps")

    McCandlish et al., "An empirical model of large-batch training", 2018 (appendix A.1).
    """

    effect = "observes"
    looks_into_backward: Literal["always", "on several ranks"] = "on several ranks"
    on_error = "warn"
    calls_collectives = True
    logs = ("grad/noise_scale",)

    def __init__(self, every: Schedule | str = "1 step", *, smoothing: float = 0.95) -> None:
        if not 0 <= smoothing < 1:
            raise ConfigurationError(
                f"smoothing={smoothing} isn't a share of the past",
                expected="a number from 0 up to, and without, 1",
                option="smoothing",
            )
        self._steps = DuringSteps(every)
        self.every = self._steps.every
        self._smoothed = Smoothed(smoothing)
        self._due = False
        self._samples: list[float] = []
        self._first_norm: Tensor | None = None

    def on_optimizers_ready(self, run: Run) -> None:
        self._smoothed.load_state_dict({})

    def on_fit_start(self, run: Run) -> None:
        if any(is_sharded(p) for model in run.models.values() for p in model.parameters()):
            raise UsageError(
                "the noise of sharded gradients can't be estimated: a single batch has none",
                remedy="measure it in a smaller run, with strategy='ddp' or on one process",
            )
        if run.accumulate < 2:
            raise UsageError(
                "the noise scale compares a batch with a step of several",
                expected="at least two batches per step",
                received=f"accumulate={run.accumulate}",
                remedy="give the trainer smaller batches and `accumulate=2`",
            )

    def on_step_start(self, run: Run) -> None:
        self._due = self._steps.due(run.progress)
        self._samples.clear()

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        if not self._due or run.accumulate < 2:  # another callback may have changed it
            return
        self._samples.append(run.batch_samples)
        first, whole = len(self._samples) == 1, len(self._samples) == run.accumulate
        if first or whole:
            norm = total_norm(values_of(run.model.parameters()))
            if first:
                self._first_norm = norm
        # The last step of an epoch may have fewer batches, or a smaller one: it shows nothing.
        if whole and len(set(self._samples)) == 1 and self._first_norm is not None:
            self._estimate(run, self._first_norm, norm)

    def _estimate(self, run: Run, first: Tensor, whole: Tensor) -> None:
        # Losses are divided by the batches of the step. Batches before the last stay on their
        # rank, so the first one's gradient is that of this rank's samples.
        exact = exact_dtype(first.device)
        first_square = (first * run.accumulate).to(exact) ** 2
        if run.world.size > 1:
            first_square = run.world.all_reduce(first_square)
        small = self._samples[0]
        large = sum(self._samples) * run.world.size
        noise, signal = noise_and_signal(first_square, whole.to(exact) ** 2, small, large)
        self._smoothed.add(noise, signal)
        run.log("grad/noise_scale", self._smoothed.scale, weight=1.0)

    def state_dict(self) -> dict[str, Any]:
        return self._smoothed.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._smoothed.load_state_dict(state)
