"""`trackside.load` gives the trained model of a run, or says how to get it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trackside
from tests.config.files import good, write
from trackside import Program, Run, Settings, Trainer, UsageError, program
from trackside.callbacks import EMA, Checkpoint
from trackside.checkpoint import open_checkpoint
from trackside.checkpoint.errors import StateMismatchError
from trackside.cli.main import run
from trackside.errors import CheckpointError, UnknownModelError
from trackside.testing import tiny_regression

FOLDER = Path("run")
SAVES = "callbacks: {checkpoint: {keep_last: null, keep_best: 1, monitor: val/loss}}\n"


@program
def line(rate: float = 0.1, average: bool = False) -> Program:
    task = tiny_regression()
    trainer = Trainer(
        lambda: nn.Linear(2, 1),
        loss=task.loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate),
        callbacks=[
            Checkpoint(keep_last=9, keep_best=1, monitor="val/loss"),
            *([EMA(0.9)] if average else []),
        ],
        settings=Settings(directory=FOLDER),
        seed=0,
    )
    return Program(trainer, task.train, task.validation, options={"epochs": 2})


def from_file() -> Any:
    write(good(("epochs: 1", "epochs: 2"), more=SAVES))
    assert run(["train", "run.yaml"]) == 0


def in_python() -> Any:
    line().fit()


def saved(step: int) -> Any:
    return open_checkpoint(FOLDER / "checkpoints" / f"step-{step:010d}").state()["models"]["model"]


def is_equal(model: nn.Module, state: Any) -> bool:
    return all(value.equal(state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("make", [from_file, in_python])
def test_the_trained_model_of_a_run_is_one_line_away(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    steps = sorted(int(one.name[5:]) for one in (FOLDER / "checkpoints").glob("step-*"))
    capsys.readouterr()
    torch.manual_seed(3)
    before = torch.get_rng_state()

    assert is_equal(trackside.load(FOLDER), saved(steps[-1]))
    assert is_equal(trackside.load("run", steps[0]), saved(steps[0]))
    path = FOLDER / "checkpoints" / f"step-{steps[0]:010d}"
    assert is_equal(trackside.load(FOLDER, path), saved(steps[0]))
    best = trackside.load("run", "best")
    assert any(is_equal(best, saved(step)) for step in steps)
    assert not best.training
    assert torch.get_rng_state().equal(before)
    assert capsys.readouterr().out == ""


def of_a_plain_script() -> None:
    in_python()
    kept = json.loads((FOLDER / "settings.json").read_text())
    del kept["made_by"]
    (FOLDER / "settings.json").write_text(json.dumps(kept))


def of_a_lost_module() -> None:
    in_python()
    kept = json.loads((FOLDER / "settings.json").read_text())
    kept["made_by"]["function"] = "lost_module:line"
    (FOLDER / "settings.json").write_text(json.dumps(kept))


def of_nobody() -> None:
    in_python()
    (FOLDER / "settings.json").unlink()


@pytest.mark.parametrize("make", [of_a_plain_script, of_a_lost_module, of_nobody])
def test_a_model_that_cannot_be_made_again_is_given(make: Any) -> None:
    make()
    with pytest.raises(UsageError, match=r"load\('run', 4, into=model\)"):
        trackside.load("run", 4)
    module = nn.Linear(2, 1)
    assert trackside.load("run", 6, into=module) is module
    assert is_equal(module, saved(6))
    assert is_equal(trackside.load("run", 3, into=lambda: nn.Linear(2, 1)), saved(3))


def test_another_model_is_refused_and_stays_as_it_was() -> None:
    in_python()
    module = nn.Linear(3, 1)
    before = module.weight.clone()
    with pytest.raises(StateMismatchError):
        trackside.load("run", into=module)
    assert module.weight.equal(before)


def test_a_folder_without_a_checkpoint_is_refused() -> None:
    in_python()
    with pytest.raises(CheckpointError, match="no checkpoint for 99"):
        trackside.load("run", 99)


class Two(Trainer):
    def configure_model(self, run: Run) -> Any:
        return {"first": nn.Linear(2, 1), "second": nn.Linear(2, 2)}

    def configure_optimizers(self, run: Run) -> Any:
        both = [*run.models["first"].parameters(), *run.models["second"].parameters()]
        return torch.optim.SGD(both, lr=0.1)

    def training_step(self, run: Run, batch: Any) -> Any:
        return sum(model(batch[0]).pow(2).mean() for model in run.models.values())


@program
def pair() -> Program:
    trainer = Two(settings=Settings(directory=FOLDER), callbacks=[Checkpoint()], seed=0)
    return Program(trainer, tiny_regression().train, options={"epochs": 1})


def test_one_of_several_models_is_named() -> None:
    pair().fit()
    with pytest.raises(UsageError, match="first, second"):
        trackside.load("run")
    with pytest.raises(UnknownModelError, match="did you mean `second`"):
        trackside.load("run", name="secnd")
    assert trackside.load("run", name="second").weight.shape == (2, 2)


def test_averages_that_were_evaluated_in_place_of_the_weights_are_mentioned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line(average=True).fit()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        trackside.load("run", "best")
    assert "also keeps averages" in caplog.text
    assert "SaveWeights(average='ema')" in caplog.text


def test_a_script_is_not_imported_by_what_it_loads_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    in_python()
    monkeypatch.setattr("trackside.config.experiment.programs.import_module", pytest.fail)
    assert is_equal(trackside.load("run"), saved(6))


def test_the_best_of_a_run_that_is_not_made_again_is_asked_for_by_its_step() -> None:
    line().fit()
    with pytest.raises(UsageError, match="`trackside inspect run` lists all with their metrics"):
        trackside.load("run", "best", into=nn.Linear(2, 1))
