"""R8: a loss that is not finite: no step after it, no file with it, and a message that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.faults.figures import Figure
from trackside import Callback, Run
from trackside.callbacks.saving.best_checkpoint import BestCheckpoint
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.callbacks.saving.save_weights import SaveWeights
from trackside.callbacks.stopping.terminate_on_non_finite import TerminateOnNonFinite
from trackside.errors import NonFiniteError
from trackside.testing import tiny_regression
from trackside.trainer.settings import Settings

BAD_STEP = 3


class Spoils(Callback[Run]):
    """Makes one batch, and with it the loss, NaN; counts the updates from then on."""

    runs_before = (TerminateOnNonFinite,)

    def __init__(self) -> None:
        self.updates_since = 0

    def on_batch_start(self, run: Run, batch: Any) -> Any:
        inputs, target = batch
        bad = run.progress.steps_completed + 1 == BAD_STEP
        return [inputs * float("nan"), target] if bad else None

    def on_optimizer_step_end(self, run: Run, optimizer: Any) -> None:
        skipped = any(request.kind == "skip_step" for request in run.requests)
        self.updates_since += run.progress.steps_completed + 1 >= BAD_STEP and not skipped


def files_with_nan(folder: Path) -> list[str]:
    """Files in the run's folder with weights, or states of optimizers, that are not finite."""
    files = [*folder.rglob("*.safetensors")]
    assert files, "nothing was saved at all"
    return [str(path) for path in files if not all(map(is_finite, weights_in(path)))]


def weights_in(path: Path) -> list[torch.Tensor]:
    # What a rank has summed for its records is a figure of the past: it may well be NaN.
    return [t for key, t in load_file(path).items() if not key.startswith("rank-")]


def is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def train(*watching: Callback[Run]) -> tuple[Any, Spoils, str]:
    """Train over a bad step. Returns the outcome, who spoilt it, and what was said."""
    task, spoils = tiny_regression(), Spoils()
    saving: list[Callback[Run]] = [
        Checkpoint(every="1 step", keep_last=None),
        BestCheckpoint("val/loss"),
        SaveWeights(every="1 step"),
    ]
    trainer = task.trainer(
        callbacks=[spoils, *watching, *saving],
        settings=Settings(directory="run", log_every="1 step"),
    )
    try:
        result = trainer.fit(task.train, task.validation, steps=6, evaluate_every="1 step")
    except NonFiniteError as error:
        return None, spoils, str(error)
    return result.outcome, spoils, result.outcome.reason


@pytest.mark.parametrize("policy", ["stop", "raise"])
def test_no_step_is_made_of_it_and_no_file_holds_it(
    tmp_path: Path, policy: Any, figure: Figure
) -> None:
    _, spoils, said = train(TerminateOnNonFinite(policy))

    bad = files_with_nan(tmp_path / "run")
    figure("R8", "steps run after a loss of NaN", largest=spoils.updates_since)
    figure("R8", "files saved with NaN, best or not", largest=len(bad))
    figure("R8", "the message names step and tensor")
    assert (spoils.updates_since, bad) == (0, [])
    assert "the loss is nan" in said
    assert f"step {BAD_STEP}" in said


def test_with_skip_the_step_is_dropped_and_the_rest_is_made(tmp_path: Path, figure: Figure) -> None:
    outcome, spoils, _ = train(TerminateOnNonFinite("skip"))

    figure("R8", "policy skip: goes on without the step")
    assert outcome.status == "completed"
    assert spoils.updates_since == 3  # steps 4 to 6
    assert files_with_nan(tmp_path / "run") == []


def test_without_the_callback_no_file_holds_it_either(tmp_path: Path, figure: Figure) -> None:
    _, _, said = train()

    bad = files_with_nan(tmp_path / "run")
    figure("R8", "files saved with NaN, nobody watching", largest=len(bad))
    assert bad == []
    assert f"the weights after step {BAD_STEP} are not finite" in said
    assert "weight" in said


def test_the_watch_for_files_notices_one(tmp_path: Path) -> None:
    save_file({"weight": torch.tensor([1.0, float("nan")])}, tmp_path / "bad.safetensors")
    assert len(files_with_nan(tmp_path)) == 1
