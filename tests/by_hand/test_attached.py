"""A run without the trainer: a loop that its author writes, in `with trackside.attach(...)`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.by_hand.loops import BATCHES, EPOCHS, attached, parts, raw, weights
from trackside import Callback, Status, UsageError, WrongTimeError, attach
from trackside.by_hand.firing import FIRED, IF_TOLD
from trackside.callbacks import (
    AccumulationSchedule,
    Checkpoint,
    ClipGradients,
    EarlyStopping,
    GradientNorm,
    TerminateOnNonFinite,
    Upload,
)
from trackside.testing import Recorder, check_grammar


class Stop(Callback[Any]):
    """Asks for the end after some steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(self, run: Any) -> None:
        if run.progress.steps_completed == self._steps:
            run.stop("enough")


class Closings(Callback[Any]):
    """The outcomes with which it was closed, and errors it heard of."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        self.errors: list[BaseException] = []

    def on_exception(self, run: Any, error: BaseException) -> None:
        self.errors.append(error)

    def on_close(self, run: Any, outcome: Any) -> None:
        self.outcomes.append(outcome)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("noisy", [False, True])
def test_the_weights_are_bitwise_those_of_the_loop_alone(accumulate: int, noisy: bool) -> None:
    alone, made = parts(noisy=noisy), parts(noisy=noisy)
    torch.manual_seed(1)
    raw(alone, accumulate)
    torch.manual_seed(1)

    with made.attach(Checkpoint(), GradientNorm()) as run:
        attached(made, run, accumulate)

    assert torch.equal(weights(made), weights(alone))
    assert not torch.equal(weights(made), weights(parts()))


def test_the_rest_of_an_epoch_is_left_out() -> None:
    class Ends(Callback[Any]):
        def on_step_end(self, run: Any) -> None:
            if run.progress.steps_completed == 2:
                run.end_epoch("enough")

    made = parts()
    with made.attach(Ends()) as run:
        attached(made, run)

    assert [(one.epoch, one.step) for one in run.ended_epochs] == [(0, 2)]
    assert run.progress.steps_completed == 2 + 2 * BATCHES
    assert run.progress.epochs_completed == EPOCHS


def test_a_loop_left_where_its_epoch_was_ended_goes_on_with_the_next(tmp_path: Path) -> None:
    class Ends(Callback[Any]):
        def on_step_end(self, run: Any) -> None:
            if run.progress.steps_completed == 2:
                run.end_epoch("enough")

    def leave(made: Any, run: Any) -> None:
        for _ in run.epochs(EPOCHS):
            for batch in run.batches():
                loss = made.loss_of(batch)
                loss.backward()
                made.update()
                run.step_done(loss)
                if run.progress.steps_completed == 2:
                    return

    made = parts()
    with made.attach(Ends(), Checkpoint(), directory=tmp_path) as run:
        leave(made, run)
    again = parts()
    with again.attach(Checkpoint(), directory=tmp_path, resume="auto") as run:
        attached(again, run)

    assert run.progress.steps_completed == 2 + (EPOCHS - 1) * BATCHES


def test_records_hold_the_weighted_mean_of_the_losses_that_the_loop_told() -> None:
    made, told = parts(), []

    with made.attach() as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                loss = made.loss_of(batch)
                loss.backward()
                made.update()
                run.step_done(loss)
                told.append((loss.item(), len(batch[0])))

    mean = sum(loss * count for loss, count in told) / sum(count for _, count in told)
    assert run.history.latest("train/loss") == pytest.approx(mean)
    assert run.progress.samples_completed == 22


def test_every_hook_of_a_fit_fires_in_the_order_of_the_grammar() -> None:
    made, recorder = parts(), Recorder()

    with made.attach(recorder) as run:
        for _ in run.epochs(2):
            for batch in run.batches():
                loss = made.loss_of(batch)
                run.backward(loss)
                made.optimizer.step()
                run.zero_grad()
                run.step_done(loss)
            with run.evaluating("val") as evaluation:
                for batch in evaluation.batches(made.loader):
                    evaluation.batch_done(made.loss_of(batch))

    check_grammar(recorder.events)
    expected = {*FIRED, *IF_TOLD}
    never_here = {"on_stop", "on_roll_back", "on_exception"}
    saving = {"on_checkpoint_save", "on_checkpoint_saved", "on_checkpoint_load"}
    assert set(recorder.names) == expected - never_here - saving


def test_a_stop_that_a_callback_asks_for_ends_both_loops() -> None:
    made = parts()

    with made.attach(Stop(8)) as run:
        attached(made, run)

    assert run.progress.steps_completed == 8
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.asked_by) == (Status.STOPPED, "stop")


def test_early_stopping_watches_what_the_loop_evaluates() -> None:
    made = parts()

    with made.attach(EarlyStopping("val/loss", patience=1)) as run:
        for _ in run.epochs(9):
            for batch in run.batches():
                run.step_done(made.loss_of(batch))  # no update: it never improves
            with run.evaluating("val") as evaluation:
                for batch in evaluation.batches([made.loader.dataset[:]]):
                    evaluation.batch_done(made.loss_of(batch))

    assert run.outcome is not None
    assert run.outcome.asked_by == "early_stopping"
    assert run.progress.epochs_completed == 2


def test_a_pass_that_the_loop_breaks_off_ends_its_epoch() -> None:
    made, recorder = parts(), Recorder()

    with made.attach(recorder) as run:
        for _ in run.epochs(2):
            for number, batch in enumerate(run.batches()):
                loss = made.loss_of(batch)
                run.backward(loss)
                made.optimizer.step()
                run.zero_grad()
                run.step_done(loss)
                if number == 1:
                    break

    check_grammar(recorder.events)
    assert (run.progress.steps_completed, run.progress.epochs_completed) == (4, 2)
    assert str(run.outcome) == "completed at step 4: reached epochs=2"


def test_a_loop_that_is_left_is_closed_in_order() -> None:
    made, closings = parts(), Closings()

    with made.attach(closings) as run:
        for _ in run.epochs(2):
            for batch in run.batches():
                run.step_done(made.loss_of(batch))
                break
            break

    assert [str(one) for one in closings.outcomes] == [
        "completed at step 1: the loop was left after 1 step"
    ]
    assert run.progress.epochs_completed == 0


@pytest.mark.parametrize("kind", [ValueError, StopIteration, GeneratorExit, SystemExit])
def test_an_error_in_the_body_closes_everybody_and_comes_out_as_it_is(
    kind: type[BaseException],
) -> None:
    made, closings, error = parts(), Closings(), kind("mine")

    with pytest.raises(kind) as raised, made.attach(closings) as run:
        for _ in run.epochs(2):
            for _ in run.batches():
                raise error

    assert raised.value is error
    assert closings.errors == [error]
    assert [one.status for one in closings.outcomes] == [Status.FAILED]


def test_ctrl_c_saves_closes_and_then_ends_the_program() -> None:
    made, closings = parts(), Closings()

    with pytest.raises(KeyboardInterrupt), made.attach(closings, Checkpoint(None)) as run:
        for _ in run.epochs(2):
            for number, batch in enumerate(run.batches()):
                if number == 2:
                    signal.raise_signal(signal.SIGINT)
                run.step_done(made.loss_of(batch))

    assert [one.status for one in closings.outcomes] == [Status.INTERRUPTED]
    assert [path.name for path in Path("run/checkpoints").glob("step-*")] == ["step-0000000003"]


@pytest.mark.parametrize(("broken_at", "noisy"), [(3, True), (6, False), (9, False), (12, True)])
def test_a_loop_that_goes_on_from_a_checkpoint_ends_with_the_same_weights(
    broken_at: int, noisy: bool
) -> None:
    unbroken = parts(noisy=noisy)
    with unbroken.attach(directory="whole") as run:
        attached(unbroken, run)
    broken = parts(noisy=noisy)

    class Power(Exception):
        pass

    class Fails(Callback[Any]):
        def on_batch_start(self, run: Any, batch: Any) -> None:
            if run.progress.steps_completed == broken_at:
                raise Power

    every = Checkpoint(f"{broken_at} steps")
    with pytest.raises(Power), broken.attach(every, Fails()) as run:
        attached(broken, run)
    torch.manual_seed(99)
    resumed = parts(noisy=noisy)
    torch.manual_seed(99)

    with resumed.attach(Checkpoint(None), resume="auto") as run:
        attached(resumed, run)

    assert run.resumed_from is not None
    assert run.resumed_from.name.startswith(f"step-{broken_at:010d}")
    assert torch.equal(weights(resumed), weights(unbroken))
    assert resumed.scheduler.state_dict() == unbroken.scheduler.state_dict()


def test_a_state_that_was_not_given_again_is_refused() -> None:
    made = parts()
    with made.attach(Checkpoint(None)) as run:
        attached(made, run)

    with (
        pytest.raises(UsageError, match="not what was saved"),
        made.attach(Checkpoint(), state={}, resume="auto") as run,
    ):
        attached(made, run)


def test_a_state_that_cannot_be_saved_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="can't be saved"):
        parts().attach(state={"counter": 3})


def test_a_generator_given_as_state_goes_on_where_it_stood() -> None:
    made, own = parts(), torch.Generator().manual_seed(5)
    with made.attach(Checkpoint(None), state={"own": own}) as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                torch.rand(1, generator=own)
                run.step_done(made.loss_of(batch))
    saved, own = own.get_state(), torch.Generator().manual_seed(6)

    with made.attach(Checkpoint(), state={"own": own}, resume="auto") as run:
        run.epochs(1)

    assert torch.equal(own.get_state(), saved)


def test_an_update_that_a_callback_skips_is_not_made() -> None:
    made = parts()
    before = weights(made)

    with made.attach(TerminateOnNonFinite("skip")) as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                loss = made.loss_of(batch) * float("nan")
                run.backward(loss)
                made.update()
                run.step_done(loss)
                break
            break

    assert torch.equal(weights(made), before)
    assert [one.step for one in run.skipped_steps] == [1]


def test_a_step_is_not_said_to_be_skipped_when_its_update_is_made() -> None:
    class TooLate(Callback[Any]):
        def on_batch_end(self, run: Any, batch: Any, output: Any) -> None:
            run.skip_step("too late")

    made, in_time = parts(), parts()
    with pytest.raises(UsageError, match="whose update is made"), made.attach(TooLate()) as run:
        for _ in run.epochs(1):
            for batch in run.batches():
                loss = made.loss_of(batch)
                loss.backward()
                made.update()
                run.step_done(loss)
    before = weights(in_time)
    with in_time.attach(TooLate(), directory="other") as run:
        attached(in_time, run)

    assert len(run.skipped_steps) == run.progress.steps_completed
    assert torch.equal(weights(in_time), before)


def test_a_return_to_a_checkpoint_takes_the_steps_again() -> None:
    made = parts()
    asked: list[bool] = []

    class GoesBack(Callback[Any]):
        def on_step_end(self, run: Any) -> None:
            if run.progress.steps_completed == 8 and not asked:
                asked.append(True)
                run.roll_back("try again")

    with made.attach(Checkpoint("3 steps"), GoesBack()) as run:
        attached(made, run)
    unbroken = parts()
    with unbroken.attach(directory="whole") as other:
        attached(unbroken, other)

    assert [(one.from_step, one.to_step) for one in run.rollbacks] == [(8, 6)]
    assert run.progress.steps_completed == other.progress.steps_completed
    assert torch.equal(weights(made), weights(unbroken))


def test_clipping_by_a_callback_comes_before_the_update() -> None:
    made, by_hand = parts(), parts()
    torch.manual_seed(1)
    with made.attach(ClipGradients(0.01)) as run:
        attached(made, run)
    torch.manual_seed(1)

    for _ in range(EPOCHS):
        for batch in by_hand.loader:
            by_hand.loss_of(batch).backward()
            torch.nn.utils.clip_grad_norm_(by_hand.model.parameters(), 0.01)
            by_hand.update()

    assert torch.equal(weights(made), weights(by_hand))


def test_a_callback_that_changes_the_batches_of_a_step_is_refused() -> None:
    made = parts()

    with (
        pytest.raises(UsageError, match="accumulation_schedule"),
        made.attach(AccumulationSchedule({0: 2})) as run,
    ):
        attached(made, run)


def test_batches_before_the_epochs_are_refused_with_the_right_order() -> None:
    with pytest.raises(WrongTimeError, match=r"run\.epochs"), parts().attach() as run:
        run.batches()


def test_epochs_are_asked_for_once() -> None:
    with pytest.raises(UsageError, match="called once"), parts().attach() as run:
        run.epochs(1)
        run.epochs(1)


def test_a_process_among_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(UsageError, match="several processes"):
        parts().attach()


def test_an_upload_is_refused_with_the_way_to_do_it_later() -> None:
    upload = Upload("memory://bucket/by-hand")
    with pytest.raises(UsageError, match=r"(?s)`Upload` can't upload.*trackside upload RUN --to"):
        parts().attach(upload).__enter__()


def test_a_model_of_another_kind_is_refused() -> None:
    made = parts()

    with pytest.raises(UsageError, match="`model` can't be used"):
        attach(model=made.optimizer, optimizers=made.optimizer, loader=made.loader)  # type: ignore[arg-type]


def test_optimizers_are_left_without_hooks() -> None:
    made = parts()

    with made.attach() as run:
        attached(made, run)

    assert not made.optimizer._optimizer_step_pre_hooks
    assert not made.optimizer._optimizer_step_post_hooks
