from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from tests.config import parts
from tests.config.files import good, write
from trackside import Scheduler, Trainer, accuracy
from trackside.callbacks import JSONLinesLogger
from trackside.config import Experiment, ExperimentError, Finished, load
from trackside.errors import ConfigurationError
from trackside.outcome import Status
from trackside.run import Run
from trackside.schedule import Every


def experiment(*changes: tuple[str, str], more: str = "", **overrides: object) -> Experiment:
    write(good(*changes, more=more))
    return load("run.yaml", [f"{key}={value}" for key, value in overrides.items()])


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    assert trainer._models is not None
    return {name: value.clone() for name, value in trainer._models["model"].state_dict().items()}


FULL = """\
seed: 3
data:
  batch_size: 3
  train: {kind: tests.config.parts.points, count: 10}
  val: {kind: tests.config.parts.points, count: 7, seed: 1}
model: {kind: tests.config.parts.Net, dropout: 0.5, head: {kind: Softplus, beta: 2}}
loss: {kind: cross_entropy, label_smoothing: 0.1}
metrics: {accuracy: accuracy}
optimizer: {kind: adamw, lr: 0.05, betas: [0.8, 0.99]}
scheduler: {kind: exponential, gamma: 0.9, interval: step}
trainer:
  epochs: 3
  accumulate: 2
  clip: {norm: 0.5}
  evaluate_every: 2 steps
  log_every: 1 step
  directory: run
callbacks:
  - kind: early_stopping
    monitor: val/loss
    patience: 50
"""


def test_the_yaml_way_and_the_python_way_are_bitwise_the_same_run() -> None:
    from trackside import Clip, Settings
    from trackside.callbacks.stopping.early_stopping import EarlyStopping

    write(FULL)
    by_file = load("run.yaml").run("by_file")
    trainer = Trainer(
        lambda: parts.Net(dropout=0.5, head=nn.Softplus(beta=2)),
        loss=nn.CrossEntropyLoss(label_smoothing=0.1),
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.8, 0.99)),
        scheduler=Scheduler(
            lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.9), interval="step"
        ),
        metrics={"accuracy": accuracy},
        callbacks=[EarlyStopping(monitor="val/loss", patience=50)],
        seed=3,
        accumulate=2,
        clip=Clip(norm=0.5),
        settings=Settings(directory="by_hand", log_every="1 step"),
    )
    by_hand = trainer.fit(
        parts.points(10), parts.points(7, 1), epochs=3, evaluate_every="2 steps", batch_size=3
    )
    logged = ("train/", "val/", "train_recent/", "lr/")
    names = [name for name in by_hand.history.names if name.startswith(logged)]
    assert {"train/loss", "val/loss", "val/accuracy"} <= set(names)
    for name in names:
        assert by_file.result.history.values(name) == by_hand.history.values(name), name
    ours, theirs = weights(by_file.trainer), weights(trainer)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert by_file.result.outcome.step == by_hand.outcome.step > 0


def test_a_run_trains_and_then_evaluates_what_is_named() -> None:
    finished = experiment(more="evaluate: [val]\nmetrics: {accuracy: accuracy}\n").run()
    assert finished.result.outcome.status is Status.COMPLETED
    assert set(finished.metrics) == {"val/loss", "val/accuracy"}


def test_nothing_is_made_by_loading() -> None:
    loaded = experiment(("parts.points}", "parts.refuse, reason: too early}"))
    with pytest.raises(ExperimentError, match="too early"):
        loaded.run()
    assert not Path("run").exists()


