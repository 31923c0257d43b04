"""`Evaluate`."""

from __future__ import annotations

from typing import final

from trackside.errors import UsageError, did_you_mean
from trackside.periodic import PeriodicCallback
from trackside.run import Run
from trackside.schedule import Schedule


@final
class Evaluate(PeriodicCallback):
    """Evaluates a named data set on a schedule of its own, beside `fit`'s `evaluate_every`.

    The evaluation is the loop's: it has all hooks, the trainer's metrics, averaged weights where an
    `EMA` evaluates with them, and its values are recorded under the data set's name. Batch size and
    sampler are those of the loader that `fit` got under that name.

    Args:
        data: Name of the data: any key given to `fit` as `validation` or `data`.
        every: When.

    Raises:
        UsageError: When the run starts: there is no such data.

    Example:
        >>> Evaluate("test", every="5 epochs")  # fit(..., data={"test": loader})
    """

    def __init__(self, data: str = "test", every: Schedule | str = "1 epoch") -> None:
        super().__init__(every)
        self.data = data
        self.logs = (f"{data}/*",)

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        if self.data not in run.data:
            raise UsageError(
                f"`Evaluate` needs data named {self.data!r}",
                received=", ".join(run.data),
                remedy=did_you_mean(self.data, run.data),
            )

    def on_due(self, run: Run) -> None:
        run.evaluate(self.data, f"every {self.every}")
