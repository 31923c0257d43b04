from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import trackside
from tests.config.files import good, write
from tests.proof import programs
from trackside import Callback, PeriodicCallback, Run
from trackside.checkpoint import open_checkpoint
from trackside.cli.main import run as command
from trackside.errors import CheckpointError, NonFiniteError, UsageError


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 24 steps, saved every 7, each step recorded."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    programs.classes(str(folder)).fit()
    return folder


def recorded(folder: Path, name: str = "train_recent/loss") -> dict[int, float]:
    """The first value of each step, as the run wrote it down."""
    found: dict[int, float] = {}
    for line in (folder / "history.jsonl").read_text().splitlines():
        row = json.loads(line)
        if name in row:
            found.setdefault(row["step"], row[name])
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- is it the step that was recorded ----------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 8, 10, 24])
def test_a_replayed_step_is_bitwise_the_one_that_was_recorded(kept: Path, step: int) -> None:
    found = trackside.replay(kept, step)
    assert found.bitwise is True
    assert found.observation.loss == recorded(kept)[step]


def test_an_epoch_that_was_ended_ends_there_again(tmp_path: Path) -> None:
    programs.shortened(str(tmp_path)).fit()
    found = trackside.replay(tmp_path, 13)
    assert found.bitwise is True
    assert found.observation.batches[0].batch.epoch == 2


def test_a_mean_over_several_steps_proves_the_steps_in_it(tmp_path: Path) -> None:
    programs.classes(str(tmp_path), every="10 steps", log_every="5 steps").fit()
    found = trackside.replay(tmp_path, 11)
    assert found.bitwise is True
    assert found.verdict.compared == 1, "the mean of steps 11 to 15"


def test_a_step_that_comes_out_otherwise_is_told(kept: Path) -> None:
    found = trackside.replay(kept, 3, overrides=["lr=0.06"])
    assert found.bitwise is False
    first = found.verdict.differences[0]
    assert (first.step, first.name) == (2, "train_recent/loss"), (
        "the first step has the same weights"
    )


def test_without_a_record_that_it_is_part_of_nothing_is_claimed(tmp_path: Path) -> None:
    programs.classes(str(tmp_path), every="4 steps", log_every="5 steps").fit()
    file = tmp_path / "history.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if json.loads(line)["step"] < 11))
    found = trackside.replay(tmp_path, 12)
    assert found.bitwise is None
    assert "no record has a part of this step" in str(found.verdict)


def test_a_step_is_never_made_from_a_checkpoint_that_the_run_has_left_behind(
    tmp_path: Path,
) -> None:
    programs.classes(str(tmp_path)).fit()
    origin = tmp_path / "checkpoints" / "step-0000000007"
    programs.classes(str(tmp_path), every="16 steps").fit(resume=origin)

    found = trackside.replay(tmp_path, 15)

    assert (found.way.begins_after, found.bitwise) == (7, True)


def test_a_run_that_was_begun_elsewhere_is_made_again_from_there(tmp_path: Path) -> None:
    programs.classes(str(tmp_path / "first"), epochs=1).fit()
    origin = tmp_path / "first" / "checkpoints" / "step-0000000007"
    programs.classes(str(tmp_path / "then")).fit(resume=origin)

    found = trackside.replay(tmp_path / "then", 9)

    assert (found.way.checkpoint, found.bitwise) == (origin, True)


def test_data_that_draws_random_numbers_is_drawn_again(tmp_path: Path) -> None:
    programs.noisy(str(tmp_path)).fit()
    assert trackside.replay(tmp_path, 12).bitwise is True


def test_nothing_in_the_folder_of_the_run_is_written(kept: Path) -> None:
    before = contents(kept)
    trackside.replay(kept, 9)
    assert contents(kept) == before


def test_the_generators_of_this_process_stand_where_they_stood(kept: Path) -> None:
    before = torch.get_rng_state()
    trackside.replay(kept, 9)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_that_a_run_left_out_later_are_left_out(tmp_path: Path) -> None:
    class GoesBack(Callback[Run]):
        def on_step_end(self, run: Run) -> None:
            if run.progress.steps_completed == 10 and not run.rollbacks:
                run.roll_back("seen enough", leave_out=[run.data["train"].identify(1, 0)])

    program = programs.classes(str(tmp_path))
    program.trainer.callbacks.append(GoesBack())
    program.fit()
    [first] = trackside.replay(tmp_path, 9).observation.batches
    assert first.batch.number == 1
    assert trackside.replay(tmp_path, 9).bitwise is True


# --- what is seen of it ------------------------------------------------------------------------


def test_the_batch_is_named_and_kept(kept: Path) -> None:
    found = trackside.replay(kept, 12)
    [one] = found.observation.batches
    [(inputs, target)] = found.batches
    data = programs.points(64, 0)
    assert torch.equal(inputs, data.tensors[0][list(one.batch.samples)])
    assert torch.equal(target, data.tensors[1][list(one.batch.samples)])


def test_losses_of_samples_have_the_loss_of_the_step_as_their_mean(kept: Path) -> None:
    [one] = trackside.replay(kept, 12).observation.batches
    assert one.sample_losses is not None
    assert sum(one.sample_losses) / 8 == pytest.approx(one.loss, rel=1e-6)


def test_callbacks_that_join_hear_that_step_alone(kept: Path) -> None:
    class Hears(Callback[Run]):
        heard: list[str] = []

        def on_fit_start(self, run: Run) -> None:
            self.heard.append("begun")

        def on_step_end(self, run: Run) -> None:
            self.heard.append(f"step {run.progress.steps_completed}")

        def on_close(self, run: Run, outcome: Any) -> None:
            self.heard.append("closed")

    trackside.replay(kept, 12, callbacks=[one := Hears()])
    assert one.heard == ["begun", "step 12", "closed"]


