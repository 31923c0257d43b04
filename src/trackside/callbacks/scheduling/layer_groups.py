"""Layer groups: parameters by pattern, in optimizer groups of their own, and their batch norms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from trackside.errors import ConfigurationError, did_you_mean
from trackside.models.naming import named_parameters, prefixed


def group_of(name: str, patterns: Iterable[str]) -> str | None:
    """The first pattern that `name` fits: `encoder.*`, or `encoder` for all inside it."""
    for pattern in patterns:
        if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*"):
            return pattern
    return None


def parameters_by_group(
    models: Mapping[str, nn.Module], patterns: Sequence[str]
) -> dict[str, list[nn.Parameter]]:
    """The parameters of each pattern; each belongs to the first one that it fits.

    With several models, names begin with that of the model.

    Raises:
        ConfigurationError: A pattern fits no parameter that isn't taken by one before.
    """
    found: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in patterns}
    names = []
    for name, parameter in named_parameters(models):
        names.append(name)
        if (group := group_of(name, patterns)) is not None:
            found[group].append(parameter)
    for pattern, parameters in found.items():
        if not parameters:
            raise ConfigurationError(
                f"no parameter is left for {pattern!r}",
                expected="a pattern such as `encoder.*`; the first that fits a name has it",
                remedy=did_you_mean(pattern, names),
                option="groups",
            )
    return found


def norms_by_group(
    models: Mapping[str, nn.Module], patterns: Sequence[str]
) -> dict[str, list[_BatchNorm]]:
    """The batch norms inside each pattern."""
    found: dict[str, list[_BatchNorm]] = {pattern: [] for pattern in patterns}
    for prefix, model in prefixed(models):
        for name, module in model.named_modules():
            # As its weight would be called, also where it has none.
            group = group_of(f"{prefix}{name}.weight", patterns)
            if group is not None and isinstance(module, _BatchNorm):
                found[group].append(module)
    return found


def split_off(optimizer: Optimizer, parameters: Sequence[Tensor], lr_factor: float) -> None:
    """Give those of `parameters` that `optimizer` trains a group of their own.

    It has the options of the group that they were in; a group that is left empty goes.

    Args:
        optimizer: Before its first step.
        parameters: To be grouped; those of another optimizer are left alone.
        lr_factor: What the learning rate of their former group is multiplied with.
    """
    wanted = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        mine = [p for p in group["params"] if id(p) in wanted]
        if not mine:
            continue
        options = {name: value for name, value in group.items() if name != "params"}
        options["lr"] = options["lr"] * lr_factor
        group["params"] = [p for p in group["params"] if id(p) not in wanted]
        if not group["params"]:
            optimizer.param_groups.remove(group)
        optimizer.add_param_group({"params": mine, **options})
