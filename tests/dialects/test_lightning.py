"""Callbacks of Lightning, written against its hooks; its own callbacks run in
test_lightning_originals.py."""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.dialects.training import fit, hooks_of, trainer_of
from trackside import Callback as Ours
from trackside import Settings, Trainer
from trackside.callbacks import Checkpoint, SanityCheck
from trackside.dialects.lightning import TABLE, Callback
from trackside.dialects.lightning.experiment import pixels_of
from trackside.dialects.lightning.refused import NATIVE
from trackside.dialects.state_file import read
from trackside.dialects.view import UnknownAttributeError
from trackside.errors import (
    CheckpointError,
    ConfigurationError,
    RegistrationError,
    UsageError,
)
from trackside.outcome import Status
from trackside.testing import tiny_classification
from trackside.tracking.media import Histogram, Media, Picture, Text

CALLED = [name for name in TABLE if name not in ("state_dict", "load_state_dict")]


def noting(seen: list[Any], *hooks: str, base: type = Callback) -> Any:
    """A callback that notes its hooks in `seen`."""

    def note(name: str) -> Any:
        return lambda self, trainer, pl_module, *given: seen.append(name)

    return type("Noting", (base,), {name: note(name) for name in hooks or CALLED})()


def at(hook: str, look: Any) -> Any:
    """A callback that calls `look(trainer, pl_module, *given)` in one hook."""
    method = lambda self, trainer, pl_module, *given: look(trainer, pl_module, *given)  # noqa: E731
    return type("Looking", (Callback,), {hook: method})()


STEP = [
    "on_train_batch_start",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_train_batch_end",
]
VALIDATION = [
    "on_validation_start",
    "on_validation_epoch_start",
    *["on_validation_batch_start", "on_validation_batch_end"] * 2,
    "on_validation_epoch_end",
    "on_validation_end",
]


# --- order ---------------------------------------------------------------------------------------


def test_hooks_come_in_the_order_of_their_trainer() -> None:
    seen: list[str] = []
    fit(noting(seen), epochs=1)

    assert seen == [
        "setup",
        "on_fit_start",
        "on_train_start",
        "on_train_epoch_start",
        *STEP * 3,
        *VALIDATION,
        "on_train_epoch_end",
        "on_train_end",
        "on_fit_end",
        "teardown",
    ]


def test_the_table_has_every_hook_of_the_base_class() -> None:
    assert set(TABLE) == hooks_of(Callback)
    assert len(TABLE) == 39


def test_a_test_a_validation_and_a_prediction_have_hooks_of_their_own() -> None:
    seen: list[str] = []
    trainer, task = trainer_of([noting(seen)])
    trainer.fit(task.train, epochs=1)

    seen.clear()
    trainer.evaluate(task.validation)
    test = [name.replace("validation", "test") for name in VALIDATION]
    assert seen == ["setup", *test, "teardown"]

    seen.clear()
    trainer.evaluate(task.validation, name="val")
    assert seen == ["setup", *VALIDATION, "teardown"]

    seen.clear()
    trainer.predict(task.validation)
    batches = ["on_predict_batch_start", "on_predict_batch_end"] * 2
    start, end = ["on_predict_start", "on_predict_epoch_start"], "on_predict_epoch_end"
    assert seen == ["setup", *start, *batches, end, "on_predict_end", "teardown"]


def test_a_sanity_check_is_a_validation_between_hooks_of_its_own() -> None:
    seen: list[Any] = []
    note = at("on_validation_end", lambda trainer, module: seen.append(trainer.sanity_checking))
    hooks = ("on_sanity_check_start", "on_validation_start", "on_sanity_check_end")
    fit(noting(seen, *hooks), note, SanityCheck(1, hooks=True), epochs=1)

    assert seen == [*hooks[:2], True, hooks[2], "on_validation_start", False]


def test_theirs_and_ours_are_called_in_one_order() -> None:
    seen: list[str] = []

    class Native(Ours):
        def __init__(self, name: str) -> None:
            self.called = name

        def on_fit_start(self, run: Any) -> None:
            seen.append(self.called)

    theirs = at("on_train_start", lambda trainer, module: seen.append("theirs"))
    trainer, task = trainer_of({"a": Native("first"), "b": theirs, "c": Native("last")})
    trainer.fit(task.train, epochs=1)

    assert seen == ["first", "theirs", "last"]


