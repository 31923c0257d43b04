from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof import programs
from trackside import Callback, Run, Trainer
from trackside.callbacks import (
    Checkpoint,
    ClipGradients,
    EarlyStopping,
    GradientNorm,
    LearningRate,
    TensorBoard,
)
from trackside.checkpoint.saver import saver_among
from trackside.errors import UsageError
from trackside.proof.taking_part import SavesNothing, only_those_with_a_say


def left(trainer: Trainer, *without: str) -> set[str]:
    only_those_with_a_say(trainer.callbacks, Path("elsewhere"), without)
    return set(trainer.callbacks.names)


def test_of_the_defaults_nobody_takes_part_but_a_stand_in_for_the_saver() -> None:
    trainer = Trainer(programs.network, loss=lambda p, t: p.sum())
    assert left(trainer) == {"checkpoint"}
    assert isinstance(saver_among(trainer.callbacks), SavesNothing)


def test_callbacks_with_a_say_stay_and_trackers_leave() -> None:
    class Own(Callback[Run]):
        """May do anything."""

    given = [ClipGradients(1.0), EarlyStopping("val/loss"), TensorBoard(), Own()]
    trainer = Trainer(programs.network, loss=lambda p, t: p.sum(), callbacks=given)
    assert left(trainer) == {"checkpoint", "clip_gradients", "early_stopping", "own"}


def test_a_name_that_no_callback_has_cannot_be_left_out() -> None:
    trainer = Trainer(programs.network, loss=lambda p, t: p.sum(), callbacks=[ClipGradients(1.0)])

    with pytest.raises(UsageError, match="no callback named 'clip_gradient'") as info:
        left(trainer, "clip_gradient")

    assert info.value.remedy == "did you mean `clip_gradients`?"
    assert "clip_gradients" in trainer.callbacks.names


def test_one_whose_values_are_watched_stays() -> None:
    given = [LearningRate(), EarlyStopping("lr/0")]
    trainer = Trainer(programs.network, loss=lambda p, t: p.sum(), callbacks=given)
    assert "learning_rate" in left(trainer)


def test_a_callback_is_left_out_where_that_is_asked() -> None:
    given = [GradientNorm(), Checkpoint()]
    trainer = Trainer(programs.network, loss=lambda p, t: p.sum(), callbacks=given)
    assert "gradient_norm" not in left(trainer, "gradient_norm")
