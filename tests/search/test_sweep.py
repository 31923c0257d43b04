"""A sweep ends with exactly the trials that were asked for, whatever kills it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.forks import FORKS, start_server
from tests.search.small_search import FILE
from trackside.cli.main import run
from trackside.errors import ConfigurationError
from trackside.search.processes import work_in_processes
from trackside.search.store import Trial
from trackside.search.sweep import Sweep, line, plan, ranked
from trackside.search.working import LIVES_WITHOUT_PROGRESS, Worker, work


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep of one option, with its module beside it."""
    shutil.copy(Path(__file__).with_name("small_search.py"), tmp_path)
    (tmp_path / "small.yaml").write_text(FILE)
    return tmp_path / "small.yaml"


def sweep_of(file: Path, name: str = "sweep", trials: int = 3, **options: Any) -> Sweep:
    return plan([str(file)], [], file.parent / name, trials, **options)


def _work(sweep: Sweep) -> None:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        work(sweep, print)


def begin(sweep: Sweep) -> BaseProcess:
    start_server()
    process = FORKS.Process(target=_work, args=(sweep,))
    process.start()
    return process


def five_are_far_ahead(sweep: Sweep) -> None:
    """Let five trials be complete with values beside which each other one is pruned."""
    store = sweep.store()
    for number in range(5):
        trial, _ = store.take(number + 1) or (None, None)
        assert trial is not None
        trial.report(-1.0, 1)
        store.record(trial, -1.0, "made up")


def ends(sweep: Sweep) -> list[tuple[int, str, dict[str, Any], float | None]]:
    trials = sweep.store().trials()
    return [(one.number, one.state, one.parameters, one.value) for one in trials]


def test_killed_in_a_trial_the_same_sweep_ends_as_an_unbroken_one(file: Path) -> None:
    unbroken, broken = sweep_of(file, "unbroken"), sweep_of(file, "broken")
    work(unbroken, lambda text: None)
    broken.folder.mkdir()
    (broken.folder / "kill").write_text("trial-0001")

    first = begin(broken)
    first.join()
    left = [one.state for one in broken.store().trials()]
    said: list[str] = []
    work(broken, said.append)

    assert (first.exitcode, left) == (-signal.SIGKILL, ["complete", "unfinished"])
    assert ends(broken) == ends(unbroken)
    assert len(said) == 2  # the one that was killed, and the last
    lines = map(json.loads, (broken.place(1) / "journal.jsonl").read_text().splitlines())
    begun = [one["step"] for one in lines if one["event"] == "session"]
    assert begun == [0, 3]  # it goes on from its checkpoint: the fourth step was not whole


@pytest.mark.slow
def test_processes_share_the_trials_and_finish_those_of_one_that_is_killed(file: Path) -> None:
    sweep = sweep_of(file, trials=5)
    sweep.store()
    (sweep.folder / "kill").write_text("trial-0002")

    workers = [begin(sweep), begin(sweep)]
    for worker in workers:
        worker.join()

    assert sorted(worker.exitcode or 0 for worker in workers) == [-signal.SIGKILL, 0]
    assert [one[:2] for one in ends(sweep)] == [(n, "complete") for n in range(5)]
    assert len({str(one[2]) for one in ends(sweep)}) == 5


def test_more_trials_can_be_asked_for_later_and_none_is_done_again(file: Path) -> None:
    work(sweep_of(file, trials=1), lambda text: None)
    said: list[str] = []
    work(sweep_of(file, trials=2), said.append)
    work(sweep_of(file, trials=2), said.append)

    assert len(said) == 1
    assert [one[0] for one in ends(sweep_of(file))] == [0, 1]


def test_a_configuration_that_has_changed_since_the_first_trials_is_told_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep_of(file).store()
    sweep_of(file).store()
    assert "has changed" not in caplog.text
    file.write_text(FILE.replace("epochs: 2", "epochs: 1"))
    sweep_of(file).store()
    sweep_of(file).store()
    assert caplog.text.count("the configuration has changed since") == 1


def test_each_trial_is_uploaded_to_a_folder_of_its_own(file: Path) -> None:
    there = file.parent / "there"
    text = FILE.replace(
        "  kills: {kind: small_search.Kills}", f"  upload: {{to: 'file://{there}'}}"
    )
    file.write_text(text)
    work(sweep_of(file, trials=2), lambda text: None)

    assert sorted(place.name for place in there.iterdir()) == ["trial-0000", "trial-0001"]
    values = [value for _, state, _, value in ends(sweep_of(file)) if state == "complete"]
    assert len(set(values)) == 2


def test_another_search_in_the_same_folder_is_refused(file: Path) -> None:
    sweep_of(file).store()

    with pytest.raises(ConfigurationError, match="holds another search"):
        sweep_of(file, monitor="val/error").store()


def test_a_file_that_is_no_study_is_refused_with_its_path_and_left_as_it_is(file: Path) -> None:
    sweep = sweep_of(file)
    sweep.folder.mkdir()
    (sweep.folder / "study.db").write_text("notes about a study, and no database" * 9)

    with pytest.raises(ConfigurationError, match=r"study\.db can't be opened"):
        sweep.store()
    assert (sweep.folder / "study.db").read_text().startswith("notes")