def test_batches_of_a_step_are_numbered_and_end_after_the_update() -> None:
    seen: list[Any] = []

    class Looking(Callback):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            seen.append((batch_idx, trainer.global_step, outputs["loss"].requires_grad, len(batch)))

    fit(Looking(), epochs=1, accumulate=2)

    assert seen == [(0, 0, False, 2), (1, 1, False, 2), (2, 2, False, 2)]


def test_what_a_hook_returns_replaces_no_batch() -> None:
    class Returning(Callback):
        def on_train_batch_start(self, *given: Any) -> Any:
            return -1

    assert fit(Returning(), epochs=1).outcome.step == 3


# --- setup and teardown --------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["setup", "on_train_batch_start", "on_validation_end"])
def test_teardown_follows_setup_whatever_fails(hook: str) -> None:
    seen: list[str] = []

    def fail(*given: Any) -> None:
        raise ValueError("no")

    note = noting(seen, "setup", "on_exception", "on_train_end", "teardown")
    with pytest.raises(ValueError, match="no"):
        fit(note, at(hook, fail), epochs=1)

    assert seen == ["setup", "on_exception", "teardown"]


def test_a_callback_that_never_was_set_up_is_not_torn_down() -> None:
    seen: list[str] = []

    class Failing(Ours):
        def on_configure_end(self, run: Any) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fit(noting(seen, "setup", "teardown"), Failing(), epochs=1)

    assert seen == []


def test_callbacks_are_torn_down_in_reverse_order_with_the_stage() -> None:
    seen: list[Any] = []
    first = at("teardown", lambda trainer, module, stage: seen.append(("first", stage)))
    second = at("teardown", lambda trainer, module, stage: seen.append(("second", stage)))
    trainer, task = trainer_of({"a": first, "b": second})
    trainer.fit(task.train, epochs=1)

    assert seen == [("second", "fit"), ("first", "fit")]


# --- trainer -------------------------------------------------------------------------------------


def test_counters_and_parts_are_those_of_the_run() -> None:
    seen: dict[str, Any] = {}

    def look(trainer: Any, module: Any) -> None:
        names = """current_epoch global_step max_epochs max_steps estimated_stepping_batches
            num_training_batches num_val_batches is_global_zero global_rank local_rank world_size
            log_dir default_root_dir should_stop sanity_checking training accumulate_grad_batches
            log_every_n_steps precision gradient_clip_val gradient_clip_algorithm datamodule
            fast_dev_run enable_validation checkpoint_callbacks early_stopping_callback"""
        seen.update({name: getattr(trainer, name) for name in names.split()})
        seen["stages"] = trainer.state.fn, trainer.state.stage, trainer.state.status
        seen["optimizers"] = [type(one).__name__ for one in trainer.optimizers]
        seen["loaders"] = len(trainer.train_dataloader), len(trainer.val_dataloaders)
        seen["model"] = trainer.model

    fit(at("on_train_epoch_end", look), epochs=2, clip=1.0)

    assert seen.pop("stages") == ("fit", "train", "running")
    assert seen.pop("optimizers") == ["SGD"]
    assert seen.pop("loaders") == (3, 2)
    assert isinstance(seen.pop("model"), nn.Linear)
    assert seen == {
        "current_epoch": 1,
        "global_step": 6,
        "max_epochs": 2,
        "max_steps": -1,
        "estimated_stepping_batches": 6,
        "num_training_batches": 3,
        "num_val_batches": [2],
        "is_global_zero": True,
        "global_rank": 0,
        "local_rank": 0,
        "world_size": 1,
        "log_dir": "run",
        "default_root_dir": "run",
        "should_stop": False,
        "sanity_checking": False,
        "training": True,
        "accumulate_grad_batches": 1,
        "log_every_n_steps": 50,
        "precision": "32-true",
        "gradient_clip_val": 1.0,
        "gradient_clip_algorithm": "norm",
        "datamodule": None,
        "fast_dev_run": False,
        "enable_validation": True,
        "checkpoint_callbacks": [],
        "early_stopping_callback": None,
    }


