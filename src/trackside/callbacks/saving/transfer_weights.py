"""`TransferWeights`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from trackside.callbacks.saving.put_weights import WeightsCallback
from trackside.callbacks.saving.weight_files import own_names
from trackside.distributed.state import is_sharded, whole
from trackside.errors import ConfigurationError, UnknownModelError
from trackside.run import Run


@final
class TransferWeights(WeightsCallback):
    """Copies weights from one model of a run to another before the first step.

    A student begins as its teacher, or with a part of it. Copies, once: both are trained apart from
    then on. A run that is resumed takes its own weights afterwards, from its checkpoint.

    Args:
        source: Name of the model whose weights are copied.
        target: Name of the model that gets them.
        rename: What names become, as for `LoadWeights`: `{"encoder.": ""}` takes a part.
        strict: Whether a difference is an error. False copies what matches, which must be
            something.
        freeze: Whether the parameters that were copied are not trained in the target.

    Raises:
        ConfigurationError: Source and target are one model; or, when the run is set up, there is no
            such model.
        StateMismatchError: The weights don't fit; with the whole report. The model is as it was.

    Example:
        >>> TransferWeights("teacher", "student", strict=False)
    """

    effect = "changes"
    runs_in = ("fit",)
    runs_after = ("load_weights",)

    def __init__(
        self,
        source: str,
        target: str,
        *,
        rename: Mapping[str, str | None] | None = None,
        strict: bool = True,
        freeze: bool = False,
    ) -> None:
        if source == target:
            raise ConfigurationError(
                f"source and target are the same model, {source!r}",
                expected="the names of two models of the run",
                option="target",
            )
        super().__init__(rename, strict, freeze, target)
        self.source = source
        self.target = target

    @property
    def _origin(self) -> str:
        return f"the model {self.source!r}"

    def _read(self, run: Run, name: str) -> dict[str, Tensor]:
        if self.source not in run.models:
            raise UnknownModelError.among(
                run.models, self.source, "to copy weights from", option="source"
            )
        model = run.models[self.source]
        state = model.state_dict()
        found = {plain: state[own] for plain, own in own_names(model).items()}
        return {
            plain: (whole(value) if is_sharded(value) else value).detach().clone()
            for plain, value in found.items()
            if isinstance(value, Tensor)
        }
