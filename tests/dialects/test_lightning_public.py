"""Callbacks that do what public callbacks of Lightning do: their base class is a stand-in here, and
Lightning's own in test_lightning_originals.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.dialects import lightning_modules as modules
from tests.dialects.lightning_public import KINDS, PAGE, PUBLIC, Tracker, made, with_table
from tests.dialects.lightning_stand_in import LightningModule
from tests.dialects.training import fit, trainer_of
from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint
from trackside.dialects.lightning import Callback
from trackside.dialects.lightning.calls import FORMER

Classifier = modules.classifier(LightningModule, torch.nn)


class Module(Classifier):  # type: ignore[misc, valid-type]
    def test_step(self, batch: Any) -> Any:
        return {"loss": self(batch[0]).sum()}


def all_runs(callback: Any, module: Any, data: Any = modules.loader) -> None:
    """Train, test and predict with a callback, saving checkpoints."""
    saver = Checkpoint(every="3 steps", background=False)
    settings = Settings(device="cpu", directory="run")
    callbacks = [callback, saver, Tracker()]
    trainer = Trainer(module, callbacks=callbacks, settings=settings, defaults=False)
    trainer.fit(data(), data(), epochs=2)
    trainer.evaluate(data())
    trainer.predict(data())


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_that_does_what_public_ones_do_runs_unchanged(kind: str) -> None:
    callback = made(kind, Callback)
    all_runs(callback, Module())
    assert callback.seen


def test_at_least_forty_of_fifty_public_callbacks_run() -> None:
    run = [one for one in PUBLIC if not one.refused]

    assert len(PUBLIC) >= 50
    assert len(run) >= 40
    assert {one.kind for one in run} == set(KINDS)
    assert len({(one.name, one.repository) for one in PUBLIC}) == len(PUBLIC)


def test_the_page_lists_them() -> None:
    text = PAGE.read_text()
    assert with_table(text) == text, "run python -m tests.dialects.lightning_public"


@pytest.mark.parametrize(("hook", "ours"), FORMER.items())
def test_a_hook_of_their_first_version_is_told_with_the_present_one(hook: str, ours: str) -> None:
    kind = type("Old", (Callback,), {hook: lambda self, trainer, pl_module: None})
    with pytest.warns(UserWarning, match=f"`Old.{hook}` is never called.*`{ours}` comes then"):
        trainer_of([kind()])


def test_a_callback_logs_by_itself_while_a_run_goes_on() -> None:
    callback = made("LogsItself", Callback)
    result = fit(callback, epochs=1)

    assert result.history.latest("train/own") == 11.0
    assert "log" not in vars(callback)


def test_predictions_are_given_to_a_writer_with_the_numbers_of_their_samples() -> None:
    seen: list[Any] = []

    class BasePredictionWriter(Callback):
        def on_predict_batch_end(self, trainer: Any, pl_module: Any, *given: Any) -> None:
            seen.append(trainer.predict_loop.current_batch_indices)

        def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            loop = trainer.predict_loop
            seen.append((len(loop.predictions), loop.epoch_batch_indices[0][-1]))

    trainer = Trainer(Module(), callbacks=[BasePredictionWriter()], defaults=False)
    trainer.predict(modules.loader())
    assert seen[0] == [0, 1, 2, 3]
    assert seen[-1] == (11, [40, 41, 42, 43])

    seen.clear()
    trainer.predict(modules.loader(shuffle=True))
    assert seen[-1] == (11, None)


def test_a_hook_gets_the_arguments_that_it_asks_for() -> None:
    seen: list[Any] = []

    def train(
        self: Any,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        seen.append(dataloader_idx)

    def validate(
        self: Any, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        seen.append("val")

    hooks = {"on_train_batch_end": train, "on_validation_batch_end": validate}
    Asking = type("Asking", (Callback,), hooks)
    fit(Asking(), epochs=1)
    assert seen == [0, 0, 0, "val", "val"]
