"""`LoadWeights`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from trackside.callbacks.saving.put_weights import WeightsCallback
from trackside.callbacks.saving.weight_files import read_weights
from trackside.checkpoint import open_checkpoint
from trackside.errors import ConfigurationError, UnknownModelError
from trackside.machine.paths import local_path
from trackside.run import Run


@final
class LoadWeights(WeightsCallback):
    r"""Begins with weights that exist: all that fit, or those of a part of the model.

    Loads before the first step, and before averages begin; a run that is resumed takes its own
    weights afterwards, from its checkpoint. An evaluation or prediction loads into models that
    this callback has not loaded into yet. What was missing, left over or of another shape is
    logged.

    Args:
        source: A safetensors file, or the folder of a checkpoint.
        rename: What names become, before they are compared. A key is a prefix (`"backbone."`), or
            else a regular expression that matches from the beginning of a name; it is replaced by
            the value (`\1` stands for its first group). A value of None leaves such weights out.
            The first key that matches counts.
        strict: Whether a difference is an error. False loads what matches, which must be something.
        freeze: Whether the parameters that were loaded are not trained; running statistics of batch
            norm that were loaded stay as they are as well.
        model: Name of the model; None takes the run's `model`. A checkpoint of several models is
            searched for the same name.

    Raises:
        ConfigurationError: There is no such file, model, or pattern, when the run is set up.
        CheckpointError: The source is the folder of a run, whose newest checkpoint is named.
        DamagedCheckpointError: The source isn't what was written.
        StateMismatchError: The weights don't fit; with the whole report. The model is as it was.

    Example:
        >>> LoadWeights("resnet.safetensors", rename={"fc.": None}, strict=False, freeze=True)
    """

    effect = "changes"

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        rename: Mapping[str, str | None] | None = None,
        strict: bool = True,
        freeze: bool = False,
        model: str | None = None,
    ) -> None:
        self.source = local_path(source, "source")
        super().__init__(rename, strict, freeze, model)

    @property
    def _origin(self) -> str:
        return str(self.source)

    def _read(self, run: Run, name: str) -> dict[str, Tensor]:
        if not self.source.exists():
            raise ConfigurationError(
                f"there are no weights at {self.source}",
                expected="a safetensors file, or the folder of a checkpoint",
                option="source",
            )
        if not self.source.is_dir():
            return read_weights(self.source)
        models: Mapping[str, Any] = open_checkpoint(self.source).state()["models"]
        if name not in models and len(models) > 1:
            raise UnknownModelError.among(
                models, name, f"in the checkpoint {self.source}", option="model"
            )
        state = models[name] if name in models else next(iter(models.values()))
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
