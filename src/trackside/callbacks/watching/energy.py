"""`Energy`."""

from __future__ import annotations

import contextlib
import logging
from time import perf_counter
from typing import Any, final

from trackside.callbacks.watching.energy_counters import Meter, of_gpu, of_processors
from trackside.lifecycle.hooks import Callback
from trackside.run import Evaluation, Run
from trackside.saved import checked

logger = logging.getLogger("trackside")

LOOK_EVERY_SECONDS = 60.0
"""A counter of a processor comes to its end in about half an hour at full load."""


@final
class Energy(Callback):
    """Records the energy that the machine says it takes, and nothing where it doesn't say.

    - `energy/cpu_joules`: of all processors of this machine and their memory, whatever runs on
      them, in training so far, over all resumes; from Linux's counters in `/sys/class/powercap`.
    - `energy/cpu_watts`: the mean since the last record.
    - `energy/gpu_joules`, `energy/gpu_watts`: of this rank's GPU of NVIDIA, where `nvidia-ml-py` is
      installed.

    A machine that doesn't say (no counters; a virtual machine; counters that only root may read)
    is named in a warning, with the reason. Nothing is estimated: the rest of the machine, its disks
    and its cooling are in no counter. On several ranks the figures are those of rank 0's machine
    and GPU.

    Example:
        >>> Energy()
        Energy()
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    logs = ("energy/*",)

    def __init__(self) -> None:
        self._begin({})

    def _begin(self, meters: dict[str, Meter]) -> None:
        self._meters = meters
        self._recorded = dict.fromkeys(meters, 0.0)
        self._recorded_at = self._looked_at = 0.0
        self._told_resets = 0

    def on_attach(self, run: Run) -> None:
        found = {"cpu": of_processors()}
        if run.device.type == "cuda":
            found["gpu"] = of_gpu(run.device)
        for part, (_, reason) in found.items():
            if reason:
                words = "the energy of the %s isn't known, and none is recorded: %s"
                logger.warning(words, part.upper(), reason)
        self._begin({part: Meter(counters) for part, (counters, _) in found.items() if counters})

    def on_fit_start(self, run: Run) -> None:
        for meter in self._meters.values():
            meter.start()
        self._recorded = {part: meter.joules for part, meter in self._meters.items()}
        self._recorded_at = self._looked_at = perf_counter()

    def on_step_end(self, run: Run) -> None:
        self._look()

    def on_evaluation_batch_end(
        self, run: Run, evaluation: Evaluation, batch: Any, output: Any
    ) -> None:
        self._look()

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        now = perf_counter()
        seconds = now - self._recorded_at
        if seconds <= 0:
            return
        for part, meter in self._meters.items():
            joules = meter.update()
            values[f"energy/{part}_joules"] = joules
            values[f"energy/{part}_watts"] = (joules - self._recorded[part]) / seconds
            self._recorded[part] = joules
        self._recorded_at = self._looked_at = now
        resets = sum(meter.resets for meter in self._meters.values())
        if resets > self._told_resets:
            self._told_resets = resets
            logger.warning("a counter of energy was reset: what it counted before is missing")

    def state_dict(self) -> dict[str, Any]:
        for meter in self._meters.values():
            if meter.has_started:
                # One that can't be read does no harm to the save: it holds what was read before.
                with contextlib.suppress(OSError, ValueError):
                    meter.update()
        return {part: meter.joules for part, meter in self._meters.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        checked(state, **dict.fromkeys(state, float))
        for part, meter in self._meters.items():
            # After a return to a checkpoint, what was dropped took its energy all the same.
            meter.joules = max(meter.joules, state.get(part, 0.0))

    def _look(self) -> None:
        """Read the counters before they have come to their end twice."""
        now = perf_counter()
        if now - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = now
            for meter in self._meters.values():
                meter.update()
