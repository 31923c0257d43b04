"""One inbox: asked in one place, agreed in one place, taken in one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from trackside import Callback, Settings, Trainer, UsageError
from trackside.callbacks import Checkpoint
from trackside.distributed.agreement import Agreement, agree
from trackside.distributed.world import World
from trackside.requests import Request, Requests
from trackside.run import Evaluation, Run
from trackside.testing import tiny_regression


def test_somebody_is_stopping_from_the_asking_until_the_end() -> None:
    requests, agreement = Requests(), agree(World())
    seen = [requests.stopping]
    requests.ask(Request("stop", "enough", "me"))
    seen.append(requests.stopping)
    requests.agree(agreement)
    seen.append(requests.stopping)
    requests.end(requests.take("stop")[0])
    seen.append(requests.stopping)

    assert seen == [False, True, True, True]


def test_a_request_says_on_which_ranks_it_was_asked() -> None:
    assert Request("stop", "enough", "me").who == "me"
    assert Request("stop", "enough", "me", ranks=(1, 2)).who == "me on ranks 1, 2"


def test_everything_is_left_for_a_return_until_the_run_is_there() -> None:
    requests, seen = Requests(), []
    seen.append(requests.leaving)
    requests.going_back.append(Request("roll_back", "a spike", "me"))
    seen.append(requests.leaving)
    requests.going_back.clear()
    seen.append(requests.leaving)

    assert seen == [False, True, False]


def test_a_reason_that_is_no_text_is_refused_where_it_is_given() -> None:
    with pytest.raises(UsageError, match="the reason of a request `stop` must be text"):
        Requests().ask(Request("stop", 3, "me"))  # type: ignore[arg-type]


class FromAnotherRank:
    """An agreement in which another rank's request comes up only where this one waits for it."""

    def at_step(self, asked: Sequence[Request]) -> Sequence[Request]:
        return asked

    def agree_now(self, asked: Sequence[Request]) -> Sequence[Request]:
        return [*asked, Request("roll_back", "a spike", "another rank")]


def test_a_save_that_all_ask_for_waits_for_a_return_that_one_asks_for() -> None:
    agreement = cast("Agreement", FromAnotherRank())
    alone, together = Requests(), Requests()
    alone.ask(Request("save", "by a clock", "me"))
    alone.agree(agreement, wait=False)
    together.ask(Request("save", "every 4 steps", "me", all_ranks=True))
    together.agree(agreement, wait=False)

    assert [one.kind for one in alone.take("roll_back")] == []
    assert [one.kind for one in together.take("roll_back")] == ["roll_back"]


def test_a_stop_that_is_discarded_was_not_asked() -> None:
    requests = Requests()
    with requests.discarding():
        requests.ask(Request("stop", "not meant", "me"))

    assert not requests.stopping
    assert list(requests) == []


class StopsLate(Callback):
    """Asks to stop in the last step, and looks in the evaluation that follows."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_step_end(self, run: Run) -> None:
        if run.progress.steps_completed == 2:
            run.stop("enough")

    def on_evaluation_start(self, run: Run, evaluation: Evaluation) -> None:
        self.seen.append(run.stopping)


def test_the_run_is_stopping_in_the_evaluation_that_follows() -> None:
    task, late = tiny_regression(), StopsLate()
    task.trainer(callbacks=[late]).fit(
        task.train, task.validation, steps=3, evaluate_every="2 steps"
    )

    assert late.seen == [True]


class SkipsSecond(Trainer):
    """Skips its second step, and counts its steps."""

    steps_seen = 0

    def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
        self.steps_seen += 1
        if self.steps_seen == 2:
            run.skip_step("a test")

    def state_dict(self) -> dict[str, Any]:
        return {"steps_seen": self.steps_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps_seen = state["steps_seen"]


def skipping(folder: Path) -> SkipsSecond:
    task = tiny_regression()
    return SkipsSecond(
        task.model,
        loss=task.loss,
        optimizer=task.optimizer,
        callbacks=[Checkpoint("1 step")],
        defaults=False,
        seed=0,
        settings=Settings(directory=folder, device="cpu"),
    )


def test_a_skipped_step_is_in_history_and_result_after_a_resume(tmp_path: Path) -> None:
    skipping(tmp_path).fit(tiny_regression().train, steps=3)
    result = skipping(tmp_path).fit(tiny_regression().train, steps=4, resume="auto")

    (skipped,) = result.skipped_steps
    assert (skipped.step, skipped.reason, skipped.asked_by) == (2, "a test", "trainer")
    assert result.history.points("train/skipped_steps") == [(2, 1.0)]


def test_a_trainer_goes_on_with_its_own_state(tmp_path: Path) -> None:
    skipping(tmp_path).fit(tiny_regression().train, steps=3)
    resumed = skipping(tmp_path)
    resumed.fit(tiny_regression().train, steps=4, resume="auto")

    assert resumed.steps_seen == 4