def test_errors_of_trials_count_and_the_third_in_a_row_ends_the_sweep(file: Path) -> None:
    sweep = plan([str(file)], ["data.train.samples=choice(0, -1)"], file.parent / "bad", 9)
    said: list[str] = []

    with pytest.raises(Exception, match="is empty"):
        work(sweep, said.append)

    assert len(said) == 3
    assert all("failed" in one for one in said)


def test_a_metric_whose_direction_is_unknown_needs_a_mode(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="--mode min"):
        sweep_of(file, monitor="val/kappa")
    assert sweep_of(file, monitor="val/kappa", mode="max").mode == "max"


def test_a_mistake_in_the_file_is_told_before_any_trial(file: Path) -> None:
    with pytest.raises(Exception, match="epochz"):
        plan([str(file)], ["trainer.epochz=3"], file.parent / "sweep", 1)
    assert not (file.parent / "sweep").exists()


def test_a_line_tells_how_far_the_sweep_is_and_the_best() -> None:
    trials = [
        Trial(0, "complete", 0.5, {"lr": 0.25}),
        Trial(1, "failed", None, {"lr": 0.125}, "ValueError: x"),
    ]
    sweep: Any = type("Asked", (), {"trials": 4, "monitor": "val/loss", "mode": "min"})

    said = line(trials, 1, sweep)

    assert said == "2/4  trial 1 failed  lr=0.125  (best 0.5, trial 0)  ValueError: x"


def test_the_best_come_first_and_those_that_are_not_complete_not_at_all() -> None:
    given = [Trial(0, "complete", 1.0, {}), Trial(1, "complete", 2.0, {})]
    given += [Trial(2, "pruned", 3.0, {}), Trial(3, "complete", 2.0, {})]

    assert [one.number for one in ranked(given, "max")] == [1, 3, 0]
    assert [one.number for one in ranked(given, "min")] == [0, 1, 3]


def test_the_command_prints_the_best_and_writes_their_report(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = file.parent / "sweep"
    asked = ["sweep", str(file), "--trials", "2", "--folder", str(folder)]

    assert run(asked) == 0
    printed = capsys.readouterr().out
    assert run([*asked, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)

    best = content["trials"][content["best"]]
    head, first = printed.partition("trial  val/loss  optimizer.lr\n")[1:]
    assert head
    assert first.split()[:2] == [str(best["number"]), f"{best['value']:.4g}"]
    assert "2 trials: 2 complete, 0 pruned, 0 failed" in printed
    page = (folder / "report.html").read_text()
    assert f"trial {best['number']}: val/loss {best['value']:.4g}" in page
    assert content["report"] == str(folder / "report.html")


def test_a_trial_that_optuna_prunes_is_counted_as_such(file: Path) -> None:
    sweep = sweep_of(file, trials=6, prune=True)
    five_are_far_ahead(sweep)

    work(sweep, lambda text: None)

    trials = sweep.store().trials()
    assert [one.state for one in trials] == ["complete"] * 5 + ["pruned"]
    assert trials[5].why.startswith("stopped at step 3: pruned by Optuna")


def test_a_trial_that_kills_each_of_its_processes_fails_and_the_others_are_trained(
    file: Path,
) -> None:
    sweep = sweep_of(file, trials=2)
    for _ in range(LIVES_WITHOUT_PROGRESS):
        store = sweep.store()
        trial, _ = store.take(1) or (None, None)
        assert trial is not None
        store.begin(trial, 0)
        store.leave(trial)  # as the system does for a process that is killed
    said: list[str] = []

    work(sweep, said.append)

    assert [one[1] for one in ends(sweep)] == ["failed", "complete"]
    assert "5 processes that trained it ended without a word" in said[0]


def test_lives_that_were_left_in_order_or_came_further_are_not_held_against_a_trial(
    file: Path,
) -> None:
    store = sweep_of(file).store()
    counted = []
    for step in (0, 0, 3, 3):
        trial, _ = store.take(1) or (None, None)
        counted.append(store.begin(trial, step))
        store.leave(trial, in_order=step == 3)

    assert counted == [1, 2, 1, 1]


def test_a_trial_that_ends_while_another_process_looks_for_those_left_behind_is_not_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sweep_of(file).store(), sweep_of(file).store()
    trial, _ = first.take(1) or (None, None)
    lock = second._lock

    def late(number: int) -> bool:
        first.record(trial, 0.5, "complete since it was read")
        return lock(number)

    monkeypatch.setattr(second, "_lock", late)

    assert second.take(1) is None
    assert second.is_over(1)
    assert second._held == {}


@pytest.mark.slow
def test_the_processes_of_a_sweep_train_all_trials(file: Path) -> None:
    sweep = sweep_of(file, trials=4)

    work_in_processes(sweep, 2, print)

    assert [one[:2] for one in ends(sweep)] == [(n, "complete") for n in range(4)]


def test_killed_before_its_end_was_kept_a_pruned_trial_is_pruned_at_the_same_step(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(file, trials=6, prune=True)
    five_are_far_ahead(sweep)
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_record", lambda worker, result: sys.exit("killed"))
        with pytest.raises(SystemExit):
            work(sweep, lambda text: None)

    work(sweep, lambda text: None)

    last = sweep.store().trials()[5]
    assert last.state == "pruned"
    assert last.why.startswith("stopped at step 3: pruned by Optuna")
