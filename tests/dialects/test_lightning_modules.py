"""Modules of Lightning as they are, on stand-ins for its base classes; with the package itself they
are compared to its own trainer in test_lightning_originals.py."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric

from tests.dialects import lightning_modules as modules
from tests.dialects.lightning_stand_in import (
    LightningDataModule,
    LightningModule,
    parameters,
    same,
)
from trackside import Callback as Ours
from trackside import Result, Settings, Trainer
from trackside.callbacks import Checkpoint, LearningRate
from trackside.dialects.lightning import Callback
from trackside.dialects.lightning.optimizing import EveryFew, configured
from trackside.dialects.lightning.unsupported import NATIVE, refuse_ranks_by_hand
from trackside.errors import ConfigurationError, DataError, LossError, OptimizerError, UsageError

Classifier = modules.classifier(LightningModule, nn)
Adversarial = modules.adversarial(LightningModule, nn)
Whole = modules.whole(LightningModule, nn)
Data = modules.data_module(LightningDataModule)


def made(kind: Callable[[], Any], **options: Any) -> tuple[Any, Trainer]:
    """A module with weights of seed 3, and its trainer."""
    torch.manual_seed(3)
    module = kind()
    torch.manual_seed(5)
    settings = Settings(device="cpu", directory=options.pop("directory", "run"))
    return module, Trainer(module, settings=settings, defaults=False, **options)


def fit(kind: Callable[[], Any], *data: Any, epochs: int = 1, **options: Any) -> tuple[Any, Result]:
    """A module that was trained, and how its run ended."""
    steps = options.pop("steps", None)
    module, trainer = made(kind, **options)
    return module, trainer.fit(*(data or (modules.loader(),)), epochs=epochs, steps=steps)


def variant(**methods: Any) -> Any:
    """A subclass of the classifier."""
    return type("Variant", (Classifier,), methods)


# --- the steps -----------------------------------------------------------------------------------


def test_a_module_trains_as_a_loop_by_hand() -> None:
    module, result = fit(Classifier, steps=10)

    torch.manual_seed(3)
    by_hand = Classifier()
    torch.manual_seed(5)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.02)
    for points, target in list(modules.loader())[:10]:
        functional.cross_entropy(by_hand(points), target).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert same(parameters(module), parameters(by_hand))
    assert result.outcome.step == 10


@pytest.mark.parametrize("style", modules.STYLES)
def test_a_module_of_each_style_is_resumed_to_the_same_bits(style: Any) -> None:
    kind = style(LightningModule, nn)

    def trained(directory: str, steps: int, resume: str | None = None) -> Any:
        callbacks = [Checkpoint(every="4 steps", background=False)]
        data = () if style is modules.whole else (modules.loader(shuffle=True),)
        module, trainer = made(kind, callbacks=callbacks, directory=directory)
        trainer.fit(*data, epochs=2, steps=steps, resume=resume)
        return module

    whole = trained("whole", 15)
    trained("parts", 4)
    assert same(parameters(whole), parameters(trained("parts", 15, "auto")))


def test_an_evaluation_and_a_prediction_call_the_steps_of_the_module() -> None:
    kind = variant(test_step=lambda self, batch: self.log("test_mean", batch[0].mean()))
    module, trainer = made(kind)
    result = trainer.fit(modules.loader(), modules.loader(1), epochs=1)
    tested = trainer.evaluate(modules.loader(1))
    validated = trainer.evaluate(modules.loader(1), name="val")
    predictions = trainer.predict(modules.loader(1))

    module.eval()
    points, target = modules.data(1).tensors
    scores = module(points)
    assert set(tested) == {"test/mean"}
    loss = float(functional.cross_entropy(scores, target).detach())
    assert validated["val/loss"] == result.history.latest("val/loss") == pytest.approx(loss)
    assert validated["val/acc"] == pytest.approx(float((scores.argmax(1) == target).float().mean()))
    assert torch.equal(predictions, scores.argmax(1))


@pytest.mark.parametrize(
    ("step", "given"),
    [
        (lambda self, b: self.took(b), 1),
        (lambda self, b, i: self.took(b, i), 2),
        (lambda self, *both: self.took(*both), 2),
        (lambda self, b, i, loader: self.took(b, i, loader), 3),
    ],
)
def test_a_step_gets_what_it_has_arguments_for_whatever_they_are_called(
    step: Any, given: int
) -> None:
    seen: list[int] = []

    def took(self: Any, batch: Any, *rest: Any) -> Tensor:
        seen.append(1 + len(rest))
        loss: Tensor = self(batch[0]).sum()
        return loss

    fit(variant(training_step=step, took=took), steps=1)
    assert seen == [given]


def test_a_step_knows_the_last_batch_of_its_epoch() -> None:
    seen: list[bool] = []

    def step(self: Any, batch: Any) -> Tensor:
        seen.append(self.trainer.is_last_batch)
        loss: Tensor = self(batch[0]).sum()
        return loss

    fit(variant(training_step=step))
    assert seen == [False] * 10 + [True]


def test_a_step_over_an_iterator_is_refused() -> None:
    with pytest.raises(UsageError, match="takes an iterator over batches"):
        fit(variant(training_step=lambda self, dataloader_iter: None))


def test_a_step_that_the_module_does_not_have_is_named() -> None:
    _, trainer = made(Classifier)
    with pytest.raises(UsageError, match="has no `test_step`"):
        trainer.evaluate(modules.loader())


def test_a_step_without_a_loss_is_refused() -> None:
    with pytest.raises(LossError, match="returned no loss"):
        fit(variant(training_step=lambda self, batch: None))


# --- values --------------------------------------------------------------------------------------


def test_values_have_their_own_names_for_callbacks_and_ours_in_records() -> None:
    seen: dict[str, float] = {}

    class Looking(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.update({name: float(value) for name, value in trainer.callback_metrics.items()})

    def step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        self.log("index", float(batch_idx))
        self.log("both", float(batch_idx), on_step=True, on_epoch=True)
        self.log("epoch_only", float(batch_idx), on_step=False, on_epoch=True)
        self.log("most", float(batch_idx), on_epoch=True, reduce_fx="max")
        self.log("hidden", 1.0, logger=False)
        loss: Tensor = self(batch[0]).sum()
        return loss

    _, result = fit(variant(training_step=step), callbacks=[Looking()])

    names = ("index", "both", "both_step", "both_epoch", "epoch_only", "most", "hidden")
    assert [seen[n] for n in names] == [10.0, 5.0, 10.0, 5.0, 5.0, 10.0, 1.0]
    latest = [result.history.latest(f"train/{name}") for name in ("index", "most", "hidden")]
    assert latest == [5.0, 10.0, None]


def test_means_are_weighted_by_samples_or_as_the_module_says() -> None:
    def step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        self.log("by_samples", float(batch_idx), on_epoch=True)
        self.log("by_hand", float(batch_idx), on_epoch=True, batch_size=1)
        loss: Tensor = self(batch[0]).sum()
        return loss

    batches = [[modules.data()[:3][0]], [modules.data()[:1][0]]]
    _, result = fit(variant(training_step=step), batches)

    assert result.history.latest("train/by_samples") == 0.25
    assert result.history.latest("train/by_hand") == 0.5


def test_a_loss_that_is_logged_otherwise_than_returned_is_recorded_beside_it() -> None:
    def step(self: Any, batch: Any) -> Tensor:
        loss: Tensor = self(batch[0]).square().mean()
        self.log("train_loss", loss * 0 + 9)
        return loss

    _, result = fit(variant(training_step=step))

    assert result.history.latest("logged/train_loss") == 9.0
    assert result.history.latest("train/loss") != 9.0


def test_metrics_of_torchmetrics_are_computed_when_the_pass_ends() -> None:
    class Measuring(Classifier):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.mean(float(batch_idx + 10 * self.current_epoch))
            self.log("mean", self.mean, on_step=False, on_epoch=True)
            loss: Tensor = self(batch[0]).sum()
            return loss

    _, result = fit(Measuring, epochs=2)
    assert result.history.values("train/mean") == [5.0, 15.0]


def test_metrics_go_on_where_a_resume_finds_them() -> None:
    class Measuring(Classifier):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.mean(float(batch_idx))
            self.log("mean", self.mean, on_step=False, on_epoch=True)
            self.log("sum", float(batch_idx), reduce_fx="sum")
            loss: Tensor = self(batch[0]).sum()
            return loss

    saver = lambda: [Checkpoint(every="4 steps", background=False)]  # noqa: E731
    fit(Measuring, steps=4, callbacks=saver())
    _, trainer = made(Measuring, callbacks=saver())
    result = trainer.fit(modules.loader(), epochs=1, resume="auto")

    assert result.history.latest("train/mean") == 5.0
    assert result.history.latest("train/sum") == 55.0


def test_several_loaders_of_a_validation_are_told_apart() -> None:
    seen: list[Any] = []

    def step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        seen.append((dataloader_idx, batch_idx))
        self.log("number", float(dataloader_idx))

    class Several(Whole):  # type: ignore[misc, valid-type]
        validation_step = step

    _, trainer = made(Several)
    result = trainer.fit(None, epochs=1)

    assert [index for index, _ in seen] == [0] * 11 + [1] * 11
    assert [index for _, index in seen] == [*range(11), *range(11)]
    assert result.history.latest("val/number/dataloader_idx_1") == 1.0


@pytest.mark.parametrize(
    ("value", "options", "error"),
    [
        ({"a": 1}, {}, UsageError),
        (torch.zeros(2), {}, UsageError),
        (1.0, {"reduce_fx": "median"}, ConfigurationError),
    ],
)
def test_what_cannot_be_logged_is_refused(value: Any, options: Any, error: type) -> None:
    def step(self: Any, batch: Any) -> Tensor:
        self.log("name", value, **options)
        loss: Tensor = self(batch[0]).sum()
        return loss

    with pytest.raises(error, match="'name'"):
        fit(variant(training_step=step))


# --- hooks, data, set-up -------------------------------------------------------------------------


def test_hooks_of_the_module_come_before_those_of_callbacks() -> None:
    seen: list[str] = []

    class Noting(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(f"callback {type(pl_module).__name__}")

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            seen.append(f"callback {sorted(outputs)}")

    kind = variant(
        on_train_start=lambda self: seen.append("module"),
        on_train_batch_end=lambda self, outputs, batch, index: seen.append(f"{sorted(outputs)}"),
    )
    fit(kind, callbacks=[Noting()], steps=1)

    assert seen == ["module", "callback Variant", "['loss']", "callback ['loss']"]


def test_a_batch_that_the_module_changes_after_its_transfer_is_trained_on() -> None:
    seen: list[float] = []

    def step(self: Any, batch: Any) -> Tensor:
        seen.append(float(batch[0].abs().sum()))
        loss: Tensor = self(batch[0]).sum()
        return loss

    change = lambda self, batch, index: (batch[0] * 0, batch[1])  # noqa: E731
    fit(variant(training_step=step, on_after_batch_transfer=change), steps=2)

    assert seen == [0.0, 0.0]


def test_the_module_sees_its_trainer_only_while_a_run_goes_on() -> None:
    seen: list[Any] = []

    def look(self: Any) -> None:
        seen.extend([self.trainer.max_epochs, self.trainer.lightning_module is self])

    module, _ = fit(variant(on_fit_start=look), steps=1)

    assert seen == [1, True]
    assert module.trainer is None
    assert "log" not in vars(module)


def test_a_module_with_data_of_its_own_needs_no_other() -> None:
    module, trainer = made(Whole)
    result = trainer.fit(None, epochs=1)

    assert result.outcome.step == 11
    assert module.stages == ["fit"]
    assert result.history.latest("val/loss") is not None


def test_a_data_module_is_set_up_and_torn_down_for_each_run() -> None:
    data = Data()
    _, trainer = made(variant(test_step=lambda self, batch: None))
    trainer.fit(data, epochs=1)
    trainer.evaluate(data)
    trainer.predict(data)

    stages = ("fit", "test", "predict")
    calls = [c for stage in stages for c in ("prepare", f"setup {stage}", f"teardown {stage}")]
    assert data.calls == calls


def test_a_data_module_is_torn_down_when_the_run_fails() -> None:
    data = Data()

    def fail(self: Any, batch: Any) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fit(variant(training_step=fail), data)
    assert data.calls == ["prepare", "setup fit", "teardown fit"]


def test_a_run_without_data_says_where_it_could_come_from() -> None:
    _, trainer = made(Classifier)
    with pytest.raises(DataError, match="nothing has `train_dataloader`"):
        trainer.fit(None, epochs=1)


def test_callbacks_that_a_module_configures_join() -> None:
    seen: list[str] = []

    class Noting(Ours):
        def on_fit_start(self, run: Any) -> None:
            seen.append("joined")

    fit(variant(configure_callbacks=lambda self: [Noting()]), steps=1)
    assert seen == ["joined"]


# --- optimizers ----------------------------------------------------------------------------------


def test_optimizers_and_schedulers_are_read_in_all_forms() -> None:
    first, second = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1) for _ in range(2))
    schedule = torch.optim.lr_scheduler.StepLR(first, 1)
    how = {"scheduler": schedule, "interval": "step"}
    forms: list[tuple[Any, int, list[dict[str, Any]]]] = [
        (first, 1, []),
        ([first], 1, []),
        ((first, second), 2, []),
        (([first], [schedule]), 1, [{"scheduler": schedule}]),
        (([first, second], [how]), 2, [how]),
        ({"optimizer": first}, 1, []),
        (
            {"optimizer": first, "lr_scheduler": schedule, "monitor": "a"},
            1,
            [{"monitor": "a", "scheduler": schedule}],
        ),
        (
            [{"optimizer": first, "lr_scheduler": how}, {"optimizer": second}],
            2,
            [{"monitor": None, **how}],
        ),
    ]
    for returned, optimizers, schedulers in forms:
        found = configured(returned)
        assert len(found.optimizers) == optimizers
        assert found.schedulers == schedulers


@pytest.mark.parametrize("returned", [None, "adam", [], {"lr_scheduler": 1}])
def test_what_holds_no_optimizer_is_refused(returned: Any) -> None:
    with pytest.raises(OptimizerError, match="returned no optimizer"):
        configured(returned)


def test_a_scheduler_moves_at_each_of_few_intervals_and_is_resumed() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    moved = EveryFew(torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5), 2)
    optimizer.step()
    for _ in range(3):
        moved.step()
    again = EveryFew(deepcopy(moved.scheduler), 2)
    again.load_state_dict(moved.state_dict())

    assert optimizer.param_groups[0]["lr"] == 0.5
    assert again.intervals == 3
    assert again.last_epoch == 1


def test_callbacks_see_a_scheduler_as_the_module_has_described_it() -> None:
    seen: list[Any] = []

    class Looking(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            (config,) = trainer.lr_scheduler_configs
            seen.extend([config.name, config.frequency, type(config.scheduler).__name__])

    def optimizers(self: Any) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        moved = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        how = {"scheduler": moved, "interval": "step", "frequency": 2, "name": "falling"}
        return {"optimizer": optimizer, "lr_scheduler": how}

    fit(variant(configure_optimizers=optimizers), callbacks=[Looking()], steps=1)
    assert seen == ["falling", 2, "StepLR"]


def test_an_evaluation_whose_steps_have_no_loss_is_not_told_to_lack_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kind = variant(validation_step=lambda self, batch, index: self.log("val_acc", 0.5))
    _, result = fit(kind, modules.loader(), modules.loader(1))
    assert "val/loss" not in result.history.names
    assert "weigh nothing" not in caplog.text


def test_a_plateau_watches_what_the_module_logs() -> None:
    def configure(self: Any) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1e-3)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
        return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_loss"}

    _, trainer = made(variant(configure_optimizers=configure), callbacks=[LearningRate()])
    result = trainer.fit(modules.loader(), modules.loader(1), epochs=3)
    assert result.history.latest("lr/0") == pytest.approx(1e-5)


def test_hooks_come_around_the_updates_that_a_module_makes() -> None:
    seen: list[str] = []

    class Noting(Callback):
        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            seen.append("backward")

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            seen.append("update")

    _, trainer = made(Adversarial, callbacks=[Noting()])
    trainer.fit(modules.loader(), epochs=1, steps=1)
    assert seen == ["backward", "update"] * 2


def test_several_optimizers_are_moved_by_the_module_itself() -> None:
    def configure(self: Any) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.network, self.head)]

    with pytest.raises(ConfigurationError, match="says itself when each moves"):
        fit(variant(configure_optimizers=configure))


def test_a_second_scheduler_of_an_optimizer_is_refused() -> None:
    def configure(self: Any) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1) for _ in range(2)]

    with pytest.raises(ConfigurationError, match="is the second of one"):
        fit(variant(configure_optimizers=configure))


def test_a_module_may_go_backward_in_its_own_way() -> None:
    seen: list[float] = []

    def backward(self: Any, loss: Tensor) -> None:
        seen.append(float(loss.detach()))
        loss.backward()

    fit(variant(backward=backward), steps=2)
    assert len(seen) == 2


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NATIVE)
def test_a_method_that_nothing_calls_is_refused_with_the_native_way(name: str) -> None:
    with pytest.raises(ConfigurationError, match="would never be called") as refused:
        made(variant(**{name: lambda self, *given: None}))
    assert NATIVE[name] in str(refused.value)


@pytest.mark.parametrize("option", ["loss", "optimizer", "scheduler"])
def test_parts_that_the_module_has_itself_are_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{option}=... has no effect"):
        made(Classifier, **{option: lambda *given: None})


@pytest.mark.parametrize("options", [{"clip": 1.0}, {"precision": "fp16"}, {"accumulate": 2}])
def test_options_of_updates_are_refused_where_the_module_makes_them(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        made(Adversarial, **options)


def test_updates_by_hand_are_refused_on_several_ranks() -> None:
    with pytest.raises(ConfigurationError, match=r"in one process only\n.*\n.*self.optimize"):
        refuse_ranks_by_hand(2)
    refuse_ranks_by_hand(1)


def test_a_rehearsal_leaves_the_module_as_it_is() -> None:
    module, trainer = made(Classifier, seed=0)
    before = parameters(module)
    trainer.fit(modules.loader(), modules.loader(1), epochs=1, steps=1, rehearse=True)
    again, plain = made(Classifier, seed=0, directory="plain")
    plain.fit(modules.loader(), modules.loader(1), epochs=1, steps=1)

    assert not same(parameters(module), before)
    assert same(parameters(module), parameters(again))


def test_the_class_of_a_module_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the module itself"):
        Trainer(Classifier)


def test_hooks_and_callbacks_of_the_trainer_s_class_come_beside_those_of_the_module() -> None:
    seen: list[str] = []

    class Telling(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append("callback")

    class Own(Trainer):
        def configure_callbacks(self) -> Any:
            return [Telling()]

        def on_configure_start(self, run: Any) -> None:
            seen.append(f"begun with {type(self.model.trainer).__name__}")

        def on_close(self, run: Any, outcome: Any) -> None:
            seen.append("closed")

    kind = variant(
        on_train_start=lambda self: seen.append("module"),
        teardown=lambda self, stage: seen.append(f"torn down after {stage}"),
    )
    settings = Settings(device="cpu", directory="run")
    Own(kind(), settings=settings, defaults=False).fit(modules.loader(), epochs=1, steps=1)
    assert seen == [
        "begun with TrainerView",
        "module",
        "callback",
        "closed",
        "torn down after fit",
    ]


def test_an_error_in_the_hook_of_the_data_takes_nothing_from_the_hook_of_the_trainer() -> None:
    heard: list[str] = []

    class Broken(Data):  # type: ignore[misc, valid-type]
        def on_exception(self, error: BaseException) -> None:
            raise RuntimeError("the data's own")

    class Own(Trainer):
        def on_exception(self, run: Any, error: BaseException) -> None:
            heard.append(str(error))

    def failing(self: Any, batch: Any, index: int) -> Any:
        raise ValueError("theirs")

    settings = Settings(device="cpu", directory="run")
    trainer = Own(variant(training_step=failing)(), settings=settings, defaults=False)
    with pytest.raises(ValueError, match="theirs"):
        trainer.fit(Broken(), epochs=1)
    assert heard == ["theirs"]


@pytest.mark.parametrize("name", ["training_step", "predict_step", "configure_optimizers"])
def test_a_step_of_the_trainer_s_class_that_nobody_would_call_is_refused(name: str) -> None:
    own = type("Own", (Trainer,), {name: lambda self, *given: None})
    with pytest.raises(ConfigurationError, match=f"`Own.{name}` would never be called"):
        own(Classifier())


def test_leaving_out_the_rest_of_an_epoch_is_refused() -> None:
    with pytest.raises(UsageError, match="BatchLimit"):
        fit(variant(on_train_batch_start=lambda self, batch, index: -1))


def test_a_plain_model_keeps_the_class_of_its_trainer() -> None:
    assert type(Trainer(nn.Linear(1, 1), loss=nn.MSELoss())) is Trainer
    assert isinstance(made(Classifier)[1], Trainer)


def test_a_copy_of_the_module_is_made_within_a_run() -> None:
    copies: list[Any] = []

    class Copying(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *given: Any) -> None:
            pl_module.trainer = None
            copies.append(deepcopy(pl_module))

    module, _ = fit(Classifier, callbacks=[Copying()], steps=1)
    assert same(parameters(copies[0]), parameters(module))
    assert not Path("copy").exists()
