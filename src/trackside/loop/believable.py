"""The parts of a checkpoint of a run, checked before any is put back; see `trackside.saved`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from torch import Tensor
from torch.optim import LBFGS, Adafactor, Optimizer
from typing_extensions import TypedDict

from trackside.history import HistorySnapshot
from trackside.saved import check, check_options, refused
from trackside.step.scheduler_state import without_schedulers

LARGEST = 2**63 - 1
"""Of a counter: records and samplers keep it in 64 bits."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ByName = dict[str, Any]

# --- what a checkpoint holds --------------------------------------------------------------------


class ProgressState(TypedDict):
    """See `Progress`; `epochs_closed` had another name once."""

    epochs_completed: Count
    steps_completed: Count
    batches_completed: Count
    samples_completed: Count
    steps_before_epoch: Count
    batches_before_epoch: Annotated[int, Field(ge=-LARGEST, le=LARGEST)]  # see `comparison`
    samples_before_epoch: Count
    seconds: Seconds
    epochs_closed: NotRequired[Count]
    tokens_completed: NotRequired[Count]
    epochs_ended: NotRequired[Count]


class DataState(TypedDict):
    """The training data as it was; see `loop.comparison.conditions`."""

    batch_size: Count | None
    samples: Count | None
    batches: NotRequired[Count | None]
    shuffled: bool | None
    begun: Annotated[list[Count], Field(min_length=2, max_length=2)]


class BuiltState(TypedDict):
    """The options that a run was built with."""

    optimizers: dict[str, list[ByName]]
    data: DataState
    callbacks: NotRequired[dict[str, str]]


class RollbackState(TypedDict):
    """See `Rollback`."""

    from_step: Count
    to_step: Count
    reason: str
    asked_by: str
    left_out: list[Any] | tuple[Any, ...]


class SkippedStepState(TypedDict):
    """See `SkippedStep`."""

    step: Count
    reason: str
    asked_by: str


class EndedEpochState(TypedDict):
    """See `EndedEpoch`."""

    epoch: Count
    step: Count
    reason: str
    asked_by: str


class HalvingState(TypedDict):
    """See `Halving`."""

    step: Count
    samples: Count
    reason: str


class LoopState(TypedDict):
    """See `Training.state_dict`. What older checkpoints lack is not required."""

    phase: Literal["between", "training", "evaluating"]
    pending: list[str]
    epoch_metrics: dict[str, float]
    evaluated_at: dict[str, Count]
    built: NotRequired[BuiltState | None]
    rollbacks: NotRequired[list[RollbackState]]
    skipped_steps: NotRequired[list[SkippedStepState]]
    ended_epochs: NotRequired[list[EndedEpochState]]
    halvings: NotRequired[list[HalvingState]]


class SharedState(TypedDict):
    """The state that all ranks share; see `loop.snapshot.shared_state`."""

    models: dict[str, ByName]
    optimizers: dict[str, ByName]
    schedulers: dict[str, ByName]
    precision: ByName
    progress: ProgressState
    history: Any
    callbacks: dict[str, ByName]
    loop: LoopState
    config: ByName
    loss: NotRequired[ByName]
    trainer: NotRequired[ByName]


class OwnState(TypedDict):
    """The state of one rank alone; see `loop.snapshot.rank_state`."""

    data: ByName
    random: ByName
    log: dict[str, ByName]


class GroupState(TypedDict):
    """One group, with its options beside these numbers."""

    params: list[Count]


class OptimizerState(TypedDict):
    """The state of an optimizer of torch."""

    state: dict[Any, Any]
    param_groups: list[GroupState]


def check_shared(state: object) -> None:
    """Refuse what no run shares among its ranks.

    Raises:
        CheckpointError: Names the place.
    """
    check(SharedState, state, "")
    assert isinstance(state, dict)
    if not isinstance(state["history"], HistorySnapshot):
        _check_records(state["history"])
    progress = state["progress"]
    for unit in ("steps", "batches", "samples"):
        before, done = progress[f"{unit}_before_epoch"], progress[f"{unit}_completed"]
        if before > done:
            raise refused(f"progress.{unit}_before_epoch", f"at most {done}", before)
    closed = progress.get("epochs_closed", progress.get("epochs_ended"))
    completed = progress["epochs_completed"]
    if closed is None or not completed - 1 <= closed <= completed:
        raise refused("progress.epochs_closed", f"{completed}, or one less", closed)


def _check_records(history: object) -> None:
    """Refuse what isn't a mapping with records as lists, which older checkpoints have."""
    check(dict[str, list[list[Any]]], history, "history")
    assert isinstance(history, dict)
    records = history.get("records")
    if records is None or any(len(record) != 5 for record in records):
        raise refused("history.records", "lists of five values", records)
    columns = (list[Count], list[Count], list[Count], list[float], list[dict[str, float]])
    for place, kind in enumerate(columns):
        check(kind, [record[place] for record in records], f"history.records[:, {place}]")


def check_own(state: object) -> None:
    """Refuse what no rank knows alone.

    Raises:
        CheckpointError: Names the place.
    """
    check(OwnState, state, "")


# --- optimizers -----------------------------------------------------------------------------------


def check_groups(name: str, saved: object) -> None:
    """Refuse what isn't the state of an optimizer at all."""
    check(OptimizerState, saved, f"optimizers.{name}")


def check_optimizer(name: str, optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Refuse options of other kinds, and state of another shape than its parameter's.

    torch takes both, and the first step then raises, or broadcasts.

    Raises:
        CheckpointError: Names the place.
    """
    place = f"optimizers.{name}"
    numbers: list[int] = []
    for index, (group, own) in enumerate(
        zip(saved["param_groups"], optimizer.param_groups, strict=False)
    ):
        check_options(f"{place}.param_groups.{index}", group, dict(without_schedulers(own, group)))
        numbers += group["params"]
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    # Of these two, and of others' optimizers, nobody knows here what shapes they keep.
    known = type(optimizer).__module__.startswith("torch.optim") and not isinstance(
        optimizer, (Adafactor, LBFGS)
    )
    for number, parameter in zip(numbers, parameters, strict=False) if known else ():
        kept = saved["state"].get(number, {})
        check(ByName, kept, f"{place}.state.{number}")
        for key, value in kept.items():
            _check_shape(value, parameter, f"{place}.state.{number}.{key}")


def _check_shape(value: Any, parameter: Tensor, place: str) -> None:
    if isinstance(value, Tensor):
        if value.numel() != 1 and value.shape != parameter.shape:
            shape = f"a tensor of the parameter's shape {tuple(parameter.shape)}"
            raise refused(place, shape, tuple(value.shape))
    elif value is not None:
        check(float, value, place)
