"""Every option has an effect, or is refused where it would have none.

A row for each option of the trainer, its settings and its runs: two values of it, and what differs
between them; or the test that shows it, where it takes a signal, a device, or several processes. An
option without a row fails. Options of callbacks and dialects are read somewhere, by their source.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau
from torch.utils.data import TensorDataset

from trackside import (
    Callback,
    ConfigurationError,
    Run,
    Scheduler,
    Settings,
    TracksideError,
    Trainer,
    callbacks,
    dialects,
)
from trackside.callbacks import AccumulationSchedule, Checkpoint
from trackside.callbacks import __all__ as CALLBACKS
from trackside.step.optimization import Clip

TESTS = Path(__file__).resolve().parent.parent
PACKAGE = TESTS.parent / "src" / "trackside"
DATA = TensorDataset(torch.arange(10.0).reshape(10, 1) / 10, torch.ones(10, 1))
OTHER = TensorDataset(torch.ones(6, 1), torch.zeros(6, 1))


class Sees(Callback[Run]):
    """What a run shows of its options."""

    compiled = deterministic = False

    def on_fit_start(self, run: Run) -> None:
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.compiled = run.model._compiled_call_impl is not None


def fitted(options: dict[str, Any], settings: dict[str, Any], fit: dict[str, Any]) -> Any:
    """Everything that a small run leaves to look at, by name."""
    sees = Sees()
    given: dict[str, Any] = {
        "model": lambda: nn.Linear(1, 1),
        "loss": nn.MSELoss(),
        "optimizer": lambda p: torch.optim.SGD(p, lr=0.1),
        "callbacks": [sees],
        "defaults": False,
        "seed": 0,
        **options,
    }
    trainer = Trainer(**given, settings=Settings(**{"directory": "run", **settings}))
    result = trainer.fit(**{"train": DATA, "epochs": 2, "batch_size": 4, **fit})
    weights = [p.detach().clone() for m in trainer.models.values() for p in m.parameters()]
    return {
        "weights": [float(value) for tensor in weights for value in tensor.flatten()],
        "step": result.outcome.step,
        "names": set(result.history.names),
        "records": len(result.history),
        "files": {path.as_posix() for path in Path().rglob("*") if path.is_file()},
        "callbacks": list(trainer.callbacks),
        "deterministic": sees.deterministic,
        "compiled": sees.compiled,
        "evaluations": len(result.history.values("val/loss")),
        "samples": result.history[-1].samples if len(result.history) else 0,
    }


def halved(optimizer: Any) -> ExponentialLR:
    return ExponentialLR(optimizer, 0.5)


VALIDATED = {"validation": OTHER}
EFFECTS: dict[str, tuple[Any, Any, str]] = {
    # option: (one value, another, what differs)
    "Trainer.model": (lambda: nn.Linear(1, 1), lambda: nn.Linear(1, 1, bias=False), "weights"),
    "Trainer.loss": (nn.MSELoss(), nn.L1Loss(), "weights"),
    "Trainer.optimizer": (
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.2),
        "weights",
    ),
    "Trainer.scheduler": (None, halved, "weights"),
    "Trainer.metrics": ({}, {"error": lambda p, t: (p - t).abs().mean()}, "names"),
    "Trainer.callbacks": ([], [Checkpoint()], "files"),
    "Trainer.defaults": (False, True, "callbacks"),
    "Trainer.seed": (0, 1, "weights"),
    "Trainer.precision": ("fp32", "bf16", "weights"),
    "Trainer.accumulate": (1, 2, "step"),
    "Trainer.clip": (None, Clip(norm=0.01), "weights"),
    "Settings.compile": (False, {"backend": "eager"}, "compiled"),
    "Settings.directory": ("run", "elsewhere", "files"),
    "Settings.log_every": ("50 steps", "1 step", "records"),
    "Settings.non_finite": (None, "stop", "callbacks"),
    "Settings.deterministic": (False, True, "deterministic"),
    "fit.train": (DATA, OTHER, "weights"),
    "fit.validation": (None, OTHER, "names"),
    "fit.epochs": (1, 2, "step"),
    "fit.steps": (1, 2, "step"),
    "fit.evaluate_every": ("1 epoch", "1 step", "evaluations"),
    "fit.batch_size": (4, 5, "step"),
    "fit.drop_last": (False, True, "step"),
}
BESIDE: dict[str, dict[str, Any]] = {"Trainer.metrics": VALIDATED, "fit.evaluate_every": VALIDATED}
"""What else the run needs for the option to have a meaning."""
HELD = {
    "Trainer.settings": "trainer/test_options_have_an_effect.py::test_an_option_has_an_effect",
    "Settings.mirror": "remote/test_uploads.py::"
    "test_a_run_goes_on_bitwise_from_its_remote_folder_in_another_place",
    "Settings.device": "test_standin.py",
    "Settings.step": "loop/test_ways.py::test_auto_compiles_where_that_can_be_done",
    "Settings.strategy": "distributed",
    "Settings.compare_ranks_every": "distributed/test_agreeing_ranks.py",
    "Settings.when_ranks_differ": "distributed/test_rank_checks.py::"
    "test_a_warning_comes_once_for_each_subject_and_the_run_goes_on",
    "Settings.on_resume_differs": "loop/test_following.py::"
    "test_a_run_may_end_where_it_would_go_on_otherwise",
    "Settings.halve_batches_to": "loop/test_halving.py::"
    "test_halving_ends_at_its_limit_with_the_error_itself",
    "Settings.guard": "trainer/test_guarding.py::"
    "test_an_observer_that_changes_something_is_named_with_its_hook",
    "Settings.prefetch_batches": "data/test_prefetch.py::"
    "test_batches_are_fetched_ahead_where_that_draws_nothing",
    "Settings.stop_signals": "test_endings.py",
    "Settings.stop_grace_seconds": "lifecycle/test_signals.py",
    "fit.data": "callbacks/evaluation/test_evaluate.py",
    "fit.resume": "loop/test_resume.py::test_a_step_and_a_path_name_one_checkpoint",
    "fit.rehearse": "trainer/test_rehearsal.py::"
    "test_every_path_of_the_run_is_gone_through_before_it",
    "evaluate.data": "loop/test_equal_to_a_hand_written_loop.py",
    "evaluate.name": "lifecycle/test_members.py",
    "evaluate.batch_size": "trainer/test_assembly.py::"
    "test_so_is_that_of_an_evaluation_or_a_prediction",
    "predict.data": "loop/test_predict.py",
    "predict.batch_size": "trainer/test_assembly.py::"
    "test_so_is_that_of_an_evaluation_or_a_prediction",
    "predict.keep": "loop/test_predict.py::"
    "test_predictions_that_are_not_kept_are_written_batch_by_batch_in_order",
    "predict.pad": "loop/test_predict.py::"
    "test_predictions_of_different_shapes_are_padded_on_request",
    "Scheduler.factory": "step/test_optimization.py",
    "Scheduler.interval": "step/test_optimization.py::test_a_scheduler_moves_as_it_is_told",
    "Scheduler.monitor": "step/test_optimization.py::test_only_a_plateau_has_a_monitor",
}
"""The test that shows the effect, below `tests/`."""


def options() -> set[str]:
    found = {f"Settings.{field.name}" for field in dataclasses.fields(Settings)}
    found |= {f"Scheduler.{field.name}" for field in dataclasses.fields(Scheduler)}
    calls: dict[str, Any] = {"Trainer": Trainer.__init__}
    calls |= {name: getattr(Trainer, name) for name in ("fit", "evaluate", "predict")}
    for name, call in calls.items():
        parameters = inspect.signature(call).parameters
        found |= {f"{name}.{parameter}" for parameter in parameters if parameter != "self"}
    return found


def test_every_option_has_a_row() -> None:
    assert options() == {*EFFECTS, *HELD}
    assert not EFFECTS.keys() & HELD.keys()


@pytest.mark.parametrize("option", HELD)
def test_the_test_that_shows_it_is_there(option: str) -> None:
    path, _, name = HELD[option].partition("::")
    place = TESTS / path
    assert place.exists()
    assert not name or f"def {name}(" in place.read_text()


@pytest.mark.parametrize("option", EFFECTS)
def test_an_option_has_an_effect(option: str, tmp_path: Path, monkeypatch: Any) -> None:
    place, _, name = option.partition(".")
    found = []
    for number, value in enumerate(EFFECTS[option][:2]):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        given: dict[str, dict[str, Any]] = {"Trainer": {}, "Settings": {"device": "cpu"}, "fit": {}}
        given["fit"].update(BESIDE.get(option, {}))
        if option == "fit.steps":
            given["fit"]["epochs"] = None
        given[place][name] = value
        found.append(fitted(given["Trainer"], given["Settings"], given["fit"]))
    looked_at = EFFECTS[option][2]
    assert found[0][looked_at] != found[1][looked_at]


# --- where an option has no meaning ---------------------------------------------------------------


class ByHand(Trainer):
    manual_optimization = True

    def training_step(self, run: Any, batch: Any) -> Any:
        loss = super().training_step(run, batch).loss
        self.optimize(loss, run.optimizer)
        return loss.detach()


class OwnStep(Trainer):
    def optimizer_step(self, run: Any, optimizer: Any) -> None:
        optimizer.step()


def made(kind: type[Trainer] = Trainer, **options: Any) -> Trainer:
    given: dict[str, Any] = {
        "loss": nn.MSELoss(),
        "optimizer": lambda p: torch.optim.SGD(p, lr=0.1),
        "defaults": False,
        **options,
    }
    return kind(lambda: nn.Linear(1, 1), **given)


MEANINGLESS: dict[str, tuple[Callable[[], object], str]] = {
    "accumulation by hand": (lambda: made(ByHand, accumulate=4), "accumulate"),
    "a schedule of accumulation by hand": (
        lambda: made(ByHand, callbacks=[AccumulationSchedule({0: 2})]).fit(DATA, epochs=1),
        "batches",
    ),
    "an own optimizer_step with fp16": (lambda: made(OwnStep, precision="fp16"), "precision"),
    "an interval of a plateau": (
        lambda: made(scheduler=Scheduler(ReduceLROnPlateau, "step")).fit(DATA, OTHER, epochs=1),
        "interval",
    ),
    "a monitor of another scheduler": (
        lambda: made(scheduler=Scheduler(halved, monitor="val/loss")).fit(DATA, OTHER, epochs=1),
        "monitor",
    ),
    "batch_size over batches": (
        lambda: made().fit([DATA[:4]], epochs=1, batch_size=2),
        "batch_size",
    ),
    "drop_last over batches": (
        lambda: made().fit([DATA[:4]], epochs=1, drop_last=True),
        "drop_last",
    ),
    "evaluate_every without validation data": (
        lambda: made().fit(DATA, epochs=1, evaluate_every="1 step"),
        "evaluate_every",
    ),
    "an address of nothing": (lambda: Settings(directory="nowhere://bucket/run"), "directory"),
    "a mirror of a local folder": (lambda: Settings(directory="run", mirror="other"), "mirror"),
    "precision 16": (lambda: made(precision=16), "precision"),
    "keep_best without a monitor": (lambda: Checkpoint(keep_best=1), "keep_best"),
    "a monitor without keep_best": (lambda: Checkpoint(monitor="val/loss"), "monitor"),
}


@pytest.mark.parametrize("what", MEANINGLESS)
def test_an_option_without_a_meaning_is_refused_by_its_name(what: str) -> None:
    make, option = MEANINGLESS[what]
    with pytest.raises(TracksideError) as info:
        make()
    assert info.value.option == option


def test_two_checkpoints_are_refused_with_the_way_to_say_both() -> None:
    with pytest.raises(ConfigurationError, match=r"Every\(epochs=1\) \| Every\(steps=10\)"):
        made(callbacks=[Checkpoint("1 epoch"), Checkpoint("10 steps")]).fit(DATA, epochs=1)


# --- options of callbacks -------------------------------------------------------------------------


def unread(kind: type) -> list[str]:
    """Parameters of a constructor that its body never reads."""
    init = kind.__init__  # type: ignore[misc]
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(inspect.unwrap(init))))
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return [name for name in inspect.signature(init).parameters if name not in {*read, "self"}]


@pytest.mark.parametrize("name", sorted(CALLBACKS))
def test_a_callback_reads_each_of_its_options(name: str) -> None:
    kind = getattr(callbacks, name)
    assert "__init__" not in vars(kind) or unread(kind) == []


def of_dialects() -> list[type]:
    """Classes of the dialects that make an object by hand, and configurations of theirs."""
    names = [one.name for one in pkgutil.walk_packages(dialects.__path__, f"{dialects.__name__}.")]
    found = [vars(importlib.import_module(name)).items() for name in names]
    kinds = {one for items in found for _, one in items if isinstance(one, type)}
    ours = [one for one in kinds if one.__module__ in names and one.__name__ not in STAND_INS]
    return sorted(ours, key=lambda one: (one.__module__, one.__qualname__))


STAND_INS = {"Setting"}
"""Classes whose `__new__` reads what the constructor is given."""


def test_an_adapter_a_built_in_and_a_view_of_a_dialect_reads_each_of_its_options() -> None:
    kinds = [one for one in of_dialects() if "__init__" in vars(one)]
    by_hand = [one for one in kinds if not dataclasses.is_dataclass(one)]
    assert len(by_hand) > 40
    assert {one.__qualname__: unread(one) for one in by_hand if unread(one)} == {}


READ_BY_THEIRS = {
    *("TrainerState.fn", "TrainerState.stage"),
    "TrainerConfig.skip_nan_loss",
    "TrainerResult.total_loss",
    "TrainerResult.losses_to_log",
    "TrainerResult.additional_outputs",
}
"""Fields of views that callbacks of the other framework read."""


def test_a_field_of_a_dialects_configuration_is_read_somewhere() -> None:
    read = attributes_read()
    fields = [
        (one, f)
        for one in of_dialects()
        if dataclasses.is_dataclass(one)
        for f in dataclasses.fields(one)
    ]
    assert len(fields) > 40
    unread_here = {f"{one.__qualname__}.{f.name}" for one, f in fields if f.name not in read}
    assert unread_here == READ_BY_THEIRS


def attributes_read() -> set[str]:
    found: set[str] = set()
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)  # read by its name: `writes = ("folder",)`
    return found


def test_what_a_callback_keeps_of_an_option_is_read_somewhere() -> None:
    read, unused = attributes_read(), []
    for name in CALLBACKS:
        kind = getattr(callbacks, name)
        if "__init__" in vars(kind):
            source = inspect.getsource(inspect.unwrap(kind.__init__))
            for node in ast.walk(ast.parse(inspect.cleandoc("\n" + source))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    unused += [f"{name}.{node.attr}"] * (node.attr not in read)
    assert unused == []
