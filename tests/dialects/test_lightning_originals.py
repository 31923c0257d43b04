"""Callbacks that Lightning itself ships run in Trackside's trainer, as installed."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from tests.dialects import lightning_modules as modules
from tests.dialects.lightning_public import KINDS, PAGE, Tracker, made
from tests.dialects.lightning_stand_in import parameters, same
from tests.dialects.training import fit, trainer_of
from trackside import Callback as Ours
from trackside import Result, Settings, Trainer
from trackside.dialects import state_file
from trackside.dialects.lightning import TABLE
from trackside.dialects.lightning.loaders import METHODS
from trackside.dialects.lightning.module_hooks import MODULE_TABLE
from trackside.dialects.lightning.refused import NATIVE
from trackside.dialects.lightning.unsupported import NATIVE as REFUSED
from trackside.errors import RegistrationError
from trackside.outcome import Status

# Of the framework, not of ours: deprecations of what it imports.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


@pytest.fixture(scope="module", params=PACKAGES)
def callbacks(request: pytest.FixtureRequest) -> ModuleType:
    return pytest.importorskip(f"{request.param}.callbacks")


@pytest.fixture(scope="module")
def built_ins() -> ModuleType:
    return pytest.importorskip("lightning.pytorch.callbacks")


def test_every_hook_of_lightning_is_in_the_table(callbacks: ModuleType) -> None:
    hooks = {
        name
        for name, value in vars(callbacks.Callback).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert hooks == set(TABLE)


def test_every_hook_of_their_base_class_is_called(callbacks: ModuleType) -> None:
    seen: set[str] = set()
    called = set(TABLE) - {"state_dict", "load_state_dict"}

    def note(name: str) -> Any:
        return lambda self, *given: seen.add(name)

    noting = type("Noting", (callbacks.Callback,), {name: note(name) for name in called})()
    trainer, task = trainer_of([noting])
    trainer.fit(task.train, task.validation, epochs=1)
    trainer.evaluate(task.validation)
    trainer.predict(task.validation)

    rare = {"on_exception", "on_sanity_check_start", "on_sanity_check_end"}
    assert seen == called - rare - {"on_save_checkpoint", "on_load_checkpoint"}


def finetuning(built_ins: Any) -> Any:
    methods = {
        "freeze_before_training": lambda self, module: None,
        "finetune_function": lambda self, module, epoch, optimizer: None,
    }
    return type("Finetuning", (built_ins.BaseFinetuning,), methods)()


RUN: dict[str, Callable[[Any], Any]] = {
    "BackboneFinetuning": lambda b: b.BackboneFinetuning(1, verbose=False),
    "BaseFinetuning": finetuning,
    "BasePredictionWriter": lambda b: type("Writer", (b.BasePredictionWriter,), {})(),
    "Checkpoint": lambda b: b.Checkpoint(),
    "EarlyStopping": lambda b: b.EarlyStopping("val_loss"),
    "LambdaCallback": lambda b: b.LambdaCallback(on_train_start=lambda trainer, module: None),
    "LearningRateMonitor": lambda b: b.LearningRateMonitor("step"),
    "SpikeDetection": lambda b: b.SpikeDetection(warmup=1),
    "Timer": lambda b: b.Timer(datetime.timedelta(hours=1)),
}
"""Built-ins that run."""

OPTIONS: dict[str, Callable[[Any], Any]] = {
    "ModelPruning": lambda kind: kind("l1_unstructured", parameter_names=["weight"]),
    "OnExceptionCheckpoint": lambda kind: kind("."),
    "RichModelSummary": lambda kind: kind.__new__(kind),  # they need the package `rich`
    "RichProgressBar": lambda kind: kind.__new__(kind),
    "StochasticWeightAveraging": lambda kind: kind(1e-2),
    "GradientAccumulationScheduler": lambda kind: kind({0: 1}),
    "ThroughputMonitor": lambda kind: kind(len),
}
"""How those that are refused are made, where they need options."""


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.backbone(inputs))
        return out


def test_every_built_in_runs_or_is_refused_with_ours(built_ins: ModuleType) -> None:
    refused = {
        name
        for name in built_ins.__all__
        if any(cls.__name__ in NATIVE for cls in getattr(built_ins, name).__mro__)
    }
    assert set(RUN) | refused == set(built_ins.__all__) - {"Callback"}
    assert set(RUN) & refused == set()


@pytest.mark.parametrize("name", RUN)
def test_a_built_in_runs_as_it_is(built_ins: ModuleType, name: str) -> None:
    settings = Settings(device="cpu", directory="run", log_every="1 step")
    trainer, task = trainer_of([RUN[name](built_ins)], settings=settings)
    trainer.model = Backbone()
    trainer.optimizer = lambda parameters: torch.optim.SGD(
        list(trainer.model.head.parameters()), lr=0.1
    )
    result = trainer.fit(task.train, task.validation, epochs=3)
    assert result.outcome.status is Status.COMPLETED


@pytest.mark.parametrize("name", sorted({*OPTIONS, *NATIVE, "TQDMProgressBar"}))
def test_a_built_in_that_cannot_run_is_refused_with_ours(built_ins: ModuleType, name: str) -> None:
    kind = getattr(built_ins, name)
    callback = OPTIONS.get(name, lambda kind: kind())(kind)
    with pytest.raises(RegistrationError, match="ours: "):
        trainer_of([callback])


def test_their_early_stopping_stops_and_goes_on_after_a_resume(built_ins: ModuleType) -> None:
    stopping = built_ins.EarlyStopping("val_loss", patience=2, min_delta=100.0)
    result = fit(stopping, epochs=9)

    assert result.outcome.status is Status.STOPPED
    assert result.outcome.step == 9
    assert result.outcome.asked_by == "EarlyStopping"


def test_their_backbone_is_frozen_and_then_trained(built_ins: ModuleType) -> None:
    weights: list[Any] = []
    look = built_ins.LambdaCallback(
        on_train_epoch_end=lambda trainer, module: weights.append(
            module.backbone.weight.detach().clone()
        )
    )
    trainer, task = trainer_of([RUN["BackboneFinetuning"](built_ins), look])
    trainer.model = Backbone()
    trainer.optimizer = lambda parameters: torch.optim.SGD(
        [p for p in trainer.model.parameters() if p.requires_grad], lr=0.1
    )
    before = trainer.model.backbone.weight.detach().clone()
    trainer.fit(task.train, epochs=2)

    assert torch.equal(weights[0], before)
    assert not torch.equal(weights[1], before)


def test_their_monitor_records_the_rate(built_ins: ModuleType) -> None:
    settings = Settings(device="cpu", directory="run", log_every="1 step")
    result = fit(built_ins.LearningRateMonitor("step"), epochs=1, settings=settings)
    assert [v for n in result.history.names if "lr-SGD" in n for v in result.history.values(n)]


def test_their_states_are_seen_by_their_enumerations(callbacks: ModuleType) -> None:
    states = pytest.importorskip(callbacks.__name__.replace("callbacks", "trainer.states"))
    seen: list[bool] = []

    class Looking(callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            fitting = states.TrainerFn.FITTING
            seen.append(trainer.state.fn == fitting and trainer.state.fn in (fitting,))
            seen.append(trainer.state.stage == states.RunningStage.VALIDATING)

    fit(Looking(), epochs=1)
    assert seen == [True, True]


# --- modules -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=PACKAGES)
def package(request: pytest.FixtureRequest) -> ModuleType:
    return pytest.importorskip(request.param)


class Values:
    """Keeps what a module has logged, when training ends."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        own = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.values.update(own)


