"""Mixed precision (fp32, bf16, fp16 with loss scaling), and the check for non-finite values."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from trackside.distributed.state import local_part
from trackside.errors import ConfigurationError, did_you_mean
from trackside.machine.accelerator import exact_dtype
from trackside.vocabulary import idioms

PrecisionName = Literal["fp32", "bf16", "fp16"]
SMALLEST_SCALE = 2.0**-14
"""Below it, a loss of 1 is subnormal in fp16: the gradients are to blame, not the range."""
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Autocast and loss scaling.

    Args:
        name: `fp32` computes as the model is; `bf16` and `fp16` cast where torch.autocast does;
            fp16 scales the loss so that small gradients don't vanish.
        device: Where the model computes.

    Raises:
        ConfigurationError: An unknown name.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name not in get_args(PrecisionName):
            raise ConfigurationError(
                f"precision={name!r} doesn't exist",
                expected=", ".join(get_args(PrecisionName)),
                remedy=f"it is called `{idioms.PRECISIONS[str(name)]}` here"
                if str(name) in idioms.PRECISIONS
                else did_you_mean(str(name), get_args(PrecisionName)),
                option="precision",
            )
        self.name = name
        self.autocast: AbstractContextManager[Any] | None = None
        """Entered around forward passes; None where nothing is cast."""
        self.scaler: torch.amp.GradScaler | None = None
        self.skipped_on_device: Tensor | None = None
        """Whether the update counted last was skipped, where only its device knows."""
        self._steps = 0
        self._skipped: Tensor | float = 0.0
        if name in _DTYPES:
            self.autocast = torch.autocast(device.type, dtype=_DTYPES[name])
        if name == "fp16":
            self.scaler = torch.amp.GradScaler(device.type)

    def count(self, optimizer: torch.optim.Optimizer) -> bool:
        """Count an attempted update, and on the device whether it was made; called after it.

        Returns:
            Whether it was skipped, where the host knows that without waiting: on the CPU.
        """
        if self.scaler is None:
            return False
        self._steps += 1
        self.skipped_on_device = None
        found = self.scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values()
        for flag in found:
            self._skipped = flag.clamp(max=1.0) + self._skipped
            if flag.device.type != "cpu":
                self.skipped_on_device = flag > 0
        return any(flag.device.type == "cpu" and bool(flag) for flag in found)

    @property
    def skipped_updates(self) -> int:
        """Updates that the scaler has skipped in this process; waits for the device."""
        return int(self._skipped)

    @property
    def made_no_update(self) -> bool:
        """Whether updates were attempted in this process, and none was made; waits for the device.

        Optimizers on several devices count as made where one of their parts was.
        """
        return self._steps > 0 and float(self._skipped) >= self._steps

    @property
    def loss_scale_is_gone(self) -> bool:
        """Whether the loss scale has fallen to nothing; waits for the device."""
        return self.scaler is not None and self.scaler.get_scale() < SMALLEST_SCALE

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state, where there is one."""
        return dict(self.scaler.state_dict()) if self.scaler else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)


@torch.no_grad()
def non_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity; waits for their device once.

    Of a sharded tensor, the part is looked at that this rank holds: other ranks may find others.

    Args:
        named: PrecisionName and tensor; those of whole numbers, and empty ones, are left out.
    """
    parts = ((name, _real(local_part(tensor))) for name, tensor in named)
    floating = {name: t for name, t in parts if t.is_floating_point() and t.numel()}
    if not floating:
        return []
    # A sum is NaN or infinite where a value is; the few that overflow are looked at closely.
    device = next(iter(floating.values())).device
    sums = torch.stack([_sum(t).to(device) for t in floating.values()])
    suspects = [n for n, ok in zip(floating, sums.isfinite().tolist(), strict=True) if not ok]
    return [name for name in suspects if not bool(_exact(floating[name]).isfinite().all())]


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(exact_dtype(tensor.device))


def _sum(tensor: Tensor) -> Tensor:
    if tensor.element_size() == 1:  # it has no sum
        return tensor.float().sum()
    return tensor.sum(dtype=exact_dtype(tensor.device))
