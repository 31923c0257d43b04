"""EMA: averages of the weights in which the past fades."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, final

import torch
from torch import Tensor

from trackside.callbacks.averaging.averages import (
    Averaged,
    check_decays,
    take_over,
    warmed_up,
)
from trackside.errors import CheckpointError, ConfigurationError
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.outcome import Outcome
from trackside.run import Evaluation, Rollback, Run
from trackside.saved import checked
from trackside.schedule import Every, Schedule, reached

logger = logging.getLogger("trackside")


@final
class EMA(PeriodicCallback):
    """Keeps exponential moving averages of the weights, and evaluates with them.

    After each update, `average = decay * average + (1 - decay) * weight`. Evaluations and
    predictions see the averages; afterwards the weights are back bit by bit, however the pass
    ended. After `fit` this holds as long as the model has the weights that training ended with:
    those that were restored (the best ones) or loaded are judged themselves. The averages are part
    of a checkpoint, of shards where the model is sharded.

    Args:
        decay: Share of the old average that stays in an update, at least 0 and below 1; several
            keep several averages. 0.999 looks back about a thousand updates.
        every: How often to update.
        start: When averaging begins, such as `"500 steps"`; until then evaluations see the weights
            themselves. None begins with the first weights.
        warm_up: Whether early updates use a smaller decay, `min(decay, (1 + n) / (10 + n))` after
            n of them, so that short runs aren't held back by the first weights.
        evaluate: Whether evaluations and predictions use the averages: those of the first decay,
            or of the decay given here.
        buffers: `average` treats floating buffers (running statistics of batch norm) like weights;
            `copy` leaves those of training in their place.
        models: Names of the models to average; None takes all.

    Raises:
        ConfigurationError: A decay out of range, or twice, or `evaluate` names none of them.

    Example:
        >>> EMA(decay=[0.99, 0.999], every="2 steps")

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the
    warm-up is TensorFlow's. Tarvainen and Valpola, "Mean teachers are better role models", 2017.
    """

    effect = "changes"
    runs_before = ("early_stopping", "best_checkpoint")

    def __init__(
        self,
        decay: float | Sequence[float] = 0.999,
        *,
        every: Schedule | str = "1 step",
        start: Schedule | str | None = None,
        warm_up: bool = True,
        evaluate: bool | float = True,
        buffers: Literal["average", "copy"] = "average",
        models: Sequence[str] | None = None,
    ) -> None:
        super().__init__(every)
        several = (decay,) if isinstance(decay, (int, float)) else decay
        self.decays = tuple(map(float, several))
        check_decays(self.decays)
        if buffers not in ("average", "copy"):
            raise ConfigurationError(
                f"buffers={buffers!r} isn't a choice", expected="average, copy", option="buffers"
            )
        self.start = None if start is None else Every.parse(start, option="start")
        self.warm_up = warm_up
        chosen = None if isinstance(evaluate, bool) else evaluate
        self.evaluated_decay = None if evaluate is False else self._first_or(chosen)
        """The decay whose averages evaluations use."""
        self.updates = 0
        """Updates done so far."""
        self._begun = False
        self._moved_at = 0
        self._trained: list[int] | None = None
        """Fingerprint of the weights that training has ended with."""
        self._averaged = {
            decay: Averaged(models, buffers=buffers == "average") for decay in self.decays
        }

    def _first_or(self, decay: float | None) -> float:
        if decay is not None and decay not in self.decays:
            raise ConfigurationError(
                f"there are no averages of decay {decay}",
                expected="one of " + ", ".join(map(str, self.decays)),
                option="decay",
            )
        return self.decays[0] if decay is None else decay

    # --- keeping -------------------------------------------------------------------------------

    def idle_hooks(self) -> frozenset[str]:
        # After the training of an epoch, not after its end: its evaluations see the update.
        idle = super().idle_hooks()
        return idle | {"on_train_epoch_end" if "on_epoch_end" in idle else "on_epoch_end"}

    def on_optimizers_ready(self, run: Run) -> None:
        self.updates, self._begun, self._moved_at = 0, False, 0
        self._trained = None
        for averaged in self._averaged.values():
            averaged.bind(run.models)
            averaged.begin()  # room for what a checkpoint holds, sharded as the weights are

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        self._after_epochs.start(run.progress, run.limit)
        self._begun = self._begun or self.start is None

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        super().on_roll_back(run, rollback)
        self._after_epochs.start(run.progress, run.limit)

    def on_train_epoch_end(self, run: Run, metrics: dict[str, float]) -> None:
        if self._after_epochs.crossed(run.progress):
            self.on_due(run)

    def on_due(self, run: Run) -> None:
        if self._begun and run.updates_completed == self._moved_at:
            return  # steps were skipped: there is nothing new to average
        self._moved_at = run.updates_completed
        if self._begun:
            for decay, averaged in self._averaged.items():
                kept = warmed_up(decay, self.updates) if self.warm_up else decay
                averaged.move(1.0 - kept)
            self.updates += 1
        elif self.start is not None and reached(self.start, run.progress, run.limit):
            self._begun = True
            for averaged in self._averaged.values():
                averaged.move(1.0)

    # --- using ---------------------------------------------------------------------------------

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        if evaluation.average is None:
            evaluation.exits.enter_context(self.as_evaluated(run))

    def on_predict_start(self, run: Run) -> None:
        if self._is_used(run):
            averaged = self._averaged[self._first_or(self.evaluated_decay)]
            averaged.agree(run.world)
            averaged.put()

    def on_predict_end(self, run: Run) -> None:
        self._undo()

    def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
        self._agree(run)

    def on_fit_end(self, run: Run) -> None:
        super().on_fit_end(run)
        self._agree(run)
        self._trained = self._averaged[self.decays[0]].fingerprint()

    def _agree(self, run: Run) -> None:
        for averaged in self._averaged.values():
            averaged.agree(run.world)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self._undo()

    @contextmanager
    def averaged(self, run: Run, decay: float | None = None) -> Iterator[None]:
        """Inside, the model's weights are the averages; afterwards they are what they were.

        Until averaging has begun, the weights are their own averages; so are those of modules that
        the averages aren't of.

        Args:
            run: The run under way.
            decay: Which averages; None takes the first.
        """
        averaged = self._averaged[self._first_or(decay)]
        try:
            if self._begun and averaged.are_of(run.models):
                averaged.bind(run.models)
                averaged.agree(run.world)
                averaged.put()
            yield
        finally:
            averaged.undo()

    @contextmanager
    def as_evaluated(self, run: Run) -> Iterator[None]:
        """Inside, the models have what an evaluation sees now: the averages, where it uses them."""
        with self.averaged(run, self.evaluated_decay) if self._is_used(run) else nullcontext():
            yield

    def weights(self, decay: float | None = None, model: str = "model") -> dict[str, Tensor]:
        """The state of a model with averages in the place of its weights, to save or load.

        Until averaging has begun, the weights are their own averages.

        Args:
            decay: Which averages; None takes the first.
            model: Name of the model.

        Returns:
            Copies under the names of `model.state_dict()`, in its dtypes.
        """
        return self._averaged[self._first_or(decay)].state_of(model, live=not self._begun)

    def to(self, device: torch.device | str) -> EMA:
        """Keep the averages on `device`; each update then copies the weights there."""
        for averaged in self._averaged.values():
            averaged.to(device)
        return self

    def _is_used(self, run: Run) -> bool:
        if self.evaluated_decay is None or not self._begun:
            return False
        averaged = self._averaged[self.evaluated_decay]
        if any(one.put_in for one in self._averaged.values()) or not averaged.are_of(run.models):
            return False
        averaged.bind(run.models)
        return self._trained is None or self._are_as_trained(run, averaged, self._trained)

    @staticmethod
    def _are_as_trained(run: Run, averaged: Averaged, trained: list[int]) -> bool:
        """Whether the weights are those that training ended with, on all ranks; a collective.

        Others were restored since (the best ones), or loaded: then these are what is judged.
        """
        same = bool(run.world.all_reduce(float(averaged.fingerprint() == trained), "min"))
        if not same:
            logger.info("the weights changed since training ended: no averages in their place")
        return same

    def _undo(self) -> None:
        for averaged in self._averaged.values():
            averaged.undo()

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        averages = {str(decay): dict(one.averages) for decay, one in self._averaged.items()}
        if not any(averages.values()):
            return {}
        moved = {"updates": self.updates, "begun": self._begun, "moved_at": self._moved_at}
        return {**moved, "averages": averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        checked(state, updates=int, begun=bool, averages=dict[str, dict[str, Any]])
        self.updates, self._begun = state["updates"], state["begun"]
        self._moved_at = state.get("moved_at", -1)  # older checkpoints don't have it
        for decay, averaged in self._averaged.items():
            if str(decay) not in state["averages"]:
                raise CheckpointError(
                    f"the checkpoint has no averages of decay {decay}",
                    expected="one of " + ", ".join(state["averages"]),
                    remedy="resume with the decays that the run began with",
                )
            averaged.averages = take_over(averaged.averages, state["averages"][str(decay)])
