"""Training and evaluation modes of modules: whoever set one finds it again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

logger = logging.getLogger("trackside")


def begin_training(models: Mapping[str, nn.Module], *, tell: bool = True) -> None:
    """Put models into training mode, and leave parts alone that were put into evaluation mode.

    A model that stands in evaluation mode as a whole (as some libraries give them) is put into
    training mode as a whole: nothing in it says which part was meant.

    Args:
        models: By name.
        tell: Whether to log which parts stay in evaluation mode: as a warning where they have
            parameters that are trained.
    """
    for name, model in models.items():
        parts = model.named_modules(prefix=name) if model.training else ()
        kept = {part: module for part, module in parts if not module.training}
        model.train()
        for module in kept.values():
            module.training = False
        if kept and tell:
            _tell(kept)


@contextmanager
def evaluation_mode(models: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, modules evaluate; afterwards the modes are as before."""
    modes = [(module, module.training) for m in models.values() for module in m.modules()]
    try:
        for model in models.values():
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _tell(kept: Mapping[str, nn.Module]) -> None:
    outermost = [part for part in kept if part.rpartition(".")[0] not in kept]
    trained = any(p.requires_grad for part in outermost for p in kept[part].parameters())
    logger.log(
        logging.WARNING if trained else logging.INFO,
        "%s%s: evaluation mode is kept, as it was set%s",
        ", ".join(outermost[:5]),
        f" and {len(outermost) - 5} more" if len(outermost) > 5 else "",
        ", though parameters in it are trained; to train it in training mode, call its `train()` "
        "before `fit`"
        if trained
        else "",
    )
