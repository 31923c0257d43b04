"""The front door: settings, and steps that a subclass may override."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.data.loaders import Batching
from trackside.distributed.session import RankSession
from trackside.errors import UsageError
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.lifecycle.registration import check_hooks
from trackside.loop import fit as loops
from trackside.loop import predict as predicting
from trackside.loop import resume as resuming
from trackside.loop.evaluate import evaluate
from trackside.loop.state import Options, Training, stop
from trackside.loop.update import optimize
from trackside.outcome import Outcome
from trackside.planning import checks
from trackside.planning.parts import check_parts
from trackside.progress import RunLimit, whole_number
from trackside.run import Mode, Run
from trackside.run_folder.of_run import RunFolder
from trackside.schedule import Every, Schedule
from trackside.step.broadcasting import tell_broadcast
from trackside.step.evaluation import PREDICT
from trackside.step.metrics import metrics_by_name
from trackside.step.optimization import Clip, Scheduler, trainable
from trackside.step.output import Loss, Output, compare, default_step, joined, predict
from trackside.step.precision import Precision, PrecisionName
from trackside.trainer import assembly, declared, remote_folder, trained_before
from trackside.trainer.chosen_class import ChosenByModel
from trackside.trainer.current_model import CurrentModel
from trackside.trainer.ending import run_to_its_end
from trackside.trainer.settings import Result, Settings
from trackside.vocabulary.idioms import refuses_idioms
from trackside.vocabulary.option_types import holds_options

_PAIRS = frozenset((tuple, list))
Data = Any
"""A `Dataset`, a `DataLoader`, or any iterable of batches."""


@refuses_idioms
@holds_options
class Trainer(ChosenByModel):
    """Trains, evaluates and predicts.

    A subclass may override the steps (`training_step`, `evaluation_step`, `predict_step`,
    `backward`, `optimizer_step`), the construction (`configure_model`, `configure_optimizers`,
    `configure_callbacks`) and any hook of `Callback`; its own hooks run before the callbacks' ones.
    It may declare what a callback declares, except `effect`, `name`, `runs_after`, `runs_before`,
    `settable` and `writes`.

    Args:
        model: A module, or a function without arguments that makes one, from `seed` on.
        loss: From prediction and target to the mean loss of the batch. None: batches are mappings
            and the model returns an object with `.loss`.
        optimizer: A function of the parameters, or an optimizer.
        scheduler: A function of the optimizer (moved as its kind is), or a `Scheduler`. A function
            of `optimizer, run` reads the run's length: `run.limit.total_steps`.
        metrics: By name: torchmetrics' metrics, or functions of prediction and target that return
            the batch's mean. Computed in evaluations.
        callbacks: A list, or a mapping by name, in which None removes a default; foreign ones too.
        defaults: Whether the default callbacks are installed.
        seed: Seeds every generator as a run starts, after a ready `model` was made; None: nothing.
        precision: `fp32`, `bf16`, or `fp16` with a loss scaler.
        accumulate: Batches per step.
        clip: Largest gradient norm, or a `Clip`.
        settings: Device, compilation, folder, logging interval.

    Raises:
        ConfigurationError, RegistrationError: An option is wrong; a callback can't join.

    Example:
        >>> trainer = Trainer(model, loss=nn.CrossEntropyLoss(),
        ...                   optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3))
        >>> result = trainer.fit(train, validation, epochs=20)
    """

    model = CurrentModel()
    run_class: ClassVar[type[Run]] = Run
    """The kind of run its callbacks see."""
    manual_optimization: bool = False
    """Whether `training_step` calls `self.optimize` itself instead of returning a loss to it."""
    experiment: Mapping[str, Any] | None = None  # the configuration it was made from
    made_by: Mapping[str, Any] | None = None  # the function; `run.config` has both
    train_loop: Callable[[Training], Outcome] = staticmethod(loops.fit)  # another one ends it early

    def __init__(
        self,
        model: nn.Module | Callable[[], nn.Module] | None = None,
        *,
        loss: Loss | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | Optimizer | None = None,
        scheduler: Callable[[Optimizer], Any] | Scheduler | Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        callbacks: Iterable[Any] | Mapping[str, Any] = (),
        defaults: bool = True,
        seed: int | None = None,
        precision: PrecisionName = "fp32",
        accumulate: int = 1,
        clip: float | Clip | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._run: Run | None = None
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.metrics = metrics_by_name(metrics)
        self.seed = seed
        self.precision = precision
        self.accumulate = whole_number(accumulate, "accumulate", at_least=1)
        self.clip = Clip(norm=clip) if isinstance(clip, (int, float)) else clip
        self.settings = settings or Settings()
        check_parts(self)
        check_hooks(self)
        self.callbacks = declared.collect_for(self, callbacks, defaults=defaults)
        checks.check_device(self.settings.device)
        Precision(precision, torch.device("cpu"))
        self.result: Result | None = None  # of the last run; kept also where it raised an error
        self._models: dict[str, nn.Module] | None = None
        self._training: Training | None = None
        self._is_first_batch = True
        self._ranks, self._folder = RankSession(), RunFolder()
        declared.introduce(self)

    # --- the three runs ------------------------------------------------------------------------

    def fit(
        self,
        train: Data,
        validation: Data | Mapping[str, Data] | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        evaluate_every: Schedule | str | None = None,
        data: Mapping[str, Data] | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
        resume: resuming.Resume = None,
        rehearse: bool = False,
    ) -> Result:
        """Train until `epochs` or `steps` are done, whichever comes first.

        Args:
            train: Training data: a `Dataset` (shuffled), a `DataLoader`, or any iterable.
            validation: Data evaluated on the schedule and at the end, called `val`; or several
                data sets by name.
            epochs: Passes over the training data.
            steps: Optimizer updates.
            evaluate_every: When to evaluate; None evaluates after each epoch.
            data: More data sets by name, for callbacks and `run.evaluate(name)`.
            batch_size: Samples per batch, where data is given as a `Dataset`; None takes 32.
            drop_last: Whether a last training batch with fewer samples is left out.
            resume: Go on from a checkpoint of this run's folder: `auto` takes the newest that is
                whole (and starts fresh where there is none), `best` the best, a number the one of
                that step; or the path of any checkpoint. None starts fresh.
            rehearse: Whether a copy first goes through the whole run on two batches, in seconds.

        Returns:
            How the run ended, and its history.

        Raises:
            KeyboardInterrupt, SystemExit: A signal ended it, in order; `trainer.result` says how.
            UsageError: No limit, or nothing to train with.
            DataError, LossError, OptimizerError: What was given can't be trained with.
            RehearsalError: The rehearsal failed, and nothing was started.
        """
        limit, batching = checks.limit(epochs, steps), Batching(batch_size, drop_last)
        sets, evaluations = checks.data_sets(train, validation, data)
        if rehearse and self._run is None:
            from trackside.trainer import rehearsal  # noqa: PLC0415 - nobody else waits for it

            rehearsal.rehearse(self, train, validation, data, batching)
        options = Options(
            clip=self.clip,
            log_every=Every.parse(self.settings.log_every, option="log_every"),
            evaluate_every=checks.evaluation_schedule(evaluate_every, evaluations),
            evaluations=evaluations,
        )

        def body(training: Training) -> Outcome:
            run = training.run
            self._folder.take(run, is_new=(is_new := self.settings.directory is None))
            resuming.resume(training, remote_folder.bring(run, resume), is_new_directory=is_new)
            self._folder.sign(run)
            trained_before.tell(run)
            training.fire(Callback.on_setup_end)
            open_ended = not self.logs and checks.logs_of_its_own(type(self), Trainer)
            checks.check(training.setup, open_ended=open_ended)
            return self.train_loop(training)

        return self._live("fit", sets, batching, options, body, limit)

    def evaluate(
        self, data: Data, *, name: str = "test", batch_size: int | None = None
    ) -> dict[str, float]:
        """Evaluate the model on `data` without training it.

        Returns:
            The metrics by full name, such as `test/loss`.

        Raises:
            KeyboardInterrupt, SystemExit: A signal ended it, in order; `trainer.result` says how.
        """
        checks.check_name(name)
        found: dict[str, float] = {}

        def body(training: Training) -> Outcome:
            training.fire(Callback.on_setup_end)
            evaluation = evaluate(training, name)
            found.update(evaluation.metrics if evaluation else {})
            stop(training, training.run.requests.take("stop"))
            return training.outcome(f"evaluated {name!r}")

        self._live("evaluate", {name: data}, Batching(batch_size), Options(), body)
        return found

    def predict(
        self,
        data: Data,
        *,
        batch_size: int | None = None,
        keep: bool = True,
        pad: float | None = None,
    ) -> Any:
        """Predict `data`; a target, where there is one, is ignored.

        Args:
            data: As for `fit`.
            batch_size: Samples per batch, where data is given as a `Dataset`; None takes 32.
            keep: Whether predictions are kept in memory and returned. Otherwise a callback takes
                those of each batch: `SavePredictions("predict")`.
            pad: What fills tensors whose shapes differ from batch to batch; None leaves these as a
                list over batches.

        Returns:
            The predictions in the order that the loader gives, on the host: tensors concatenated
            along their first dimension, anything else as a list over batches. A warning says where
            that is not the order of its data set. Where a callback asked to stop: those of the
            batches until then. None without `keep`.

        Raises:
            KeyboardInterrupt, SystemExit: A signal ended it, in order. `trainer.result` says how,
                and has the predictions until then, as after any other error.
            UsageError: Without `keep`: nobody takes the predictions.
        """
        made: list[Any] = []

        def body(training: Training) -> Outcome:
            training.fire(Callback.on_setup_end)
            if not keep:
                predicting.check_taken(training, pad)
            return predicting.predict(training, PREDICT, made if keep else None)

        self._live("predict", {PREDICT: data}, Batching(batch_size), Options(), body, made=made)
        return joined(made, pad=pad) if keep else None

    # --- to override ---------------------------------------------------------------------------

    def configure_model(self, run: Any) -> nn.Module | Mapping[str, nn.Module]:
        """The model, or several by name."""
        if isinstance(self.model, nn.Module):
            return self.model
        if self.model is None:
            raise UsageError(
                "there is no model",
                remedy="give one: Trainer(model, ...), or override `configure_model`",
            )
        return self._ranks.build(self.model, run, self.settings.strategy)

    def configure_optimizers(self, run: Any) -> Optimizer | Mapping[str, Optimizer]:
        """The optimizer of `run.model`, or several by name."""
        if isinstance(self.optimizer, Optimizer):
            return self.optimizer
        if self.optimizer is None:
            raise UsageError(
                "there is no optimizer",
                remedy="give one: optimizer=lambda parameters: torch.optim.AdamW(parameters), "
                "or override `configure_optimizers`",
            )
        return self.optimizer(trainable(run.model))

    def configure_callbacks(self) -> Iterable[Any] | Mapping[str, Any]:
        """Its own callbacks, after the defaults; a model may have such a method too."""
        return ()

    def training_step(self, run: Any, batch: Any) -> Any:
        """The loss of a batch: a scalar tensor, an `Output`, or a mapping with `loss`."""
        loss = self.loss
        if loss is not None and type(batch) in _PAIRS and len(batch) == 2:
            inputs, target = batch  # the common case, without a look at what else it might be
            if type(inputs) is Tensor:
                prediction = run.model(inputs)
                if self._is_first_batch and not torch.compiler.is_compiling():
                    self._is_first_batch = tell_broadcast(loss, prediction, target)
                return Output(loss(prediction, target), prediction, target)
        output = compare(run.model, loss, batch)
        if self._is_first_batch and not torch.compiler.is_compiling():
            self._is_first_batch = tell_broadcast(loss, output.prediction, output.target)
        return output

    def evaluation_step(self, run: Any, batch: Any) -> Any:
        """The loss of a batch, and what the metrics need: `Output(loss, prediction, target)`."""
        return compare(run.model, self.loss, batch)

    @default_step
    def predict_step(self, run: Any, batch: Any) -> Any:
        """The predictions of a batch."""
        return predict(run.model, batch)

    @default_step
    def backward(self, run: Any, loss: Tensor) -> None:
        """Add the gradients of `loss`."""
        loss.backward()  # type: ignore[no-untyped-call]

    @default_step
    def optimizer_step(self, run: Any, optimizer: Optimizer) -> None:
        """Apply the gradients."""
        optimizer.step()

    def optimize(self, loss: Tensor, optimizer: Optimizer) -> None:
        """Backward and update, from a `training_step` with `manual_optimization = True`.

        Fires the same hooks, clips and scales as the loop does. It begins and ends without
        gradients, of any model: to apply several losses at once, give their sum.
        """
        if self._training is None or not self.manual_optimization:
            raise UsageError(
                "`optimize` was called outside of a step that optimizes by hand",
                remedy="set `manual_optimization = True` and call it from `training_step`",
            )
        optimize(self._training, loss, optimizer)

    @property
    def models(self) -> Mapping[str, nn.Module]:
        """The models of the last run, by name; a single one is called `model`.

        Raises:
            UsageError: There was no run yet, and they are made when one begins.
        """
        if self._run is not None and hasattr(self._run, "models"):
            return self._run.models
        if self._models is None:
            raise UsageError("the models are made when a run begins, and there was none yet")
        return self._models

    # --- putting it together -------------------------------------------------------------------

    def make_events(self, run: Run) -> Dispatcher:
        """Make the dispatcher that calls the callbacks of `run`."""
        self._events: Dispatcher = assembly.events_of(run, guard=self.settings.guard)
        return self._events

    def _live(
        self,
        mode: Mode,
        sets: Mapping[str, Data],
        batching: Batching,
        options: Options,
        body: Callable[[Training], Outcome],
        limit: RunLimit | None = None,
        made: Sequence[Any] = (),
    ) -> Result:
        """Run from attach to close; `body` does the work once the run is set up."""
        if self._run is not None:
            raise UsageError(
                f"`{mode}` was called while the same trainer is running",
                remedy="from a callback, ask: `run.evaluate(name)`",
            )
        run = assembly.start(self, mode, limit or RunLimit())
        events = self._events

        def assembled() -> Outcome:
            self._training = assembly.assemble(
                self, run, events, self._ranks, sets, batching, options, self._models
            )
            self._models = dict(run.models)
            return body(self._training)

        self._run = run
        watched = partial(self._ranks.watched, assembled)
        return run_to_its_end(self, self.settings, run, events, watched, self._over, made)

    def _over(self, result: Result) -> None:
        self.result = result
        if self._run is not None:
            trained_before.remember(self._run)
        self._run, self._training, self._is_first_batch = None, None, True
        self._ranks.stop_watching()
        self._folder.release()