def test_schedules_of_callbacks_that_join_are_due_in_that_step(kept: Path) -> None:
    class Seldom(PeriodicCallback[Run]):
        due: list[int] = []

        def on_due(self, run: Run) -> None:
            self.due.append(run.progress.steps_completed)

    trackside.replay(kept, 12, callbacks=[one := Seldom("1000 steps")])
    assert one.due == [12]


def test_an_error_in_the_step_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step ten"):
        programs.broken(str(tmp_path), "error").fit()
    found = trackside.replay(tmp_path, 10)
    assert isinstance(found.error, ValueError)
    assert found.observation.batches[0].batch.number == 1


def test_an_error_before_the_step_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step ten"):
        programs.broken(str(tmp_path), "error").fit()
    with pytest.raises(ValueError, match="step ten"):
        trackside.replay(tmp_path, 11)


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        programs.broken(str(tmp_path), "nan").fit()
    seen = trackside.replay(tmp_path, 10).observation
    assert seen.non_finite["loss"] == 1
    assert seen.non_finite["gradient of 4.weight"] == 16
    assert "batch" not in seen.non_finite


# --- what can't be replayed --------------------------------------------------------------------


def test_a_step_that_the_run_has_not_is_refused(kept: Path) -> None:
    with pytest.raises(UsageError, match="ends at step 24") as info:
        trackside.replay(kept, 25)
    assert info.value.remedy is not None
    assert "`epochs=40`, an argument of the function" in info.value.remedy
    assert trackside.replay(kept, 24, overrides=["epochs=40"]).bitwise, "as it is advised"
    with pytest.raises(UsageError, match="no step 0"):
        trackside.replay(kept, 0)


def test_a_run_without_a_seed_is_not_begun_again(kept: Path) -> None:
    program = programs.classes(str(kept))
    program.trainer.seed = None
    with pytest.raises(UsageError, match="without a seed"):
        trackside.replay(kept, 3, program=program)
    assert trackside.replay(kept, 9, program=program).bitwise is True


def test_a_run_of_several_ranks_is_refused(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_checkpoint

    def of_two(path: Path) -> Any:
        checkpoint = opened(path)
        object.__setattr__(checkpoint.manifest, "world_size", 2)
        return checkpoint

    monkeypatch.setattr("trackside.proof.made_again.open_checkpoint", of_two)
    with pytest.raises(CheckpointError, match="2 ranks"):
        trackside.replay(kept, 9)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    programs.classes(str(tmp_path)).fit()
    [weights] = (tmp_path / "checkpoints" / "step-0000000014").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    found = trackside.replay(tmp_path, 16)
    assert found.way.begins_after == 7
    assert found.bitwise is True


# --- the command -------------------------------------------------------------------------------


def test_the_command_tells_all_of_a_step(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["replay", str(kept), "--step", "12"]) == 0
    said = capsys.readouterr().out
    for part in (
        "5 steps trained",
        "to the last bit",
        "gradient norm",
        "(Linear): float32 [8, 8]",
    ):
        assert part in said


def test_the_command_gives_json_and_the_batch(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--json", "--with", "gradient_norm", "--save-batch", "batch.safetensors"]
    assert command(["replay", str(kept), "--step", "12", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bitwise"] is True
    samples = told["observation"]["batches"][0]["batch"]["samples"]
    saved = load_file("batch.safetensors")
    assert torch.equal(saved["0"], programs.points(64, 0).tensors[0][samples])


def test_training_from_the_start_is_asked_for_first(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["replay", str(kept), "--step", "3"]) == 2
    assert "3 steps trained again" in capsys.readouterr().err
    assert command(["replay", str(kept), "--step", "3", "--yes"]) == 0


def test_a_debugger_opens_inside_the_step(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("sys.breakpointhook", lambda: opened.append("here"))
    assert command(["replay", str(kept), "--step", "12", "--break"]) == 0
    assert opened == ["here"]


def test_a_callback_that_is_none_is_refused(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["replay", str(kept), "--step", "12", "--with", "gradent_norm"]) == 2
    assert "gradient_norm" in capsys.readouterr().err


def test_a_run_from_a_file_is_replayed_and_continued_by_what_it_was_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = "callbacks: {history: {}, checkpoint: {every: 1 epoch, keep_last: null}}\n"
    write(good(("epochs: 1", "epochs: 2"), more=more))
    assert command(["train", "run.yaml"]) == 0
    assert command(["resume", "run", "trainer.epochs=4"]) == 0
    capsys.readouterr()
    assert command(["replay", "run", "--step", "7", "--json"]) == 2
    assert "such as `trainer.epochs=40`" in capsys.readouterr().out
    assert command(["replay", "run", "--step", "7", "trainer.epochs=4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bitwise"] is True


def test_a_loss_that_tells_of_no_sample_gives_none(tmp_path: Path) -> None:
    program = programs.classes(str(tmp_path))
    plain = nn.CrossEntropyLoss()
    program.trainer.loss = lambda prediction, target: plain(prediction, target)
    program.fit()
    [one] = trackside.replay(
        tmp_path, 9, program=programs.classes(str(tmp_path))
    ).observation.batches
    assert one.sample_losses is not None
    again = programs.classes(str(tmp_path))
    again.trainer.loss = program.trainer.loss
    [one] = trackside.replay(tmp_path, 9, program=again).observation.batches
    assert one.sample_losses is None
