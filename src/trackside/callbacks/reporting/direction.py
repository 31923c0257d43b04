"""The better direction of a metric, guessed from its name, for marks in tables."""

from __future__ import annotations

import re

from trackside.history import Mode

_SMALLER = {"loss", "error", "err", "perplexity", "ppl", "mae", "mse", "rmse", "nll", "wer", "cer"}
_LARGER = {
    *("accuracy", "acc", "auc", "auroc", "precision", "recall", "f1", "iou", "miou", "dice"),
    *("r2", "bleu", "rouge", "map", "psnr", "ssim", "score", "top1", "top5"),
}


def direction(name: str) -> Mode | None:
    """`min` for `val/loss`, `max` for `val/top5_accuracy`, None where the name doesn't say.

    The last known word decides: `val/accuracy_error` is an error.
    """
    for word in reversed(re.split(r"[^a-z0-9]+", name.partition("/")[2].lower())):
        if word in _SMALLER:
            return "min"
        if word in _LARGER:
            return "max"
    return None
