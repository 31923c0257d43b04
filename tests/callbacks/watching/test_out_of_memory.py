"""`OutOfMemory`: what it leaves where memory ran out, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trackside import ConfigurationError, Run, Settings, Trainer
from trackside.callbacks import OutOfMemory
from trackside.testing import tiny_classification


def run_out(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Backward(torch.autograd.Function):
    """A layer whose backward pass runs out of memory."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        run_out()


class Greedy(nn.Linear):
    def __init__(self, phase: str) -> None:
        super().__init__(4, 3)
        self.phase = phase

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.phase == "forward pass" or (self.phase == "evaluation" and not self.training):
            run_out()
        made: torch.Tensor = super().forward(x)
        return Backward.apply(made) if self.phase == "backward pass" else made


class GreedySGD(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        run_out()


def fit(folder: Path, phase: str, halve_batches_to: int | None = None) -> OutOfMemory:
    task, callback = tiny_classification(), OutOfMemory()
    kind = GreedySGD if phase == "update" else torch.optim.SGD
    trainer = Trainer(
        Greedy(phase),
        loss=task.loss,
        optimizer=lambda parameters: kind(parameters, lr=0.1),
        callbacks=[callback],
        defaults=False,
        settings=Settings(directory=folder, device="cpu", halve_batches_to=halve_batches_to),
    )
    with pytest.raises(torch.OutOfMemoryError) as raised:
        trainer.fit(task.train, task.validation, steps=3, evaluate_every="1 step")
    [note] = [one for one in raised.value.__notes__ if one.startswith("memory ran out")]
    assert note.startswith(f"memory ran out in the {phase} of step 1: ")
    return callback


def content(callback: OutOfMemory) -> dict[str, Any]:
    [place] = callback.written
    found: dict[str, Any] = json.loads((place / "out_of_memory.json").read_text())
    return found


@pytest.mark.parametrize("phase", ["forward pass", "backward pass", "update", "evaluation"])
def test_the_phase_in_which_memory_ran_out_is_told_and_the_error_goes_on(
    tmp_path: Path, phase: str
) -> None:
    found = content(fit(tmp_path, phase))
    assert (found["phase"], found["step"]) == (phase, 1)
    assert "Tried to allocate 2.00 GiB" in found["error"]["message"]


def test_the_batch_and_what_the_run_keeps_are_measured(tmp_path: Path) -> None:
    found = content(fit(tmp_path, "update"))
    assert found["bytes"] == {
        "parameters": (4 * 3 + 3) * 4,
        "gradients": (4 * 3 + 3) * 4,
        "optimizer_state": 0,
        "buffers": 0,
    }
    forward = content(fit(tmp_path, "forward pass"))
    assert forward["batch"]["shapes"] == "list(float32 (8, 4), int64 (8,))"
    assert forward["batch"]["bytes"] == 8 * 4 * 4 + 8 * 8


@pytest.mark.parametrize(
    ("halve_batches_to", "way"),
    [
        (None, ["let batches be halved: Settings(halve_batches_to=1)"]),
        (2, ["let batches be halved further, below 2 samples: Settings(halve_batches_to=1)"]),
        (1, []),
    ],
)
def test_halving_is_a_way_out_as_far_as_it_has_not_been_gone(
    tmp_path: Path, halve_batches_to: int | None, way: list[str]
) -> None:
    found = content(fit(tmp_path, "forward pass", halve_batches_to))
    assert [one for one in found["ways_out"] if "halve" in one] == way


def test_ways_out_fit_the_phase(tmp_path: Path) -> None:
    assert "optimizer" in content(fit(tmp_path, "update"))["ways_out"][0]
    assert "accumulate=2" in " ".join(content(fit(tmp_path, "backward pass"))["ways_out"])
    assert "evaluation_step" in " ".join(content(fit(tmp_path, "evaluation"))["ways_out"])


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 0),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."), 1),
        (MemoryError(), 1),
    ],
)
def test_errors_of_the_host_s_memory_count_and_others_do_not(
    tmp_path: Path, error: Exception, left: int
) -> None:
    class Fails(Trainer):
        def training_step(self, run: Run, batch: Any) -> Any:
            raise error

    task, callback = tiny_classification(), OutOfMemory()
    trainer = Fails(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[callback],
        defaults=False,
        settings=Settings(directory=tmp_path, device="cpu"),
    )
    with pytest.raises(type(error)):
        trainer.fit(task.train, steps=1)
    assert len(callback.written) == left


def test_allocations_are_refused_where_torch_can_not_note_them(tmp_path: Path) -> None:
    task = tiny_classification()
    trainer = Trainer(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[OutOfMemory(allocations=True)],
        defaults=False,
        settings=Settings(directory=tmp_path, device="cpu"),
    )
    with pytest.raises(ConfigurationError, match="allocations") as refused:
        trainer.fit(task.train, steps=1)
    assert refused.value.option == "allocations"