def test_the_epoch_counts_on_when_training_is_over() -> None:
    seen: list[int] = []
    fit(at("on_train_end", lambda trainer, module: seen.append(trainer.current_epoch)), epochs=2)
    assert seen == [2]


def test_callback_metrics_are_tensors_under_both_forms_of_their_name() -> None:
    seen: dict[str, Any] = {}

    def look(trainer: Any, module: Any) -> None:
        seen.update(trainer.callback_metrics)
        seen["bar"] = trainer.progress_bar_metrics["val_loss"]

    result = fit(at("on_validation_epoch_end", look), epochs=1, task=tiny_classification())

    assert isinstance(seen["val_loss"], Tensor)
    assert seen["val/accuracy"] is seen["val_accuracy"]
    loss = result.history.latest("val/loss")
    assert float(seen["val_loss"]) == seen["bar"] == pytest.approx(loss)


def test_a_copy_of_the_metrics_is_a_plain_dict_of_the_values_then() -> None:
    copies: list[Any] = []

    def look(trainer: Any, module: Any) -> None:
        copies.append(deepcopy(trainer.callback_metrics))
        copies.append(pickle.loads(pickle.dumps(trainer.callback_metrics)))

    fit(at("on_validation_end", look), epochs=1)
    assert [type(one) for one in copies] == [dict, dict]
    assert "val_loss" in copies[0]


def test_the_means_of_the_epoch_are_there_at_its_end() -> None:
    seen: list[float] = []
    look = at(
        "on_train_epoch_end",
        lambda trainer, module: seen.append(float(trainer.callback_metrics["train_loss"])),
    )
    result = fit(look, epochs=2, validate=False)

    assert seen == pytest.approx(result.history.values("train/loss"))


def test_should_stop_asks_for_the_end() -> None:
    def stop(trainer: Any, module: Any, *given: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step >= 2

    outcome = fit(at("on_train_batch_end", stop), epochs=3).outcome

    assert (outcome.status, outcome.step, outcome.asked_by) == (Status.STOPPED, 2, "Looking")


@pytest.mark.parametrize(
    "hook",
    ["on_train_batch_start", "on_after_backward", "on_before_zero_grad", "on_train_batch_end"],
)
def test_the_last_batch_is_known_in_every_hook_of_a_batch(hook: str) -> None:
    seen: list[bool] = []
    fit(at(hook, lambda trainer, module, *given: seen.append(trainer.is_last_batch)), epochs=1)
    assert seen == [False, False, True]


def test_accumulation_changes_from_the_next_step_on() -> None:
    def change(trainer: Any, module: Any) -> None:
        trainer.accumulate_grad_batches = 3

    assert fit(at("on_train_epoch_start", change), epochs=2).outcome.step == 2


def test_collectives_of_one_rank_give_what_they_get() -> None:
    seen: list[Any] = []

    def look(trainer: Any, module: Any) -> None:
        strategy = trainer.strategy
        strategy.barrier("here")
        seen.extend([strategy.broadcast({"a": 1}), strategy.reduce(torch.tensor(3))])
        seen.extend([strategy.reduce_boolean_decision(True), strategy.root_device.type])
        seen.append(strategy.lightning_module is module)

    fit(at("on_train_start", look), epochs=1)

    assert seen == [{"a": 1}, torch.tensor(3.0), True, "cpu", True]


def test_schedulers_say_when_they_move() -> None:
    seen: list[Any] = []

    def look(trainer: Any, module: Any) -> None:
        (config,) = trainer.lr_scheduler_configs
        seen.extend([config.interval, config.frequency, type(config.scheduler).__name__])
        seen.append(module.lr_schedulers() is config.scheduler)

    schedule = lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1)  # noqa: E731
    fit(at("on_train_start", look), epochs=1, scheduler=schedule)

    assert seen == ["epoch", 1, "StepLR", True]


