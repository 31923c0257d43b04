"""Table of a model: its layers, their parameters, the shapes they give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trackside.callbacks.reporting.figures import aligned, size


@dataclass(slots=True)
class Count:
    """Parameters of a module, each counted once however often it is used."""

    parameters: int = 0
    trainable: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0


def count(module: nn.Module) -> Count:
    """The parameters and buffers of `module` and everything in it."""
    total = Count()
    for parameter in module.parameters():
        total.parameters += parameter.numel()
        total.trainable += parameter.numel() if parameter.requires_grad else 0
        total.parameter_bytes += parameter.nbytes
    total.buffer_bytes = sum(buffer.nbytes for buffer in module.buffers())
    return total


def one_line(name: str, module: nn.Module) -> str:
    """`model: Net, 109,386 parameters (0.4 MB)`, and how many of them are trained if not all."""
    total = count(module)
    trained = (
        "" if total.trainable == total.parameters else f", {total.trainable:,} of them trained"
    )
    held = size(total.parameter_bytes + total.buffer_bytes)
    return f"{name}: {type(module).__name__}, {total.parameters:,} parameters{trained} ({held})"


def layers(module: nn.Module, depth: int) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules down to `depth` levels, in order; the module itself is none of them."""
    for name, layer in module.named_modules():
        if name and name.count(".") < depth:
            yield name, layer


def table(module: nn.Module, depth: int, shapes: Mapping[str, str]) -> list[str]:
    """One line per layer, below a header.

    Args:
        module: The model.
        depth: Levels to show.
        shapes: What each layer gave, by name, where it is known.
    """
    rows = [("layer", "kind", "gives", "parameters", "trained")]
    for name, layer in layers(module, depth):
        held = count(layer)
        numbers = (f"{held.parameters:,}", f"{held.trainable:,}") if held.parameters else ("", "")
        indented = "  " * name.count(".") + name
        rows.append((indented, type(layer).__name__, shapes.get(name, ""), *numbers))
    return aligned(rows, right=(3, 4))


def shape_of(output: Any) -> str:
    """`32×10` for a tensor of shape (32, 10); several in brackets."""
    if isinstance(output, Tensor):
        return "×".join(map(str, output.shape)) or "scalar"
    if isinstance(output, Mapping):
        return "{" + ", ".join(f"{key}: {shape_of(part)}" for key, part in output.items()) + "}"
    if isinstance(output, (tuple, list)):
        return "(" + ", ".join(map(shape_of, output)) + ")"
    return type(output).__name__
