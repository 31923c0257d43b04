"""Refusals of what can't be trained on several ranks, before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from trackside.errors import ConfigurationError
from trackside.run import Run


def check_averaged(trainer: object, run: Run) -> None:
    """Refuse what is trained on several ranks outside of every model: nobody averages it.

    Raises:
        ConfigurationError: An optimizer holds parameters that no model has; says where they are.
    """
    if run.world.size == 1:
        return
    own = {id(p) for model in run.models.values() for p in model.parameters()}
    groups = [group for one in run.optimizers.values() for group in one.param_groups]
    others = {id(p) for group in groups for p in group["params"]} - own
    if not others:
        return
    place = next((name for name, p in _kept_elsewhere(trainer) if id(p) in others), None)
    of_loss = place is not None and place.partition(".")[0] == "loss"
    raise ConfigurationError(
        f"an optimizer trains parameters that are not the model's, on {run.world.size} ranks: "
        "their gradients would not be averaged",
        received=f"`{place}`" if place else f"{len(others)} tensors of no module of the trainer",
        remedy="make the loss a part of the model, whose `forward` then returns it"
        if of_loss
        else "return their module from `configure_model`: {'model': ..., 'head': ...}, and use it "
        "as `run.models['head']`",
        option="loss" if of_loss else "optimizer",
    )


def _kept_elsewhere(trainer: object) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters of modules among a trainer's attributes, loss and metrics, by their paths."""
    for name, value in vars(trainer).items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, part in parts:
            if isinstance(part, nn.Module):
                for path, parameter in part.named_parameters():
                    yield ".".join(filter(None, (name, str(key), path))), parameter


def check_accumulation(run: Run, strategy: object) -> None:
    """Refuse a graph that is promised to be static where batches of a step are accumulated.

    Raises:
        ConfigurationError: torch would fail in the first backward pass.
    """
    if run.world.size > 1 and run.accumulate > 1 and getattr(strategy, "static_graph", False):
        raise ConfigurationError(
            "static_graph=True can't be combined with several batches per step",
            received=f"accumulate={run.accumulate}",
            remedy="leave `static_graph` out; with unused parameters, "
            "DDP(find_unused_parameters=True)",
            option="strategy",
        )