@pytest.mark.parametrize(
    ("name", "native"),
    [("fit", "can't be begun"), ("profile_run", "reads the run itself"), ("accelerator", "device")],
)
def test_an_attribute_that_is_not_there_names_the_nearest_way(name: str, native: str) -> None:
    with pytest.raises(UnknownAttributeError, match=native):
        fit(at("on_train_start", lambda trainer, module: getattr(trainer, name)), epochs=1)


def test_what_one_callback_sets_on_the_trainer_others_read() -> None:
    seen: list[Any] = []
    setting = at("setup", lambda trainer, module, stage: setattr(trainer, "mine", 5))
    reading = at("on_train_start", lambda trainer, module: seen.append(trainer.mine))
    trainer, task = trainer_of({"a": setting, "b": reading})
    trainer.fit(task.train, epochs=1)
    assert seen == [5]


def test_a_file_of_the_trainer_holds_weights_and_states() -> None:
    def save(trainer: Any, module: Any) -> None:
        trainer.save_checkpoint("all.ckpt")
        trainer.save_checkpoint("weights.ckpt", weights_only=True)

    fit(at("on_train_end", save), epochs=1)

    assert {"model", "optimizers", "progress"} <= set(read("all.ckpt"))
    assert "optimizers" not in read("weights.ckpt")


def test_the_callback_that_saves_is_seen_as_theirs() -> None:
    seen: list[Any] = []

    def look(trainer: Any, module: Any, stage: str) -> None:
        view = trainer.checkpoint_callback
        paths = view.dirpath, view.last_model_path, view.best_model_path
        seen.extend([view.monitor, *(Path(path).name for path in paths)])
        seen.append(float(view.best_model_score))

    saver = Checkpoint(keep_best=1, monitor="val/loss", background=False)
    result = fit(at("teardown", look), saver, epochs=1)

    newest = "step-0000000003"
    best = result.history.best("val/loss")
    assert best is not None
    assert seen == ["val/loss", "checkpoints", newest, newest, pytest.approx(best.value)]


# --- pl_module -----------------------------------------------------------------------------------


def test_the_module_is_the_model_and_can_log() -> None:
    seen: dict[str, Any] = {}

    def look(trainer: Any, module: Any) -> None:
        module.log("mine", 2.0)
        module.log_dict({"other/name": torch.tensor(3.0)}, batch_size=7)
        module.log("bar", 4.0, logger=False, prog_bar=True)
        seen["values"] = [float(trainer.callback_metrics[n]) for n in ("mine", "other_name", "bar")]
        seen["is a module"] = isinstance(module, nn.Module)
        seen["parameters"] = len(list(module.parameters()))
        seen["out"] = module(torch.zeros(1, 2)).shape
        seen["device"] = module.device.type, module.dtype
        seen["counters"] = module.current_epoch, module.global_step, module.global_rank
        seen["same"] = module.trainer is trainer, module.optimizers() is trainer.optimizers[0]
        seen["copy"] = type(deepcopy(module))
        seen["hparams"] = module.hparams["accumulate"], module.hparams.accumulate

    result = fit(at("on_train_batch_end", lambda t, m, *given: look(t, m)), epochs=1)

    assert seen == {
        "values": [2.0, 3.0, 4.0],
        "is a module": True,
        "parameters": 2,
        "out": (1, 1),
        "device": ("cpu", torch.float32),
        "counters": (0, 3, 0),
        "same": (True, True),
        "copy": nn.Linear,
        "hparams": (1, 1),
    }
    assert result.history.latest("train/mine") == 2.0
    assert result.history.latest("other/name") == 3.0
    assert result.history.latest("train/bar") is None


def test_what_is_set_on_the_module_is_set_on_the_model() -> None:
    trainer, task = trainer_of([at("on_train_start", lambda t, m: setattr(m, "frozen", True))])
    trainer.fit(task.train, epochs=1)
    assert vars(trainer.models["model"])["frozen"] is True


def test_a_value_the_loop_records_is_logged_beside_it() -> None:
    result = fit(at("on_train_batch_end", lambda t, m, *given: m.log("train/loss", 9.0)), epochs=1)

    assert result.history.latest("logged/train_loss") == 9.0
    assert result.history.latest("train/loss") != 9.0


