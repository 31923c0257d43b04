"""`TerminateOnNonFinite`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, final

import torch

from trackside.callbacks.stopping.finiteness import (
    LateFlag,
    gradients,
    not_finite,
    tensors_in,
    weights,
)
from trackside.errors import ConfigurationError, NonFiniteError, did_you_mean
from trackside.lifecycle import Callback
from trackside.progress import is_count
from trackside.run import Run

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Policy = Literal["stop", "skip", "raise"]
POLICIES = ("stop", "skip", "raise")


@final
class TerminateOnNonFinite(Callback):
    """Ends the run when the loss, or a gradient, is NaN or infinite.

    On a CPU the value is looked at before the update, and the bad update is not made. On an
    accelerator nobody waits for the device: the flag is copied in the background and the run ends
    one or two steps after the bad one. The message names the step and the tensors: whether the
    batch was bad already, or which gradients. Whatever the policy, a checkpoint of weights that
    aren't finite is refused with an error.

    Args:
        policy: `stop` asks for the end, which makes the outcome `stopped`. `raise` ends the run
            with a `NonFiniteError`. `skip` drops the update of that step and goes on; on an
            accelerator this waits for the device in every step.
        gradients: Whether to look at the norm of all gradients too, before the update. Leave it off
            with fp16, where the loss scaler expects overflows and skips those steps itself.
        max_skips: With `skip`, how many steps in a row may be dropped before the run stops.

    Raises:
        ConfigurationError: No such policy.
        NonFiniteError: By policy `raise`; or a checkpoint would have held bad weights.

    Example:
        >>> TerminateOnNonFinite("skip", gradients=True, max_skips=3)
        TerminateOnNonFinite('skip')
    """

    def __init__(
        self, policy: Policy = "stop", *, gradients: bool = False, max_skips: int = 10
    ) -> None:
        if policy not in POLICIES:
            raise ConfigurationError(
                f"there is no policy {policy!r}", remedy=did_you_mean(str(policy), POLICIES)
            )
        if not is_count(max_skips, at_least=1):
            raise ConfigurationError(
                f"max_skips={max_skips!r} is no number of steps",
                expected="a whole number, 1 or more",
            )
        self.policy: Policy = policy
        self.gradients = gradients
        self.max_skips = max_skips
        self.unused_hooks = frozenset() if gradients else frozenset({"on_optimizer_step_start"})
        self._batch: Any = None
        self._skips = 0
        self._waits = True
        self._found_in_step = self._done = False
        self._late = LateFlag()

    def __repr__(self) -> str:
        return f"TerminateOnNonFinite({self.policy!r})"

    def on_attach(self, run: Run) -> None:
        self._start_anew()

    def on_fit_start(self, run: Run) -> None:
        self._waits = run.device.type == "cpu" or self.policy == "skip"

    def on_batch_start(self, run: Run, batch: Any) -> None:
        self._batch = batch

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        self._check(run, loss, "the loss")

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        found = [gradient for _, gradient in gradients(run.models)]
        if found and not self._found_in_step:
            self._check(run, torch.nn.utils.get_total_norm(found), "a gradient")

    def on_step_end(self, run: Run) -> None:
        if self._waits:
            self._skips = self._skips + 1 if self._found_in_step else 0
            self._found_in_step = False
            if self._skips > self.max_skips:
                run.stop(f"{self._skips} steps in a row had values that aren't finite")
        elif not self._done and (step := self._late.glance()) is not None:
            self._end(run, f"the loss or a gradient is not finite in step {step}")

    def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
        names = not_finite(weights(run.models))
        if names:
            late = self._late.look()
            since = f", since step {late}" if late is not None else ""
            raise NonFiniteError(
                f"a checkpoint was refused: weights aren't finite{since}",
                expected="finite weights and buffers",
                received=_listed(names),
                remedy="resume from an earlier one with a smaller learning rate, or clip=1.0",
            )

    def on_close(self, run: Run, outcome: Any) -> None:
        self._batch = None

    def state_dict(self) -> dict[str, Any]:
        return {"skips": self._skips}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._skips = state["skips"]

    def _start_anew(self) -> None:
        self._late = LateFlag()
        self._batch = None
        self._waits = True
        self._found_in_step = self._done = False
        self._skips = 0

    def _check(self, run: Run, value: Tensor, what: str) -> None:
        step = run.progress.steps_completed + 1
        if not self._waits:
            self._late.add(value, step)
        elif not torch.isfinite(value).item() and not self._found_in_step:
            self._found_in_step = True
            self._answer(run, f"{what} is {_word(value)} in step {step}{self._where(run)}")

    def _where(self, run: Run) -> str:
        """Which tensors are to blame, as far as can be seen."""
        in_batch = not_finite(tensors_in(self._batch, "batch"))
        if in_batch:
            return f"; the data is bad already: {_listed(in_batch)}"
        found = not_finite(gradients(run.models)) or not_finite(weights(run.models))
        return f"; not finite: {_listed(found)}" if found else "; batch and weights are finite"

    def _answer(self, run: Run, message: str) -> None:
        if self.policy == "raise":
            raise NonFiniteError(message)
        run.skip_step(message)
        if self.policy == "stop":
            self._end(run, message)

    def _end(self, run: Run, message: str) -> None:
        self._done = True
        if self.policy == "raise":
            raise NonFiniteError(message)
        run.stop(message)


def _word(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else "not finite"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
