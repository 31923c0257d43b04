"""Weights from somewhere else, put into a model: names compared, differences reported."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from weakref import WeakSet

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trackside.callbacks.saving.weight_files import load_whole, own_names, plain_name
from trackside.checkpoint import ModelMatch, StateMismatchError, match_model
from trackside.checkpoint.tensors import is_same
from trackside.errors import ConfigurationError, UnknownModelError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run

logger = logging.getLogger("trackside")


class WeightsCallback(Callback, ABC):
    """Puts weights into a model before the first step; a subclass says whose.

    Args:
        rename: See `LoadWeights`.
        strict: See `LoadWeights`.
        freeze: See `LoadWeights`.
        model: Name of the model that gets them; None takes the run's `model`.
    """

    runs_before = ("ema", "swa")

    def __init__(
        self,
        rename: Mapping[str, str | None] | None,
        strict: bool,
        freeze: bool,
        model: str | None,
    ) -> None:
        self.rename = dict(rename or {})
        for pattern in self.rename:
            _compiled(pattern)
        self.strict = strict
        self.freeze = freeze
        self.of_model = model
        self.match: ModelMatch | None = None
        """How the weights fitted, once they are there."""
        self._put_into: WeakSet[nn.Module] = WeakSet()

    @property
    @abstractmethod
    def _origin(self) -> str:
        """Where they come from, for messages."""

    @abstractmethod
    def _read(self, run: Run, name: str) -> dict[str, Tensor]:
        """Whole weights by name, on every rank, for the model `name`."""

    def on_optimizers_ready(self, run: Run) -> None:
        self._put(run)

    def on_setup_end(self, run: Run) -> None:
        # Not again into a model that was trained from them since.
        if run.mode != "fit" and self._model(run)[1] not in self._put_into:
            self._put(run)

    def _put(self, run: Run) -> None:
        name, model = self._model(run)
        names = own_names(model)
        state = _fitted(self._renamed(self._read(run, name)), names)
        _add_tied(state, model, names)
        # Compared under the names that the model has now, reported under the given ones.
        match = match_model({names.get(plain, plain): t for plain, t in state.items()}, model)
        if self.strict and not match.exact:
            raise StateMismatchError(
                f"the weights in {self._origin} don't fit the model: {match}",
                remedy="rename or leave out with `rename`, or load what matches: strict=False",
            )
        if not match.matched:
            raise StateMismatchError(
                f"none of the weights in {self._origin} fit the model: {match}",
                remedy="say what names become with `rename`",
            )
        matched = [plain for plain, own in names.items() if own in set(match.matched)]
        load_whole(model, {plain: state[plain] for plain in matched}, run.world)
        if self.freeze:
            loaded = {names[plain] for plain in matched}
            for own, parameter in model.named_parameters(remove_duplicate=False):
                if own in loaded:
                    parameter.requires_grad_(False)
            _freeze_statistics(model, loaded)
        self.match = match
        self._put_into.add(model)
        level = logging.INFO if match.exact else logging.WARNING
        logger.log(level, "weights from %s: %s", self._origin, match)

    def _model(self, run: Run) -> tuple[str, nn.Module]:
        if self.of_model is None:
            return next((n, m) for n, m in run.models.items() if m is run.model)
        if self.of_model not in run.models:
            raise UnknownModelError.among(
                run.models, self.of_model, "to put weights into", option="model"
            )
        return self.of_model, run.models[self.of_model]

    def _renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        came_from: dict[str, str] = {}
        for old, tensor in state.items():
            new = self._new_name(plain_name(old))
            if new is None:
                continue
            if new in found:
                raise ConfigurationError(
                    f"two weights in {self._origin} become {new!r}",
                    received=f"{came_from[new]!r} and {old!r}",
                    remedy="make the patterns in `rename` narrower",
                    option="rename",
                )
            found[new], came_from[new] = tensor, old
        names = [plain_name(old) for old in state]
        for pattern in self.rename:
            if not any(
                name.startswith(pattern) or _compiled(pattern).match(name) for name in names
            ):
                logger.warning("rename: %r fits no weight in %s", pattern, self._origin)
        return found

    def _new_name(self, name: str) -> str | None:
        for pattern, new in self.rename.items():
            if name.startswith(pattern):
                return None if new is None else new + name.removeprefix(pattern)
            found = _compiled(pattern).match(name)
            if found:
                return None if new is None else found.expand(new) + name[found.end() :]
        return name


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(
            f"rename={pattern!r} is neither a prefix nor a regular expression: {error}",
            option="rename",
        ) from error


def _fitted(state: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """`state` without the `module.` of a wrapper, where all its names have it and none of ours."""
    prefix = "module."
    theirs = bool(state) and all(name.startswith(prefix) for name in state)
    if theirs and not any(name.startswith(prefix) for name in names):
        return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _add_tied(state: dict[str, Tensor], model: nn.Module, names: Mapping[str, str]) -> None:
    """Give weights that the model ties a value where only the other of them is in the file."""
    own = model.state_dict()
    values = {plain: own[name] for plain, name in names.items() if isinstance(own[name], Tensor)}
    present = [plain for plain in values if plain in state]
    for plain, value in values.items():
        if plain not in state:
            tied = next((other for other in present if is_same(value, values[other])), None)
            if tied is not None:
                state[plain] = state[tied]


def _freeze_statistics(model: nn.Module, loaded: Container[str]) -> None:
    """Batch norm whose state was loaded evaluates: its running statistics stay."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.running_mean".lstrip(".") in loaded:
            module.eval()