def test_a_sum_is_refused_where_a_mean_is_kept() -> None:
    with pytest.raises(ConfigurationError, match="the mean, weighted by samples"):
        fit(at("on_train_batch_end", lambda t, m, *_: m.log("n", 1.0, reduce_fx="sum")), epochs=1)


@pytest.mark.parametrize(
    ("name", "native"),
    [("manual_backward", "manual_optimization"), ("backbone", "`Linear` has no")],
)
def test_what_only_their_module_has_names_the_native_way(name: str, native: str) -> None:
    with pytest.raises(UnknownAttributeError, match=native):
        fit(at("on_train_start", lambda trainer, module: getattr(module, name)), epochs=1)


# --- logger --------------------------------------------------------------------------------------


def test_what_a_logger_gets_reaches_the_records_and_the_trackers() -> None:
    seen: list[Any] = []

    class Tracking(Ours):
        def on_picture(self, run: Any, name: str, picture: Picture) -> None:
            seen.append((name, picture.pixels.shape))

        def on_histogram(self, run: Any, name: str, histogram: Histogram) -> None:
            seen.append((name, int(histogram.counts.sum()), histogram.not_finite))

        def on_text(self, run: Any, name: str, text: Text) -> None:
            seen.append((name, text.text))

    def look(trainer: Any, module: Any) -> None:
        (logger,) = trainer.loggers
        logger.log_metrics({"speed": 5.0, "note": "no number"}, step=3)
        writer = logger.experiment
        writer.add_scalar("tb/value", 6.0, 3)
        writer.log({"wandb_value": 7.0})
        writer.add_image("one", torch.zeros(3, 4, 5), 3)
        writer.add_images("many", torch.zeros(2, 1, 4, 5))
        writer.add_histogram("weights", torch.tensor([1.0, 2.0, float("nan")]), 3)
        writer.add_text("words", "hello")
        writer.flush()

    result = fit(Tracking(), at("on_train_epoch_end", look), epochs=1)

    assert seen == [
        ("one", (4, 5, 3)),
        ("many", (4, 10, 3)),
        ("weights", 2, 1),
        ("words", "hello"),
    ]
    latest = [result.history.latest(n) for n in ("logged/speed", "tb/value", "logged/wandb_value")]
    assert latest == [5.0, 6.0, 7.0]
    assert hasattr(Media, "on_picture")


def test_pictures_that_no_tracker_takes_are_told_once() -> None:
    def show(trainer: Any, module: Any, *given: Any) -> None:
        trainer.logger.experiment.add_image("made", torch.zeros(3, 2, 2))

    with pytest.warns(UserWarning, match="'made' is shown to nobody") as told:
        fit(at("on_train_batch_end", show), epochs=1)
    assert len(told) == 1


def test_an_object_of_another_client_is_refused_with_the_native_way() -> None:
    def look(trainer: Any, module: Any) -> None:
        trainer.logger.experiment.log({"picture": object()})

    with pytest.raises(UsageError, match="takes numbers here"):
        fit(at("on_train_start", look), epochs=1)


def test_hyperparameters_that_nobody_keeps_are_told() -> None:
    def look(trainer: Any, module: Any) -> None:
        trainer.logger.log_hyperparams({"lr": 1})

    with pytest.warns(UserWarning, match="adds nothing"):
        fit(at("on_train_start", look), epochs=1)


def test_pixels_have_three_colours_whatever_is_given() -> None:
    grey = pixels_of(torch.full((1, 2, 3), 0.5))
    assert grey.shape == (2, 3, 3)
    assert np.unique(grey).tolist() == [128]
    assert pixels_of(np.zeros((2, 3), np.uint8), "HW").shape == (2, 3, 3)


# --- state ---------------------------------------------------------------------------------------


class Counting(Callback):
    """Counts batches, and adds to checkpoints."""

    def __init__(self, key: str = "Counting") -> None:
        self.key, self.batches = key, 0
        self.loaded: dict[str, Any] = {}

    @property
    def state_key(self) -> str:
        return self.key

    def on_train_batch_end(self, *given: Any) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches = state_dict["batches"]

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        checkpoint["extra"] = {"at": checkpoint["global_step"], "weights": torch.ones(2)}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        self.loaded = checkpoint


