"""The steps of a loop by hand: the loop takes them itself; this refuses whoever asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trackside.data.stateful import Stateful
from trackside.errors import UsageError
from trackside.step.output import predict


class HandSteps:
    """Stands where a trainer would: the loop's own state, and the steps that callbacks may ask for.

    Args:
        state: Parts saved and restored beside models and optimizers, by name: anything with
            `state_dict` and `load_state_dict`, or a `torch.Generator`.

    Raises:
        UsageError: Something in `state` can't be saved.
    """

    manual_optimization = False
    skips_steps = True
    monitors: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()

    def __init__(self, state: Mapping[str, Any]) -> None:
        for name, part in state.items():
            _check_has_state(name, part)
        self._state = dict(state)

    def training_step(self, run: Any, batch: Any) -> Any:
        """Refused: the loop is written by hand."""
        raise _not_here("`training_step`", "it is the body of the loop, which only the loop calls")

    def evaluation_step(self, run: Any, batch: Any) -> Any:
        """Refused: evaluations are written by hand."""
        raise _not_here("`evaluation_step`", "evaluate in the loop: `with run.evaluating(...)`")

    def predict_step(self, run: Any, batch: Any) -> Any:
        """The model's answer to a batch."""
        return predict(run.model, batch)

    def backward(self, run: Any, loss: Tensor) -> None:
        """Add the gradients of `loss`."""
        loss.backward()  # type: ignore[no-untyped-call]

    def optimizer_step(self, run: Any, optimizer: Optimizer) -> None:
        """Apply the gradients."""
        optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """States of what was given, by name."""
        return {
            name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
            for name, part in self._state.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            UsageError: The checkpoint has other names.
        """
        if state.keys() != self._state.keys():
            raise UsageError(
                "the state beside models and optimizers is not what was saved",
                expected=", ".join(sorted(state)) or "none",
                received=", ".join(sorted(self._state)) or "none",
                remedy="give `state` the names that it had",
                option="state",
            )
        for name, part in self._state.items():
            if isinstance(part, torch.Generator):
                part.set_state(state[name])
            else:
                part.load_state_dict(state[name])


def _check_has_state(name: str, part: Any) -> None:
    if isinstance(part, (Stateful, torch.Generator)):
        return
    raise UsageError(
        f"state={{{name!r}: ...}} can't be saved",
        expected="objects with `state_dict` and `load_state_dict`, or a torch.Generator",
        received=type(part).__name__,
        option="state",
    )


def _not_here(what: str, why: str) -> UsageError:
    return UsageError(f"a loop by hand has no {what}", remedy=why)


def leave_update_out(optimizer: Optimizer) -> None:
    """Leave the update that is about to be made without gradients: torch's own then do nothing.

    Raises:
        UsageError: Of another optimizer nobody knows what it does then.
    """
    from_torch = type(optimizer).__module__.startswith("torch.optim.")
    if not from_torch or isinstance(optimizer, torch.optim.LBFGS):
        raise UsageError(
            f"a step can't be skipped: `{type(optimizer).__name__}` makes its update by itself",
            expected="an optimizer of torch.optim that takes no closure",
            remedy="take out the callback that skips steps",
        )
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
