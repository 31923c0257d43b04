"""States of models under the user's own names, sharded or whole, without pickle.

`module.` of DDP and `_orig_mod.` of torch.compile are not part of the names, so that what one
strategy saved, any other loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn


def model_state(model: nn.Module, *, whole: bool = False) -> dict[str, Tensor]:
    """The model's state by name.

    Args:
        model: As it is trained: wrapped, sharded, compiled.
        whole: Gather sharded tensors on the CPU of rank 0 (a collective; the other ranks get an
            empty dict). Otherwise each rank has its parts, as `DTensor`s.
    """
    from torch.distributed.checkpoint import state_dict as dcp  # noqa: PLC0415 (takes a second)

    options = dcp.StateDictOptions(full_state_dict=whole, cpu_offload=whole)
    return cast("dict[str, Tensor]", dcp.get_model_state_dict(model, options=options))


def load_model_state(
    model: nn.Module, state: Mapping[str, Any], *, whole: bool = False, strict: bool = True
) -> None:
    """Put a state back.

    Args:
        model: As it is trained.
        state: Tensors by name, sharded as the model is.
        whole: `state` holds whole tensors, on rank 0 only; the others get their parts from there.
        strict: Names must be exactly the model's.
    """
    from torch.distributed.checkpoint import state_dict as dcp  # noqa: PLC0415

    options = dcp.StateDictOptions(full_state_dict=whole, broadcast_from_rank0=whole, strict=strict)
    dcp.set_model_state_dict(model, dict(state), options=options)
