"""Notes of a run on several ranks, for their checks of agreement: what, and after which steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from trackside.data.fingerprints import glimpse
from trackside.data.loaded import Turn
from trackside.distributed.buffers import buffers_of
from trackside.distributed.digests import of_tensors
from trackside.distributed.rank_checks import (
    DATA,
    EVALUATED,
    FLAGS,
    OPTIONS,
    WEIGHTS,
    Note,
    RankChecks,
)
from trackside.distributed.state import is_sharded, local_part
from trackside.models.naming import named_parameters, prefixed
from trackside.schedule import STEP_UNITS, Due, Schedule

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from trackside.progress import Progress
    from trackside.run import Run


@final
class Noting:
    """When a run notes what, for the other ranks to compare.

    Samples are noted in each step, everything else after the first one, whenever it is due, and
    wherever ranks wait for each other: at the end of an epoch, before an evaluation and a save.

    Args:
        run: The run.
        checks: Where notes go.
        every: When it is due.
    """

    def __init__(self, run: Run, checks: RankChecks, every: Schedule) -> None:
        self.checks = checks
        self._run = run
        self._due = Due(every, STEP_UNITS)
        self._noted_at = -1

    def start(self, progress: Progress) -> None:
        """The run begins, or goes on, with these counters."""
        self._due.start(progress, self._run.limit)
        self._noted_at = -1

    def batch(self, name: str, number: int, drawn: Sequence[Any]) -> None:
        """Note the indices drawn for a batch of all ranks, from 0; of iterables, the contents."""
        step = self._run.progress.steps_completed + 1
        if isinstance(drawn, Turn):
            held = [glimpse(batch) for batch in drawn]
            where = f"round {number + 1} of the data named {name!r}"
            self.checks.note(Note(DATA, step, held, _batch, where))
            return
        where = f"batch {number + 1} of the data named {name!r}"
        if drawn and isinstance(drawn[0], (list, tuple)):  # the batches of a round of an evaluation
            drawn = [index for batch in drawn for index in batch]
        self.checks.note(Note(DATA, step, drawn, _sample, where))

    def after_step(self) -> None:
        """Note the models and optimizers, if that is due."""
        progress = self._run.progress
        if self._due.crossed(progress) or self._noted_at < 0:
            self.models()

    def used(self, where: str, *, parameters: bool = True) -> None:
        """Note the models as they are used, with the buffers that were made those of rank 0.

        Args:
            where: What for: "the model evaluated on 'val'".
            parameters: Whether parameters are noted, too: other weights may stand in their place.
        """
        models, step = self._run.models, self._run.progress.steps_completed
        tensors = dict(named_parameters(models)) if parameters else {}
        for names, digests in digested({**tensors, **_buffers(models)}):
            self.checks.note(Note(EVALUATED, step, digests, names.__getitem__, where))

    def models(self) -> None:
        """Note the models and optimizers, unless that was done after this step."""
        run, step = self._run, self._run.progress.steps_completed
        if step == self._noted_at or not run.optimizers:
            return
        self._noted_at = step
        flags = {name: int(p.requires_grad) for name, p in named_parameters(run.models)}
        self.checks.note(Note(FLAGS, step, list(flags.values()), list(flags).__getitem__))
        options = dict(_options(run.optimizers))
        self.checks.note(Note(OPTIONS, step, list(options.values()), list(options).__getitem__))
        parameters = dict(named_parameters(run.models))
        for names, digests in digested(parameters):
            self.checks.note(Note(WEIGHTS, step, digests, names.__getitem__))
        if self.checks.shard is not None:
            parts = {name: local_part(p) for name, p in parameters.items() if is_sharded(p)}
            for names, digests in digested(parts):
                note = Note(WEIGHTS, step, digests, names.__getitem__, is_of_shard=True)
                self.checks.note(note)


def digested(tensors: Mapping[str, Tensor]) -> Iterator[tuple[list[str], Tensor]]:
    """Names and digests of those tensors that every rank has as a whole, by device."""
    by_device: dict[torch.device, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if not is_sharded(tensor):
            by_device.setdefault(tensor.device, {})[name] = tensor
    for group in by_device.values():
        yield list(group), of_tensors(list(group.values()))


def _buffers(models: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    shared = {id(buffer) for buffer in buffers_of(models.values())}
    return {
        before + name: buffer
        for before, model in prefixed(models)
        for name, buffer in model.named_buffers()
        if id(buffer) in shared
    }


def _options(optimizers: Mapping[str, Optimizer]) -> Iterator[tuple[str, str]]:
    for name, optimizer in optimizers.items():
        for index, group in enumerate(optimizer.param_groups):
            for option, value in group.items():
                if option == "params":
                    yield f"the number of parameters of {name}/{index}", str(len(value))
                elif not isinstance(value, Tensor):
                    yield f"{option} of {name}/{index}", repr(value)
                elif value.device.type == "cpu":
                    yield f"{option} of {name}/{index}", repr(value.tolist())


def _sample(number: int) -> str:
    return f"sample {number + 1}"


def _batch(number: int) -> str:
    return f"batch {number + 1}"
