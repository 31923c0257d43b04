"""Averages of a model's tensors, and other values in their place with an exact way back.

Everything works on the part of a tensor that this rank holds: averages are taken element by
element, so that shards need no word with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from trackside.distributed.buffers import take_from_rank_zero
from trackside.distributed.state import local_parts
from trackside.errors import (
    CheckpointError,
    ConfigurationError,
    UnknownModelError,
    UsageError,
    WrongTimeError,
)

if TYPE_CHECKING:
    from trackside.distributed.world import World

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes."""
_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def warmed_up(decay: float, updates: int) -> float:
    """The decay after `updates` updates: small at first, so that the average forgets its beginning.

    As in TensorFlow's `ExponentialMovingAverage(num_updates)`.
    """
    return min(decay, (1 + updates) / (10 + updates))


def live_tensors(
    models: Mapping[str, nn.Module], names: Sequence[str] | None, *, buffers: bool
) -> dict[str, Tensor]:
    """Floating parameters, and buffers where asked for, each once, by `model.layer.weight`.

    Args:
        models: By name.
        names: Which of them; None takes all.
        buffers: Whether running statistics and other floating buffers are among them.

    Raises:
        ConfigurationError: There is no model of a name.
    """
    unknown = [name for name in names or () if name not in models]
    if unknown:
        raise UnknownModelError.among(models, unknown[0], "to average", option="models")
    found: dict[str, Tensor] = {}
    for name in names or models:
        tensors: dict[str, Tensor] = dict(models[name].named_parameters())
        if buffers:
            tensors.update(models[name].named_buffers())
        found.update({f"{name}.{key}": t for key, t in tensors.items() if t.is_floating_point()})
    return found