def keeping(package: Any) -> Any:
    """A callback of theirs that keeps values."""
    return type("Keeping", (Values, package.Callback), {})()


def in_their_trainer(package: Any, kind: Any, *data: Any, steps: int) -> tuple[Any, Any]:
    """A module trained by their trainer, and the values that it logged."""
    values = keeping(package)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = package.Trainer(
        max_steps=steps,
        max_epochs=1,
        accelerator="cpu",
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        callbacks=[values],
        **quiet,
    )
    torch.manual_seed(3)
    module = kind()
    torch.manual_seed(5)
    trainer.fit(module, *data)
    return module, values.values


def in_ours(package: Any, kind: Any, *data: Any) -> tuple[Any, Any]:
    """A module trained by ten steps of ours, and the values that it logged."""
    values = keeping(package)
    torch.manual_seed(3)
    module = kind()
    torch.manual_seed(5)
    trainer = Trainer(module, callbacks=[values], settings=Settings(device="cpu", directory="run"))
    trainer.fit(*data, epochs=1, steps=10)
    return module, values.values


@pytest.mark.parametrize("style", modules.STYLES)
def test_a_module_trains_to_the_bits_of_their_trainer(package: Any, style: Any) -> None:
    kind = style(package.LightningModule, package)
    steps = 20 if style is modules.adversarial else 10  # they count each optimizer's

    def data() -> Any:
        return () if style is modules.whole else (modules.loader(),)

    theirs, logged = in_their_trainer(package, kind, *data(), steps=steps)
    ours, values = in_ours(package, kind, *data())

    assert same(parameters(ours), parameters(theirs))
    assert {name: values[name] for name in logged} == pytest.approx(logged)
    assert logged
    assert getattr(ours, "seen", None) == getattr(theirs, "seen", None)


