"""The views for callbacks of the Hugging Face Trainer: arguments, state, control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trackside.dialects.transformers.arguments import TrainingArguments as TrainingArguments
from trackside.dialects.view import View, epochs_of, validation_name
from trackside.errors import UsageError
from trackside.history import Mode, has_improved
from trackside.run import Run


@dataclass
class TrainerControl:
    """Flags of a callback that become requests to the run after each event."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False


class TrainerState(View):
    """Stands for `state`: how far the run is, under their names."""

    dialect = "transformers"
    stands_for = "TrainerState"
    refuses_settings = True

    @property
    def epoch(self) -> float:  # type: ignore[override]
        """Epochs completed, with the part of the one under way where its length is known."""
        run = self.run
        if not run.limit.epoch_steps:
            return float(run.progress.epochs_completed)
        return run.progress.steps_completed / run.limit.epoch_steps

    @property
    def global_step(self) -> int:
        """Optimizer steps completed."""
        return self.run.progress.steps_completed

    @property
    def max_steps(self) -> int:
        """Steps until the run is complete; 0 when the length of the data is unknown."""
        return self.run.limit.total_steps or 0

    @property
    def num_train_epochs(self) -> int:
        """Epochs of the run; 0 when that isn't known."""
        return epochs_of(self.run) or 0

    @property
    def logging_steps(self) -> int:
        """Steps from one record to the next; where they are made on another schedule, 500."""
        return self._args.logging_steps

    @property
    def eval_steps(self) -> int:
        """Of `args`, or as many as `logging_steps`, as there."""
        steps: int | None = self._args.eval_steps
        return self.logging_steps if steps is None else steps

    @property
    def save_steps(self) -> int:
        """Of `args`: saving is up to the callback `Checkpoint`."""
        steps: int = self._args.save_steps
        return steps

    @property
    def num_input_tokens_seen(self) -> int:
        """0: tokens aren't counted."""
        return 0

    @property
    def total_flos(self) -> int:
        """0: operations aren't counted."""
        return 0

    @property
    def stateful_callbacks(self) -> dict[str, Any]:
        """Empty: states of callbacks are in the run's checkpoints."""
        return {}

    @property
    def _args(self) -> TrainingArguments:
        args: TrainingArguments = self.shared["__args__"]
        return args

    @property
    def log_history(self) -> list[dict[str, float]]:
        """All records so far, under their names."""
        return [
            {**logs_of(record.values, self.run, record.step), "step": record.step}
            for record in self.run.history
        ]

    @property
    def best_metric(self) -> float | None:
        """The best value of `metric_for_best_model` before the evaluation under way."""
        found = self._best()
        return None if found is None else found[0]

    @property
    def best_global_step(self) -> int | None:
        """The step of the best value."""
        found = self._best()
        return None if found is None else found[1]

    def _best(self) -> tuple[float, int] | None:
        args = self._args
        metric, evaluated = args.metric_for_best_model, validation_name(self.run)
        if metric is None or evaluated is None:
            return None
        points = self.run.history.points(f"{evaluated}/{metric.removeprefix('eval_')}")
        if self.shared.get("__evaluating__") and points:
            points = points[:-1]
        mode: Mode = "max" if args.greater_is_better else "min"
        best: tuple[float, int] | None = None
        for step, value in points:
            if has_improved(value, best[0] if best else None, mode):
                best = (value, int(step))
        return best

    @property
    def best_model_checkpoint(self) -> str | None:
        """None: ask the callback `Checkpoint`."""
        return None

    @property
    def is_local_process_zero(self) -> bool:
        """Whether this is the first rank of its machine."""
        return self.run.world.local_rank == 0

    @property
    def is_world_process_zero(self) -> bool:
        """Whether this is rank 0."""
        return self.run.world.is_global_zero

    @property
    def train_batch_size(self) -> int | None:
        """Samples of a training batch."""
        return self._args.per_device_train_batch_size

    @property
    def is_hyper_param_search(self) -> bool:
        """False."""
        return False

    @property
    def trial_name(self) -> None:
        """None."""
        return

    trial_params = trial_name


def logs_of(values: Any, run: Run, step: int) -> dict[str, float]:
    """Logged values under their names: `loss`, `eval_loss`, `learning_rate`, `epoch`."""
    evaluated = validation_name(run)
    topics = {"train_recent/": "", "train/": "train_", f"{evaluated}/": "eval_"}
    logs: dict[str, float] = {}
    for name, value in values.items():
        topic = next((t for t in topics if name.startswith(t)), None)
        if name == "lr/0":
            logs["learning_rate"] = value
        elif topic is not None:
            logs[topics[topic] + name[len(topic) :]] = value
        else:
            logs[name] = value
    if run.limit.epoch_steps:
        logs["epoch"] = step / run.limit.epoch_steps
    return logs


def take(control: TrainerControl, run: Run) -> None:
    """Turn flags into requests; those for one step are put back.

    Raises:
        UsageError: A flag that can't be granted.
    """
    if control.should_epoch_stop and not control.should_training_stop:
        control.should_epoch_stop = False
        run.end_epoch("a transformers callback set should_epoch_stop")
    if control.should_training_stop and not run.stopping:
        run.stop("a transformers callback set should_training_stop")
    if control.should_save:
        control.should_save = False
        run.save("a transformers callback set should_save")
    if control.should_evaluate:
        control.should_evaluate = False
        name = validation_name(run)
        if name is None:
            raise UsageError(
                "transformers: a callback asks for an evaluation, and there is no data for it",
                remedy="give `fit` validation data: fit(train, validation, ...)",
            )
        run.evaluate(name, "a transformers callback set should_evaluate")
