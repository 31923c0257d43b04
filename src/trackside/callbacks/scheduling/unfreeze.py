"""Unfreeze: parts of a model that begin to learn later, or never."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal, final

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trackside.callbacks.scheduling.layer_groups import (
    norms_by_group,
    parameters_by_group,
    split_off,
)
from trackside.errors import ConfigurationError, ScheduleError
from trackside.lifecycle.hooks import Callback
from trackside.outcome import Outcome
from trackside.run import Run
from trackside.schedule import Every, Schedule, reached

logger = logging.getLogger("trackside")


@final
class Unfreeze(Callback):
    """Keeps groups of layers frozen until their time has come.

    Each group has its own optimizer group from the beginning, with its own learning rate; a
    frozen one is passed over by the optimizer. Which groups are frozen follows from progress
    alone, so that a run resumed at any point goes on exactly. In a run of several ranks, the
    gradients of frozen layers are computed and dropped, because the ranks expect them.

    Args:
        groups: When each group begins to learn, by pattern of parameter names (`encoder.*`, or
            `encoder` for all inside): `"2 epochs"`, `"500 steps"`; None is never. The first pattern
            that fits a name has it; what none fits learns from the start.
        lr_factor: What the learning rate of the groups is multiplied with, 0 or more; one number
            for all, or by pattern.
        batch_norm: `freeze` lets the batch norms of frozen layers use, and keep, their running
            statistics; `train` lets them go on.

    Raises:
        ConfigurationError: No group, an unknown option, or a pattern without parameters.
        ScheduleError: A time in seconds.

    Example:
        >>> Unfreeze({"encoder.embedding": None, "encoder": "2 epochs"}, lr_factor=0.1)

    Howard and Ruder, "Universal language model fine-tuning for text classification", 2018.
    """

    effect = "changes"
    runs_in = ("fit",)
    logs = ("parameter/trainable",)

    def __init__(
        self,
        groups: Mapping[str, Schedule | str | None],
        *,
        lr_factor: float | Mapping[str, float] = 1.0,
        batch_norm: Literal["freeze", "train"] = "freeze",
    ) -> None:
        if not groups or batch_norm not in ("freeze", "train"):
            raise ConfigurationError(
                "there is nothing to unfreeze" if not groups else f"batch_norm={batch_norm!r}",
                expected="groups={'encoder.*': '2 epochs'}, batch_norm='freeze' or 'train'",
                option="batch_norm" if groups else "groups",
            )
        self.groups = {
            n: None if at is None else Every.parse(at, option="groups") for n, at in groups.items()
        }
        times = [at for at in self.groups.values() if at is not None]
        units = {unit for at in times for unit in at.units}
        if "seconds" in units:
            raise ScheduleError(
                "layers can't be unfrozen by the clock", expected="epochs or steps", option="groups"
            )
        factors = lr_factor if isinstance(lr_factor, Mapping) else dict.fromkeys(groups, lr_factor)
        unknown = [pattern for pattern in factors if pattern not in self.groups]
        if unknown:
            raise ConfigurationError(
                f"lr_factor has {unknown[0]!r}, which isn't a group",
                expected="one of " + ", ".join(self.groups),
                option="lr_factor",
            )
        for pattern, factor in factors.items():
            if not factor >= 0:
                raise ConfigurationError(
                    f"lr_factor={factor!r} of {pattern!r} makes no learning rate",
                    expected="0 or more",
                    option="lr_factor",
                )
        self.lr_factor = dict(factors)
        self.batch_norm = batch_norm
        self.frozen: frozenset[str] = frozenset()
        """Groups that don't learn now."""
        self._parameters: dict[str, list[nn.Parameter]] = {}
        self._norms: dict[str, list[_BatchNorm]] = {}
        self._flags: list[tuple[nn.Parameter, bool]] = []
        self._drops_gradients = False
        if units <= {"epochs"}:
            self.unused_hooks = frozenset({"on_step_start"})

    def on_configure_end(self, run: Run) -> None:
        # Optimizers take what requires gradients: all groups must be in them.
        found = parameters_by_group(run.models, list(self.groups))
        self._flags = [(p, p.requires_grad) for some in found.values() for p in some]
        for parameter, _ in self._flags:
            parameter.requires_grad_(True)

    def on_optimizers_ready(self, run: Run) -> None:
        # Anew: sharding puts other parameters in the place of those from before.
        self._parameters = parameters_by_group(run.models, list(self.groups))
        self._norms = norms_by_group(run.models, list(self.groups))
        self._drops_gradients = run.world.size > 1
        for optimizer in run.optimizers.values():
            for pattern, parameters in self._parameters.items():
                split_off(optimizer, parameters, self.lr_factor.get(pattern, 1.0))

    def on_fit_start(self, run: Run) -> None:
        self.frozen = frozenset()
        self._arrange(run)

    def on_epoch_start(self, run: Run) -> None:
        self._arrange(run)

    def on_step_start(self, run: Run) -> None:
        self._arrange(run)

    def _arrange(self, run: Run) -> None:
        frozen = frozenset(
            pattern
            for pattern, at in self.groups.items()
            if at is None or not reached(at, run.progress, run.limit)
        )
        if frozen == self.frozen:
            return
        for pattern in self.frozen - frozen:
            logger.info("%r begins to learn", pattern)
        for pattern in frozen ^ self.frozen:
            if not self._drops_gradients:
                for parameter in self._parameters[pattern]:
                    parameter.requires_grad_(pattern not in frozen)
            for norm in self._norms[pattern] if self.batch_norm == "freeze" else ():
                norm.train(pattern not in frozen)
        self.frozen = frozen

    def on_measure(self, run: Run, values: dict[str, float]) -> None:
        values["parameter/trainable"] = self.trainable(run)

    def trainable(self, run: Run) -> int:
        """Number of parameters that the model trains now."""
        still = {id(p) for pattern in self.frozen for p in self._parameters[pattern]}
        every = [p for model in run.models.values() for p in model.parameters()]
        return sum(p.numel() for p in every if p.requires_grad and id(p) not in still)

    def on_backward_end(self, run: Run, loss: Tensor) -> None:
        if self._drops_gradients:
            for pattern in self.frozen:
                for parameter in self._parameters[pattern]:
                    parameter.grad = None

    def on_close(self, run: Run, outcome: Outcome) -> None:
        flags, self._flags = self._flags, []
        for parameter, required in flags:
            parameter.requires_grad_(required)
        for pattern in self.frozen:
            for norm in self._norms.get(pattern, ()):
                norm.train()
        self.frozen = frozenset()