def test_the_folder_of_the_run_tells_what_it_was_made_from() -> None:
    write(good(("lr: 0.1", "lr: '${data.batch_size}'")))
    load("run.yaml", ["data.batch_size=2"]).run()
    kept = yaml.safe_load(Path("run/config.yaml").read_text())
    assert kept["optimizer"]["lr"] == 2
    environment = json.loads(Path("run/environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")
    assert environment["python"].startswith(f"{sys.version_info.major}.")


def test_the_configuration_in_the_folder_runs_again_to_the_same_weights() -> None:
    write(FULL)
    first = load("run.yaml").run()
    again = load("run/config.yaml").run("again")
    assert Path("again/config.yaml").read_text() == Path("run/config.yaml").read_text()
    ours, theirs = weights(first.trainer), weights(again.trainer)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_git_commit_and_what_is_not_in_it_are_kept(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    write(good())
    git("init", "-q")
    git("add", "run.yaml")
    git("commit", "-q", "-m", "first")
    write(good(("lr: 0.1", "lr: 0.2")))
    load("run.yaml").run()
    environment = json.loads(Path("run/environment.json").read_text())
    assert environment["git_commit"] == git("rev-parse", "HEAD")
    assert "+optimizer: {kind: sgd, lr: 0.2}" in Path("run/changes.diff").read_text()


def test_loggers_see_the_configuration() -> None:
    finished: Finished = experiment(more="callbacks: {spy: {kind: tests.config.parts.Spy}}\n").run()
    spy = finished.trainer.callbacks["spy"]
    assert isinstance(spy, parts.Spy)
    assert spy.config["experiment"]["optimizer"] == {"kind": "sgd", "lr": 0.1}


def test_several_validation_sets_are_evaluated_under_their_names() -> None:
    more = "  validation: [val, other]\n"
    changes = ("  val: {", "  other: {kind: tests.config.parts.points, seed: 5}\n  val: {")
    finished = experiment(changes, more=more).run()
    assert {"val/loss", "other/loss"} <= set(finished.result.history.names)


def test_data_that_is_not_validation_is_there_for_callbacks() -> None:
    changes = ("  val: {", "  test: {kind: tests.config.parts.points, seed: 5}\n  val: {")
    finished = experiment(changes, more="callbacks: {spy: {kind: tests.config.parts.Spy}}\n").run()
    spy = finished.trainer.callbacks["spy"]
    assert isinstance(spy, parts.Spy)
    assert spy.data == {"train", "val", "test"}
    assert "test/loss" not in finished.result.history.names


def test_a_loader_is_used_as_it_is() -> None:
    loader = "{kind: data_loader, batch_size: 8, dataset: {kind: tests.config.parts.points}}"
    changed = experiment(("  train: {kind: tests.config.parts.points}", f"  train: {loader}"))
    assert changed.run().result.outcome.step == 1


def test_a_trainer_of_ones_own_gets_its_own_options() -> None:
    options = "  epochs: 1\n  kind: tests.config.parts.OwnTrainer\n  temperature: 2\n"
    trainer = experiment(("  epochs: 1\n", options)).trainer()
    assert isinstance(trainer, parts.OwnTrainer)
    assert trainer.temperature == 2.0


def test_several_models_by_name_are_made_by_one_function() -> None:
    models = "model: {one: {kind: tests.config.parts.Net}, two: {kind: tests.config.parts.Net}}"
    made = experiment(("model: {kind: tests.config.parts.Net}", models)).make_model()
    assert set(made) == {"one", "two"}


def test_defaults_are_changed_and_removed_by_name() -> None:
    more = "callbacks: {progress: null, timer: null, history: {kind: tests.config.parts.Sparse}}\n"
    trainer = experiment(("  defaults: false\n", ""), more=more).trainer()
    names = {name for name, _ in trainer.callbacks.items()}
    assert "progress" not in names
    assert "timer" not in names
    assert type(trainer.callbacks["history"]) is parts.Sparse


def test_a_default_keeps_its_kind_when_only_its_options_are_given() -> None:
    from trackside.callbacks.reporting.learning_rate import LearningRate

    more = "callbacks: {learning_rate: {also: [momentum]}}\n"
    trainer = experiment(("  defaults: false\n", ""), more=more).trainer()
    assert type(trainer.callbacks["learning_rate"]) is LearningRate


def test_what_every_callback_has_may_stand_beside_its_options() -> None:
    more = "callbacks: {spy: {kind: tests.config.parts.Spy, on_error: warn, runs_after: [x]}}\n"
    spy = experiment(more=more).trainer().callbacks["spy"]
    assert spy.on_error == "warn"
    assert spy.runs_after == ("x",)


def test_the_schedule_of_a_callback_is_read_in_either_form() -> None:
    ticker = "kind: tests.config.parts.Ticker"
    more = f"callbacks: {{a: {{{ticker}, every: 2 steps}}, b: {{{ticker}, every_n_updates: 2}}}}\n"
    trainer = experiment(more=more).trainer()
    for name in ("a", "b"):
        one = trainer.callbacks[name]
        assert isinstance(one, parts.Ticker)
        assert one.every == Every(steps=2)


ONLY_WHAT_IS_NAMED = """
import sys
from trackside.config import load
from trackside.config.builtin_callbacks import builtin_callbacks
before = set(sys.modules)
load("run.yaml")
new = set(sys.modules) - before
assert "named" in new
strangers = {m.partition(".")[0] for m in new} & {"bait", "sklearn", "torchmetrics", "wandb"}
assert not strangers, strangers
callbacks = {b.reference.rpartition(".")[0] for b in builtin_callbacks().values()}
# `provenance` accompanies every run from a file.
own = {"trackside.callbacks.saving.checkpoint", "trackside.callbacks.reporting.provenance"}
assert callbacks & new == own, callbacks & new
"""


def test_only_what_kind_names_is_imported(tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text("from tests.config.parts import Net\n")
    (tmp_path / "bait.py").write_text("raise RuntimeError('imported')\n")
    model = ("{kind: tests.config.parts.Net}", "{kind: named.Net}")
    write(good(model, more="metrics: {bait: accuracy}\ncallbacks: {checkpoint: {}}\n"))
    done = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_IS_NAMED],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr


def test_modules_beside_the_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "beside_the_file.py").write_text("from tests.config.parts import Net as OwnNet\n")
    write(good(("tests.config.parts.Net", "beside_the_file.OwnNet")), "elsewhere/run.yaml")
    loaded = load("elsewhere/run.yaml")
    assert isinstance(loaded.make_model(), parts.Net)


def test_every_callback_sees_the_configuration_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def look(self: object, run: Run) -> None:
        seen.append(run.config["experiment"]["optimizer"]["lr"])

    monkeypatch.setattr(JSONLinesLogger, "on_attach", look)  # a default: it comes first
    write(good(("  defaults: false\n", "")))

    load("run.yaml", ["optimizer.lr=0.25"]).run()

    assert seen == [0.25]


# Two options have the value that is refused.
SAME_TEXT = """\
callbacks:
  first: {kind: EarlyStopping, monitor: val/loss, mode: min}
  second: {kind: CSVLogger, file: val/los}
  third: {kind: EarlyStopping, monitor: val/los, patience: 5}
"""


def test_an_error_of_a_run_is_told_at_the_key_of_the_callback_it_is_about() -> None:
    with pytest.raises(ExperimentError) as caught:
        experiment(more=SAME_TEXT).run()
    (problem,) = caught.value.problems
    assert problem.path == ("callbacks", "third", "monitor")
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (16, 41)


def test_an_error_that_names_no_option_has_no_key_though_its_value_stands_in_the_file() -> None:
    error = ConfigurationError("this is wrong", received="cross_entropy")
    located = experiment().located(error)
    assert not isinstance(located, ExperimentError)


def test_an_error_about_an_option_of_the_trainer_is_told_at_its_key() -> None:
    error = ConfigurationError("no such folder", received="1", option="directory")
    located = experiment().located(error)
    assert isinstance(located, ExperimentError)
    assert located.problems[0].path == ("trainer", "directory")


@pytest.mark.parametrize("key", ["trainer.epochs=-1", "data.batch_size=0"])
def test_a_number_that_fit_refuses_is_shown_at_its_place(key: str) -> None:
    write(good())
    with pytest.raises(ExperimentError) as caught:
        load("run.yaml", [key]).run()
    assert [".".join(map(str, problem.path)) for problem in caught.value.problems] == [
        key.partition("=")[0]
    ]
