"""`BatchShapes`."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, final

from trackside.data.batches import describe
from trackside.lifecycle.hooks import Callback
from trackside.progress import whole_number
from trackside.run import Run
from trackside.saved import checked

logger = logging.getLogger("trackside")


@final
class BatchShapes(Callback):
    """Counts the shapes in which batches come, because each new one may cost a compilation.

    `batch/distinct_shapes` is recorded. When there are more than `warn_above`, a warning lists the
    most frequent ones: pad or bucket the data, or compile with dynamic shapes. `shapes` has all
    of them. Only shapes and types are looked at, never values: nobody waits for the device.

    Args:
        warn_above: Distinct shapes that are accepted without a word.

    Raises:
        ConfigurationError: `warn_above` isn't a positive whole number.

    Example:
        >>> BatchShapes(warn_above=4)
        BatchShapes(warn_above=4)
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    settable = ("warn_above",)
    logs = ("batch/distinct_shapes",)

    def __init__(self, *, warn_above: int = 8) -> None:
        self.warn_above = whole_number(warn_above, "warn_above", at_least=1)
        self.shapes: Counter[str] = Counter()
        """Batches by shape, such as `list(float32 (32, 64), int64 (32,))`."""
        self._warned = False

    def on_attach(self, run: Run) -> None:
        self.shapes, self._warned = Counter(), False

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self.shapes[describe(batch)] += 1

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        values["batch/distinct_shapes"] = float(len(self.shapes))
        if len(self.shapes) > self.warn_above and not self._warned:
            self._warned = True
            common = [f"{count} times {shape}" for shape, count in self.shapes.most_common(3)]
            logger.warning(
                "batches come in %d shapes, and each new one may cost a compilation: %s, ...",
                len(self.shapes),
                ", ".join(common),
            )

    def state_dict(self) -> dict[str, Any]:
        return {"shapes": dict(self.shapes), "warned": self._warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        checked(state, shapes=dict[str, int], warned=bool)
        self.shapes, self._warned = Counter(state["shapes"]), state["warned"]
