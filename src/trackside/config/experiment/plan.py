"""`plan`: what a run will do, found out without training and without writing anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trackside.checkpoint.saver import saver_among
from trackside.config.checking.options import options_of
from trackside.config.experiment.experiment import Experiment
from trackside.config.experiment.held import held, too_little
from trackside.config.text.place import Path
from trackside.data.prefetch import chosen_way
from trackside.errors import ConfigurationError, MonitorError, StopTraining
from trackside.lifecycle.collection import CallbackCollection
from trackside.lifecycle.hooks import HOOKS, Callback, is_overridden
from trackside.lifecycle.roles import ChoosesItsWay, HasSchedulers
from trackside.loop import ways as steps
from trackside.machine import randomness
from trackside.machine.host_memory import available_bytes
from trackside.planning.diagnostics import Diagnostic, Planned, findings, planned
from trackside.run import Run
from trackside.run_folder.claim import unclaimed
from trackside.schedule import Every, Schedule
from trackside.step.memory import Held
from trackside.trainer.trainer import Trainer


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set, and what it is for."""

    samples: int | None
    batches: int | None
    use: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that states need on the device, without activations."""

    parameters: int
    trainable: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int | None
    """None when an optimizer can't be tried out alone."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Space that checkpoints need."""

    checkpoint_bytes: int
    kept: int | None
    """How many stay at once; None when all do."""
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of a run."""

    directory: str
    device: str
    epochs: int | None
    steps: int | None
    epoch_steps: int | None
    data: Mapping[str, DataSet]
    memory: Memory
    hooks: Mapping[str, list[str]]
    """The listeners of every hook that has any, in order."""
    effects: Mapping[str, str]
    """The effect of each callback on training: `observes`, `steers`, `changes`, or `unsaid`."""
    schedules: list[Planned]
    ways: Mapping[str, str]
    """Choices made once by device, data and optimizer: of the batches' way, and by callback."""
    disk: Disk | None
    held: list[Held] = field(default_factory=list)
    """Memory and space beside the states: batches ahead, copies that saves are written from."""
    host_free_bytes: int | None = None
    """Host memory that is free now; None where the system doesn't say."""
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing found would make the run fail."""
        return not any(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for tools."""
        plain = asdict(self)
        plain["schedules"] = [
            {**asdict(one), "schedule": str(one.schedule)} for one in self.schedules
        ]
        return plain


def make_plan(experiment: Experiment) -> Plan:
    """Find out what a run of `experiment` will do.

    Model, data and optimizer are made, because their sizes decide; no callback is attached, no step
    is taken and nothing is written.

    Raises:
        ExperimentError: Something of it can't be made.
    """
    trainer = experiment.trainer()
    with randomness.preserved():
        arguments = experiment.fit_arguments(experiment.make_data())
        run, found = _look(experiment, trainer, arguments)
    run.callbacks = trainer.callbacks
    run.saver = saver_among(trainer.callbacks)  # nobody is attached to a run that is looked at
    for callback in run.callbacks:
        if isinstance(callback, HasSchedulers):
            callback.on_optimizers_ready(run)
    evaluate_every: Schedule = Every.parse(arguments.get("evaluate_every") or "1 epoch")
    log_every = Every.parse(trainer.settings.log_every)
    names = experiment.validation()
    found += findings(run, evaluate_every, names, log_every)
    settings = {"log_every": log_every} | ({"evaluate_every": evaluate_every} if names else {})
    memory = _memory(run)
    disk = _disk(run, memory)
    if disk is not None and disk.free_bytes < disk.checkpoint_bytes * ((disk.kept or 1) + 1):
        found.append(_too_little_room(disk))
    states = memory.parameter_bytes + (memory.optimizer_bytes or 0)
    parts, free_bytes = held(run, trainer, memory.parameter_bytes, states), available_bytes()
    if (lack := too_little(parts, free_bytes)) is not None:
        found.append(lack)
    return Plan(
        directory=str(run.directory),
        device=str(run.device),
        epochs=run.limit.epochs,
        steps=run.limit.total_steps,
        epoch_steps=run.limit.epoch_steps,
        data=_data(run, names, experiment.evaluate),
        memory=memory,
        hooks=_hooks(trainer),
        effects={name: one.effect or "unsaid" for name, one in trainer.callbacks.items()},
        schedules=planned(run, settings),
        ways=_ways(run, trainer),
        disk=disk,
        held=parts,
        host_free_bytes=free_bytes,
        findings=[replace(one, place=_place(experiment, one)) for one in found],
    )


def _place(experiment: Experiment, finding: Diagnostic) -> str | None:
    """Where what a finding is about was written; None for what the file doesn't mention."""
    spots: list[Path] = [("callbacks", finding.about), ("trainer", finding.about)]
    spots += [(finding.about,), (finding.about.split()[0],)]
    for path in spots:
        if experiment.document.has(path):
            return str(experiment.document.place(path, key=True))
    return None


# --- looking at a run that is set up and goes no further ------------------------------------------


class _Look(Callback[Run]):
    """Keeps the run as it stands before its first step, and ends it there."""

    run: Run | None = None

    def on_setup_end(self, run: Run) -> None:
        self.run = run

    def on_fit_start(self, run: Run) -> None:
        raise StopTraining("it was only looked at")