def copies(live: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of each tensor, with at least single precision: small updates get lost in less."""
    return {
        name: tensor.detach().to(_WIDER.get(tensor.dtype, tensor.dtype), copy=True)
        for name, tensor in live.items()
    }


@torch.no_grad()
def fingerprint(tensors: Sequence[Tensor]) -> list[int]:
    """A number for the bits of each tensor, the same on every device; ranks see their parts.

    A sum in whole numbers: copies of the weights to compare with would take as much memory as they.
    """
    found = local_parts(tensors)
    parts = [torch.view_as_real(part) if part.is_complex() else part for part in found]
    sums = [part.view(_BITS[part.element_size()]).sum(dtype=torch.int64) for part in parts]
    return [int(one) for one in sums]


@torch.no_grad()
def move_towards(averages: Sequence[Tensor], live: Sequence[Tensor], share: float) -> None:
    """`average += share * (live - average)` for all of them at once, `share` from 0 to 1."""
    mine, theirs = local_parts(averages), local_parts(live)
    torch._foreach_lerp_(mine, [_like(t, a) for t, a in zip(theirs, mine, strict=True)], share)


def _like(tensor: Tensor, model: Tensor) -> Tensor:
    if tensor.dtype is model.dtype and tensor.device == model.device:
        return tensor
    return tensor.to(model.device, model.dtype)


def take_over(own: dict[str, Tensor], loaded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fill `own` with loaded values; where there is nothing to fill yet, the loaded ones are it.

    Raises:
        CheckpointError: They are averages of other tensors.
    """
    if not own:
        return dict(loaded)
    for name in own.keys() ^ loaded.keys():
        raise CheckpointError(
            f"the checkpoint's averages are of another model: {name!r} is only in "
            + ("the model" if name in own else "the checkpoint"),
            remedy="resume with the model that the checkpoint was made of, or drop the callback",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != loaded[name].shape:
                raise CheckpointError(
                    f"the checkpoint's average of {name!r} has another shape",
                    expected=str(tuple(tensor.shape)),
                    received=str(tuple(loaded[name].shape)),
                )
            tensor.copy_(loaded[name])
    return own


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def check_decays(decays: Sequence[float]) -> None:
    """Refuse decays that are out of range or stand twice. Raises `ConfigurationError`."""
    wrong = [decay for decay in decays if not 0 <= decay < 1]
    if wrong or not decays or len(set(decays)) < len(decays):
        raise ConfigurationError(
            f"decay={list(decays)} can't be averaged with",
            expected="numbers from 0 up to, and without, 1; each once",
            received=", ".join(map(str, wrong or decays)) or "none",
            option="decay",
        )


@final
class Averaged:
    """Averages of the tensors of models, which can stand in their place.

    Args:
        names: Which models; None takes all.
        buffers: Whether floating buffers are averaged as well.
    """

    def __init__(self, names: Sequence[str] | None, *, buffers: bool) -> None:
        self._names = names
        self._buffers = buffers
        self._models: Mapping[str, nn.Module] | None = None
        self._live: dict[str, Tensor] = {}
        self._substitution = Substitution()
        self.averages: dict[str, Tensor] = {}
        """By `model.layer.weight`; sharded as the live tensors are."""

    def bind(self, models: Mapping[str, nn.Module]) -> None:
        """Average the tensors of `models` from now on."""
        if self._models is not models:
            self._live = live_tensors(models, self._names, buffers=self._buffers)
            self._models = models

    def are_of(self, models: Mapping[str, nn.Module]) -> bool:
        """Whether the averages are of these very modules, not of others by the same names.

        Averages that were loaded outside of a run belong to the first models that they fit.
        """
        if self._models is not None:
            names = self._names or self._models.keys() | models.keys()
            return all(models.get(name) is self._models.get(name) for name in names)
        live = live_tensors(models, self._names, buffers=self._buffers)
        return _shapes(live) == _shapes(self.averages)

    def begin(self) -> None:
        """Let the averages be copies of the live tensors."""
        self.averages = copies(self._live)

    def move(self, share: float) -> None:
        """Move each average towards its live tensor, by `share` of the way."""
        move_towards(list(self.averages.values()), list(self._live.values()), share)

    def agree(self, world: World) -> None:
        """Let averages of buffers be those of rank 0 on every rank; a collective.

        Each rank averages its own, of which those of rank 0 alone are evaluated and saved.
        """
        if self._buffers and self._models is not None:
            live = {id(buffer) for model in self._models.values() for buffer in model.buffers()}
            names = [name for name, tensor in self._live.items() if id(tensor) in live]
            take_from_rank_zero(world, [self.averages[n] for n in names if n in self.averages])

    def put(self, also: Mapping[str, Tensor] | None = None) -> None:
        """Write the averages into the live tensors; `undo` puts back what was there.

        Args:
            also: Values for further tensors of the models, by name.
        """
        assert self._models is not None, "bound before"
        live, values = [*self._live.values()], [self.averages[name] for name in self._live]
        if also:
            everything = live_tensors(self._models, self._names, buffers=True)
            live += [everything[name] for name in also]
            values += also.values()
        self._substitution.put(self._models, live, values)

    def undo(self) -> None:
        """Put the live tensors back to the bits they had, if `put` was called."""
        self._substitution.undo()

    def fingerprint(self) -> list[int]:
        """A number for each parameter that is averaged, as it is now; buffers aren't asked.

        Buffers of several ranks are made equal when training has ended.
        """
        return fingerprint([t for t in self._live.values() if isinstance(t, nn.Parameter)])

    def keep(self) -> None:
        """Leave the averages in the place of the live tensors for good."""
        self._substitution.keep()

    @property
    def put_in(self) -> bool:
        """Whether the averages are in the place of the live tensors."""
        return self._substitution.active

    def state_of(
        self, model: str, also: Mapping[str, Tensor] | None = None, *, live: bool = False
    ) -> dict[str, Tensor]:
        """Copies of a model's state with the averages in it, in the model's own dtypes.

        Args:
            model: Its name.
            also: As for `put`.
            live: Whether it is the state as it is, without the averages.
        """
        if not self.averages or self._models is None:
            raise UsageError("there are no averages before a run has begun")
        averaged = {} if live else self._live
        values = {id(tensor): self.averages[name] for name, tensor in averaged.items()}
        if also and not live:
            everything = live_tensors(self._models, self._names, buffers=True)
            values |= {id(everything[name]): value for name, value in also.items()}
        state = self._models[model].state_dict(keep_vars=True)
        return {
            key: values.get(id(tensor), tensor).detach().to(tensor.dtype, copy=True)
            for key, tensor in state.items()
        }

    def to(self, device: torch.device | str) -> None:
        """Keep the averages on `device`."""
        self.averages = {name: tensor.to(device) for name, tensor in self.averages.items()}


@final
class Substitution:
    """Other values in the place of live tensors, and the way back to the very same bits."""

    def __init__(self) -> None:
        self._live: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._models: Mapping[str, nn.Module] = {}

    @property
    def active(self) -> bool:
        """Whether the live tensors hold other values now."""
        return bool(self._live)

    @torch.no_grad()
    def put(
        self, models: Mapping[str, nn.Module], live: Sequence[Tensor], values: Sequence[Tensor]
    ) -> None:
        """Write `values` into `live`, tensors of `models`, and keep what was there."""
        if self.active:
            raise WrongTimeError(
                "the weights are exchanged already", remedy="put the first ones back: `undo`"
            )
        targets = local_parts(live)
        kept = [tensor.clone() for tensor in targets]
        # From here on `undo` puts everything right, wherever an interruption comes.
        self._models, self._kept, self._live = models, kept, targets
        torch._foreach_copy_(targets, local_parts(values))
        _drop_gathered(models)

    @torch.no_grad()
    def undo(self) -> None:
        """Write back what was kept, if anything was."""
        if self.active:
            torch._foreach_copy_(self._live, self._kept)
            _drop_gathered(self._models)
            self.keep()

    def keep(self) -> None:
        """Forget the way back: the values stay."""
        self._models, self._live, self._kept = {}, [], []


def _drop_gathered(models: Mapping[str, nn.Module]) -> None:
    """Drop gathered FSDP parameters, which still hold the old values."""
    for model in models.values():
        for module in model.modules():
            sharded: Any = module
            if hasattr(module, "reshard") and hasattr(module, "unshard"):
                sharded.reshard()
