"""Inputs and outputs of a step, and the default steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trackside.data.batches import describe
from trackside.errors import DataError, LossError, UsageError

F = TypeVar("F", bound=Callable[..., Any])

Loss = Callable[[Any, Any], Tensor]
"""From prediction and target to the mean loss of the batch, shape `()`."""

_PAIRS = frozenset((tuple, list))
TARGETS = ("target", "targets", "label", "labels")
"""Keys under which a mapping holds its target."""


class Output(NamedTuple):
    """Output of a step. A bare loss, or a mapping with these keys, does as well."""

    loss: Tensor
    """Mean loss of the batch, shape `()`."""
    prediction: Any = None
    target: Any = None
    weight: Tensor | float | None = None
    """Weight of the batch in averages, for example its tokens; None counts samples."""
    samples: int | None = None
    """How many samples the batch has; None takes what the loader's sampler put in, else the number
    on which all parts of the batch agree. Ranks that share the batches of a loader go by the
    sampler."""
    tokens: int | Tensor | None = None
    """How many tokens the batch has, for schedules and the axis of records; None counts none. A
    number, or a tensor of whole numbers with one element, which an accelerator is waited for."""


def default_step(step: F) -> F:
    """Mark a default step: the loop may inline it when no hook listens."""
    step.default_step = True  # type: ignore[attr-defined]
    return step


class Steps(Protocol):
    """Steps that the loop calls for each batch: the trainer has them, subclasses override them."""

    manual_optimization: bool
    skips_steps: bool
    """Whether its steps or hooks may call `run.skip_step`."""
    monitors: tuple[str, ...]
    """Names of the logged values that it watches."""
    logs: tuple[str, ...]
    """Names that its steps and hooks log; `grad/*` stands for any name that begins so."""

    def training_step(self, run: Any, batch: Any) -> Any:
        """The loss of a batch, with gradient."""

    def evaluation_step(self, run: Any, batch: Any) -> Any:
        """The loss of a batch, without gradient, and what the metrics need."""

    def predict_step(self, run: Any, batch: Any) -> Any:
        """The predictions of a batch."""

    def backward(self, run: Any, loss: Tensor) -> None:
        """Add the gradients of `loss`."""

    def optimizer_step(self, run: Any, optimizer: Optimizer) -> None:
        """Apply the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """The trainer's own state for a resume, beside models and optimizers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""


def as_output(returned: Any) -> Output:
    """The output of a step in one form.

    Raises:
        LossError: There is no loss in it.
    """
    if isinstance(returned, Output):
        return returned
    if isinstance(returned, Tensor):
        return Output(returned)
    if isinstance(returned, Mapping) and "loss" in returned:
        prediction = returned.get("prediction", returned.get("logits"))
        return Output(
            returned["loss"],
            prediction,
            returned.get("target"),
            returned.get("weight"),
            returned.get("samples"),
            returned.get("tokens"),
        )
    if isinstance(getattr(returned, "loss", None), Tensor):
        return Output(returned.loss, getattr(returned, "logits", None))
    if returned is None:
        raise LossError(
            "the step returned no loss",
            expected="a tensor, `Output(loss, ...)`, or a mapping with the key 'loss'",
            received="None",
            remedy="return the loss from `training_step`; to leave a batch out, say "
            "`run.skip_step('why')` and return `Output(0 * loss, weight=0)`",
        )
    if isinstance(returned, (int, float)):
        raise LossError(
            "the loss is a number, from which no gradient comes",
            expected="a scalar tensor: the loss itself, without `.item()`",
            received=describe(returned),
        )
    raise LossError(
        "the step returned no loss",
        expected="a tensor, `Output(loss, ...)`, or a mapping with the key 'loss'",
        received=describe(returned),
        remedy="return the loss from `training_step`",
    )


def check_loss(loss: Any) -> None:
    """Refuse what can't be differentiated.

    Raises:
        LossError: Not a tensor, not a scalar, or without a gradient.
    """
    if not isinstance(loss, Tensor):
        raise LossError(
            "the loss is not a tensor", expected="a scalar tensor", received=describe(loss)
        )
    if loss.numel() != 1:
        raise LossError(
            "the loss isn't a scalar",
            expected="shape ()",
            received=f"shape {tuple(loss.shape)}",
            remedy="reduce it to its mean: `loss.mean()`, or reduction='mean'",
        )
    if not loss.requires_grad:
        raise LossError(
            "the loss has no gradient: nothing would be trained",
            expected="a loss computed from parameters with requires_grad=True",
            remedy="look for `.detach()`, `.item()`, `torch.no_grad()` or frozen parameters",
        )


def is_pair(batch: Any) -> bool:
    """Whether a batch is a tensor of inputs and a target, whatever that is."""
    return type(batch) in _PAIRS and len(batch) == 2 and type(batch[0]) is Tensor


def split(batch: Any) -> tuple[Any, Any]:
    """Inputs and target of a batch.

    Raises:
        DataError: It is neither a pair nor a mapping with a target.
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, Mapping):
        for key in TARGETS:
            if key in batch:
                inputs = {name: value for name, value in batch.items() if name != key}
                return inputs, batch[key]
    raise DataError(
        "the batch isn't understood",
        expected="(inputs, target), or a mapping with one of the keys " + ", ".join(TARGETS),
        received=describe(batch),
        remedy="override `training_step(self, run, batch)` in a subclass of Trainer, and for data "
        "to evaluate `evaluation_step`",
    )