def _look(
    experiment: Experiment, trainer: Trainer, arguments: dict[str, Any]
) -> tuple[Run, list[Diagnostic]]:
    """The run that `fit` would begin with, and what it refuses about monitors."""
    found: list[Diagnostic] = []
    muted = {name: _muted(callback) for name, callback in trainer.callbacks.items()}
    while True:
        look = _Look()
        probe = experiment.trainer()
        members: dict[str, Callback[Any]] = {"look": look, **muted}
        probe.callbacks = CallbackCollection(members, run_class=probe.run_class)
        try:
            with unclaimed():
                probe.fit(**arguments)
        except MonitorError as error:
            watcher = error.callback or "scheduler"
            remedy = error.remedy or f"expected {error.expected}"
            found.append(Diagnostic("error", watcher, error.message, remedy))
            if watcher in muted:
                muted[watcher].monitors = ()
                continue
        except ConfigurationError:
            if look.run is None:
                raise  # otherwise the diagnostics report it together with all others
        assert look.run is not None
        return look.run, found


def _muted(callback: Callback[Any]) -> Callback[Any]:
    """A stand-in that declares what `callback` declares, and does nothing."""
    original = type(callback)
    declared = {"__module__": original.__module__, "logs": callback.logs}
    stand_in: Callback[Any] = type(original.__name__, (Callback,), declared)()
    stand_in.monitors = callback.monitors
    return stand_in


def _hooks(trainer: Trainer) -> dict[str, list[str]]:
    """Listeners of each hook, the trainer's own first."""
    table = trainer.callbacks.table()
    own = {hook for hook in HOOKS if is_overridden(trainer, hook)}
    return {
        hook: [*(["trainer"] if hook in own else []), *table.get(hook, [])]
        for hook in HOOKS
        if hook in own or hook in table
    }


def _ways(run: Run, trainer: Trainer) -> dict[str, str]:
    """The way of the batches to the device, and those that callbacks choose."""
    prefetch = trainer.settings.prefetch_batches
    with randomness.preserved():
        ways = {"batches": chosen_way(run.device, prefetch, run.data["train"])}
    settings = trainer.settings
    if settings.step != "eager":
        compiles = bool(settings.compile)
        ways["steps"] = steps.chosen_way(run, settings.step, compiles_models=compiles)
    if settings.halve_batches_to is not None:
        ways["memory"] = (
            "a step that runs out of it is tried again with batches in parts half as large, down "
            f"to {settings.halve_batches_to}"
        )
    for name, callback in trainer.callbacks.items():
        if isinstance(callback, ChoosesItsWay):
            ways[name] = callback.chosen_way(run)
    return ways


# --- sizes ---------------------------------------------------------------------------------------


def _data(run: Run, validation: tuple[str, ...], evaluate: tuple[str, ...]) -> dict[str, DataSet]:
    found = {}
    for name, source in run.data.items():
        uses = ["trained on"] if name == "train" else []
        uses += ["evaluated while training"] if name in validation else []
        uses += ["evaluated after it"] if name in evaluate else []
        use = ", ".join(uses) or "there for callbacks"
        found[name] = DataSet(source.samples, source.batches, use)
    return found


def _memory(run: Run) -> Memory:
    parameters = {id(p): p for model in run.models.values() for p in model.parameters()}
    buffers = {id(b): b for model in run.models.values() for b in model.buffers()}
    trainable = [p for p in parameters.values() if p.requires_grad]
    held = sum(t.nbytes for t in [*parameters.values(), *buffers.values()])
    return Memory(
        parameters=sum(p.numel() for p in parameters.values()),
        trainable=sum(p.numel() for p in trainable),
        parameter_bytes=held,
        gradient_bytes=sum(p.nbytes for p in trainable),
        optimizer_bytes=_optimizer_bytes(run.optimizers.values()),
    )


def _optimizer_bytes(optimizers: Iterable[Optimizer]) -> int | None:
    """Memory of their states after a step: measured on a small matrix."""
    total = 0
    for optimizer in optimizers:
        held = sum(p.nbytes for group in optimizer.param_groups for p in group["params"])
        accepted = options_of(type(optimizer)).table
        options = {name: value for name, value in optimizer.defaults.items() if name in accepted}
        small = nn.Parameter(torch.ones(32, 32))
        small.grad = torch.ones(32, 32)
        try:
            twin = type(optimizer)([small], **options)
            twin.step()
        except (TypeError, ValueError, RuntimeError):
            return None
        state = [t.nbytes for t in twin.state[small].values() if isinstance(t, torch.Tensor)]
        total += round(held * sum(state) / small.nbytes)
    return total


def _disk(run: Run, memory: Memory) -> Disk | None:
    saver = run.saver
    if saver is None:
        return None
    kept = saver.retention.keep_last
    if kept is not None:
        kept += saver.retention.keep_best or 0
    folder = run.directory.absolute()
    while not folder.exists():
        folder = folder.parent
    size = memory.parameter_bytes + (memory.optimizer_bytes or 0)
    return Disk(size, kept, shutil.disk_usage(folder).free)


def _too_little_room(disk: Disk) -> Diagnostic:
    needed = disk.checkpoint_bytes * ((disk.kept or 1) + 1)
    return Diagnostic(
        "error",
        "checkpoint",
        f"checkpoints need {needed / 1e9:.1f} GB, and {disk.free_bytes / 1e9:.1f} GB are free",
        "keep fewer of them, or choose a `directory` on a larger disk",
    )