def resumed(callback: Any, saver: Any = None) -> Any:
    """Run two epochs with `Counting()`, then a third with `callback`."""
    settings = Settings(device="cpu", directory="run")
    first, task = trainer_of([saver or Counting(), Checkpoint(background=False)], settings=settings)
    first.fit(task.train, epochs=2)
    again, task = trainer_of([callback, Checkpoint(background=False)], settings=settings)
    return again.fit(task.train, epochs=3, resume="auto")


def test_states_and_additions_come_back_after_a_resume() -> None:
    counting = Counting()
    resumed(counting)

    assert counting.batches == 9
    assert counting.loaded["extra"]["at"] == 6
    assert torch.equal(counting.loaded["extra"]["weights"], torch.ones(2))
    assert {"state_dict", "epoch", "optimizer_states", "callbacks"} <= set(counting.loaded)


def test_a_state_of_another_key_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no state of the lightning callback `Other`"):
        resumed(Counting("Other"))


def test_weights_that_a_callback_puts_into_a_checkpoint_are_those_that_are_loaded() -> None:
    class Replacing(Counting):
        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
            weights = checkpoint["state_dict"]
            checkpoint["state_dict"] = {n: torch.full_like(w, 7.0) for n, w in weights.items()}

    seen: list[float] = []

    class Looking(Counting):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            seen.extend(pl_module.weight.flatten().tolist())

    Looking.__name__ = "Replacing"
    resumed(Looking(), saver=Replacing())
    assert set(seen) == {7.0}


def test_a_key_of_the_checkpoint_that_nobody_would_read_is_refused() -> None:
    def change(trainer: Any, module: Any, checkpoint: Any) -> None:
        checkpoint["global_step"] = 0

    with pytest.raises(UsageError, match=r"checkpoint\['global_step'\]` can't be set"):
        fit(at("on_save_checkpoint", change), Checkpoint(background=False), epochs=1)


# --- their classes -------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("name", NATIVE)
def test_a_built_in_that_works_inside_their_loop_is_refused_with_ours(
    package: str, name: str
) -> None:
    base = type("Callback", (), {"__module__": f"{package}.callbacks.callback"})
    theirs = type(name, (base,), {"__module__": f"{package}.callbacks.some"})
    mine = type("Mine", (theirs,), {"__module__": "mine"})
    with pytest.raises(RegistrationError) as refused:
        trainer_of([mine()])
    assert NATIVE[name] in str(refused.value)


@pytest.mark.parametrize(
    ("theirs_watch", "ours_watch"),
    [
        ("val_acc", "val/acc"),
        ("val/acc", "val/acc"),
        ("f1_macro", "val/f1_macro"),
        ("loss", "val/loss"),
        ("train_loss", "train/loss"),
    ],
)
def test_their_checkpoints_are_refused_with_ours_and_the_same_options(
    theirs_watch: str, ours_watch: str
) -> None:
    base = type("Callback", (), {"__module__": "lightning.pytorch.callbacks.callback"})
    module = "lightning.pytorch.callbacks.model_checkpoint"
    options = {"monitor": theirs_watch, "mode": "max", "save_top_k": 3}
    theirs = type("ModelCheckpoint", (base,), {"__module__": module, **options})
    with pytest.raises(RegistrationError) as refused:
        trainer_of([theirs()])
    written = f"`Checkpoint(keep_best=3, monitor='{ours_watch}', mode='max')`"
    assert written in str(refused.value)


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_their_own_base_class_is_known_by_its_module(package: str) -> None:
    seen: list[str] = []
    base = type("Callback", (), {"__module__": f"{package}.callbacks.callback"})
    trainer, task = trainer_of([noting(seen, "on_train_start", base=base)])
    trainer.fit(task.train, epochs=1)

    assert isinstance(trainer, Trainer)
    assert seen == ["on_train_start"]


def test_a_misspelt_hook_is_told() -> None:
    with pytest.warns(UserWarning, match="Did you mean `on_train_epoch_end`"):
        trainer_of([at("on_train_epch_end", lambda *given: None)])
