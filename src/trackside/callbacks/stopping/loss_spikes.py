"""`LossSpikes`."""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from trackside.callbacks.stopping.robust import deviations_above
from trackside.callbacks.stopping.rolling_back import prepare_to_roll_back
from trackside.errors import ConfigurationError, did_you_mean
from trackside.lifecycle.hooks import Callback
from trackside.machine.accelerator import exact_dtype
from trackside.progress import whole_number
from trackside.run import Rollback, Run
from trackside.saved import checked
from trackside.step.output import Output, as_output

if TYPE_CHECKING:
    from torch.optim import Optimizer

_log = logging.getLogger(__name__)

Policy = Literal["warn", "lower_rate", "skip", "roll_back"]
POLICIES = ("warn", "lower_rate", "skip", "roll_back")


@final
class LossSpikes(Callback):
    """Finds steps whose loss jumps, and warns, lowers the rate, leaves the update out or goes back.

    The loss of each step, over all ranks, is compared with the steps before it: a spike is more
    than `threshold` robust standard deviations above their median. It is looked at before the
    update, so that `skip` and `roll_back` never make it; the host waits for the loss in every step.
    All ranks decide by the same number. A loss that isn't finite is a spike as well; see
    `TerminateOnNonFinite` for gradients.

    The losses of the window and what was found are in checkpoints, so that a resumed run decides
    as an unbroken one. `spikes/found` is recorded, and with `lower_rate` `spikes/rate_factor`.

    Args:
        policy: `warn` says so. `lower_rate` multiplies the learning rates by `factor`, from the
            update of the spike on; schedulers go on with theirs, of which the product is used.
            `skip` leaves the update out. `roll_back` goes back to the newest checkpoint, and on
            from there without the batches of the step; it needs a callback that saves, and data
            that can be read again.
        threshold: Robust standard deviations above the median; above 0.
        window: Steps that a step is compared with, 2 or more.
        min_steps: Steps in the window before anything is judged; None: half of the window.
        max_spikes: How many spikes the run takes; with the next one it ends as `diverged`, with
            exit code 3. None: any number.
        factor: For `lower_rate`, between 0 and 1.

    Raises:
        ConfigurationError: An option out of its range; a trainer that optimizes by hand; or
            `roll_back` where nothing saves, or the data can't be read again.

    Example:
        >>> LossSpikes("skip", threshold=8, max_spikes=20)
        LossSpikes('skip', threshold=8, min_steps=50, max_spikes=20)

    Skipping the batches of a spike after a restart from before it is how PaLM was trained
    (https://arxiv.org/abs/2204.02311, section 5.1).
    """

    effect = "steers"
    runs_in = ("fit",)
    logs = ("spikes/found", "spikes/rate_factor")
    settable = ("threshold", "max_spikes")
    calls_collectives = True

    def __init__(
        self,
        policy: Policy = "warn",
        *,
        threshold: float = 6.0,
        window: int = 100,
        min_steps: int | None = None,
        max_spikes: int | None = 10,
        factor: float = 0.5,
    ) -> None:
        if policy not in POLICIES:
            raise ConfigurationError(
                f"there is no policy {policy!r}",
                remedy=did_you_mean(str(policy), POLICIES),
                option="policy",
            )
        for option, given, most in (("threshold", threshold, math.inf), ("factor", factor, 1.0)):
            if not 0 < given < most:
                raise ConfigurationError(
                    f"{option}={given!r} can't be used",
                    expected="above 0" if option == "threshold" else "between 0 and 1",
                    option=option,
                )
        self.policy: Policy = policy
        self.threshold = threshold
        self.window = whole_number(window, "window", at_least=2)
        least = window // 2 if min_steps is None else min_steps
        self.min_steps = whole_number(least, "min_steps", at_least=1)
        if self.min_steps > window:
            raise ConfigurationError(
                f"min_steps={min_steps!r} never come together in a window of {window}",
                expected=f"{window} or fewer",
                option="min_steps",
            )
        if max_spikes is not None:
            whole_number(max_spikes, "max_spikes")
        self.max_spikes = max_spikes
        self.factor = factor
        self.skips_steps = policy in ("skip", "roll_back")
        self._forget()
        self._rates: list[tuple[dict[str, Any], Any]] = []

    def _forget(self) -> None:
        self._losses: deque[float] = deque(maxlen=self.window)
        self._found = 0
        self._rate_factor = 1.0
        self._begin_step()

    def _begin_step(self) -> None:
        self._sums: Tensor | None = None
        """Of its batches so far: loss times weight, and weight, shape `(2,)`."""
        self._places: list[tuple[int, int]] = []
        self._is_judged = False

    def on_attach(self, run: Run) -> None:
        self._forget()

    def on_fit_start(self, run: Run) -> None:
        if run.steps.manual_optimization:
            raise ConfigurationError(
                "the loss of a step isn't known: the trainer optimizes by hand",
                remedy="drop `LossSpikes`, or leave the updates to the loop",
            )
        if self.policy == "roll_back":
            prepare_to_roll_back(run)

    def on_step_start(self, run: Run) -> None:
        self._begin_step()

    def on_batch_start(self, run: Run, batch: Any) -> None:
        progress = run.progress
        self._places.append((progress.epochs_completed, progress.epoch_batches_completed))

    def on_backward_start(self, run: Run, loss: Tensor) -> None:
        part = _weighed(run, loss)
        self._sums = part if self._sums is None else self._sums + part

    def on_optimizer_step_start(self, run: Run, optimizer: Optimizer) -> None:
        if not self._is_judged and self._sums is not None:
            self._is_judged = True
            total, weight = run.world.all_reduce(self._sums, "sum").tolist()
            if weight:
                self._judge(run, total / weight)
        if self._rate_factor != 1.0:
            for group in optimizer.param_groups:
                self._rates.append((group, group["lr"]))
                group["lr"] = group["lr"] * self._rate_factor

    def on_optimizer_step_end(self, run: Run, optimizer: Optimizer) -> None:
        self._put_rates_back()

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        values["spikes/found"] = float(self.found(run))
        if self.policy == "lower_rate":
            values["spikes/rate_factor"] = self._rate_factor

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._begin_step()

    def on_close(self, run: Run, outcome: Any) -> None:
        self._put_rates_back()  # a step that failed has left them
        self._begin_step()

    def found(self, run: Run) -> int:
        """Spikes so far, over all resumes, with those in `run.rollbacks`."""
        name = run.callbacks.name_of(self)
        back = sum(one.asked_by.partition(" on rank")[0] == name for one in run.rollbacks)
        return self._found + back

    def state_dict(self) -> dict[str, Any]:
        return {
            "losses": list(self._losses),
            "found": self._found,
            "rate_factor": self._rate_factor,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = checked(state, losses=list[float], found=int, rate_factor=float)
        self._losses = deque(known["losses"], maxlen=self.window)
        self._found, self._rate_factor = known["found"], known["rate_factor"]

    def _judge(self, run: Run, loss: float) -> None:
        """Compare the loss of the step under way, which is the same on all ranks."""
        before = self._losses
        known = len(before) >= self.min_steps
        above = deviations_above(loss, before) if known else 0.0
        if not known and not math.isfinite(loss):
            return
        if above <= self.threshold:
            before.append(loss)
            return
        step = run.progress.steps_completed + 1
        reason = f"the loss of step {step} is {loss:.6g}, {above:.3g} robust deviations above the "
        reason += f"median of {len(before)} steps before"
        number = self.found(run) + 1
        if self.policy != "roll_back":
            self._found += 1
        self._answer(run, reason, loss)
        if self.max_spikes is not None and number > self.max_spikes:
            run.stop(f"{reason}; it is spike {number} of at most {self.max_spikes}", diverged=True)

    def _answer(self, run: Run, reason: str, loss: float) -> None:
        if run.world.is_global_zero:
            _log.warning("%s (policy: %s)", reason, self.policy)
        if self.policy in ("warn", "lower_rate"):
            # A loss that stays up is the new level: the median follows.
            self._losses.extend([loss] if math.isfinite(loss) else [])
            self._rate_factor *= self.factor if self.policy == "lower_rate" else 1.0
            return
        run.skip_step(reason)
        if self.policy == "roll_back":
            source = run.data["train"]
            run.roll_back(reason, leave_out=[source.identify(*place) for place in self._places])

    def _put_rates_back(self) -> None:
        for group, rate in self._rates:
            group["lr"] = rate
        self._rates = []


def _weighed(run: Run, loss: Tensor) -> Tensor:
    """Loss of the batch under way times its weight, and that weight, shape `(2,)`.

    Weighed as in records: by samples, or by what the step returns as `weight`. Not as the loss goes
    into the gradients, which are put right with the last batch of a step only. A loop by hand
    returns nothing: its losses all weigh 1.
    """
    made = Output(loss, weight=1.0) if run.output is None else as_output(run.output)
    weight = run.batch_samples if made.weight is None else made.weight
    like = made.loss.detach().reshape(()).to(exact_dtype(loss.device))
    # A rank without a part in the batch has a filler.
    heavy = torch.as_tensor(weight).detach().reshape(()).to(like) * float(run.batch_samples != 0)
    return torch.stack([like * heavy, heavy])