def test_a_validation_gives_the_values_of_their_trainer(package: Any) -> None:
    kind = modules.classifier(package.LightningModule, package)
    theirs, logged = in_their_trainer(package, kind, modules.loader(), modules.loader(1), steps=-1)
    torch.manual_seed(3)
    module = kind()
    torch.manual_seed(5)
    values = keeping(package)
    settings = Settings(device="cpu", directory="run")
    trainer = Trainer(module, callbacks=[values], settings=settings)
    trainer.fit(modules.loader(), modules.loader(1), epochs=1)

    assert {"val_loss", "val_acc", "train_loss"} <= set(logged)
    assert {name: values.values[name] for name in logged} == pytest.approx(logged)
    assert same(parameters(module), parameters(theirs))


def test_a_data_module_of_theirs_is_set_up_and_torn_down(package: Any) -> None:
    data = modules.data_module(package.LightningDataModule)()
    trainer = Trainer(modules.classifier(package.LightningModule, package)(), defaults=False)
    trainer.fit(data, epochs=1)
    trainer.predict(data)

    stages = ("fit", "predict")
    assert data.calls == [c for s in stages for c in ("prepare", f"setup {s}", f"teardown {s}")]


def test_every_hook_of_their_modules_is_called_or_refused(package: Any) -> None:
    hooks = pytest.importorskip(f"{package.__name__}.core.hooks")
    named = {
        name
        for kind in (hooks.ModelHooks, hooks.DataHooks, hooks.CheckpointHooks)
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    by_steps = {"prepare_data", "setup", "teardown", "configure_model", *METHODS.values()}
    assert named <= set(MODULE_TABLE) | set(REFUSED) | by_steps


def test_their_early_stopping_stops_their_module(package: Any) -> None:
    stopping = pytest.importorskip(f"{package.__name__}.callbacks").EarlyStopping
    module = modules.classifier(package.LightningModule, package)()
    callbacks = [stopping("val_loss", patience=1, min_delta=100.0)]
    trainer = Trainer(module, callbacks=callbacks, defaults=False)
    outcome = trainer.fit(modules.loader(), modules.loader(1), epochs=9).outcome
    assert (outcome.status, outcome.step) == (Status.STOPPED, 22)


# --- callbacks of other packages -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_that_does_what_public_ones_do_runs_on_their_base_class(
    package: Any, kind: str
) -> None:
    base = modules.classifier(package.LightningModule, package)

    class Module(base):  # type: ignore[misc, valid-type]
        def test_step(self, batch: Any) -> Any:
            return {"loss": self(batch[0]).sum()}

    callback = made(kind, package.Callback)
    trainer = Trainer(Module(), callbacks=[callback, Tracker()], defaults=False)
    trainer.fit(modules.loader(), modules.loader(1), epochs=2)
    trainer.evaluate(modules.loader())
    trainer.predict(modules.loader())
    assert callback.seen


