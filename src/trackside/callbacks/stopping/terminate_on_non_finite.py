"""`TerminateOnNonFinite`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, final

import torch

from trackside.callbacks.stopping.finiteness import (
    LateFlag,
    gradients,
    tensors_in,
    weights,
)
from trackside.callbacks.stopping.rolling_back import prepare_to_roll_back
from trackside.errors import ConfigurationError, NonFiniteError, did_you_mean
from trackside.lifecycle.hooks import Callback
from trackside.models.naming import named_parameters
from trackside.progress import TrainingBatch, whole_number
from trackside.run import Rollback, Run
from trackside.saved import checked
from trackside.step.began_infinite import began_infinite
from trackside.step.precision import non_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.optim import Optimizer

_log = logging.getLogger(__name__)

Policy = Literal["stop", "skip", "roll_back", "raise"]
POLICIES = ("stop", "skip", "roll_back", "raise")

BATCHES_KEPT = 8
"""Batches kept until their step is known to be finite: more than the device is behind the host."""
STEPS_REMEMBERED = 128
"""Of how many steps the batches are known: more than ranks, or the device, are late by."""


@final
class TerminateOnNonFinite(Callback):
    """Ends the run when the loss, or a gradient, is NaN or infinite; or skips it, or goes back.

    The bad update is never made. On a CPU the value is looked at before it. On an accelerator a
    fused optimizer (`AdamW(parameters, fused=True)`) decides that on the device, without a wait:
    the flag is copied in the background and the run ends one or two steps after the bad one.
    Other optimizers can't: there the host waits for the value in every step, which costs a large
    model little; putting weights back from a copy would take three times their memory, and the
    steps that an optimizer counts on the host could not be put back. The message names the step
    and the tensors: whether the batch was bad already, or which gradients. Whatever the policy, a
    checkpoint of weights that aren't finite is not written.

    With `roll_back`, the run goes back to its newest checkpoint as a resume would, and on from
    there without the batches of the bad step: it ends bitwise as a run whose data never gave them
    (same machine and number of ranks), its records too, except for their seconds. `run.rollbacks`
    tells how often, from where, and which batches are left out, with the indices of their samples
    where the loader has such. Checkpoints keep that.

    Args:
        policy: `stop` asks for the end: the run has then `diverged`, with exit code 3. `raise` ends
            the run with a `NonFiniteError`. `skip` drops the update of that step and goes on; on an
            accelerator this waits for the device in every step, with each optimizer. `roll_back`
            needs a callback that saves, and data that can be read again.
        gradients: Whether to look at the norm of all gradients too, before the update. Leave it off
            with fp16, where the loss scaler expects overflows and skips those steps itself. Without
            it, an update that ruins the weights shows in the loss of the next step.
        max_skips: With `skip`, how many steps in a row may be dropped before the run stops.
        max_rollbacks: With `roll_back`, how often the run may go back and on, over all its resumes;
            the next time it goes back and stops there.

    Raises:
        ConfigurationError: No such policy; or `roll_back` where nothing saves, or the data can't be
            read again.
        NonFiniteError: By policy `raise`; or a checkpoint would have held bad weights.
        CheckpointError: By policy `roll_back`, where there is no checkpoint yet.

    Example:
        >>> TerminateOnNonFinite("roll_back", gradients=True, max_rollbacks=3)
        TerminateOnNonFinite('roll_back', gradients=True, max_rollbacks=3)
    """

    effect = "steers"
    settable = ("max_skips", "max_rollbacks")

    def __init__(
        self,
        policy: Policy = "stop",
        *,
        gradients: bool = False,
        max_skips: int = 10,
        max_rollbacks: int = 5,
    ) -> None:
        if policy not in POLICIES:
            raise ConfigurationError(
                f"there is no policy {policy!r}",
                remedy=did_you_mean(str(policy), POLICIES),
                option="policy",
            )
        self.policy: Policy = policy
        self.gradients = gradients
        self.max_skips = whole_number(max_skips, "max_skips", at_least=1)
        self.max_rollbacks = whole_number(max_rollbacks, "max_rollbacks", at_least=1)
        self._batch: Any = None
        self._began_infinite: dict[str, frozenset[str]] = {}
        self._bad: Tensor | None = None
        """1.0 where the step under way has a value that isn't finite; None before its first."""
        self._waits = True
        self._found_in_step = self._done = self._is_over = False
        self._skips = 0
        self._optimizers: tuple[Optimizer, ...] = ()
        self._start_anew()

    def on_attach(self, run: Run) -> None:
        self._optimizers = ()
        self._start_anew()

    def chosen_way(self, run: Run) -> str:
        """How a bad update is kept from being made; see the class. `plan` prints it."""
        what = "loss and gradients are" if self.gradients else "the loss is"
        if run.device.type == "cpu":
            return f"{what} looked at before each update"
        if self.policy == "skip":
            return f"{what} waited for before each update: the policy `skip` has to know"
        if not all(map(_decides_on_device, run.optimizers.values())):
            return (
                f"{what} waited for before each update: with `fused=True`, the optimizer could "
                "leave it out by itself"
            )
        return f"{what} looked at on the device; the optimizer leaves a bad update out, no wait"

    def on_optimizers_ready(self, run: Run) -> None:
        self._optimizers = tuple(run.optimizers.values())
        can = all(map(_decides_on_device, self._optimizers))
        self._waits = run.device.type == "cpu" or self.policy == "skip" or not can
        if run.device.type != "cpu" and self._waits:
            _log.info("%s", self.chosen_way(run))
        # What is bad on one rank is in the gradients of all ranks: all drop the update, or none.
        self.skips_steps = self._waits and self.policy != "raise"
        unused = {"on_optimizer_step_end", "on_train_epoch_end"} if self._waits else set()
        if self._waits and not self.gradients:
            unused.add("on_optimizer_step_start")
        self.unused_hooks = frozenset(unused)

    def on_fit_start(self, run: Run) -> None:
        self._began_infinite = began_infinite(run.models)
        if self.policy == "roll_back":
            prepare_to_roll_back(run)

    def on_batch_start(self, run: Run, batch: Any) -> None:
        progress = run.progress
        step = progress.steps_completed + 1
        if self._waits:
            self._batch = batch
        else:
            self._batches.append((step, batch))
            while self._batches[0][0] <= self._late.finite_until:
                self._batches.popleft()
        if self.policy == "roll_back":
            place = (step, progress.epochs_completed, progress.epoch_batches_completed)
            self._places.append(place)
            while self._places[0][0] <= step - STEPS_REMEMBERED:
                self._places.popleft()

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        self._check(run, loss, "the loss")

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        if self.gradients and not self._found_in_step:
            found = [gradient for _, gradient in gradients(run.models)]
            if found:
                self._check(run, torch.nn.utils.get_total_norm(found), "a gradient")
        if not self._waits and self._bad is not None:
            self._bad = run.world.all_reduce(self._bad, "max")
            _leave_out_update_if(optimizer, self._bad)

    def on_optimizer_step_end(self, run: Run, optimizer: Optimizer) -> None:
        _leave_out_update_if(optimizer, None)

    def on_step_end(self, run: Run) -> None:
        if self._waits:
            self._skips = self._skips + 1 if self._found_in_step else 0
            self._found_in_step = False
            if self.policy == "skip" and self._skips > self.max_skips:
                words = f"{self._skips} steps in a row had values that aren't finite"
                run.stop(words, diverged=True)
            return
        self._bad = None
        if not self._done and (found := self._late.glance()) is not None:
            self._late_answer(run, *found)

    def on_train_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        # The device has been waited for already, for the metrics.
        if not self._waits and not self._done and (found := self._late.look()) is not None:
            self._late_answer(run, *found)

    def on_fit_end(self, run: Run) -> None:
        self._is_over = True

    def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
        late = self._late.look()
        names = non_finite(weights(run.models, without=self._began_infinite))
        if not names and (late is None or self.policy != "roll_back"):
            return
        if self.policy == "roll_back" and not self._is_over:
            if late is not None:
                self._late_answer(run, *late)
            elif not self._done:
                last = run.progress.steps_completed
                message = f"weights aren't finite after step {last}: {_listed(names)}"
                self._go_back(run, message, self._batches_of(run, [last]))
            return
        since = f", since step {late[0]}" if late is not None else ""
        raise NonFiniteError(
            f"a checkpoint was refused: weights aren't finite{since}",
            expected="finite weights and buffers",
            received=_listed(names),
            remedy="resume from an earlier one with a smaller learning rate, or clip=1.0",
        )

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._start_anew(waits=self._waits)

    def on_close(self, run: Run, outcome: Any) -> None:
        self._batch = None
        self._batches.clear()
        for optimizer in self._optimizers:  # a step that failed has left it there
            _leave_out_update_if(optimizer, None)

    def state_dict(self) -> dict[str, Any]:
        return {"skips": self._skips}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._skips = checked(state, skips=int)["skips"]

    def _start_anew(self, *, waits: bool = True) -> None:
        self._late = LateFlag()
        self._batch = None
        self._batches: deque[tuple[int, Any]] = deque(maxlen=BATCHES_KEPT)
        self._bad = None
        self._waits = waits
        self._found_in_step = self._done = self._is_over = False
        self._skips = 0
        self._places: deque[tuple[int, int, int]] = deque()
        """Of each batch of the newest steps: step, epoch, and batches done before it there."""

    def _check(self, run: Run, value: Tensor, what: str) -> None:
        step = run.progress.steps_completed + 1
        if not self._waits:
            bad = self._late.add(value, step, what)
            self._bad = bad if self._bad is None else torch.maximum(self._bad, bad)
        elif not torch.isfinite(value).item() and not self._found_in_step:
            self._found_in_step = True
            self._answer(run, f"{what} is {_word(value)} in step {step}{self._where(run)}", what)

    def _where(self, run: Run) -> str:
        """The tensors that caused it, as far as can be seen."""
        if in_batch := non_finite(tensors_in(self._batch, "batch")):
            return _bad_data(in_batch)
        found = non_finite(gradients(run.models)) or non_finite(
            weights(run.models, without=self._began_infinite)
        )
        return f"; not finite: {_listed(found)}" if found else "; batch and weights are finite"

    def _answer(self, run: Run, message: str, what: str) -> None:
        """Apply the policy to a value of the step under way."""
        if self.policy == "raise":
            raise NonFiniteError(message)
        run.skip_step(message)
        if self.policy == "stop":
            self._end(run, message)
        elif self.policy == "roll_back":
            step = run.progress.steps_completed + 1
            if what == "the loss" and non_finite(named_parameters(run.models)):
                self._go_back(run, message, self._batches_of(run, [step - 1]))
            elif what == "the loss":
                self._go_back(run, message, self._batches_of(run, [step])[-1:])
            else:
                self._go_back(run, message, self._batches_of(run, [step]))

    def _late_answer(self, run: Run, step: int, what: str) -> None:
        """Apply the policy to a value of a step that is over, whose update was left out."""
        batches = [batch for at, batch in self._batches if at == step]
        in_batch = [name for one in batches for name in non_finite(tensors_in(one, "batch"))]
        message = f"{what} is not finite in step {step}{_bad_data(in_batch) if in_batch else ''}"
        if self.policy == "roll_back":
            ruined = what == "the loss" and bool(non_finite(named_parameters(run.models)))
            self._go_back(run, message, self._batches_of(run, [step - 1 if ruined else step]))
        else:
            self._end(run, message)

    def _batches_of(self, run: Run, steps: list[int]) -> list[TrainingBatch]:
        source = run.data["train"]
        return [source.identify(at, done) for step, at, done in self._places if step in steps]

    def _go_back(self, run: Run, message: str, batches: Iterable[TrainingBatch]) -> None:
        self._done = True
        run.roll_back(message, leave_out=batches)
        if len(run.rollbacks) >= self.max_rollbacks:  # it ends where it goes back to, in order
            times = "once" if self.max_rollbacks == 1 else f"{self.max_rollbacks} times"
            run.stop(f"{message}; and it went back {times} already", diverged=True)

    def _end(self, run: Run, message: str) -> None:
        self._done = True
        if self.policy == "raise":
            raise NonFiniteError(message)
        run.stop(message, diverged=True)


def _decides_on_device(optimizer: Optimizer) -> bool:
    """Whether its kernels leave the update out where a flag on the device says so."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _leave_out_update_if(optimizer: Optimizer, bad: Tensor | None) -> None:
    """Make the next update depend on a flag on the device, as torch's gradient scaler does.

    Args:
        optimizer: A fused one.
        bad: 1.0 leaves the update out, 0.0 lets it happen, shape `()`; None: it happens.
    """
    if bad is None:
        vars(optimizer).pop("found_inf", None)
    else:
        optimizer.found_inf = bad  # type: ignore[attr-defined]


def _bad_data(names: list[str]) -> str:
    return f"; the data is bad already: {_listed(names)}"


def _word(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else "not finite"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
