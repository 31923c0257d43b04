"""R13: what it costs: a save with digest and flush, and a step of a run that saves."""

from __future__ import annotations

import statistics
from pathlib import Path
from time import perf_counter

import pytest
import torch
from torch import nn

from tests.faults.figures import Figure
from trackside import Trainer
from trackside.checkpoint import CheckpointWriter, Retention, Saving, verify

SAVES, MEGABYTES = 12, 30


@pytest.mark.slow
def test_milliseconds_of_a_save(tmp_path: Path, figure: Figure) -> None:
    state = {"weight": torch.randn(MEGABYTES * 250_000)}
    writer = CheckpointWriter(tmp_path, "run", background=False, retention=Retention(keep_last=1))
    seconds = []
    for step in range(1, SAVES + 1):
        started = perf_counter()
        writer.save(state, Saving(step=step))
        seconds.append(perf_counter() - started)

    [newest] = tmp_path.glob("step-*")
    assert verify(newest).ok
    what = f"a save of {MEGABYTES} MB in the foreground, with digest and flush"
    figure("R13", what, largest=1000 * statistics.median(seconds), unit="ms")


@pytest.mark.slow
def test_microseconds_of_a_step_beyond_a_raw_loop(figure: Figure) -> None:
    steps, times = 3000, {"trainer": [0.0], "by hand": [0.0]}
    data = [(torch.randn(16, 8), torch.randn(16, 1))] * steps
    model = nn.Linear(8, 1)
    trainer = Trainer(
        model,
        loss=nn.functional.mse_loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=1e-3),
        defaults=False,
    )
    trainer.fit(data[:10], epochs=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(5):
        started = perf_counter()
        for inputs, target in data:
            nn.functional.mse_loss(model(inputs), target).backward()
            optimizer.step()
            optimizer.zero_grad()
        times["by hand"].append((perf_counter() - started) / steps)
        started = perf_counter()
        result = trainer.fit(data, epochs=1)
        times["trainer"].append((perf_counter() - started) / steps)

    assert result.outcome.step == steps
    mine, plain = (1e6 * statistics.median(times[who][1:]) for who in ("trainer", "by hand"))
    what = f"a step of the trainer, no callbacks; the same by hand: {plain:.0f} us"
    figure("R13", what, largest=mine, unit="us")