SHIPPED = (
    ("optuna_integration.pytorch_lightning", "PyTorchLightningPruningCallback"),
    ("mlcolvar.utils.trainer", "MetricsCallback"),
    ("mlcolvar.utils.trainer", "SimpleMetricsCallback"),
    ("pytorch_lightning_spells.callbacks", "NtfyCallback"),
    ("pytorch_lightning_spells.callbacks", "MixUpCallback"),
    ("pytorch_lightning_spells.callbacks", "CutMixCallback"),
    ("pytorch_lightning_spells.callbacks", "RandomAugmentationChoiceCallback"),
    ("pytorch_lightning_spells.callbacks", "LookaheadCallback"),
    ("lightning_trainer_utils.trainer_utils.callbacks", "LogLearningRate"),
    ("lightning_trainer_utils.trainer_utils.callbacks", "GradientClipLogger"),
    ("lightning_trainer_utils.trainer_utils.callbacks", "LogETL"),
)
"""Callbacks of packages on PyPI that run below, and where they are."""


@pytest.mark.parametrize(("module", "name"), SHIPPED)
def test_a_callback_that_a_package_ships_has_its_test_here_and_its_place_on_the_page(
    module: str, name: str
) -> None:
    assert issubclass(getattr(pytest.importorskip(module), name), lightning_bases())
    assert f"`{name}`" in PAGE.read_text()
    assert Path(__file__).read_text().count(name) > 1


def lightning_bases() -> tuple[type, ...]:
    """The base classes of callbacks of both packages."""
    return tuple(pytest.importorskip(f"{name}.callbacks").Callback for name in PACKAGES)


def classified(callback: Any, epochs: int = 2) -> Trainer:
    """A module of `pytorch_lightning`, trained with a callback."""
    package = pytest.importorskip("pytorch_lightning")
    module = modules.classifier(package.LightningModule, package)()
    trainer = Trainer(module, callbacks=[callback], defaults=False)
    trainer.fit(modules.loader(), modules.loader(1), epochs=epochs)
    return trainer


def test_the_pruning_of_optuna_ends_a_trial() -> None:
    optuna = pytest.importorskip("optuna")
    pruning = pytest.importorskip("optuna_integration.pytorch_lightning")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=-1.0))

    def objective(trial: Any) -> float:
        classified(pruning.PyTorchLightningPruningCallback(trial, "val_loss"))
        return 0.0

    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [0]


def test_the_metrics_of_lightly_are_collected() -> None:
    benchmarking = pytest.importorskip("lightly.utils.benchmarking")
    callback = benchmarking.MetricCallback()
    classified(callback)
    assert len(callback.val_metrics["val_acc"]) == 2
    assert len(callback.train_metrics["train_loss"]) == 2


def test_the_metrics_of_mlcolvar_are_collected() -> None:
    trainer = pytest.importorskip("mlcolvar.utils.trainer")
    both = [trainer.MetricsCallback(), trainer.SimpleMetricsCallback()]
    for callback in both:
        classified(callback)

    assert both[0].metrics["epoch"] == [0, 1]
    assert len(both[0].metrics["val_loss"]) == 2
    assert [set(one) >= {"val_loss", "val_acc"} for one in both[1].metrics] == [True, True]


def test_a_message_of_spells_is_sent_when_training_begins_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spells = pytest.importorskip("pytorch_lightning_spells.callbacks")
    sent: list[str] = []
    monkeypatch.setenv("NTFY_TOPIC", "mine")
    monkeypatch.setattr(
        spells.NtfyCallback, "send_message", lambda self, text, title, tags: sent.append(title)
    )
    classified(spells.NtfyCallback("mine", report_evals=True))
    assert len(sent) == 4  # the begin, two evaluations, the end


SPELLS: dict[str, Callable[[Any], Any]] = {
    "MixUpCallback": lambda c: c.MixUpCallback(),
    "CutMixCallback": lambda c: c.CutMixCallback(),
    "RandomAugmentationChoiceCallback": lambda c: c.RandomAugmentationChoiceCallback(
        [c.MixUpCallback(), c.CutMixCallback()], [0.5, 0.5]
    ),
}


