"""`resume.keep`: a loop by hand that goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.by_hand.loops import EPOCHS, Parts, parts, weights
from trackside import resume


class Power(Exception):
    """The end of a process, for a test."""


def train(made: Parts, folder: str, fail_at: int | None = None) -> Any:
    with resume.keep(
        folder,
        model=made.model,
        optimizer=made.optimizer,
        loader=made.loader,
        every="4 steps",
        state={"scheduler": made.scheduler},
    ) as run:
        for _ in run.epochs(EPOCHS):
            for batch in run.batches():
                if run.progress.steps_completed == fail_at:
                    raise Power
                made.loss_of(batch).backward()
                made.update()
                run.step_done()
    return run


def test_a_loop_that_broke_off_goes_on_bitwise_with_the_same_lines() -> None:
    unbroken = parts(noisy=True)
    train(unbroken, "whole")
    broken = parts(noisy=True)
    with pytest.raises(Power):
        train(broken, "run", fail_at=10)
    again = parts(noisy=True)

    run = train(again, "run")

    assert run.resumed_from.name == "step-0000000008"
    assert torch.equal(weights(again), weights(unbroken))


def test_a_loop_that_is_over_gives_no_epoch() -> None:
    train(parts(), "run")
    again = parts()

    run = train(again, "run")

    assert run.progress.steps_completed == EPOCHS * 6
    assert [path.name for path in Path("run/checkpoints").glob("step-*")]


def test_nothing_that_is_kept_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pickled")

    monkeypatch.setattr("torch.save", refuse)
    monkeypatch.setattr("torch.load", refuse)
    monkeypatch.setattr("pickle.dumps", refuse)

    train(parts(), "run")
    train(parts(), "run")
