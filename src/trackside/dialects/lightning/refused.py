"""Built-ins of Lightning that reach into its own loops: refused, with the native equal."""

from __future__ import annotations

from typing import Any

from trackside.dialects.lightning.logged import watched_name
from trackside.errors import RegistrationError

NATIVE: dict[str, str] = {
    "BatchSizeFinder": "`BatchSizeFinder`",
    "DeviceStatsMonitor": "`DeviceStats`",
    "EMAWeightAveraging": "`EMA`",
    "GradientAccumulationScheduler": "`AccumulationSchedule`",
    "LearningRateFinder": "`LRFinder`",
    "ModelCheckpoint": "`Checkpoint(keep_best=..., monitor=...)`, or `BestCheckpoint` for weights",
    "ModelPruning": "none here: prune after training, with `torch.nn.utils.prune`",
    "ModelSummary": "`ModelSummary`",
    "OnExceptionCheckpoint": "`Checkpoint`, which saves when a run is stopped or interrupted",
    "ProgressBar": "`ProgressBar`",
    "StochasticWeightAveraging": "`SWA`",
    "ThroughputMonitor": "`Throughput`",
    "WeightAveraging": "`EMA` or `SWA`",
}
"""Their class, and ours."""


def _ours(name: str, callback: Any) -> str:
    """Our callback in the place of theirs; of a `ModelCheckpoint`, with its options."""
    monitor = getattr(callback, "monitor", None)
    if name != "ModelCheckpoint" or not isinstance(monitor, str):
        return NATIVE[name]
    best = callback.save_top_k if callback.save_top_k > 0 else 1
    kept = f"keep_best={best}, monitor={watched_name(monitor)!r}"
    return (
        f"`Checkpoint({kept}, mode={callback.mode!r})`; afterwards `trackside.load(folder, 'best')`"
    )


def refuse_built_in(callback: Any, bases: tuple[type, ...]) -> None:
    """Refuse a callback of a class, or a subclass of one, that can't run here.

    Args:
        callback: Theirs.
        bases: Its classes, in the order of inheritance.

    Raises:
        RegistrationError: It is one.
    """
    for base in bases:
        package = base.__module__.partition(".")[0]
        if package in ("lightning", "pytorch_lightning") and base.__name__ in NATIVE:
            raise RegistrationError(
                f"`{type(callback).__name__}` works on the inside of Lightning's loop, "
                "which isn't here",
                received=f"a `{base.__name__}` of {package}",
                remedy=f"ours: {_ours(base.__name__, callback)}",
            )