@pytest.mark.parametrize("name", SPELLS)
def test_the_augmentations_of_spells_change_the_batch_that_is_trained_on(name: str) -> None:
    package = pytest.importorskip("pytorch_lightning")
    spells = pytest.importorskip("pytorch_lightning_spells.callbacks")
    seen: list[Any] = []

    class Module(modules.classifier(package.LightningModule, package)):  # type: ignore[misc]
        def training_step(self, batch: Any) -> Any:
            pictures, target = batch
            seen.append(target.is_floating_point())
            return self.head(self.network(pictures.mean((2, 3)))).sum()

    pictures = torch.utils.data.TensorDataset(torch.rand(8, 6, 4, 4), torch.arange(8))
    trainer = Trainer(Module(), callbacks=[SPELLS[name](spells)], defaults=False)
    trainer.fit(torch.utils.data.DataLoader(pictures, 4), epochs=1)
    assert seen == [True, True]  # mixed, where they were whole numbers


def test_the_slow_weights_of_spells_are_put_in_for_validations() -> None:
    package = pytest.importorskip("pytorch_lightning")
    spells = pytest.importorskip("pytorch_lightning_spells")
    seen: list[torch.Tensor] = []

    class Module(modules.classifier(package.LightningModule, package)):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            return spells.optimizers.Lookahead(torch.optim.SGD(self.parameters(), lr=0.1))

    class Looking(Ours):
        def on_evaluation_batch_start(self, run: Any, evaluation: Any, batch: Any) -> None:
            seen.append(run.model.head.weight.detach().clone())

        def on_close(self, run: Any, outcome: Any) -> None:
            seen.append(run.model.head.weight.detach().clone())

    callbacks = [spells.callbacks.LookaheadCallback(), Looking()]
    trainer = Trainer(Module(), callbacks=callbacks, defaults=False)
    trainer.fit(modules.loader(), modules.loader(1), epochs=1)
    slow, fast = seen[0], seen[-1]
    assert len(seen) == 12
    assert not torch.equal(slow, fast)


def trainer_utils() -> ModuleType:
    """Their callbacks; they read attributes that a module of theirs has."""
    return pytest.importorskip("lightning_trainer_utils.trainer_utils.callbacks")


def measured(*callbacks: Any, **attributes: Any) -> Result:
    """A module with these attributes, trained for two epochs with callbacks."""
    package = pytest.importorskip("pytorch_lightning")
    kind = modules.classifier(package.LightningModule, package)
    module = type("Measured", (kind,), attributes)()
    settings = Settings(device="cpu", directory="run", log_every="1 step")
    trainer = Trainer(module, callbacks=callbacks, defaults=False, settings=settings)
    return trainer.fit(modules.loader(), epochs=2)


def test_the_rate_of_trainer_utils_is_logged_after_each_step() -> None:
    history = measured(trainer_utils().LogLearningRate()).history
    assert history.values("train_recent/trainer/lr") == [0.02] * 22


def test_the_norms_of_trainer_utils_are_logged_and_limit_the_gradients() -> None:
    seen: list[float] = []
    callback = trainer_utils().GradientClipLogger()

    class Looking(Ours):
        def on_optimizer_step_end(self, run: Any, optimizer: Any) -> None:
            gradients = [p.grad for p in run.model.parameters()]
            seen.append(float(torch.nn.utils.get_total_norm(gradients)))

    history = measured(callback, Looking(), max_grad_norm=0.1).history
    norms = history.values("train_recent/trainer/norm")
    assert len(norms) == 22
    assert max(norms) > 0.1
    assert max(seen) <= 0.1 + 1e-6


def test_gradients_that_are_not_finite_end_a_run_with_trainer_utils_and_weights_are_kept() -> None:
    def step(self: Any, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = self(batch[0]).sum() * float("nan")
        return loss

    Path("checkpoints").mkdir()
    callback = trainer_utils().GradientClipLogger(should_stop=True)
    outcome = measured(callback, max_grad_norm=1.0, training_step=step).outcome
    assert (outcome.status, outcome.asked_by) == (Status.STOPPED, "GradientClipLogger")
    assert "head.weight" in state_file.read("checkpoints/inf_nan_gradient_epoch_0.ckpt")["model"]


def test_the_time_left_of_trainer_utils_is_logged_at_each_epoch() -> None:
    history = measured(trainer_utils().LogETL(), start_epoch=0, start_step=0).history
    assert len(history.values("logged/trainer/ETL (min)")) == 2
