"""Roles that a callback can have for others, each a protocol: a callback has it by having its part.

Ask with `isinstance(callback, KeepsAverages)`. Roles that every callback has, with a default, are
attributes and methods of `Callback` itself: `writes`, `rehearse_in`, `monitors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from trackside.lifecycle.hooks import OnError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from trackside.step.optimization import Scheduling


@runtime_checkable
class KeepsAverages(Protocol):
    """Keeps averages of the weights, and can put them in the place of the weights: `EMA`, `SWA`."""

    def averaged(self, run: Any) -> AbstractContextManager[None]:
        """Inside, the models have the averages; afterwards what they had before."""


@runtime_checkable
class EvaluatesAverages(Protocol):
    """Puts averages in for evaluations, where nobody says otherwise: `EMA`, `SWA`."""

    def as_evaluated(self, run: Any) -> AbstractContextManager[None]:
        """Inside, the models have what an evaluation sees now, be it averages or the weights."""


@runtime_checkable
class ChoosesAverages(Protocol):
    """Says whose averages evaluations of a name see: `Evaluate`."""

    def average_of(self, evaluation: str) -> str | bool | None:
        """Name of a callback with averages; False: the weights themselves; None: it doesn't say."""


@runtime_checkable
class HasWeights(Protocol):
    """Has its own weights, which can be written to a file or exported: `EMA`, `SWA`."""

    def weights(self, *, model: str) -> Mapping[str, Tensor]:
        """Tensors of one of the run's models, by the names of its `state_dict`."""


@runtime_checkable
class HandsWeightsOver(Protocol):
    """Puts other weights into the models when the run is over, after its last save: `SWA`."""

    def final_weights(self, run: Any, model: str) -> Mapping[str, Tensor] | None:
        """The state that a model will have, asked in `on_fit_end`; None: the one it has.

        Every rank has to ask.
        """


@runtime_checkable
class KeepsBestWeights(Protocol):
    """Keeps the weights that were best so far as files: `BestCheckpoint`."""

    def best_files(self, run: Any) -> Mapping[str, Path]:
        """The file of each model, on rank 0; none before there are any. Asks no other rank."""


@runtime_checkable
class MakesReport(Protocol):
    """Makes a page about the run: `Report`."""

    def make_page(self, run: Any) -> Path:
        """Make the page as the run stands, on rank 0, and say where it is."""


@runtime_checkable
class ChangesGradients(Protocol):
    """Changes gradients before the update, the same way each time: `ClipGradients`."""

    def change_gradients(self, optimizer: Optimizer) -> None:
        """Change the gradients of `optimizer`, and nothing else: `StepAudit` calls it again."""


@runtime_checkable
class LooksIntoBackward(Protocol):
    """Needs a backward pass between its two hooks: `SlowRank`. Halved batches have none there."""

    looks_into_backward: Literal["always", "on several ranks"]


@runtime_checkable
class HasSchedulers(Protocol):
    """Moves learning rates by schedulers of torch that the trainer doesn't know: `LRScheduler`."""

    @property
    def schedulings(self) -> Mapping[str, Scheduling]:
        """Schedulers, and when they move, by name of their optimizer."""

    def on_optimizers_ready(self, run: Any) -> None:
        """Make them."""


@runtime_checkable
class HasPatience(Protocol):
    """Stops after a number of evaluations without improvement; `plan` sees whether they come."""

    patience: int
    """Evaluations in a row."""


@runtime_checkable
class ChoosesItsWay(Protocol):
    """Decides once how it works on a machine; `plan` says it: `TerminateOnNonFinite`."""

    def chosen_way(self, run: Any) -> str:
        """The way and its reason, in words, for a run whose optimizers are made."""


@runtime_checkable
class HoldsMemory(Protocol):
    """Holds memory or space beside the run's states; `plan` says how much: `Checkpoint`."""

    def held(self, run: Any, model_bytes: int, state_bytes: int) -> Sequence[Any]:
        """All that it will hold, as `step.memory.Held`, for a run whose optimizers are made.

        Args:
            run: Before its first step.
            model_bytes: Parameters and buffers.
            state_bytes: Those and the optimizers' state.
        """


@runtime_checkable
class KeepsToTime(Protocol):
    """Leaves out what doesn't fit into a share of the time; `plan` says it: `Evaluate`."""

    time_percent: float | None
    """Share of the time of the run, in percent; None: no limit."""


@runtime_checkable
class SavesInBackground(Protocol):
    """Writes in the background: a failure there has its own policy: `Checkpoint`."""

    on_save_error: OnError
    """Effect of a failed save; as `Callback.on_error`."""
