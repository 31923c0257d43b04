"""What captured steps are compared with on a device computes the same, graph or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import graphs
from benchmarks.task import batches
from tests.recorded_graphs import RecordedGraphs
from trackside.step import capturing

CASE = replace(graphs.CASES[0], load=replace(graphs.CASES[0].load, steps=10))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "DEVICE", torch.device("cpu"))
    monkeypatch.setitem(capturing.GRAPHS, "cpu", RecordedGraphs)
    RecordedGraphs.made.clear()


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in model.parameters()]


def test_a_graph_by_hand_computes_what_the_raw_loop_computes() -> None:
    data = batches(10)
    found, expected = graphs.raw_graph(CASE, data), graphs.raw(CASE, data)

    assert RecordedGraphs.made[-1].replays == 10 - graphs.WARM_UP
    assert all(map(torch.equal, weights(found), weights(expected)))


def test_captured_steps_are_measured_with_their_graphs() -> None:
    captured = graphs.ours(CASE, "captured", batches(10))

    assert RecordedGraphs.made[-1].replays > 0
    assert len(weights(captured)) == 4


def test_a_figure_is_made_of_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "ROUNDS", 1)
    names = [figure.name for figure in graphs.of_case(CASE)]

    assert names == [
        "MLP, eager, over a raw loop",
        "MLP, captured, over a raw loop",
        "MLP, a graph by hand, over a raw loop",
        "MLP, captured, over a graph by hand",
    ]
