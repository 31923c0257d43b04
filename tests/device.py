"""The device on which tests train, and comparisons that don't ask where a tensor is.

Programs that tests start as processes of their own import it first: they train there too.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

NAME = os.environ.get("TRACKSIDE_TEST_DEVICE", "cpu")
"""`cpu` (the default, on a machine with an accelerator too), `cuda`, or `standin`."""
if NAME == "standin":
    # Before anything is computed: torch counts the devices once.
    from tests import standin

    standin.install()
DEVICE = torch.device(NAME, 0) if NAME != "cpu" else torch.device("cpu")


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and bits, wherever they are."""
    return torch.equal(a.detach().cpu(), b.detach().cpu())
