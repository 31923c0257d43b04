"""The folder of a run: one run at a time, and `resume` goes on with the run that was begun last."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.forks import FORKS, start_server
from trackside import Callback, Settings
from trackside.callbacks.saving.checkpoint import Checkpoint
from trackside.errors import CheckpointError, UsageError
from trackside.run_folder.claim import ClaimedError
from trackside.run_folder.identity import IDENTITY, identity
from trackside.testing import tiny_regression

FOLDER = Path("run")


class Killed(BaseException):
    """Ends a run where it stands: what a kill leaves on the disk, but for the claim."""


class Resumed(Callback[Any]):
    """Where a run began."""

    step = -1

    def on_fit_start(self, run: Any) -> None:
        self.step = run.progress.steps_completed


def fit(*callbacks: Any, steps: int = 6, folder: Path | None = FOLDER, **options: Any) -> Any:
    task = tiny_regression()
    trainer = task.trainer(
        callbacks=[Checkpoint(save_on_failure=False), *callbacks],
        settings=Settings(directory=folder),
    )
    return trainer.fit(task.train, steps=steps, **options)


def kill_at(hook: str) -> Callback[Any]:
    def kill(self: Any, *_: Any) -> None:
        raise Killed

    made: Callback[Any] = type("Kill", (Callback,), {hook: kill})()
    return made


def train_until_killed(hook: str, folder: Path) -> None:
    """In a process of its own."""

    def kill(self: Any, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    os.chdir(folder)
    fit(type("Kill", (Callback,), {hook: kill})())


def killed(hook: str) -> None:
    """A run in the folder, in another process, that is killed in a hook."""
    start_server()
    process = FORKS.Process(target=train_until_killed, args=(hook, Path.cwd()))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


BEFORE_THE_FIRST_SAVE = ["on_setup_end", "on_fit_start", "on_step_start", "on_step_end"]


@pytest.mark.parametrize("hook", BEFORE_THE_FIRST_SAVE)
def test_a_new_run_that_is_killed_before_its_first_save_goes_on_as_itself(hook: str) -> None:
    fit()
    killed(hook)
    seen = Resumed()
    fit(seen, resume="auto")
    assert seen.step == 0


@pytest.mark.parametrize("hook", ["on_setup_end", "on_fit_start", "on_step_start"])
def test_a_run_that_fails_before_its_first_step_has_not_taken_the_folder(hook: str) -> None:
    fit()
    with pytest.raises(Killed):
        fit(kill_at(hook))
    seen = Resumed()
    fit(seen, steps=9, resume="auto")
    assert seen.step == 6


def test_what_was_not_taken_is_told(caplog: pytest.LogCaptureFixture) -> None:
    fit()
    killed("on_fit_start")
    with caplog.at_level(logging.WARNING):
        fit(resume="auto")
    assert "checkpoints of earlier runs" in caplog.text


@pytest.mark.parametrize("resume", ["best", 6])
def test_another_runs_checkpoint_is_not_found_by_its_step_or_value(resume: Any) -> None:
    fit()
    killed("on_fit_start")
    with pytest.raises((CheckpointError, UsageError)):
        fit(resume=resume)


def test_it_is_found_by_its_path() -> None:
    fit()
    killed("on_fit_start")
    seen = Resumed()
    fit(seen, steps=8, resume=FOLDER / "checkpoints/step-0000000006")
    assert seen.step == 6


def test_a_resumed_run_is_the_same_run() -> None:
    fit()
    before = identity(FOLDER)
    fit(steps=9, resume="auto")
    assert identity(FOLDER) == before


def test_a_folder_of_an_older_version_goes_on() -> None:
    fit()
    (FOLDER / IDENTITY).unlink()
    seen = Resumed()
    fit(seen, steps=9, resume="auto")
    assert seen.step == 6


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": 1, "begun": ""}', "[" * 9999])
def test_a_damaged_identity_is_an_error_and_no_guess(content: str) -> None:
    fit()
    (FOLDER / IDENTITY).write_text(content)
    with pytest.raises(UsageError, match="which run the folder is of"):
        fit(resume="auto")


@pytest.mark.parametrize("resume", [None, "auto"])
def test_a_run_in_the_folder_of_a_living_one_is_refused(resume: Any) -> None:
    refused: list[str] = []

    class Second(Callback[Any]):
        def on_step_end(self, run: Any) -> None:
            if not refused:
                with pytest.raises(ClaimedError) as raised:
                    fit(resume=resume)
                refused.append(str(raised.value.received))

    fit(Second())
    assert refused[0].startswith(f"process {os.getpid()} on")


def test_a_refused_run_leaves_the_claim_of_the_first_as_it_is() -> None:
    seen: list[bool] = []

    class Twice(Callback[Any]):
        def on_step_end(self, run: Any) -> None:
            for _ in range(2):
                with pytest.raises(ClaimedError):
                    fit()
            seen.append(True)

    fit(Twice(), steps=1)
    assert seen


@pytest.mark.parametrize("hook", ["on_setup_end", "on_step_end", "on_close"])
def test_a_folder_is_free_again_however_its_run_ended(hook: str) -> None:
    with pytest.raises((Killed, BaseExceptionGroup)):
        fit(kill_at(hook))
    fit()


def test_folders_that_nobody_chose_are_each_runs_own() -> None:
    folders = {fit(folder=None).directory for _ in range(3)}
    assert len(folders) == 3


def test_a_run_that_writes_nothing_leaves_no_folder() -> None:
    task = tiny_regression()
    result = task.trainer().fit(task.train, steps=1)
    assert [p.name for p in result.directory.iterdir()] == [IDENTITY]
