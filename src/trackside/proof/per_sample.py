"""Losses of single samples, where the loss of a batch is known to be made of them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn


def unreduced(loss: Any) -> Callable[[Any, Any], Tensor] | None:
    """The loss without its mean over the batch; None where that can't be left out.

    Args:
        loss: A module of torch's kind with a `reduction`, or a function with such an argument.
    """
    if isinstance(loss, nn.Module):
        if getattr(loss, "reduction", None) not in ("mean", "sum"):
            return None
        twin: Any = copy.copy(loss)
        twin.reduction = "none"
        return twin  # type: ignore[no-any-return]
    try:
        known = inspect.signature(loss).parameters
    except (TypeError, ValueError):  # no function, or one that is written in C
        return None
    return partial(loss, reduction="none") if "reduction" in known else None


def losses_of_samples(loss: Any, prediction: Any, target: Any) -> Tensor | None:
    """The loss of each sample of a batch, shape `(B,)`; None where it can't be known.

    Of a loss with several values for a sample (of pixels, of tokens), their mean.
    """
    function = unreduced(loss)
    if function is None or not isinstance(target, Tensor) or target.ndim == 0:
        return None
    each = function(prediction, target)
    if each.ndim == 0 or len(each) != len(target):
        return None
    return each if each.ndim == 1 else each.flatten(1).mean(1)
