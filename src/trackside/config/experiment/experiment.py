"""A whole experiment, checked: it makes the trainer and the data, and runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import yaml

from trackside.callbacks.reporting.provenance import Provenance
from trackside.config.checking.blueprint import Blueprint, built
from trackside.config.checking.trainer_options import TrainerOptions
from trackside.config.experiment.default_options import default_options
from trackside.config.experiment.steering import Steering
from trackside.config.text.layers import Document
from trackside.config.text.place import Path
from trackside.config.text.problem import ExperimentError, Findings, Problem
from trackside.data.loaders import Batching, is_cut_here
from trackside.distributed.setup import RankInfo
from trackside.errors import Interrupted, RegistrationError, Terminated, TracksideError
from trackside.lifecycle.adoption import brings_steps
from trackside.lifecycle.hooks import Callback
from trackside.machine import randomness
from trackside.outcome import Status
from trackside.step.optimization import Scheduler
from trackside.trainer.settings import Result, Settings
from trackside.trainer.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Finished:
    """Result of a run of an experiment."""

    trainer: Trainer
    result: Result
    metrics: Mapping[str, float]
    """Of the data sets under `evaluate:`, by full name such as `test/accuracy`."""
    ended_by: Interrupted | Terminated | None = None
    """The signal that asked for the end; None where there was none."""

    @property
    def exit_code(self) -> int:
        """Of a process that did nothing else."""
        return (
            self.result.outcome.exit_code if self.ended_by is None else 128 + self.ended_by.signal
        )


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment whose every option has been checked, and of which nothing is made yet."""

    document: Document
    seed: int | None
    trainer_class: type[Trainer]
    keys: TrainerOptions
    trainer_values: Mapping[str, Any]
    """Checked values of `trainer:`, by key."""
    model: Blueprint | Mapping[str, Blueprint] | None
    loss: Blueprint | None
    optimizer: Blueprint | None
    scheduler: Blueprint | None
    scheduler_values: Mapping[str, Any] = field(default_factory=dict)
    """When the scheduler moves: `interval`, `monitor`."""
    metrics: Mapping[str, Blueprint] = field(default_factory=dict)
    data: Mapping[str, Blueprint] = field(default_factory=dict)
    batching: Batching = field(default_factory=Batching)
    callbacks: Mapping[str, Blueprint | None] = field(default_factory=dict)
    """By name; None removes a default."""
    evaluate: tuple[str, ...] = ()
    search_path: tuple[str, ...] = ()
    """Folders of its files."""
    overrides: tuple[str, ...] = ()
    """Those that a run in its folder goes on with, as they may be kept."""

    def text(self) -> str:
        """The whole configuration as one YAML file: merged and filled in, but for `oc.env`."""
        return yaml.safe_dump(self.document.kept(), sort_keys=False, allow_unicode=True)

    def default_options(self) -> dict[str, Any]:
        """Defaults of all options that the file could give, by their places."""
        return default_options(self.keys.options.table, self.blueprints())

    def blueprints(self) -> Iterator[Blueprint]:
        """All that will be made, outermost first."""
        models = self.model.values() if isinstance(self.model, Mapping) else [self.model]
        several = [*models, self.loss, self.optimizer, self.scheduler]
        several += [*self.metrics.values(), *self.data.values(), *self.callbacks.values()]
        yield from (blueprint for blueprint in several if blueprint is not None)

    def trainer(self, directory: str | FilePath | None = None) -> Trainer:
        """The trainer with everything but data; the model is made when a run starts.

        Args:
            directory: The run's folder, in the place of the one in the configuration.

        Raises:
            ExperimentError: Constructors refuse their options; all of them are reported.
        """
        findings = Findings()
        constructor, settings, _ = self.keys.split(self.trainer_values)
        if directory is not None:
            settings["directory"] = directory
        arguments = {name: self._make(value, findings) for name, value in constructor.items()}
        made_settings = {name: self._make(value, findings) for name, value in settings.items()}
        if self.seed is not None:
            arguments["seed"] = self.seed
        if self.model is not None:
            arguments["model"] = self._model(findings)
        for section, blueprint in (("loss", self.loss), ("optimizer", self.optimizer)):
            if blueprint is not None:
                arguments[section] = self._make(blueprint, findings)
        if self.scheduler is not None:
            factory = self._make(self.scheduler, findings)
            arguments["scheduler"] = Scheduler(factory, **self.scheduler_values)
        if self.metrics:
            arguments["metrics"] = self._make(dict(self.metrics), findings)
        provenance = Provenance(self.text(), self.search_path, self.default_options())
        provenance.overrides = self.overrides
        callbacks: dict[str, Callback[Any] | None] = {"provenance": provenance}
        for name, one in self.callbacks.items():
            callbacks[name] = self._make(one, findings)
        callbacks["steering"] = Steering(self.callbacks)
        findings.stop_if_any()
        try:
            if settings:
                arguments["settings"] = Settings(**made_settings)
            trainer = self.trainer_class(**arguments, callbacks=callbacks)
            trainer.experiment = self.document.kept()
            return trainer
        except TracksideError as error:
            raise self.located(error) from error

    def make_model(self) -> Any:
        """The model, or several by name. Given to the trainer as it is: it seeds first."""
        if isinstance(self.model, Mapping):
            return {name: blueprint.build() for name, blueprint in self.model.items()}
        return None if self.model is None else self.model.build()

    def _model(self, findings: Findings) -> Any:
        """A function that makes the model; or a model with steps, which choose the trainer."""
        if not (isinstance(self.model, Blueprint) and brings_steps(self.model.makes)):
            return self.make_model
        if self.seed is not None:
            randomness.seed_everything(self.seed)
        return self._make(self.model, findings)

    def make_data(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Data sets by name: those of `names`, or all.

        Raises:
            ExperimentError: Constructors refuse, or data can't be loaded; all of them are reported.
        """
        if self.seed is not None:
            randomness.seed_everything(self.seed)
        findings = Findings()
        wanted = self.data if names is None else {name: self.data[name] for name in names}
        made = {name: self._make(blueprint, findings) for name, blueprint in wanted.items()}
        findings.stop_if_any()
        return made

    def validation(self) -> tuple[str, ...]:
        """Names of the data sets that are evaluated during training."""
        given = self.trainer_values.get("validation")
        if given is None:
            return ("val",) if "val" in self.data else ()
        return (given,) if isinstance(given, str) else tuple(given)

    def fit_arguments(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of `Trainer.fit`."""
        _, _, fit = self.keys.split(self.trainer_values)
        validation = self.validation()
        rest = {n: d for n, d in data.items() if n != "train" and n not in validation}
        arguments = {**fit, "train": data["train"]}
        arguments["validation"] = {name: data[name] for name in validation} or None
        if rest:
            arguments["data"] = rest
        size = {"batch_size": self.batching.size, "drop_last": self.batching.drop_last}
        return arguments | size

    def batch_size_for(self, data: Any) -> int | None:
        """The configuration's `batch_size`, where `data` has use for it."""
        return self.batching.size if is_cut_here("data", data) else None

    def run(self, directory: str | FilePath | None = None) -> Finished:
        """Train, then evaluate what `evaluate:` names.

        Raises:
            ExperimentError: Something of it can't be made.
            KeyboardInterrupt, SystemExit: A signal ended it, in order; see `Trainer.fit`.
        """
        finished = self.finish(directory)
        if finished.ended_by is not None:
            raise finished.ended_by
        return finished

    def finish(self, directory: str | FilePath | None = None) -> Finished:
        """As `run`, but tells of a signal that ended it by what it returns.

        Raises:
            ExperimentError: Something of it can't be made.
        """
        folder = directory or self.trainer_values.get("directory")
        if folder is None and RankInfo.from_environment().size > 1:
            problem = Problem(
                "several processes need a folder that all of them know",
                path=("trainer", "directory"),
                remedy="give it: trainer.directory=runs/mine",
            )
            raise ExperimentError([problem])
        trainer = self.trainer(folder)
        data = self.make_data()
        metrics: dict[str, float] = {}
        try:
            result = trainer.fit(**self.fit_arguments(data))
        except (Interrupted, Terminated) as ended_by:
            return Finished(trainer, ended_by.result, metrics, ended_by)
        except TracksideError as error:
            raise self.located(error) from error
        if folder is None:
            trainer.settings = replace(trainer.settings, directory=result.directory)
        if result.outcome.status in (Status.COMPLETED, Status.STOPPED):
            try:
                for name in self.evaluate:
                    size = self.batch_size_for(data[name])
                    metrics |= trainer.evaluate(data[name], name=name, batch_size=size)
            except (Interrupted, Terminated) as ended_by:
                return Finished(trainer, result, metrics, ended_by)
        return Finished(trainer, result, metrics)

    def located(self, error: TracksideError) -> TracksideError:
        """The same error at its place in the file, when it speaks of something in it."""
        path = None if isinstance(error, ExperimentError) else self._path_of(error)
        if path is None:
            return error
        details = {"expected": error.expected, "received": error.received, "remedy": error.remedy}
        place = self.document.place(path)
        return ExperimentError([Problem(error.message, place, path, **details)])

    def _path_of(self, error: TracksideError) -> Path | None:
        """The key that an error is about, where the file has one for it."""
        about = self.callbacks.get(error.callback) if error.callback is not None else None
        if about is not None:
            if error.option in about.key_places:
                return (*about.path, error.option)
            if isinstance(error, RegistrationError):
                return (*about.path, "kind")
        if error.callback is not None or error.option is None:
            return None
        sections = {name: ("trainer", name) for name in self.trainer_values}
        sections |= {name: ("data", name) for name in ("batch_size", "drop_last")}
        sections |= {name: ("scheduler", name) for name in self.scheduler_values}
        path = sections.get(error.option, (error.option,))
        return path if self.document.has(path) else None

    @staticmethod
    def _make(value: Any, findings: Findings) -> Any:
        try:
            return built(value)
        except ExperimentError as error:
            findings.problems += error.problems
            findings.causes.append(error)
            return None
