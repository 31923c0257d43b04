from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trackside.proof.observation import named_tensors


@dataclass
class Sample:
    """A batch that is an object of a dataclass."""

    image: Tensor
    boxes: list[Tensor]


def test_tensors_of_a_batch_are_named_by_their_place() -> None:
    batch = {"sample": Sample(torch.ones(1), [torch.ones(2), torch.ones(3)]), "id": 7}

    found = dict(named_tensors(batch))

    assert {name: len(tensor) for name, tensor in found.items()} == {
        "sample.image": 1,
        "sample.boxes.0": 2,
        "sample.boxes.1": 3,
    }
