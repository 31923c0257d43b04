"""Histograms: how weights and gradients are spread, for trackers and in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from trackside.callbacks.gradients.counting import histogram
from trackside.callbacks.gradients.norms import matching
from trackside.distributed.gradients import value_of
from trackside.distributed.state import whole
from trackside.errors import ConfigurationError
from trackside.lifecycle.during_steps import DuringSteps
from trackside.lifecycle.hooks import Callback
from trackside.models.naming import named_parameters
from trackside.progress import whole_number
from trackside.run import Run
from trackside.run_folder.inside import folder_inside, unlinked
from trackside.schedule import Schedule
from trackside.tracking.media import Histogram, Media


@final
class Histograms(Callback):
    """Counts how the values of parameters and gradients are spread, just before an update.

    Trackers that show histograms get them as `parameters/layer.weight` and
    `gradients/layer.weight`; a file `histograms/step-0000000100.npz` in the run's folder holds
    `counts` and `edges` of each. Tensors are brought together one after another where they are
    sharded. In steps that are due, the loop waits for the device; in others nothing happens.

    Args:
        every: In which steps; counts steps.
        patterns: Parameters by name (`encoder.*`, `*.weight`).
        parameters: Whether weights are counted.
        gradients: Whether gradients are counted.
        bins: Bins of equal width between the least and the greatest value.
        files: Whether files are written.

    Raises:
        ScheduleError: `every` doesn't count steps.
        ConfigurationError: `bins` isn't a count, or neither parameters nor gradients are wanted.

    Example:
        >>> Histograms(every="500 steps", patterns=["*.weight"])
    """

    effect = "observes"
    on_error = "warn"

    def __init__(
        self,
        every: Schedule | str = "1000 steps",
        *,
        patterns: Sequence[str] = ("*",),
        parameters: bool = True,
        gradients: bool = True,
        bins: int = 64,
        files: bool = True,
    ) -> None:
        if not (parameters or gradients):
            raise ConfigurationError(
                "there is nothing to count: neither parameters nor gradients", option="parameters"
            )
        self._steps = DuringSteps(every)
        self.every = self._steps.every
        self.patterns = tuple(patterns)
        self.parameters = parameters
        self.gradients = gradients
        self.bins = whole_number(bins, "bins", at_least=1)
        self.files = files
        self._names: dict[int, str] = {}
        self._found: dict[str, Histogram] = {}

    def on_fit_start(self, run: Run) -> None:
        named = dict(named_parameters(run.models))
        meant = {name for some in matching(named, self.patterns).values() for name in some}
        self._names = {id(named[name]): name for name in meant}
        self._found.clear()

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        if not self._steps.due(run.progress):
            return
        for name, tensor in self._tensors(optimizer):
            counted = histogram(whole(tensor), self.bins)
            self._found[name] = counted
            run.emit(Media.on_histogram, name, counted)

    def _tensors(self, optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter in held:
            name = self._names.get(id(parameter))
            if name is not None and self.parameters:
                yield f"parameters/{name}", parameter
            gradient = value_of(parameter) if name is not None and self.gradients else None
            if gradient is not None:
                yield f"gradients/{name}", gradient

    def on_step_end(self, run: Run) -> None:
        if not self._found:
            return
        found, self._found = self._found, {}
        if self.files and run.world.is_global_zero:
            folder = folder_inside(run.directory, "histograms")
            arrays: dict[str, Any] = {f"{name}/counts": one.counts for name, one in found.items()}
            arrays |= {f"{name}/edges": one.edges for name, one in found.items()}
            path = unlinked(folder / f"step-{run.progress.steps_completed:010d}.npz")
            np.savez(path, allow_pickle=False, **arrays)
