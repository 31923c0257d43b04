from __future__ import annotations

import torch
from torch import nn

from trackside.callbacks.reporting.layer_table import count, layers, one_line, shape_of, table


def shared() -> nn.Module:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, layer)


def test_a_parameter_used_twice_counts_once() -> None:
    assert count(shared()).parameters == 12


def test_frozen_parameters_are_told_apart() -> None:
    model = nn.Linear(3, 1)
    model.bias.requires_grad_(False)

    assert one_line("model", model) == "model: Linear, 4 parameters, 3 of them trained (16 B)"


def test_buffers_count_as_memory_and_not_as_parameters() -> None:
    held = count(nn.BatchNorm1d(2))

    assert (held.parameters, held.parameter_bytes, held.buffer_bytes) == (4, 16, 24)


def test_depth_is_the_number_of_levels() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU()))

    assert [name for name, _ in layers(model, 1)] == ["0"]
    assert [name for name, _ in layers(model, 2)] == ["0", "0.0"]


def test_the_table_has_a_line_per_layer() -> None:
    lines = table(nn.Sequential(nn.Linear(2, 1), nn.ReLU()), 1, {"0": "4×1"})

    assert lines == [
        "layer  kind    gives  parameters  trained",
        "0      Linear  4×1             3        3",
        "1      ReLU",
    ]


def test_shapes_of_nested_outputs_are_told() -> None:
    pair = (torch.zeros(2, 3), {"loss": torch.tensor(0.0)})

    assert shape_of(pair) == "(2×3, {loss: scalar})"
