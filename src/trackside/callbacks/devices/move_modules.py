"""MoveModules: parts that live on a device of their own, for good or while they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from trackside.errors import ConfigurationError, about
from trackside.lifecycle.hooks import Callback
from trackside.models.attribute_paths import Attribute, places
from trackside.run import Evaluation, Run


@final
class MoveModules(Callback):
    """Moves losses, metrics, averages or parts of a model to a device.

    The trainer moves models and metrics; it knows nothing of a loss with its own weights, and
    of what is better kept elsewhere.

    Args:
        modules: Device by address: `loss`, `model.teacher`, `models.critic`, `metrics.fid`,
            `callbacks.ema`. `run` is the run's own device.
        when: `setup` moves them before training, and leaves them there. `evaluation` moves them
            when an evaluation begins, and back when it ends, however it ends: for what would
            fill the device while training.

    Raises:
        ConfigurationError: Nothing to move, or no such device; found when the run is set up: an
            address that names nothing, or something that can't be moved.

    Example:
        >>> MoveModules({"loss": "run", "callbacks.ema": "cpu"})
    """

    effect = "changes"
    runs_after = ("ema",)

    def __init__(
        self, modules: Mapping[str, str], *, when: Literal["setup", "evaluation"] = "setup"
    ) -> None:
        if not modules or when not in ("setup", "evaluation"):
            raise ConfigurationError(
                "there is nothing to move" if not modules else f"when={when!r} never comes",
                expected="modules={'loss': 'run'}, when='setup' or 'evaluation'",
                option="when" if modules else "modules",
            )
        for device in modules.values():
            _parsed(device)
        self.modules = dict(modules)
        self.when = when

    def on_optimizers_ready(self, run: Run) -> None:
        # Before a checkpoint is loaded: the state of an optimizer goes where its weights are.
        if self.when == "setup":
            self._move(run)

    def on_setup_end(self, run: Run) -> None:
        if self.when == "setup" and run.mode != "fit":
            self._move(run)

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        if self.when != "evaluation":
            return
        for address, device in self.modules.items():
            place = _movable(run, address)
            home = _device_of(address, place.get())
            evaluation.exits.callback(_put_on, place, home)
            _put_on(place, self._device(run, device))

    def _move(self, run: Run) -> None:
        for address, device in self.modules.items():
            _put_on(_movable(run, address), self._device(run, device))

    def _device(self, run: Run, device: str) -> torch.device:
        return _parsed(device) or run.device


def _parsed(device: str) -> torch.device | None:
    """The device that is named; None for the run's own."""
    if device == "run":
        return None
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError(
            f"device {device!r} doesn't exist",
            expected="'run', 'cpu', 'cuda', 'cuda:1', 'mps', ...",
            option="modules",
        ) from error


def _movable(run: Run, address: str) -> Attribute:
    with about(option="modules"):
        place = places(run, address)[0]
    # A parameter alone can't: the optimizer would hold another one than the module.
    if not hasattr(place.get(), "to") or isinstance(place.get(), nn.Parameter):
        raise ConfigurationError(
            f"{address!r} can't be moved to a device",
            expected="a module, a buffer, or something with a method `to(device)`",
            received=type(place.get()).__name__,
            option="modules",
        )
    return place


def _put_on(place: Attribute, device: torch.device) -> None:
    thing = place.get()
    moved = thing.to(device)
    if isinstance(thing, Tensor):
        setattr(place.owner, place.name, moved)


def _device_of(address: str, thing: Any) -> torch.device:
    if isinstance(thing, nn.Module):
        tensors = [*thing.parameters(), *thing.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")
    device = getattr(thing, "device", None)
    if not isinstance(device, torch.device):
        raise ConfigurationError(
            f"{address!r} has no known device, so it can't be moved back",
            expected="a module or a tensor",
            received=type(thing).__name__,
            remedy="move it with when='setup'",
            option="modules",
        )
    return device
