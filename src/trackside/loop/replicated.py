"""The training step on several ranks, within what averages gradients over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from trackside.data.batches import Batch
from trackside.distributed.words import explained
from trackside.loop.state import Training
from trackside.step.output import Output, as_output


def replicated(training: Training, batch: Batch) -> tuple[Any, Output]:
    """The output of the training step: as returned, and in one form whose loss averages gradients.

    Whatever the step calls, models, parts or methods of theirs, is one forward pass of all models.
    A step that optimizes by hand begins one with each of its losses (`Trainer.optimize`).

    Raises:
        TracksideError: torch refuses the pass, for a reason that has a remedy.
    """
    setup = training.setup
    replicas, precision = setup.replicas, setup.precision
    assert replicas is not None, "asked on several ranks only"
    replicas.check_flags()
    returned: Any = None
    outputs: list[Output] = []
    loss: Tensor | None = None

    def step() -> Tensor:
        nonlocal returned
        if precision.autocast is None:
            returned = setup.training_step(training.run, batch)
        else:
            with precision.autocast:
                returned = setup.training_step(training.run, batch)
        outputs.append(as_output(returned))
        return outputs[0].loss

    with explained(replicas):
        if setup.steps.manual_optimization:
            replicas.around(_nothing)
            step()
        else:
            loss = replicas.around(step)
    [output] = outputs
    if loss is None or loss is output.loss:
        return returned, output
    return returned, output._replace(loss=loss)


def without_gradients(training: Training, step: Callable[[Any, Batch], Any], batch: Batch) -> Any:
    """Result of a step that evaluates or predicts; it may call parts of the models, too.

    Raises:
        TracksideError: torch refuses the pass, for a reason that has a remedy.
    """
    replicas = training.setup.replicas
    if replicas is None:
        return step(training.run, batch)
    with explained(replicas):
        return replicas.without_gradients(lambda: step(training.run, batch))


def _nothing() -> None:
    """A pass without a model: a step begins."""
