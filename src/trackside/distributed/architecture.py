"""Whether all ranks have made the same model, before it is spread: torch would hang or abort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import nn

from trackside.distributed.rank_checks import Note, Subject, disagreement

if TYPE_CHECKING:
    from trackside.distributed.world import World

SHAPES = Subject(
    "parameters and buffers",
    "build the model alike on every rank: without a condition on the rank, and from what is the "
    "same everywhere (numbers of classes, vocabularies, files)",
)


def check_same(world: World, models: Mapping[str, nn.Module]) -> None:
    """Compare names, shapes and types of all parameters and buffers over ranks; a collective.

    Raises:
        DisagreementError: They differ; names the first.
    """
    described = dict(_described(models))
    everyone = world.gather(list(described.items()))
    if any(of_rank != everyone[0] for of_rank in everyone):
        note = Note(SHAPES, 0, list(described.values()), list(described).__getitem__)
        raise disagreement(note, dict(enumerate(everyone)))


def _described(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    for name, model in models.items():
        before = f"{name}." if len(models) > 1 else ""
        for kind, tensors in (("", model.named_parameters()), ("buffer ", model.named_buffers())):
            for path, tensor in tensors:
                dtype = str(tensor.dtype).removeprefix("torch.")
                yield f"{kind}{before}{path}", f"{dtype} {list(tensor.shape)}"
