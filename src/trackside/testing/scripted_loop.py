"""The parts of a scripted run: steps that compute nothing, under the loop of every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trackside.checkpoint.saver import Saver
from trackside.data.source import DataSource
from trackside.distributed.agreement import Alone
from trackside.lifecycle.dispatch import Dispatcher
from trackside.loop.state import TRAIN, Options, Position, Setup, Training
from trackside.requests import Kind, Request, Requests
from trackside.schedule import Every
from trackside.step.metrics import MetricLog
from trackside.step.output import Output
from trackside.step.precision import Precision

if TYPE_CHECKING:
    from trackside.run import Run

Metrics = Mapping[str, float]


class Numbers:
    """Numbers of a script, in the place of those that a model would give.

    Args:
        samples: Samples of a batch.
        seconds: Seconds of a step.
    """

    def __init__(self, samples: int, seconds: float) -> None:
        self.samples = samples
        self.seconds = seconds
        self.now = 0.0
        """Seconds of training so far."""
        self.step: Metrics = {}
        """Values of a step, without a prefix; `loss` is the one that goes backward."""
        self.epoch: Metrics = {}
        """Values of the epoch under way, by full name; each data set among them is evaluated."""
        self.evaluations: dict[str, Metrics] = {}
        """Values of evaluations to come, by name of their data; without any, none come out."""

    def of_epoch(self, topic: str) -> dict[str, float]:
        """Values of the epoch whose names begin with `topic/`."""
        return {name: value for name, value in self.epoch.items() if topic_of(name) == topic}


def topic_of(name: str) -> str:
    """The part before the slash: `train`, or the name of other data."""
    return name.partition("/")[0]


class ScriptedBatches:
    """Batches in a list: nothing is loaded."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


def source(name: str, batches: Sequence[Any]) -> DataSource:
    """A data set of these batches."""
    return DataSource(name, ScriptedBatches(batches), 1)


class ScriptedSteps:
    """Steps that compute nothing, and take the time that the script says."""

    manual_optimization = False
    skips_steps = False
    monitors: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def training_step(self, run: Run, batch: Any) -> Output:
        """The loss of the script."""
        # The loop looks at its clock after a step; a script's moves within it, seen by callbacks.
        self._numbers.now += self._numbers.seconds
        run.progress.seconds += self._numbers.seconds
        loss = torch.tensor(float(self._numbers.step.get("loss", 0.0)))
        return Output(loss, samples=self._numbers.samples)

    def evaluation_step(self, run: Run, batch: Any) -> Output:
        """A loss of 0, which isn't recorded: the script says what is."""
        return Output(torch.zeros(()), samples=self._numbers.samples)

    def predict_step(self, run: Run, batch: Any) -> Any:
        """The batch."""
        return batch

    def backward(self, run: Run, loss: Any) -> None:
        """No gradients."""

    def optimizer_step(self, run: Run, optimizer: Any) -> None:
        """No weights."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is restored."""


class ScriptedLog(MetricLog):
    """Records what the script says, and what callbacks have logged."""

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        self._numbers = numbers
        self._name = ""
        self.said: dict[str, float] = {}
        """Values of the step that was just taken, by full name."""
        self.ended: list[str] = []
        """Names of the evaluations that came to their end, oldest first."""

    def recent(self) -> dict[str, float]:
        """See `MetricLog`."""
        said, self.said = self.said, {}
        return {**said, **super().recent()}

    def epoch(self) -> dict[str, float]:
        """See `MetricLog`."""
        return {**super().epoch(), **self._numbers.of_epoch(TRAIN)}

    def begin_evaluation(self, name: str) -> None:
        """See `MetricLog`."""
        self._name = name
        super().begin_evaluation(name)

    def end_evaluation(self) -> dict[str, float]:
        """See `MetricLog`."""
        name, means = self._name, super().end_evaluation()
        self.ended.append(name)
        means.pop(f"{name}/loss", None)  # of a step that computes nothing
        return {**means, **self._numbers.evaluations.pop(name, {})}


class ScriptedRequests(Requests):
    """Keeps the requests for checkpoints that were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.saves: list[Request] = []

    def take(self, kind: Kind) -> list[Request]:
        """See `Requests`."""
        taken = super().take(kind)
        if kind == "save":
            self.saves += taken
        return taken


class ScriptedSaver(Saver):
    """Writes nothing; stands in where no callback saves."""

    is_writing = False

    def root(self, run: Run) -> Path:
        """The run's folder."""
        return run.directory

    def prepare(self, run: Run, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """Nothing to see."""

    def save(self, run: Run, shared: dict[str, Any], own: dict[str, Any], reason: str) -> None:
        """Nothing is written."""

    def poll(self, run: Run) -> None:
        """Nothing becomes whole."""

    def finish_saves(self, run: Run) -> None:
        """Nothing is under way."""


class ScriptedTraining(Training):
    """A run under way whose evaluations are those that the script has values for."""

    def __init__(self, setup: Setup, position: Position, numbers: Numbers) -> None:
        super().__init__(setup, position)
        self._numbers = numbers

    def due_evaluations(self) -> list[str]:
        """See `Training`."""
        of_epoch = {name: self._numbers.of_epoch(name) for name in self.setup.sources}
        due = {name: values for name, values in of_epoch.items() if values and name != TRAIN}
        self._numbers.evaluations.update(due)
        return list(due)


def assemble(run: Any, events: Dispatcher, numbers: Numbers, log: ScriptedLog) -> ScriptedTraining:
    """The loop's objects around a run, as a trainer would make them."""
    steps = ScriptedSteps(numbers)
    position = Position(lambda: numbers.now)
    setup = Setup(
        run=run,
        events=events,
        steps=steps,
        precision=Precision("fp32", torch.device("cpu")),
        sources=run.data,
        metrics={},
        functions={},
        options=Options(log_every=Every(steps=1)),
        log=log,
        record_loss=lambda pair: log.said.update(
            {f"train_recent/{name}": float(value) for name, value in numbers.step.items()}
        ),
        agreement=Alone(position.clock),
        optimizers=tuple(run.optimizers.values()),
        schedulings=(),
        training_step=steps.training_step,
    )
    return ScriptedTraining(setup, position, numbers)
