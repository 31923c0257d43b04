"""Clear words for what torch says raw on several ranks, with the option that mends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, final

from trackside.errors import TracksideError, UsageError

if TYPE_CHECKING:
    from trackside.distributed.replicas import Replicas

_LISTED = 6
_UNUSED = "Expected to have finished reduction in the prior iteration"
_TWICE = "Expected to mark a variable ready only once"
_CHANGED = "training graph has changed in this iteration"
_STATIC = "expect_autograd_hooks_ INTERNAL ASSERT"
_MIXED = "mixed torch.Tensor and DTensor"


@final
class explained:
    """Inside, errors of torch about passes on several ranks become ours, with a remedy.

    A class: a generator takes five times as many instructions in each step.

    Args:
        replicas: The models.

    Raises:
        UsageError: In the place of torch's error, which is its cause.
    """

    __slots__ = ("_replicas",)

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    def __enter__(self) -> None:
        """Nothing is done."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise our error in the place of torch's."""
        if isinstance(error, RuntimeError):
            found = explanation(str(error), self._replicas)
            if found is not None:
                raise found from error


def explanation(text: str, replicas: Replicas) -> TracksideError | None:
    """The error of ours for one of torch's; None where there is nothing to add.

    Args:
        text: What torch says.
        replicas: The models.
    """
    found: tuple[tuple[str, Callable[[str, Replicas], TracksideError]], ...] = (
        (_UNUSED, _unused),
        (_TWICE, _twice),
        (_CHANGED, _graph_changed),
        (_STATIC, _graph_changed),
        (_MIXED, _past_the_model),
    )
    return next((make(text, replicas) for mark, make in found if mark in text), None)


def _unused(text: str, replicas: Replicas) -> TracksideError:
    numbers = re.search(r"did not receive grad for rank \d+: ([\d ]+)", text)
    names = list(replicas.averaged_names())
    unused = [names[int(n)] for n in numbers[1].split() if int(n) < len(names)] if numbers else []
    return unused_parameters(unused)


def unused_parameters(names: list[str]) -> TracksideError:
    """The error for parameters that took no part in a step; their names may not be known."""
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return UsageError(
        "parameters of the model took no part in the last step, and ranks wait for their gradients",
        expected="a loss that depends on every parameter with requires_grad=True",
        received=listed or "some that no loss reached",
        remedy="let ranks look for them: Settings(strategy=DDP(find_unused_parameters=True)), from "
        "trackside.distributed; or freeze what is not trained: `parameter.requires_grad_(False)`",
        option="strategy",
    )


def _twice(text: str, replicas: Replicas) -> TracksideError:
    named = re.search(r"with name (\S+) has been marked", text)
    return UsageError(
        "the gradient of a parameter was computed twice in one step"
        + (f": {named[1].removeprefix('model.').rstrip('.')}" if named else ""),
        expected="one backward pass through each parameter in a step",
        remedy="checkpointed activations: `checkpoint(..., use_reentrant=False)`; several losses "
        "over one model: add them up; a graph that never changes: "
        "Settings(strategy=DDP(static_graph=True))",
        option="strategy",
    )


def _graph_changed(text: str, replicas: Replicas) -> TracksideError:
    return UsageError(
        "a step used other parameters than the first one did, or accumulates batches, and the "
        "strategy says that all steps are alike",
        received="DDP(static_graph=True)",
        remedy="leave `static_graph` out, and where parameters may be unused: "
        "DDP(find_unused_parameters=True)",
        option="strategy",
    )


def _past_the_model(text: str, replicas: Replicas) -> TracksideError:
    return UsageError(
        "a part of a sharded model was called past the model, which gathers its parameters",
        expected="a call of `run.model`, or of a method of its class",
        remedy="call the part in a method of the model, and that method by `run.model`; or name "
        "the part's class in FSDP(blocks=...)",
        option="strategy",
    )
