from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trackside.data.loaded import Turn
from trackside.distributed.rank_checks import Note, RankChecks
from trackside.distributed.world import World
from trackside.loop.noting import Noting
from trackside.run import Run
from trackside.schedule import Every


def noting(monkeypatch: Any, every: str = "3 steps") -> tuple[Run, Noting, list[Note]]:
    noted: list[Note] = []
    checks = RankChecks(World())
    monkeypatch.setattr(RankChecks, "note", lambda self, note: noted.append(note))
    run = Run("fit")
    run.models = {"model": nn.Linear(2, 1)}
    run.optimizers = {"optimizer": torch.optim.SGD(run.model.parameters(), lr=0.5)}
    found = Noting(run, checks, Every.parse(every))
    found.start(run.progress)
    return run, found, noted


def test_models_are_noted_after_the_first_step_and_then_when_it_is_due(monkeypatch: Any) -> None:
    run, found, noted = noting(monkeypatch)
    for run.progress.steps_completed in range(1, 8):
        found.after_step()

    assert sorted({note.step for note in noted}) == [1, 3, 6]


def test_what_was_noted_after_a_step_is_not_noted_again(monkeypatch: Any) -> None:
    run, found, noted = noting(monkeypatch)
    run.progress.steps_completed = 3
    found.models()
    found.models()

    assert len({note.subject.name for note in noted}) == len(noted) == 3


def test_notes_name_parameters_and_options(monkeypatch: Any) -> None:
    _, found, noted = noting(monkeypatch)
    found.models()
    named = {
        note.subject.name: {note.name(n): part for n, part in enumerate(note.parts)}
        for note in noted
    }

    assert named["parameters that want gradients"] == {"weight": 1, "bias": 1}
    assert named["options of the optimizers"]["lr of optimizer/0"] == "0.5"
    assert list(named["weights"]) == ["weight", "bias"]


def test_the_batches_of_a_round_are_noted_sample_by_sample(monkeypatch: Any) -> None:
    _, found, noted = noting(monkeypatch)
    found.batch("val", 4, [[3, 1], [2]])

    assert noted[0].parts == [3, 1, 2]
    assert noted[0].where == "batch 5 of the data named 'val'"
    assert noted[0].name(2) == "sample 3"


def test_a_model_that_is_used_is_noted_with_its_buffers(monkeypatch: Any) -> None:
    run, found, noted = noting(monkeypatch)
    run.models = {"model": nn.BatchNorm1d(2, affine=False, track_running_stats=True)}
    found.used("the model evaluated on 'val'")
    before = list(noted.pop().parts)
    run.model.get_buffer("running_mean")[1] = 0.5
    found.used("the model evaluated on 'val'")

    differs = [a != b for a, b in zip(before, noted[0].parts, strict=True)]
    assert [noted[0].name(n) for n, d in enumerate(differs) if d] == ["running_mean"]


def test_the_model_that_is_saved_is_noted_by_its_buffers_alone(monkeypatch: Any) -> None:
    _, found, noted = noting(monkeypatch)
    found.used("the model that is saved", parameters=False)

    assert not noted, "a linear layer has none; its weights are noted before each save"


def test_batches_of_an_iterable_are_noted_by_their_contents(monkeypatch: Any) -> None:
    _, found, noted = noting(monkeypatch)
    batches = [torch.arange(6.0).reshape(3, 2), torch.ones(3, 2)]
    found.batch("val", 1, Turn(batches))
    batches[1] = batches[1].clone()
    batches[1][2, 1] = 0
    found.batch("val", 1, Turn(batches))

    first, second = (note.parts for note in noted)
    assert [a != b for a, b in zip(first, second, strict=True)] == [False, True]
    assert noted[0].where == "round 2 of the data named 'val'"
    assert noted[0].name(1) == "batch 2"
