"""An optimizer of another kind is told with both sides, whichever two they are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch.optim import Optimizer

from trackside.errors import CheckpointError
from trackside.loop.same_optimizer import refuse_other_optimizers

KINDS: dict[str, Callable[..., Optimizer]] = {
    "SGD": lambda p, **o: torch.optim.SGD(p, lr=0.1, **o),
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "RMSprop": torch.optim.RMSprop,
    "Adagrad": torch.optim.Adagrad,
    "Rprop": torch.optim.Rprop,
}


def _made(name: str) -> Optimizer:
    return KINDS[name]([torch.zeros(1, requires_grad=True)])


@pytest.mark.skipif(
    torch.__version__ < "2.8", reason="states of Adam and AdamW look alike before torch 2.7"
)
@pytest.mark.parametrize(("before", "now"), list(permutations(KINDS, 2)))
def test_another_kind_is_refused_with_both_sides(before: str, now: str) -> None:
    with pytest.raises(CheckpointError, match="another kind") as raised:
        refuse_other_optimizers({"it": _made(now)}, {"it": _made(before).state_dict()})
    assert now in (raised.value.received or "")
    assert raised.value.expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_kind_is_taken(kind: str) -> None:
    saved = _made(kind).state_dict()
    saved["param_groups"][0]["initial_lr"] = 0.1  # of a scheduler
    refuse_other_optimizers({"it": _made(kind)}, {"it": saved})
