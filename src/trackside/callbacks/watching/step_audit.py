"""`StepAudit`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, final

import torch

from trackside.callbacks.watching.bits import Difference, differences
from trackside.callbacks.watching.kept_step import (
    KeptStep,
    parameters_of,
    state_of,
    update_again,
)
from trackside.distributed.state import is_sharded
from trackside.errors import ConfigurationError, CorruptionError, UsageError, did_you_mean
from trackside.lifecycle.during_steps import DuringSteps
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.schedule import Schedule
from trackside.step.copies import copied
from trackside.step.optimization import Clip

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle

logger = logging.getLogger("trackside")

Policy = Literal["warn", "stop", "raise"]
POLICIES = ("warn", "stop", "raise")
SHOWN = 3
"""Differences of a step that a message names; the others are counted."""


class Finding(NamedTuple):
    """A step that, computed a second time, had other bits."""

    step: int
    rank: int
    device: str
    differences: tuple[Difference, ...]
    """In the order of the step: weights before it, losses, buffers, gradients, the update."""

    def __str__(self) -> str:
        shown = "; ".join(map(str, self.differences[:SHOWN]))
        more = len(self.differences) - SHOWN
        return f"step {self.step} on {self.device}, rank {self.rank}: {shown}" + (
            f"; and {more} tensors more" if more > 0 else ""
        )


class _Update(NamedTuple):
    """One optimizer's update, as it is about to begin."""

    weights: dict[torch.nn.Parameter, Tensor]
    gradients: dict[torch.nn.Parameter, Tensor]
    state: dict[Tensor, dict[str, Any]]
    options: list[dict[str, Any]]


