"""Number formats of a run: fp32, bf16, fp16 with a loss scaler."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import torch

from trackside.errors import ConfigurationError, did_you_mean

Name = Literal["fp32", "bf16", "fp16"]
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
        if name not in get_args(Name):
            raise ConfigurationError(
                f"precision={name!r} doesn't exist",
                expected=", ".join(get_args(Name)),
                remedy=did_you_mean(name, get_args(Name)),
            )
        self.name = name
        self.autocast: AbstractContextManager[Any] | None = None
        """Entered around forward passes; None where nothing is cast."""
        self.scaler: torch.amp.GradScaler | None = None
        if name in _DTYPES:
            self.autocast = torch.autocast(device.type, dtype=_DTYPES[name])
        if name == "fp16":
            self.scaler = torch.amp.GradScaler(device.type)

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state, where there is one."""
        return dict(self.scaler.state_dict()) if self.scaler else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)
