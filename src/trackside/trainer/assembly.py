"""Building a run: `start` returns the run, `assemble` its training with all parts in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trackside.data.loaders import Batching
from trackside.data.prefetch import prefetcher_for
from trackside.data.source import DataSource
from trackside.distributed import RankInfo, World
from trackside.distributed.agreement import agree
from trackside.distributed.rank_checks import RankChecks
from trackside.distributed.session import RankSession
from trackside.lifecycle.dispatch import Dispatcher
from trackside.lifecycle.hooks import Callback
from trackside.loop import ways
from trackside.loop.following import Following
from trackside.loop.noting import Noting
from trackside.loop.state import TRAIN, Options, Position, Setup, Training
from trackside.machine import randomness
from trackside.models.compilation import compile_models
from trackside.planning import checks, on_ranks
from trackside.planning.own_steps import check_own_steps
from trackside.planning.parts import check_closures, models_by_name
from trackside.progress import RunLimit
from trackside.run import Mode, Run
from trackside.schedule import Every
from trackside.step.metrics import Metric, MetricLog
from trackside.step.optimization import build_optimizers, build_schedulings
from trackside.step.precision import Precision
from trackside.trainer import batch_limits, declared, own_modules
from trackside.trainer.current_model import take_other
from trackside.trainer.frozen import Frozen
from trackside.trainer.guarding import GuardKind, guard_of
from trackside.trainer.remote_folder import local_directory

if TYPE_CHECKING:
    from trackside.distributed.replicas import Replicas
    from trackside.trainer.settings import Settings
    from trackside.trainer.trainer import Trainer


def start(trainer: Trainer, mode: Mode, limit: RunLimit) -> Run:
    """Return a new run, whose rank, folder, device and limit are known."""
    checks.check_trainer_declarations(trainer)
    declared.introduce(trainer)
    directory = checks.directory(local_directory(trainer.settings))
    run = trainer.run_class(mode, directory, events=trainer.make_events)
    place = RankInfo.from_environment()
    # Until `on_launch_start` is over there are no process groups: a world of one, of this rank.
    run.world = World(rank=place.rank, local_rank=place.local_rank)
    run.device = checks.check_device(trainer.settings.device)
    run.callbacks = trainer.callbacks
    run.config = Frozen(checks.describe(trainer), "run.config")
    run.accumulate, run.limit = trainer.accumulate if mode == "fit" else 1, limit
    return run


def events_of(run: Run, rank: int | None = None, guard: GuardKind = None) -> Dispatcher:
    """The dispatcher of the callbacks of `run`, as global rank `rank`; None: this process's."""
    # As `torch.no_grad`, which takes twice as long to enter and to leave.
    without_gradients = partial(torch.set_grad_enabled, False)
    rank = RankInfo.from_environment().rank if rank is None else rank
    return Dispatcher(run, without_gradients, rank, guard_of(run, guard))


