"""Attention weights of a model's pass, found by themselves: nobody has to return them.

Three ways to attend are seen: `nn.MultiheadAttention` (which is asked for its weights),
`F.scaled_dot_product_attention` (whose weights are computed once more), and a softmax over the last
of four dimensions.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from trackside.callbacks.pictures.samples import layers_of

_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
_ATTENTION_FORWARD = inspect.signature(nn.MultiheadAttention.forward)


@contextmanager
def attention_weights(
    model: nn.Module, patterns: Sequence[str] = ("*",)
) -> Iterator[dict[str, Tensor]]:
    """Filled inside, in the order of the pass, with the attention weights of each layer.

    Args:
        model: Run it inside; hooks are on its parts until the end of the block.
        patterns: Names of layers as in `model.named_modules()`.

    Returns:
        Weights of shape `(B, heads, queries, keys)` by name of the layer that computed them. One
        that attends several times in a pass has `name (2)`, and so on.
    """
    watching = _Watching(patterns)
    handles: list[Any] = []
    try:
        for name, module in {"": model, **layers_of(model)}.items():
            handles += watching.over(name, module)
        with watching:
            yield watching.found
    finally:
        for handle in handles:
            handle.remove()


class _Watching(TorchFunctionMode):
    """Knows which layer is at work, and keeps the weights that it computes."""

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__()
        self.found: dict[str, Tensor] = {}
        self._patterns = patterns
        self._at_work: list[str] = []
        self._asked: dict[nn.Module, tuple[bool, bool]] = {}

    def over(self, name: str, module: nn.Module) -> list[Any]:
        """Watch a layer; returns what ends it by `remove()`."""

        def begin(module: nn.Module, inputs: Any) -> None:
            self._at_work.append(name)

        def end(module: nn.Module, inputs: Any, output: Any) -> None:
            self._at_work.pop()

        handles = [
            module.register_forward_pre_hook(begin),
            module.register_forward_hook(end, always_call=True),
        ]
        if isinstance(module, nn.MultiheadAttention):
            handles += [
                module.register_forward_pre_hook(self._ask, with_kwargs=True),
                module.register_forward_hook(self._answered, prepend=True),
            ]
        return handles

    def _ask(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Have `nn.MultiheadAttention` return the weights of all heads."""
        bound = _ATTENTION_FORWARD.bind(module, *args, **kwargs)
        bound.apply_defaults()
        asked = bound.arguments
        self._asked[module] = (asked["need_weights"], asked["average_attn_weights"])
        asked.update(need_weights=True, average_attn_weights=False)
        return bound.args[1:], bound.kwargs

    def _answered(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """Keep the weights, and hand on what the caller had asked for."""
        result, weights = output
        self._keep(weights if weights.ndim == 4 else weights.unsqueeze(0))
        wanted, averaged = self._asked.pop(module)
        if not wanted:
            return result, None
        return result, weights.mean(dim=-3) if averaged else weights

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See every function of torch that is called."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._keep(product_weights(*args, **kwargs))
        elif func in _SOFTMAX and result.ndim == 4:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, 3):
                self._keep(result)
        return result

    def _keep(self, weights: Tensor) -> None:
        layer = self._at_work[-1] if self._at_work else ""
        if not any(fnmatchcase(layer, pattern) for pattern in self._patterns):
            return
        name, times = layer or "model", 1
        while name in self.found:
            times += 1
            name = f"{layer or 'model'} ({times})"
        self.found[name] = weights.detach()


def product_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights that `F.scaled_dot_product_attention` applies, without dropout.

    Args:
        query: `(B, heads, queries, width)`; without the dimension of heads, one is put in.
        key: `(B, heads, keys, width)`.
        value: Not looked at.
        attn_mask: True, or 0, where a query may look; added to the products unless it is boolean.
        dropout_p: Not looked at.
        is_causal: Whether a query sees no later key.
        scale: Of the products; None is one over the root of `width`.
        enable_gqa: Whether several heads of queries share one of keys.

    Returns:
        Shape `(B, heads, queries, keys)`, as single precision.
    """
    query, key = query.float(), key.float()
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    products = query @ key.transpose(-2, -1) * factor
    if is_causal:
        seen = torch.ones_like(products, dtype=torch.bool).tril()
        products = products.masked_fill(~seen, -math.inf)
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        products = products.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        products = products + attn_mask
    weights = products.softmax(dim=-1)
    return weights if weights.ndim == 4 else weights.unsqueeze(-3)
