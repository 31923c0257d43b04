"""Direction in which a metric is better, by its name: for tables, and where a mode is due."""

from __future__ import annotations

import re
from typing import Literal

from trackside.errors import ConfigurationError

Mode = Literal["min", "max"]

_SMALLER = {"loss", "error", "err", "perplexity", "ppl", "mae", "mse", "rmse", "nll", "wer", "cer"}
_LARGER = {
    *("accuracy", "acc", "auc", "auroc", "precision", "recall", "f1", "iou", "miou", "dice"),
    *("r2", "bleu", "rouge", "map", "psnr", "ssim", "score", "top1", "top5"),
}
_declared: dict[str, Mode] = {}


def declare_direction(name: str, mode: Mode) -> None:
    """Say which way a metric of one's own is better, for every table and callback.

    Args:
        name: A whole name such as `val/kendall`, or the part after the slash, for all data.
        mode: `min` or `max`.

    Example:
        >>> declare_direction("kendall_tau", "max")
        >>> direction("val/kendall_tau")
        'max'
    """
    if mode not in ("min", "max"):
        raise ConfigurationError(
            f"mode={mode!r} is not a direction", expected="'min' or 'max'", option="mode"
        )
    _declared[name] = mode


def direction(name: str) -> Mode | None:
    """`min` for `val/loss`, `max` for `val/top5_accuracy`, None where the name doesn't say.

    Declared ones go first. Else the last word that has one decides: `val/accuracy_error` is an
    error.
    """
    metric = name.partition("/")[2]
    for declared in (name, metric, name.rpartition("/")[2]):
        if declared in _declared:
            return _declared[declared]
    for word in reversed(re.split(r"[^a-z0-9]+", metric.lower())):
        if word in _SMALLER:
            return "min"
        if word in _LARGER:
            return "max"
    return None


def check_mode(mode: str, option: str = "mode") -> Mode:
    """`mode` itself when it is `"min"` or `"max"`, else an error about `option`."""
    if mode == "min":
        return "min"
    if mode == "max":
        return "max"
    raise ConfigurationError(
        f"mode={mode!r} is not a direction",
        expected="'min' or 'max'",
        received=repr(mode),
        option=option,
    )
