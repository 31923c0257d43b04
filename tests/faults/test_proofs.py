"""R17 to R19: resumes that are told from honest ones, steps made again, bad samples found."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, TensorDataset

import trackside
from tests.distributed.conftest import StartTorchrun
from tests.distributed.conftest import torchrun as torchrun
from tests.faults.figures import Figure
from tests.proof import planting, programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


# --- R17: resumes ------------------------------------------------------------------------------


def resume_says(folder: Path, first: Any, then: Any, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether a resume with `then`, of a run begun with `first`, is told from an honest one."""
    caplog.clear()
    for data, resume in ((first, None), (then, "checkpoints/step-0000000007")):
        place = None if resume is None else folder / resume
        size = None if isinstance(data, DataLoader) else 8
        programs.made(str(folder)).fit(data, steps=14, batch_size=size, resume=place)
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert all("does not go on as it did before" in one for one in said), said
    return bool(said)


class Scaled:
    """Points whose numbers are multiplied as they are loaded."""

    def __init__(self, seed: int, scale: float) -> None:
        self.inputs, self.target = programs.points(64, seed).tensors
        self.scale = scale

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index] * self.scale, self.target[index]


def loader(data: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, batch_size=8, shuffle=True, **options)


def moved(folder: Path, seed: int) -> TensorDataset:
    """The points, two of which have changed places: one is in the steps after the checkpoint."""
    [file] = (folder / "checkpoints").glob("following.*.jsonl")
    [line, *_] = file.read_text().splitlines()
    taken = json.loads(line)["samples"][0]
    inputs, target = (one.clone() for one in programs.points(64, seed).tensors)
    one = taken[seed % len(taken)]
    other = next(n for n in range(64) if n not in taken)
    for part in (inputs, target):
        part[[one, other]] = part[[other, one]]
    return TensorDataset(inputs, target)


DIFFERENT: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "the data replaced": lambda seed: (programs.points(64, seed), programs.points(64, seed + 99)),
    "the transform changed": lambda seed: (
        loader(Scaled(seed, 1.0)),
        loader(Scaled(seed, 1.0 + 10.0 ** -(1 + seed % 6))),
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_resumes_that_differ_are_told(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, figure: Figure
) -> None:
    told = [resume_says(tmp_path / str(n), *DIFFERENT[what](n), caplog) for n in range(30)]
    figure("R17", f"told after a resume: {what}", passed=sum(told), of=30)
    assert all(told)


def test_a_moved_sample_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, figure: Figure
) -> None:
    told = []
    for n in range(30):
        folder = tmp_path / str(n)
        programs.made(str(folder)).fit(programs.points(64, n), steps=14, batch_size=8)
        data = moved(folder, n)
        caplog.clear()
        place = folder / "checkpoints/step-0000000007"
        programs.made(str(folder)).fit(data, steps=14, batch_size=8, resume=place)
        told.append(any("does not go on" in r.getMessage() for r in caplog.records))
    what = "told after a resume: a sample moved, that the next three steps take"
    figure("R17", what, passed=sum(told), of=30)
    assert all(told)


HONEST: dict[str, Callable[[int], Any]] = {
    "data in memory": lambda seed: programs.points(64, seed),
    "random augmentation": lambda seed: loader(programs.Noisy(64)),
    "random augmentation in two workers": lambda seed: loader(programs.Noisy(64), num_workers=2),
}


@pytest.mark.parametrize("what", HONEST)
def test_honest_resumes_are_not_told(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, figure: Figure
) -> None:
    make = HONEST[what]
    told = [resume_says(tmp_path / str(n), make(n), make(n), caplog) for n in range(30)]
    figure("R17", f"told after an honest resume: {what}", passed=sum(told), of=30)
    assert not any(told)


@pytest.mark.distributed
def test_resumes_of_two_ranks_are_told_apart(
    torchrun: StartTorchrun, tmp_path: Path, figure: Figure
) -> None:
    run = torchrun("following.py", tmp_path, 30, timeout_seconds=1500)
    assert run.exit_code == 0, str(run)
    honest, replaced = run.claimed("honest"), run.claimed("replaced")
    told = sum(bool(said) for said in replaced[0])
    figure("R17", "told after an honest resume: two ranks", passed=len(honest[0]), of=30)
    figure("R17", "told after a resume: the data replaced, two ranks", passed=told, of=30)
    assert honest == [[], []]
    assert [len(said) for rank in replaced for said in rank] == [1] * 60


# --- R18: replays ------------------------------------------------------------------------------


def test_random_steps_are_made_again_bitwise(tmp_path: Path, figure: Figure) -> None:
    chosen, bitwise = random.Random(0), 0
    makes: dict[str, Callable[[str], Any]] = {
        "memory": lambda folder: programs.classes(folder, epochs=12),
        "seldom": lambda folder: programs.classes(folder, log_every="10 steps", epochs=12),
        "noisy": lambda folder: programs.noisy(folder, epochs=12),
        "workers": lambda folder: programs.noisy(folder, workers=2, epochs=12),
    }
    for name, make in makes.items():
        make(str(tmp_path / name)).fit()
        for step in chosen.sample(range(1, 97), 25):
            found = trackside.replay(tmp_path / name, step)
            bitwise += found.bitwise is True
            assert found.bitwise, f"{name}, step {step}: {found.verdict}"
    figure(
        "R18", "random steps made again, bitwise those that were recorded", passed=bitwise, of=100
    )


STEPS = {"digits": 240, "text": 480}
"""Steps of a training: letters take longer to learn."""

# --- R19: blame --------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["digits", "text"])
def test_planted_samples_are_ranked_first(
    task: planting.Task, tmp_path: Path, figure: Figure
) -> None:
    missed: list[tuple[Any, ...]] = []
    better = 0
    for n in range(25):
        kind, folder = planting.KINDS[n % 4], tmp_path / str(n)
        program = planting.planted(str(folder), task, kind, n, steps=STEPS[task])
        program.fit()
        planted = planting.plant(task, kind, n, steps=STEPS[task])
        found = trackside.blame(folder, planted.step)
        if found.first.index != planted.index:
            place = [one.index for one in found.samples].index(planted.index) + 1
            missed.append((kind, n, place, found.samples[place - 1].loss, found.first.loss))
        better += found.losses_without[planted.step] < found.losses[planted.step]
    what = f"planted samples ranked first of 64: {task}"
    figure("R19", what, passed=25 - len(missed), of=25)
    figure("R19", f"the loss of that step is lower without them: {task}", passed=better, of=25)
    assert not missed, missed
