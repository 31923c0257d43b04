"""Histograms of tensors, of which only the counts come to the host."""

from __future__ import annotations

import torch
from torch import Tensor

from trackside.tracking.media import Histogram

CHUNK = 2**24
"""Values counted at once: single precision counts no further."""


def histogram(tensor: Tensor, bins: int) -> Histogram:
    """How the values of `tensor` are spread: `bins` equal bins from the least to the greatest."""
    values = tensor.detach().flatten()
    values = values if values.dtype is torch.float64 else values.float()
    finite = values[torch.isfinite(values)]
    low, high = finite.aminmax() if finite.numel() else (values.new_zeros(()), values.new_zeros(()))
    ends = torch.stack((low, high)).tolist()
    if ends[0] == ends[1]:
        ends = [ends[0] - 0.5, ends[1] + 0.5]
    counts = torch.zeros(bins, dtype=torch.int64, device=values.device)
    for start in range(0, finite.numel(), CHUNK):
        chunk = finite[start : start + CHUNK]
        counts += torch.histc(chunk, bins, ends[0], ends[1]).long()
    return Histogram(
        counts.cpu().numpy(),
        torch.linspace(ends[0], ends[1], bins + 1, dtype=torch.float64).numpy(),
        not_finite=values.numel() - finite.numel(),
    )
