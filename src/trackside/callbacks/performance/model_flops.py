"""`ModelFlops`."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from time import perf_counter
from typing import Any, final

from torch.utils.flop_counter import FlopCounterMode

from trackside.callbacks.performance.peaks import peak_of
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.machine.accelerator import device_name
from trackside.outcome import Outcome
from trackside.progress import whole_number
from trackside.run import Evaluation, Run
from trackside.saved import checked

_log = logging.getLogger(__name__)


@final
class ModelFlops(Callback):
    """Records the floating-point operations of training, and the share of the peak in use (MFU).

    The operations of one step are counted once by torch (`torch.utils.flop_counter`): matrix
    products, convolutions and attention, forward and backward; a multiply-add is two. From then on:

    - `flops/per_sample`: operations for one sample, in the mean of the step that was counted.
    - `flops/tera_per_second`: 10^12 operations per second over all ranks, since the last record and
      without the evaluations. Samples are taken to cost what those counted did.
    - `flops/mfu`: share of the peak of all ranks' devices, 0 to 1. Where the peak isn't known, that
      is said once, and it is left out.

    Steps that torch can't look into (compiled or captured ones) are reported once and not counted.

    Args:
        peak_tflops: Peak of one device, in 10^12 operations per second. None: by the name of the
            device, in half precision; unknown for CPUs, other devices and single precision.
        step: The step that is counted, from 1; the first ones may do what later ones don't.

    Raises:
        ConfigurationError: A peak that isn't positive, or no step.

    Example:
        >>> ModelFlops(peak_tflops=989.4)
        ModelFlops(peak_tflops=989.4)

    MFU as in PaLM (https://arxiv.org/abs/2204.02311, appendix B), with operations as counted.
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    calls_collectives = True
    logs = ("flops/*",)

    def __init__(self, *, peak_tflops: float | None = None, step: int = 2) -> None:
        if peak_tflops is not None and not 0 < peak_tflops < math.inf:
            raise ConfigurationError(
                f"peak_tflops={peak_tflops!r} can't be a peak",
                expected="a positive number, in 10^12 operations per second",
                option="peak_tflops",
            )
        self.peak_tflops = peak_tflops
        self.step = whole_number(step, "step", at_least=1)
        self._peak = peak_tflops
        self._counter: FlopCounterMode | None = None
        self._counting = ExitStack()
        self._forget()

    def _forget(self) -> None:
        self._is_counted = False
        self._samples_before = 0
        self._per_sample: float | None = None
        self._began = self._evaluation_began = 0.0
        self._samples = 0

    def on_attach(self, run: Run) -> None:
        self._forget()

    def on_fit_start(self, run: Run) -> None:
        self._peak = self.peak_tflops
        if self._peak is None:
            self._peak = _known_peak(run)
            if self._peak is None and run.world.is_global_zero:
                _log.warning(
                    "the peak of %s isn't known, and no `flops/mfu` is recorded; give "
                    "`peak_tflops`, in 10^12 operations per second",
                    device_name(run.device),
                )

    def on_train_epoch_start(self, run: Run) -> None:
        self._mark(run)

    def on_step_start(self, run: Run) -> None:
        if not self._is_counted and run.progress.steps_completed + 1 >= self.step:
            self._is_counted = True
            self._samples_before = run.progress.samples_completed
            self._counter = FlopCounterMode(display=False)
            self._counting.enter_context(self._counter)

    def on_step_end(self, run: Run) -> None:
        if self._counter is None:
            return
        flops = run.world.all_reduce(float(self._leave()), "sum")
        samples = run.progress.samples_completed - self._samples_before
        if flops and samples:
            self._per_sample = flops / samples
        elif run.world.is_global_zero:
            _log.warning(
                "torch counted no operations in a step: it is compiled or captured, or has no "
                "matrix products; nothing of `flops/` is recorded"
            )
        self._mark(run)

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self._evaluation_began = perf_counter()

    def on_evaluation_end(self, run: Run, evaluation: Evaluation) -> None:
        self._began += perf_counter() - self._evaluation_began

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        samples, seconds = run.progress.samples_completed - self._samples, self._seconds()
        if self._per_sample is None or samples <= 0 or seconds <= 0:
            return
        rate = self._per_sample * samples / seconds / 1e12
        values["flops/per_sample"] = self._per_sample
        values["flops/tera_per_second"] = rate
        if self._peak is not None:
            values["flops/mfu"] = rate / (self._peak * run.world.size)
        self._mark(run)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._leave()  # a step that failed has left it there

    def state_dict(self) -> dict[str, Any]:
        return {"is_counted": self._is_counted, "per_sample": self._per_sample}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = checked(state, is_counted=bool, per_sample=float | None)
        self._is_counted, self._per_sample = known["is_counted"], known["per_sample"]

    def _leave(self) -> int:
        """Stop counting; the operations so far."""
        counter, self._counter = self._counter, None
        if counter is None:
            return 0
        self._counting.close()
        return int(counter.get_total_flops())

    def _seconds(self) -> float:
        return perf_counter() - self._began

    def _mark(self, run: Run) -> None:
        self._began = perf_counter()
        self._samples = run.progress.samples_completed


def _known_peak(run: Run) -> float | None:
    half = run.precision.name in ("bf16", "fp16")
    return peak_of(device_name(run.device)) if half else None
