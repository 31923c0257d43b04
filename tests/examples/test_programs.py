"""The example programs run to their end, and do what they say."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trackside import Status

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _as_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    yield
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_custom_callback_logs_what_its_callbacks_measure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import custom_callback

    result, guard = custom_callback.main(epochs=2)

    assert len(result.history.values("weights/norm")) == 2
    assert guard.largest > 0
    assert "after 2 epochs" in capsys.readouterr().out


def test_the_gan_trains_both_models_by_hand() -> None:
    import gan

    result, pictures = gan.main(epochs=3)

    assert result.outcome.status is Status.COMPLETED
    assert {"train/loss", "train/discriminator_loss", "train/fooled"} <= set(result.history.names)
    assert pictures.shape == (4, 64)
    assert torch.isfinite(pictures).all()


def test_the_language_model_weighs_by_characters_and_writes() -> None:
    import charlm

    result, written = charlm.main(steps=8)

    losses = result.history.values("val/loss")
    assert losses[-1] < 4.9, "better than guessing among 128 characters"
    assert written.startswith("def __init__(self")


def test_a_kept_loop_that_is_killed_goes_on_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import kept_loop

    def power(*_: int) -> None:
        raise SystemError

    monkeypatch.setattr("os.kill", power)
    whole = kept_loop.train(tmp_path / "whole")
    with pytest.raises(SystemError):
        kept_loop.train(tmp_path / "killed", die_at=33)

    assert kept_loop.train(tmp_path / "killed") == whole
    assert "went on from step-0000000030" in capsys.readouterr().out


def test_the_search_by_optuna_ends_with_its_trials(tmp_path: Path) -> None:
    import optuna_search

    study = optuna_search.main(trials=2, epochs=1, folder=str(tmp_path / "search"))

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert set(study.best_params) == {"lr", "width"}


def test_shifted_digits_are_learnt_in_half_precision() -> None:
    import digits_augmented
    from digits_data import digits

    image, _ = digits_augmented.Augmented(digits("train"))[0]
    result, accuracy = digits_augmented.main(epochs=2)

    assert image.shape == (1, 8, 8)
    assert result.outcome.status is Status.COMPLETED
    assert accuracy > 0.5


def test_folds_that_are_over_take_no_step_when_the_program_is_begun_again(tmp_path: Path) -> None:
    import folds

    found = folds.main(epochs=1, folder=tmp_path)
    records = [path.read_text() for path in sorted(tmp_path.rglob("history.jsonl"))]

    assert len(found) == len(records) == folds.FOLDS
    assert folds.main(epochs=1, folder=tmp_path) == found
    assert [path.read_text() for path in sorted(tmp_path.rglob("history.jsonl"))] == records


def test_the_cells_of_the_notebook_run_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((EXAMPLES / "digits.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    result = names["result"]
    assert getattr(result, "outcome").status is Status.COMPLETED  # noqa: B009 - of any type
    assert "completed at step 80" in capsys.readouterr().out


def test_the_own_tracker_has_each_value_once_after_a_resume(tmp_path: Path) -> None:
    import custom_tracker

    custom_tracker.main(epochs=1, folder=tmp_path)
    result = custom_tracker.main(epochs=2, folder=tmp_path)

    database = sqlite3.connect(tmp_path / "all.sqlite")
    [(name, outcome)] = database.execute("select name, outcome from runs").fetchall()
    kept = database.execute("select step, value from metrics where name = 'val/loss'").fetchall()
    database.close()
    assert (name, outcome) == ("digits", str(result.outcome))
    assert [value for _, value in sorted(kept)] == result.history.values("val/loss")


@pytest.mark.peers
def test_a_model_of_transformers_is_fine_tuned() -> None:
    pytest.importorskip("transformers")
    import finetune_text

    result = finetune_text.main(steps=2)

    assert result.outcome.status is Status.COMPLETED
    assert result.history.values("val/loss")
