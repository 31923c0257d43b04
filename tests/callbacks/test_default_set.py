"""What the callbacks that nobody asked for do, and leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.device import NAME
from trackside.callbacks.reporting.epoch_table import EpochTable
from trackside.callbacks.stopping.terminate_on_non_finite import TerminateOnNonFinite
from trackside.errors import ConfigurationError
from trackside.testing import tiny_regression
from trackside.trainer.defaults import DEFAULTS
from trackside.trainer.settings import Settings
from trackside.trainer.trainer import Trainer


def trainer(**options: Any) -> Trainer:
    return tiny_regression().trainer(defaults=True, **options)


def test_every_default_is_there_under_its_name() -> None:
    assert set(trainer().callbacks.names) == set(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_dropped_by_its_name(name: str) -> None:
    assert name not in trainer(callbacks={name: None}).callbacks.names


def test_a_default_gives_way_to_a_given_one_of_its_class() -> None:
    table = EpochTable(["val/loss"])

    assert [c for c in trainer(callbacks=[table]).callbacks if isinstance(c, EpochTable)] == [table]


def test_a_default_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="`progress`"):
        trainer(callbacks={"progres": None})


def test_settings_add_the_callback_for_values_that_are_not_finite() -> None:
    made = trainer(settings=Settings(non_finite="skip"))

    (added,) = [one for one in made.callbacks if isinstance(one, TerminateOnNonFinite)]
    assert added.policy == "skip"


@pytest.mark.parametrize(
    ("policy", "callbacks", "words"),
    [("skipp", [], "did you mean `skip`"), ("stop", [TerminateOnNonFinite()], "said twice")],
)
def test_a_setting_for_values_that_are_not_finite_that_can_not_hold_is_refused(
    policy: Any, callbacks: list[Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        trainer(settings=Settings(non_finite=policy), callbacks=callbacks)


def test_training_has_the_same_bits_with_them_or_without() -> None:
    with_them, without = tiny_regression(), tiny_regression()

    with_them.trainer(defaults=True).fit(with_them.train, with_them.validation, epochs=3)
    without.trainer().fit(without.train, without.validation, epochs=3)

    assert with_them.weights.equal(without.weights)


def test_only_history_checkpoints_and_provenance_are_written_into_the_runs_folder(
    own_folder: Path,
) -> None:
    task = tiny_regression()
    settings = Settings(directory=own_folder / "run")

    task.trainer(defaults=True, settings=settings).fit(task.train, task.validation, epochs=2)

    written = [p.relative_to(own_folder) for p in own_folder.rglob("*") if p.is_file()]
    others = [path for path in written if path.parts[:2] != ("run", "checkpoints")]
    others = [path for path in others if path.name != "changes.diff"]  # where git finds some
    assert sorted(path.name for path in others) == [
        "defaults.json",
        "environment.json",
        "history.jsonl",
        "journal.jsonl",
        "outcome.json",
        "run.json",
        "settings.json",
    ]


def test_captured_output_has_plain_lines_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = tiny_regression()

    task.trainer(defaults=True).fit(task.train, task.validation, epochs=2)

    captured = capsys.readouterr()
    assert captured.err == ""
    assert "\x1b" not in captured.out
    run, model, data, header, *rows = captured.out.splitlines()
    assert run.startswith(f"run: {NAME} · fp32 · runs/")
    assert model == "model: Linear, 3 parameters (12 B)"
    assert data == "data: train 10 samples in 3 batches, val 5 samples in 2 batches"
    assert header.split()[0] == "epoch"
    assert [row.split()[0] for row in rows[:3]] == ["1", "2", "completed"]


def test_no_default_listens_to_a_hook_of_a_step() -> None:
    inside_a_step = {
        *("on_step_start", "on_batch_start", "on_backward_start", "on_backward_end"),
        *("on_batch_end", "on_optimizer_step_start", "on_optimizer_step_end"),
        *("on_zero_grad_start", "on_zero_grad_end", "on_step_end"),
    }

    assert not inside_a_step & set(trainer().callbacks.table())
