"""The dict of a checkpoint that `on_save_checkpoint` and `on_load_checkpoint` get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackside.errors import UsageError
from trackside.run import Run

PLACE = "lightning"
"""Under which a checkpoint has what callbacks of theirs add to it."""

READ_ONLY = ("epoch", "global_step", "callbacks", "loops", "pytorch-lightning_version")
"""Keys that callbacks may read; what they would write there nobody reads."""


def as_theirs(run: Run, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint under their keys, with what callbacks added to it.

    Args:
        run: The run.
        state: What `on_checkpoint_save` and `on_checkpoint_load` of ours get.
    """
    models = state["models"]
    return {
        "epoch": state["progress"]["epochs_closed"],
        "global_step": state["progress"]["steps_completed"],
        "pytorch-lightning_version": "2.0.0",
        "state_dict": models["model"] if "model" in models else next(iter(models.values())),
        "optimizer_states": list(state["optimizers"].values()),
        "lr_schedulers": list(state["schedulers"].values()),
        "callbacks": state["callbacks"],
        "loops": {},
        "hyper_parameters": dict(run.config),
        **state.get(PLACE, {}),
    }


def take(state: dict[str, Any], given: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Keep in `state` what a callback changed in, or added to, the dict that it got.

    Args:
        state: State of the checkpoint.
        given: The dict before the callback had it.
        theirs: The dict afterwards.

    Raises:
        UsageError: It changed what can't be changed there.
    """
    for name, value in theirs.items():
        if name in given and value is given[name]:
            continue
        if name == "state_dict":
            models = state["models"]
            models["model" if "model" in models else next(iter(models))] = value
        elif name in ("optimizer_states", "lr_schedulers"):
            part = state["optimizers" if name == "optimizer_states" else "schedulers"]
            part.update(zip(part, value, strict=True))
        elif name in READ_ONLY:
            raise UsageError(
                f"lightning: `checkpoint[{name!r}]` can't be set here",
                remedy="add to the checkpoint under a key of your own",
            )
        else:
            state.setdefault(PLACE, {})[name] = value
