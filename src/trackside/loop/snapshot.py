"""State of a run in a checkpoint, and its exact restoration.

Taken at a safe point only, between two steps: weights, optimizers, counters, records, callbacks and
unfinished evaluations are shared by all ranks; position in the data, random generators and sums
that aren't recorded yet are each rank's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from trackside.distributed.state import is_sharded
from trackside.errors import restoring
from trackside.loop.same_optimizer import refuse_other_optimizers
from trackside.loop.state import TRAIN, Training
from trackside.machine import randomness
from trackside.step.scheduler_state import put_back, restore_schedulers, set_by_schedulers

State = dict[str, Any]


def shared_state(training: Training) -> State:
    """The state that all ranks share. Its tensors are the run's: copy them before the next step."""
    run, loss = training.run, training.setup.loss
    return {
        **({} if loss is None else {"loss": loss.state_dict()}),
        "models": {name: model.state_dict() for name, model in run.models.items()},
        "optimizers": {name: one.state_dict() for name, one in run.optimizers.items()},
        "schedulers": {name: one.state_dict() for name, one in run.schedulers.items()},
        "precision": training.setup.precision.state_dict(),
        "progress": run.progress.state_dict(),
        "history": run.history.snapshot(),
        "callbacks": run.callbacks.state_dict(),
        "trainer": training.setup.steps.state_dict(),
        "loop": training.state_dict(),
        "config": dict(run.config),
    }


def rank_state(training: Training) -> State:
    """The state of this rank alone."""
    replicas = training.setup.replicas
    apart = replicas is not None and replicas.strategy.keeps_buffers
    return {
        **({"buffers": _buffers(training)} if apart else {}),
        "data": training.setup.sources[TRAIN].state_dict(),
        # What a resume in the middle of an epoch has not put back yet is what holds.
        "random": training.position.resumed_random_state or randomness.capture(),
        "log": training.setup.log.state_dict(),
    }


def restore(training: Training, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Put a run back to where `shared_state` and `rank_state` were taken.

    Args:
        training: A run between two epochs' spans: not started, or about to go back.
        shared: What `shared_state` returned.
        own: What `rank_state` returned on this rank.
    """
    run = training.run
    _restore_named("model", run.models, shared["models"])
    _restore_buffers(training, own.get("buffers", {}))
    _restore_loss(training, shared.get("loss"))
    _check_optimizers(run.optimizers, shared["optimizers"])
    built = {name: set_by_schedulers(one) for name, one in run.optimizers.items()}
    _restore_named("optimizer", run.optimizers, shared["optimizers"])
    for name, optimizer in run.optimizers.items():
        put_back(optimizer, built[name])
    restore_schedulers(run.schedulers, shared["schedulers"])
    with restoring("the precision"):
        training.setup.precision.load_state_dict(shared["precision"])
    run.progress.load_state_dict(shared["progress"])
    run.history.load_state_dict(shared["history"])
    run.callbacks.load_state_dict(shared["callbacks"])
    _restore_trainer(training, shared.get("trainer", {}))
    with restoring("the place of the loop"):
        training.load_state_dict(shared["loop"])
    with restoring("what was logged last"):
        training.setup.log.load_state_dict(own["log"], run.device)
    with restoring("the place in the training data"):
        if own["data"] is not None:  # of another number of ranks: the epoch begins again
            training.setup.sources[TRAIN].load_state_dict(own["data"])
    with restoring("the state of the random generators"), randomness.preserved():
        randomness.restore(own["random"])  # a first time, to see that it can be done
    if training.position.phase == "training":
        # The data is brought forward first, which draws from the generators.
        training.position.resumed_random_state = own["random"]
    else:
        training.position.resumed_random_state = None
        randomness.restore(own["random"])


def _check_optimizers(optimizers: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    # Here, because who resumes nothing needs no validation.
    from trackside.loop.believable import check_groups, check_optimizer  # noqa: PLC0415

    # An optimizer that says in its own way where it stands checks that itself.
    known = [
        name
        for name in optimizers.keys() & states.keys()
        if type(optimizers[name]).state_dict is Optimizer.state_dict
    ]
    for name in known:
        check_groups(name, states[name])
    refuse_other_optimizers(optimizers, states)
    for name in known:
        check_optimizer(name, optimizers[name], states[name])


def _restore_trainer(training: Training, state: dict[str, Any]) -> None:
    """The state of a trainer that has one of its own; older checkpoints have none."""
    trainer = training.setup.steps
    if state:
        with restoring("the trainer"):
            trainer.load_state_dict(state)
    elif trainer.state_dict():
        warnings.warn("the trainer starts fresh: the checkpoint has no state of it", stacklevel=3)


def _buffers(training: Training) -> dict[str, Tensor]:
    """Copies of this rank's own buffers, which those of rank 0 replace in what is saved for all."""
    models = training.run.models.items()
    named = ((f"{n}.{name}", b) for n, model in models for name, b in model.named_buffers())
    return {name: buffer.clone() for name, buffer in named if not is_sharded(buffer)}


def _restore_buffers(training: Training, own: Mapping[str, Tensor]) -> None:
    for name, model in training.run.models.items():
        for key, buffer in model.named_buffers():
            if f"{name}.{key}" in own:
                with restoring("this rank's buffers"):
                    buffer.copy_(own[f"{name}.{key}"])


def _restore_loss(training: Training, state: Mapping[str, Any] | None) -> None:
    """The state of a loss that has one; older checkpoints have none."""
    loss = training.setup.loss
    if loss is None or not loss.state_dict():
        return
    _restore_named("loss", {"loss": loss}, {} if state is None else {"loss": state})


def _restore_named(kind: str, parts: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    for name, part in parts.items():
        if name in states:
            with restoring(f"the {kind} {name!r}"):
                part.load_state_dict(states[name])
        else:
            warnings.warn(f"the checkpoint has no {kind} {name!r}: it starts fresh", stacklevel=3)
    for name in states:
        if name not in parts:
            warnings.warn(
                f"the checkpoint has a {kind} {name!r}, and there is none now", stacklevel=3
            )