def call_model(model: nn.Module, inputs: Any) -> Any:
    """The model's answer: a mapping is given as keyword arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    try:
        return model(inputs)
    except TypeError as error:
        if isinstance(inputs, (tuple, list)):
            error.add_note(
                f"the inputs, {describe(inputs)}, are given to the model as one argument; for "
                "several, give a mapping by their names, or override `training_step` and the "
                "other steps"
            )
        raise


def compare(model: nn.Module, loss: Loss | None, batch: Any) -> Output:
    """The default step: predict and compute the loss.

    Without a `loss`, the model gets the whole mapping and returns an object with `.loss`.
    """
    if loss is not None and is_pair(batch):  # the common case
        inputs, target = batch
        prediction = model(inputs)
        return Output(loss(prediction, target), prediction, target)
    if loss is None:
        if not isinstance(batch, Mapping):
            raise UsageError(
                "there is no loss",
                expected="Trainer(model, loss=...), or batches that are mappings and a model "
                "that returns its own `.loss`",
                received=describe(batch),
            )
        returned = as_output(model(**batch))
        target = next((batch[key] for key in TARGETS if key in batch), None)
        return returned._replace(target=target)
    inputs, target = split(batch)
    prediction = call_model(model, inputs)
    return Output(loss(prediction, target), prediction, target)


def predict(model: nn.Module, batch: Any) -> Any:
    """The model's answer to a batch; a target, where there is one, is ignored."""
    if isinstance(batch, Tensor):
        return model(batch)
    if isinstance(batch, (tuple, list)):
        returned = call_model(model, batch[0])
        return getattr(returned, "logits", returned)
    if isinstance(batch, Mapping):
        inputs = {name: value for name, value in batch.items() if name not in TARGETS}
        returned = model(**inputs)
        return getattr(returned, "logits", returned)
    return model(batch)


def joined(predictions: list[Any], *, pad: float | None = None) -> Any:
    """Predictions of all batches as one: tensors are concatenated along their first dimension.

    Whatever does not fit together, such as padding of another length in each batch, stays a list
    over batches: nothing that was computed is lost.

    Args:
        predictions: One entry per batch.
        pad: What fills tensors up to the largest of them, in all dimensions but the first; None
            fills nothing.

    Raises:
        DataError: With `pad`: they are no tensors, or no value of theirs can be `pad`.
    """
    if predictions and all(isinstance(part, Tensor) and part.ndim for part in predictions):
        if len({part.shape[1:] for part in predictions}) == 1:
            return torch.cat(predictions)
        return predictions if pad is None else torch.cat(_padded(predictions, pad))
    if predictions and all(
        isinstance(part, Mapping) and part.keys() == predictions[0].keys() for part in predictions
    ):
        parts = {key: [part[key] for part in predictions] for key in predictions[0]}
        tensors = {key: any(isinstance(one, Tensor) for one in part) for key, part in parts.items()}
        return {key: joined(part, pad=pad if tensors[key] else None) for key, part in parts.items()}
    if predictions and pad is not None:
        raise _not_padded(predictions, pad)
    return predictions


def _padded(tensors: list[Tensor], pad: float) -> list[Tensor]:
    """Tensors of one shape but for the first dimension, filled up with `pad`."""
    numbers = all(one.is_floating_point() or float(pad).is_integer() for one in tensors)
    if not numbers or len({one.ndim for one in tensors}) > 1:
        raise _not_padded(tensors, pad)
    largest = [max(sizes) for sizes in zip(*(one.shape for one in tensors), strict=True)]
    filled = []
    for one in tensors:
        whole = one.new_full((len(one), *largest[1:]), pad)
        whole[tuple(slice(size) for size in one.shape)] = one
        filled.append(whole)
    return filled


def _not_padded(predictions: list[Any], pad: float) -> DataError:
    kinds = dict.fromkeys(describe(one) for one in predictions[:100])
    return DataError(
        f"these predictions can't be padded with {pad!r}",
        expected="tensors with as many dimensions in every batch, whose type has that value",
        received=", ".join(list(kinds)[:4]),
        remedy="leave `pad` out: they come as a list over batches; those of this pass are in "
        "`trainer.result.predictions`",
    )