def assemble(
    trainer: Trainer,
    run: Run,
    events: Dispatcher,
    ranks: RankSession,
    sets: Mapping[str, Any],
    batching: Batching,
    options: Options,
    models: Mapping[str, nn.Module] | None,
) -> Training:
    """Join the ranks; make models, data, optimizers and schedulers, and place them.

    Args:
        trainer: Makes models, optimizers and schedulers.
        run: What `start` returned.
        events: Calls its callbacks.
        ranks: This process's membership among the ranks.
        sets: Data by name.
        batching: How data that comes as samples is cut into batches.
        options: Options of the loop.
        models: Models of an earlier run, to evaluate or predict with; None makes new ones.
    """
    settings, training = trainer.settings, run.mode == "fit"
    events.fire(Callback.on_launch_start)
    ranks.join(run, settings.device)
    if trainer.seed is not None:
        randomness.seed_everything(trainer.seed)
    loss = trainer.loss.to(run.device) if isinstance(trainer.loss, nn.Module) else None
    events.fire(Callback.on_configure_start)
    made = take_other(trainer) or models is None or training
    run.models = models_by_name(trainer.configure_model(run)) if made else dict(models or {})
    check_own_steps(trainer, run.models)
    declared.join(trainer, run)
    run.data = sources = _sources(run, sets, batching)
    batch_limits.apply(run)
    checks.know_length(run)
    events.fire(Callback.on_configure_end)
    run.steps = trainer
    run.precision = Precision(trainer.precision, run.device)
    events.fire(Callback.on_setup_start)
    if run.limit.epoch_steps is not None:  # callbacks may have changed the length of an epoch
        checks.know_length(run)
    on_ranks.check_accumulation(run, settings.strategy)
    replicas = ranks.place(run, settings.strategy)
    run.optimizers = {}
    if training:
        run.optimizers = build_optimizers(trainer.configure_optimizers(run), run.models)
        on_ranks.check_averaged(trainer, run)
        check_closures(trainer, run.optimizers)
        events.fire(Callback.on_optimizers_ready)
    run.schedulings = build_schedulings(trainer.scheduler, run) if training else {}
    compile_models(run.models.values(), settings.compile)
    if replicas is not None and trainer.seed is not None and run.world.rank > 0:
        # All ranks have the same weights, and each draws its own dropout.
        randomness.seed_everything(randomness.mixed(trainer.seed, run.world.rank))
    run.metric_log = log = MetricLog(
        run.world.sum_by_name if run.world.size > 1 else None,
        reserved=_recorded_by_the_loop(sources, trainer.metrics),
        progress=run.progress,
    )
    metrics = _on_device(trainer.metrics, run.device)
    position = Position()
    noting = _noting(run, settings, replicas)
    setup = Setup(
        run=run,
        events=events,
        steps=trainer,
        precision=run.precision,
        sources=sources,
        metrics={name: m for name, m in metrics.items() if isinstance(m, Metric)},
        functions={name: m for name, m in metrics.items() if not isinstance(m, Metric)},
        options=options,
        log=log,
        record_loss=log.mean("train/loss").keep,
        agreement=agree(
            run.world,
            clock=position.clock,
            checks=None if noting is None else noting.checks,
        ),
        optimizers=tuple(run.optimizers.values()),
        schedulings=tuple(run.schedulings.values()),
        training_step=trainer.training_step,
        loss=loss,
        replicas=replicas,
        following=_following(run, settings, log) if training else None,
        watch=ranks.watch,
        noting=noting,
        prefetcher=prefetcher_for(run.device, settings.prefetch_batches),
    )
    if training and run.world.is_global_zero:
        own_modules.report(trainer, setup.modules.values())
    found = Training(setup, position)
    if training:
        ways.choose(found, settings.step, compiles_models=bool(settings.compile))
    if training and settings.halve_batches_to is not None:
        ways.let_halve(found, settings.halve_batches_to, settings.step)
    return found


def _following(run: Run, settings: Settings, log: MetricLog) -> Following | None:
    """Notes of the steps after each checkpoint; None where nothing is to be compared."""
    if settings.on_resume_differs is None:
        return None
    exact = settings.deterministic or run.device.type == "cpu"
    keep = log.mean("train/loss").keep
    if run.saver is not None:
        run.data[TRAIN].remember("when asked")
    return Following(run, keep, settings.on_resume_differs, exact=exact)


def _noting(run: Run, settings: Settings, replicas: Replicas | None) -> Noting | None:
    """Notes for the ranks to compare; None where there is one, or nothing is to be compared."""
    if replicas is None or settings.compare_ranks_every is None:
        return None
    shard = replicas.strategy.shard_of(run.world)
    checks = RankChecks(run.world, settings.when_ranks_differ, shard)
    return Noting(run, checks, Every.parse(settings.compare_ranks_every))


def _sources(run: Run, sets: Mapping[str, Any], batching: Batching) -> dict[str, DataSource]:
    checks.check_batching(batching, sets)
    whole = replace(batching, drop_last=False)  # an evaluation leaves no sample out
    return {
        name: DataSource(
            name,
            data,
            batching if name == TRAIN else whole,
            shuffle=name == TRAIN,
            world=run.world,
            training=name == TRAIN,
        )
        for name, data in sets.items()
    }


def _recorded_by_the_loop(sets: Iterable[str], metrics: Iterable[str]) -> dict[str, str]:
    """Names that only the loop records, and the content of each."""
    found = {
        f"{name}/{metric}": f"the metric {metric!r}"
        for name in sets
        for metric in metrics
        if name != TRAIN  # metrics are those of evaluations
    }
    found |= {f"{name}/loss": "what the step returns" for name in sets}
    found |= {"train/part_samples": "the most samples that go through the model at once"}
    return found | {"train/skipped_steps": "how many updates were not made"}


def _on_device(metrics: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The metrics; those that are modules are moved to the device of the predictions."""
    return {n: m.to(device) if isinstance(m, nn.Module) else m for n, m in metrics.items()}