@final
class StepAudit(Callback):
    """Repeats every n-th step and compares it bit by bit: silent corruption of data is found.

    A processor, or memory, that computes wrong now and then leaves no trace but worse numbers. In
    an audited step weights, buffers, the optimizer's state, generators and batches are kept.
    Before the update the weights and the state are compared with the copies, and forward and
    backward passes are computed a second time: losses, buffers and gradients have to be the same,
    bit by bit. After it, the update is repeated from the copies, and weights and state are
    compared. A difference is reported with device, rank, step and tensor.

    It changes nothing in the run, whose weights are bitwise those of a run without it: a repeat
    works on other tensors, or puts everything back. A step with state beyond models, buffers,
    optimizers and torch's, NumPy's and Python's generators (a counter in `forward`, say) can't be
    repeated: it is reported as different, at its first audit. So is one whose gradients a callback
    changes, unless it says how by a method `change_gradients(optimizer)`, as `ClipGradients` does;
    and one whose weights are changed between its beginning and its update.

    An audited step takes up to five times its time, and memory for one more copy of weights,
    buffers, optimizer state and gradients, two of them during the repeated update. On several ranks
    each repeats its own forward pass and its update; gradients, which are averaged over ranks
    there, go into the update as they are. On an accelerator, kernels have to be deterministic:
    `Settings(deterministic=True)`.

    Records `audit/differences`: tensors that differed in audited steps, in the mean.

    Args:
        every: Which steps are audited; counts steps.
        policy: A step that differs: `raise` ends the run with a `CorruptionError` before the step
            is counted: it is in no record and no checkpoint. `stop` reports it and asks for the
            end: the run has `diverged`, with exit code 3, and a checkpoint at its end has the step
            in it. `warn` reports it.

    Raises:
        ConfigurationError: No such policy; or an accelerator without deterministic kernels.
        ScheduleError: `every` doesn't count steps.
        UsageError: Steps that can't be repeated: with an optimization by hand, a loss scaler
            (fp16), a closure, batches that are halved, or sharded weights.
        CorruptionError: By policy `raise`.

    Example:
        >>> StepAudit(every="500 steps", policy="stop")
        StepAudit('500 steps', policy='stop')

    Dixit et al., "Silent data corruptions at scale", 2021 (arXiv:2102.11245).
    """

    effect = "steers"
    logs = ("audit/differences",)
    runs_after = (Callback,)

    def __init__(self, every: Schedule | str = "1000 steps", *, policy: Policy = "raise") -> None:
        if policy not in POLICIES:
            raise ConfigurationError(
                f"there is no policy {policy!r}",
                remedy=did_you_mean(str(policy), POLICIES),
                option="policy",
            )
        self.policy: Policy = policy
        self.findings: list[Finding] = []
        """Steps that differed, the oldest first."""
        self.audited = 0
        """Steps that were audited, in this process."""
        self._steps = DuringSteps(every)
        self.every = self._steps.every
        self._clip: Clip | None = None
        self._halves = False
        self._handles: list[RemovableHandle] = []
        self._forget()

    def _forget(self) -> None:
        self._kept: KeptStep | None = None
        self._updates: dict[int, _Update] = {}
        self._updated: set[str] = set()
        self._found: list[Difference] = []
        self._computed = self._repeating = False

    def trainer_made(self, trainer: Any) -> None:
        self._clip = getattr(trainer, "clip", None)
        settings = getattr(trainer, "settings", None)
        self._halves = getattr(settings, "halve_batches_to", None) is not None

    def on_fit_start(self, run: Run) -> None:
        self._forget()
        self.findings, self.audited = [], 0
        _check(run, halves=self._halves)
        for name, optimizer in run.optimizers.items():
            self._listen(run, name, optimizer)

    def on_step_start(self, run: Run) -> None:
        self._forget()
        if self._steps.due(run.progress):
            self._kept = KeptStep.of(run)

    def on_batch_start(self, run: Run, batch: Any) -> None:
        if self._kept is not None:
            self._kept.begin_batch(run, batch)

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        if self._kept is not None:
            self._kept.end_batch(run, output)

    def on_step_end(self, run: Run) -> None:
        if self._kept is None or not self._computed:  # no audit; or the update was skipped
            return
        self.audited += 1
        run.log("audit/differences", float(len(self._found)), weight=1.0)
        found, self._kept = self._found, None
        if found:
            self._report(run, self._finding(run, found))

    def on_fit_end(self, run: Run) -> None:
        logger.info("%d steps were computed twice, %d differed", self.audited, len(self.findings))

    def on_close(self, run: Run, outcome: Outcome) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._forget()

    # --- around an update ------------------------------------------------------------------------

    def _listen(self, run: Run, name: str, optimizer: Optimizer) -> None:
        """Hear of each update, directly before and after it: after all that changes gradients."""

        def before(_: Optimizer, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            if self._kept is not None and not self._repeating and name not in self._updated:
                self._updated.add(name)
                _refuse_closure(args, options)
                self._before_update(run, name, optimizer, self._kept)

        def after(*_: Any) -> None:
            if id(optimizer) in self._updates and not self._repeating:
                self._repeating = True
                try:
                    self._after_update(run, optimizer, self._updates.pop(id(optimizer)))
                finally:
                    self._repeating = False

        self._handles += [
            optimizer.register_step_pre_hook(before),
            optimizer.register_step_post_hook(after),
        ]

    def _before_update(self, run: Run, name: str, optimizer: Optimizer, kept: KeptStep) -> None:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        parameters = {n: p for n, p in parameters_of(run).items() if id(p) in own}
        weights = {n: kept.weights[n] for n in parameters}
        self._add("the weight before the update", weights, parameters)
        self._add("the state before the update", kept.state[name], state_of(run, name))
        if not self._computed:  # before the first optimizer: forward and backward are of all
            self._computed = True
            self._compute_again(run, kept)
        self._updates[id(optimizer)] = _Update(
            {p: weights[n] for n, p in parameters.items()},
            {p: p.grad.detach().clone() for p in parameters.values() if p.grad is not None},
            {p: copied(values) for p, values in optimizer.state.items()},
            [copied(_options(group)) for group in optimizer.param_groups],
        )

    def _compute_again(self, run: Run, kept: KeptStep) -> None:
        alone = run.world.size == 1
        buffers = {
            n: b for m, model in run.models.items() for n, b in model.named_buffers(prefix=m)
        }
        computed = kept.compute_again(run, gradients=alone, clip=self._clip)
        self._add("the loss of", computed.losses, kept.losses)
        self._add("the buffer", {n: computed.buffers[n] for n in buffers}, buffers)
        if alone:
            gradients = {n: p.grad for n, p in parameters_of(run).items() if p.grad is not None}
            self._add("the gradient of", computed.gradients, gradients)

    def _after_update(self, run: Run, optimizer: Optimizer, update: _Update) -> None:
        weights, state = update_again(optimizer, *update)
        names: dict[Tensor, str] = {p: n for n, p in parameters_of(run).items()}
        made = {names[p]: value for p, value in weights.items()}
        self._add("the weight", made, {names[p]: p for p in weights})
        for parameter, values in state.items():
            what = f"the state of {names.get(parameter, 'a parameter')}:"
            self._add(what, values, optimizer.state.get(parameter, {}))
        if self._found and self.policy == "raise":  # at once: the step isn't counted, nor saved
            self._raise(self._finding(run, self._found, under_way=1))

    def _add(self, what: str, expected: Any, found: Any) -> None:
        self._found += differences(what, expected, found)

    def _finding(self, run: Run, found: Iterable[Difference], under_way: int = 0) -> Finding:
        step = run.progress.steps_completed + under_way
        finding = Finding(step, run.world.rank, str(run.device), tuple(found))
        self.findings.append(finding)
        return finding

    def _raise(self, finding: Finding) -> None:
        raise CorruptionError(
            f"computed a second time, a step has other bits: {finding}",
            expected="the same bits, twice",
            remedy="go on from the last checkpoint on another machine: a processor or memory of "
            "this one may be bad. A step with hidden state, or a callback that changes "
            "gradients, looks the same: see `StepAudit`",
        )

    def _report(self, run: Run, finding: Finding) -> None:
        logger.warning("computed a second time, a step has other bits: %s", finding)
        if self.policy == "stop":
            run.stop(f"silent corruption: {finding}", diverged=True)


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _refuse_closure(args: tuple[Any, ...], options: dict[str, Any]) -> None:
    # torch's hooks get the optimizer itself as the first argument of its step.
    if any(map(callable, (*args[1:], *options.values()))):
        raise UsageError(
            "an update by a closure can't be repeated: the closure computes the loss itself",
            remedy="remove `StepAudit`, or take another optimizer",
        )


def _check(run: Run, *, halves: bool) -> None:
    """Refuse runs whose steps can't be repeated."""
    reason = None
    if run.steps.manual_optimization:
        reason = "they optimize by hand"
    elif run.precision.scaler is not None:
        reason = "their loss is scaled (fp16)"
    elif halves:
        reason = "their batches are halved when memory runs out (halve_batches_to)"
    elif any(is_sharded(parameter) for parameter in parameters_of(run).values()):
        reason = "their weights are sharded"
    if reason is not None:
        raise UsageError(
            f"steps can't be repeated: {reason}",
            expected="steps that return their loss, in fp32 or bf16, with whole weights",
            remedy="remove `StepAudit`",
        )
    if run.device.type != "cpu" and not torch.are_deterministic_algorithms_enabled():
        raise ConfigurationError(
            f"on {run.device.type}, a repeated step may have other bits without any corruption",
            expected="deterministic kernels",
            remedy="Settings(deterministic=True)",
        )
