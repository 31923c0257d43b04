"""The views for callbacks of the Hugging Face Trainer: arguments, state, control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from trackside.dialects.sizes import rank_batch_size
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


class TrainingArguments(View):
    """Stands for `args`: settings of the run under their names.

    Args:
        given: Settings that the run doesn't know, such as `metric_for_best_model`.
    """

    dialect = "transformers"
    stands_for = "TrainingArguments"
    instead: ClassVar[dict[str, str]] = {
        "push_to_hub": "nothing is pushed: do that after training",
        "deepspeed": "ranks divide the model by `Settings(strategy=...)`",
    }

    def __init__(self, **given: Any) -> None:
        super().__init__()
        vars(self)["given"] = given

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "given":
            given: dict[str, Any] = vars(self).get("given", {})
            if name in given:
                return given[name]
        return super().__getattribute__(name)

    @property
    def output_dir(self) -> str:
        """The run's folder."""
        return str(self.run.directory)

    logging_dir = output_dir

    @property
    def run_name(self) -> str:
        """Name of the run: that of its folder."""
        return self.run.directory.name

    @property
    def num_train_epochs(self) -> int | None:
        """Epochs of the run."""
        return epochs_of(self.run)

    @property
    def max_steps(self) -> int:
        """The limit in steps, -1 where the run is limited by epochs."""
        steps = self.run.limit.steps
        return -1 if steps is None else steps

    @property
    def per_device_train_batch_size(self) -> int | None:
        """Samples of a training batch of this rank."""
        return rank_batch_size(self.run, "train")

    @property
    def per_device_eval_batch_size(self) -> int | None:
        """Samples of a batch of the validation."""
        return rank_batch_size(self.run, validation_name(self.run))

    @property
    def gradient_accumulation_steps(self) -> int:
        """Batches per step."""
        return self.run.accumulate

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first group, now."""
        rate: float = self.run.optimizer.param_groups[0]["lr"]
        return rate

    @property
    def eval_strategy(self) -> str:
        """`epoch`, or `no` without data for validation."""
        return "no" if validation_name(self.run) is None else "epoch"

    @property
    def metric_for_best_model(self) -> str | None:
        """`loss`, unless it is given."""
        return None if validation_name(self.run) is None else "loss"

    @property
    def greater_is_better(self) -> bool:
        """False, unless it is given."""
        return False

    @property
    def load_best_model_at_end(self) -> bool:
        """False: see the callback `Checkpoint`."""
        return False

    @property
    def save_strategy(self) -> str:
        """`no`: saving is up to the callback `Checkpoint`."""
        return "no"

    @property
    def logging_strategy(self) -> str:
        """`no`: records are made on the trainer's own schedule."""
        return "no"

    @property
    def logging_first_step(self) -> bool:
        """False."""
        return False

    @property
    def eval_delay(self) -> int:
        """0."""
        return 0

    @property
    def seed(self) -> int | None:
        """Seed of the run, where it has one."""
        seed: int | None = self.run.config.get("seed")
        return seed

    @property
    def fp16(self) -> bool:
        """Whether the run computes in half precision."""
        return self.run.config.get("precision") == "fp16"

    @property
    def bf16(self) -> bool:
        """Whether the run computes in bfloat16."""
        return self.run.config.get("precision") == "bf16"

    @property
    def world_size(self) -> int:
        """Ranks of the run."""
        return self.run.world.size

    @property
    def process_index(self) -> int:
        """Number of this rank."""
        return self.run.world.rank

    @property
    def local_process_index(self) -> int:
        """Number of this rank on its machine."""
        return self.run.world.local_rank

    @property
    def should_save(self) -> bool:
        """Whether this rank writes files."""
        return self.run.world.is_global_zero

    should_log = should_save

    @property
    def disable_tqdm(self) -> bool:
        """False."""
        return False

    @property
    def report_to(self) -> list[str]:
        """Empty: loggers are callbacks."""
        return []

    @property
    def device(self) -> Any:
        """Device of the model."""
        return self.run.device

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        names = [n for n, v in vars(TrainingArguments).items() if isinstance(v, property)]
        values = {name: getattr(self, name) for name in names if name != "device"}
        return {**values, **vars(self)["given"]}


class TrainerState(View):
    """Stands for `state`: how far the run is, under their names."""

    dialect = "transformers"
    stands_for = "TrainerState"

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
        args: TrainingArguments = self.shared["__args__"]
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
        args: TrainingArguments = self.shared["__args__"]
        return args.per_device_train_batch_size

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
    if control.should_epoch_stop:
        raise UsageError(
            "transformers: `control.should_epoch_stop` isn't supported",
            expected="an epoch ends with its data",
            remedy="`control.should_training_stop = True` ends training",
        )
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
