"""Every way a run ends, held to the table of endings: what is raised, told, saved and closed."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable as Function
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from trackside import Callback, Run, Settings, Trainer
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.stopping.terminate_on_non_finite import TerminateOnNonFinite
from trackside.cli.main import EXIT_CODES
from trackside.distributed.launcher import exit_code
from trackside.outcome import ENDINGS, Ending, Outcome, Status
from trackside.testing import tiny_regression

REPOSITORY = Path(__file__).resolve().parent.parent
AT = 3
"""Steps completed when it happens; a checkpoint is due every two."""
Does = Function[[Run], object]


class Happening(Callback[Run]):
    """Does something within step four, after step three, or while the run closes."""

    def __init__(
        self,
        does: Does | None = None,
        while_closing: Does | None = None,
        within: Does | None = None,
    ) -> None:
        self.does = does
        self.within = within
        self.while_closing = while_closing
        self.closed: list[Outcome] = []

    def on_step_end(self, run: Run) -> None:
        if self.does is not None and run.progress.steps_completed == AT:
            self.does(run)

    def on_backward_end(self, run: Run, *values: Any) -> None:
        if self.within is not None and run.progress.steps_completed == AT:
            self.within(run)

    def on_close(self, run: Run, outcome: Outcome) -> None:
        self.closed.append(outcome)
        if self.while_closing is not None:
            self.while_closing(run)


def send(*numbers: int) -> Does:
    def raise_signals(run: Run) -> None:
        for number in numbers:
            signal.raise_signal(number)

    return raise_signals


def fail(run: Run) -> None:
    raise ValueError("broken")


class Spoilt(nn.MSELoss):
    """Is not finite once that is wanted."""

    factor = 1.0

    def forward(self, prediction: Any, target: Any) -> Any:
        return super().forward(prediction, target) * self.factor


def spoil_loss(run: Run) -> None:
    run.steps.loss.factor = float("nan")  # type: ignore[attr-defined]


def spoil_weights(run: Run) -> None:
    with torch.no_grad():
        next(run.model.parameters()).fill_(float("nan"))


DOES: dict[str, Any] = {
    "the limit is reached": {},
    "a callback, the trainer or `trackside ask` stops it": {"does": lambda run: run.stop("enough")},
    "Ctrl-C (SIGINT)": {"does": send(signal.SIGINT)},
    "SIGTERM": {"does": send(signal.SIGTERM)},
    "SIGHUP": {"does": send(signal.SIGHUP)},
    "SIGUSR1, where `stop_signals` names it": {"does": send(signal.SIGUSR1)},
    "a second Ctrl-C": {"does": send(signal.SIGINT, signal.SIGINT)},
    "Ctrl-C while a completed run closes": {"while_closing": send(signal.SIGINT)},
    "a loss that isn't finite (`TerminateOnNonFinite`)": {"does": spoil_loss},
    "the same by policy `raise`, or at a save": {"does": spoil_weights},
    "an error in a step": {"within": fail},
    "an error of a callback between two steps": {"does": fail},
    "`sys.exit(7)` in a hook or a step": {"does": lambda run: sys.exit(7)},
    "fp16 in which no update was made": {},
    "no recorded loss was finite": {},
    "wrong usage or configuration": {},
}
LOSSES: dict[str, Any] = {
    "fp16 in which no update was made": lambda p, t: mse_loss(p, t) * float("inf"),
    "no recorded loss was finite": lambda p, t: mse_loss(p, t) + float("nan"),  # finite gradients
}
BY_NAME = {ending.name: ending for ending in ENDINGS}


def run_to_its_end(name: str, *others: Any) -> tuple[Trainer, Happening, BaseException | None]:
    task = tiny_regression()
    happening = Happening(**DOES[name])
    overflows = name.startswith("fp16")
    watched = not overflows and name != "no recorded loss was finite"
    trainer = Trainer(
        task.model,
        loss=LOSSES.get(name, Spoilt()),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        callbacks=[*others, happening, Checkpoint("2 steps", background=False)]
        + ([TerminateOnNonFinite()] if watched else []),
        defaults=False,
        precision="fp16" if overflows else "fp32",
        settings=Settings(directory="run", device="cpu", stop_signals=("SIGUSR1",)),
    )
    data: Any = [] if name.startswith("wrong usage") else task.train
    try:
        trainer.fit(data, steps=4)
    except BaseException as error:
        return trainer, happening, error
    return trainer, happening, None


def test_every_ending_but_a_kill_is_tried() -> None:
    """What is killed is the subject of the tests of kills."""
    assert set(BY_NAME) - set(DOES) == {"killed (SIGKILL, power)"}


@pytest.mark.parametrize("name", DOES)
def test_a_run_ends_as_the_table_says(name: str) -> None:
    ending = BY_NAME[name]

    trainer, happening, error = run_to_its_end(name)

    assert trainer.result is not None
    outcome = trainer.result.outcome
    assert outcome.status is ending.status
    assert len(happening.closed) == ending.closed
    assert happening.closed == [outcome]
    raised = {"returns": type(None), "KeyboardInterrupt": KeyboardInterrupt}
    raised |= {"SystemExit": SystemExit, "the error": Exception}
    assert isinstance(error, raised[ending.raised])
    code = getattr(error, "code", outcome.exit_code)
    if ending.raised != "the error":  # then it is the command line's word for it
        assert code == ending.exit_code
    assert (
        saved_step()
        == {
            "as its schedule says, the end included": 4,
            "that step": outcome.step,
            "up to the last save": 2,
            "nothing": None,
        }[ending.saved]
    )


def saved_step() -> int | None:
    found = [int(one.name.split("-")[1]) for one in Path("run/checkpoints").glob("step-*")]
    return max(found, default=None)


def test_no_status_is_left_out() -> None:
    assert {ending.status for ending in ENDINGS if ending.status} == set(Status)


def test_the_command_line_says_what_every_code_means() -> None:
    told = {int(code) for code in re.findall(r"^  (\d+) ", EXIT_CODES, re.M)}
    own = {0, 1, 2, 3, 129, 130, 143}

    assert told == own
    assert own <= {ending.exit_code for ending in ENDINGS}


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_the_launcher_passes_on_the_code_of_each_ending(ending: Ending) -> None:
    assert exit_code(ending.exit_code) == ending.exit_code
    if ending.status is None:  # a child that a signal killed has its number, negative
        assert exit_code(128 - ending.exit_code) == ending.exit_code


def row(ending: Ending) -> str:
    status = f"`{ending.status}`" if ending.status else "(`unfinished`)"
    closed = "yes" if ending.closed else "no"
    return (
        f"| {ending.name} | {status} | {ending.exit_code} | {ending.raised} | {ending.saved} "
        f"| {closed} |"
    )


def test_the_page_on_clusters_has_the_table() -> None:
    page = (REPOSITORY / "docs" / "clusters.md").read_text()

    assert "\n".join(row(ending) for ending in ENDINGS) in page
