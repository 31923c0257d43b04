"""`TrackOutputs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, final

from torch import Tensor

from trackside.errors import ConfigurationError
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.machine.accelerator import exact_dtype
from trackside.run import Run
from trackside.schedule import Schedule
from trackside.step.output import Output


@final
class TrackOutputs(PeriodicCallback):
    """Logs values that the training step returns, found by key or pattern.

    A step returns a mapping, an `Output`, or an object with attributes; nested mappings are named
    with dots (`losses.reconstruction`). Tensors are logged as their mean over elements. Values stay
    on their device until a record is made: no step waits.

    Args:
        keys: Names or patterns, such as `losses.*`.
        reduce: `mean`: over all batches since the last record, weighted by samples. `last`: the
            last batch when `every` is due.
        every: When `last` is logged.

    Raises:
        ConfigurationError: No keys, or no such way to reduce.

    Example:
        >>> TrackOutputs(["losses.*"])  # logs output/losses.reconstruction, ...
    """

    effect = "observes"
    on_error = "warn"
    logs = ("output/*",)

    def __init__(
        self,
        keys: Sequence[str] = ("loss",),
        reduce: Literal["mean", "last"] = "mean",
        every: Schedule | str = "50 steps",
    ) -> None:
        super().__init__(every if reduce == "last" else None)
        if reduce not in ("mean", "last"):
            raise ConfigurationError(
                f"reduce={reduce!r} doesn't exist", expected="'mean' or 'last'", option="reduce"
            )
        if isinstance(keys, str) or not keys:
            raise ConfigurationError(
                "`TrackOutputs` needs keys",
                expected="a list of names",
                received=repr(keys),
                option="keys",
            )
        self.keys = tuple(keys)
        self.reduce = reduce
        self._last: dict[str, Tensor | float] = {}

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        found = {
            name: _mean(value)
            for name, value in flat(output)
            if any(fnmatchcase(name, key) for key in self.keys)
        }
        if self.reduce == "last":
            self._last = found
            return
        for name, value in found.items():
            run.log(f"output/{name}", value)

    def on_due(self, run: Run) -> None:
        for name, value in self._last.items():
            run.log(f"output/{name}", value, weight=1.0)


def flat(output: Any, prefix: str = "") -> Iterator[tuple[str, Tensor | float]]:
    """Names and values of all tensors and numbers in what a step returned."""
    if isinstance(output, (Tensor, int, float)):
        yield prefix or "loss", output
        return
    if isinstance(output, Output):
        parts: Mapping[Any, Any] = output._asdict()
    elif isinstance(output, Mapping):
        parts = output
    else:
        parts = getattr(output, "__dict__", {})
    for name, value in parts.items():
        yield from flat(value, f"{prefix}.{name}" if prefix else str(name))


def _mean(value: Tensor | float) -> Tensor | float:
    if not isinstance(value, Tensor):
        return float(value)
    value = value.detach()
    return value if value.numel() == 1 else value.mean(dtype=exact_dtype(value.device))
