"""`ActivationStatistics`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trackside.errors import ConfigurationError, did_you_mean
from trackside.lifecycle.during_steps import DuringSteps
from trackside.lifecycle.hooks import Callback
from trackside.models.naming import prefixed
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.schedule import Schedule

logger = logging.getLogger("trackside")


@final
class ActivationStatistics(Callback):
    """Records how the outputs of modules are spread, in steps that are due.

    - `activation/<module>/mean` and `activation/<module>/std`: over all values.
    - `activation/<module>/zeros`: share of values that are exactly 0, 0 to 1.
    - `activation/<module>/dead`: share of units that are 0 for everything in the step, 0 to 1.
      Units are channels where an output has four or more dimensions, `(B, C, H, W)`, and else the
      last dimension, `(B, F)` or `(B, L, F)`.
    - `activation/<module>/largest`: the largest absolute value.

    They are those of the step's own forward passes: all batches that it accumulates, and all calls
    of a module. On several ranks each looks at its part, and the mean of the ranks is recorded, as
    of every logged value. Hooks are on the modules in steps that are due and in no others; values
    stay on the device until they are recorded. A step that would be captured goes the eager way
    when it is due, with the same bits; compiled steps are compiled a second time, with the hooks.
    Inside a model that was compiled as a whole (`compile=`) nothing is called: that is said once.

    Args:
        every: In which steps; counts steps.
        modules: Names of modules, or patterns (`encoder.*`), as in `model.named_modules()`; None
            takes all that have no modules inside.

    Raises:
        ScheduleError: `every` doesn't count steps.
        ConfigurationError: A pattern that no module has, found when training starts.

    Example:
        >>> ActivationStatistics(["blocks.*.relu"], every="500 steps")
        ActivationStatistics(['blocks.*.relu'], every='500 steps')
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    logs = ("activation/*",)

    def __init__(
        self, modules: Sequence[str] | None = None, *, every: Schedule | str = "100 steps"
    ) -> None:
        self._steps = DuringSteps(every)
        self.every = self._steps.every
        if modules is not None and (isinstance(modules, str) or not list(modules)):
            raise ConfigurationError(
                f"modules={modules!r} names none",
                expected="a list of names or patterns, such as ['blocks.*.relu']; None: all leaves",
                option="modules",
            )
        self.modules = None if modules is None else list(modules)
        self._chosen: dict[str, nn.Module] = {}
        self._handles: list[RemovableHandle] = []
        self._seen: dict[str, Moments] = {}
        self._failed: Exception | None = None
        """An error within the step: raised at its end, not out of the model."""
        self._warned = False

    def on_attach(self, run: Run) -> None:
        self._warned = False

    def on_fit_start(self, run: Run) -> None:
        self._chosen = chosen(run.models, self.modules)

    def on_step_start(self, run: Run) -> None:
        if not self._steps.due(run.progress):
            return
        self._seen, self._failed = {}, None
        for name, module in self._chosen.items():
            self._handles.append(module.register_forward_hook(partial(self._look, name)))

    def on_step_end(self, run: Run) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        if not self._handles:
            return
        self._leave()
        seen, self._seen = self._seen, {}
        for name, moments in seen.items():
            for value, number in moments.values().items():
                run.log(f"activation/{name}/{value}", number, weight=1.0)
        if not seen and not self._warned:
            self._warned = True
            logger.warning(
                "no module gave `ActivationStatistics` a tensor of floating values: the model is "
                "compiled as a whole, or its step doesn't call them; `step='compiled'` in the "
                "settings lets hooks be called"
            )

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._leave()  # a step that failed has left them there
        self._failed = None

    def _leave(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _look(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        # The model calls this: what is raised here would come out of its forward pass.
        try:
            self._add(name, output)
        except Exception as error:
            error.add_note(f"looking at the output of {name!r}")
            self._failed = self._failed or error
            self._seen = {}
            self._leave()

    def _add(self, name: str, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            before = self._seen.get(name)
            now = Moments.of(tensor.detach())
            self._seen[name] = now if before is None else before.with_(now)


def chosen(models: Mapping[str, nn.Module], patterns: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules that are meant, by name; of several models `generator.relu`.

    Raises:
        ConfigurationError: A pattern means none of them.
    """
    named = {
        (before + name).replace("_orig_mod.", ""): module
        for before, model in prefixed(models)
        for name, module in model.named_modules()
        if name
    }
    if patterns is None:
        found = {n: m for n, m in named.items() if next(m.children(), None) is None}
        # A model that is a single module has none inside.
        return found or dict(models.items())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise ConfigurationError(
                f"there is no module {pattern!r} to look at",
                expected="a name or a pattern, as in `model.named_modules()`",
                remedy=did_you_mean(pattern, named),
                option="modules",
            )
    return {n: m for n, m in named.items() if any(fnmatchcase(n, p) for p in patterns)}


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of floating values in what a module returned; None without one."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() and output.numel() else None
    parts: Sequence[Any] = ()
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, (tuple, list)):
        parts = output
    return next((one for part in parts if (one := first_tensor(part)) is not None), None)


class Moments:
    """Sums over values, on their device: those of several calls can be added.

    Args:
        count: How many values.
        mean: Their mean, shape `()`.
        spread: Sum of squared distances from it, shape `()`.
        zeros: How many are 0, shape `()`.
        largest: Largest absolute value, shape `()`.
        alive: Which units are anywhere not 0, shape `(units,)`.
    """

    def __init__(
        self,
        count: int,
        mean: Tensor,
        spread: Tensor,
        zeros: Tensor,
        largest: Tensor,
        alive: Tensor,
    ) -> None:
        self.count, self.mean, self.spread = count, mean, spread
        self.zeros, self.largest, self.alive = zeros, largest, alive

    @classmethod
    def of(cls, output: Tensor) -> Moments:
        """Those of one output, `(B, ...)`."""
        values = output if output.dtype is torch.float64 else output.float()
        mean = values.mean()
        is_other = output != 0
        units = 1 if output.ndim >= 4 else output.ndim - 1
        alive = is_other.reshape(1) if output.ndim == 0 else is_other
        if output.ndim > 1:
            alive = is_other.movedim(units, 0).flatten(1).any(1)
        spread = (values - mean).square().sum()
        zeros = (~is_other).sum()
        return cls(output.numel(), mean, spread, zeros, values.abs().amax(), alive)

    def with_(self, other: Moments) -> Moments:
        """Those of the values of both; where they have other units, of the later ones alone."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        spread = self.spread + other.spread
        spread = spread + apart.square() * (self.count * other.count / count)
        same = self.alive.shape == other.alive.shape
        alive = self.alive | other.alive if same else other.alive
        largest = torch.maximum(self.largest, other.largest)
        return Moments(count, mean, spread, self.zeros + other.zeros, largest, alive)

    def values(self) -> dict[str, Tensor]:
        """The values that are recorded, by name; tensors of shape `()` on their device."""
        return {
            "mean": self.mean,
            "std": (self.spread / self.count).sqrt(),
            "zeros": self.zeros / self.count,
            "dead": 1 - self.alive.float().mean(),
            "largest": self.largest,
        }
