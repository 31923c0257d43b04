"""Callbacks with a schedule, and callbacks made of plain functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackside.errors import ScheduleError, UnknownHookError
from trackside.lifecycle.hooks import Callback, is_overridden
from trackside.lifecycle.periodic import PeriodicCallback, on
from trackside.run import Run
from trackside.schedule import Every
from trackside.testing import SpyCallback, script


class Beat(PeriodicCallback[Run]):
    """Notes the step of each `on_due`."""

    def __init__(self, every: Any) -> None:
        super().__init__(every)
        self.at: list[int] = []

    def on_due(self, run: Run) -> None:
        self.at.append(run.progress.steps_completed)


@given(
    amount=st.integers(1, 7),
    unit=st.sampled_from(["steps", "epochs", "samples"]),
    epoch_steps=st.integers(1, 5),
    epochs=st.integers(0, 4),
    last=st.booleans(),
)
def test_it_fires_when_its_count_is_crossed_and_at_the_end_when_asked(
    amount: int, unit: str, epoch_steps: int, epochs: int, last: bool
) -> None:
    options: dict[str, Any] = {unit: amount, "last": last}
    beat = Beat(Every(**options))
    script(beat, [{}] * epochs, epoch_steps=epoch_steps, samples=2)

    end = epochs * epoch_steps
    per_step = {"steps": 1.0, "epochs": 1 / epoch_steps, "samples": 2.0}[unit]
    due = [
        step
        for step in range(1, end + 1)
        if int(step * per_step + 1e-9) // amount > int((step - 1) * per_step + 1e-9) // amount
    ]
    if last and end not in due:
        due.append(end)
    assert beat.at == due


def test_both_halves_of_a_schedule_fire() -> None:
    beat = Beat("2 steps or 1 epoch")
    script(beat, [{}, {}], epoch_steps=3)

    assert beat.at == [2, 3, 4, 6, 6]


@pytest.mark.parametrize(
    ("every", "idle"),
    [
        ("2 steps", {"on_epoch_end"}),
        ("1 epoch", {"on_step_end"}),
        ("2 steps or 1 epoch", set()),
        (None, {"on_step_end", "on_epoch_end"}),
    ],
)
def test_hooks_that_its_schedule_does_not_need_stay_idle(every: Any, idle: set[str]) -> None:
    beat = Beat(every)

    hooks = {"on_step_end", "on_epoch_end"}
    assert {hook for hook in hooks if not is_overridden(beat, hook)} == idle


def test_a_second_run_begins_anew() -> None:
    beat = Beat(Every(steps=4, last=True))
    for _ in range(2):
        script(beat, [{}], epoch_steps=5)

    assert beat.at == [4, 5, 4, 5]


def test_it_may_track_in_any_other_hook() -> None:
    class Counts(Beat):
        batches = 0

        def on_batch_end(self, run: Run, batch: Any, output: Any) -> None:
            self.batches += 1

        def on_due(self, run: Run) -> None:
            self.at.append(self.batches)

    counts = Counts("2 steps")
    script(counts, [{}], epoch_steps=4)
    assert counts.at == [2, 4]


# --- functions ---------------------------------------------------------------------------------


def test_a_function_becomes_a_callback_of_one_hook() -> None:
    seen: list[int] = []

    @on(Callback.on_step_end)
    def note(run: Run) -> None:
        """Note the step."""
        seen.append(run.progress.steps_completed)

    run = script(note, [{}], epoch_steps=3)

    assert seen == [1, 2, 3]
    assert run.callbacks.names == ("note",)
    assert note.__doc__ == "Note the step."


@given(amount=st.integers(1, 5), steps=st.integers(0, 12))
def test_every_calls_the_function_when_the_schedule_is_due(amount: int, steps: int) -> None:
    seen: list[int] = []
    beat = on(Callback.on_step_end, every=f"{amount} steps", name="beat")(
        lambda run: seen.append(run.progress.steps_completed)
    )
    for _ in range(2):  # a second run begins anew
        script(beat, lambda run: run.tell_epoch({}, steps=steps))

    assert seen == 2 * list(range(amount, steps + 1, amount))


def test_every_at_the_end_of_epochs() -> None:
    seen: list[int] = []
    beat = on(Callback.on_epoch_end, every="2 epochs", name="beat")(
        lambda run, metrics: seen.append(run.progress.epochs_completed)
    )
    script(beat, [{}] * 5)

    assert seen == [2, 4]


def test_two_functions_of_one_decorator_have_schedules_of_their_own() -> None:
    seen: list[str] = []
    beat = on(Callback.on_step_end, every="2 steps")
    callbacks = {"a": beat(lambda run: seen.append("a")), "b": beat(lambda run: seen.append("b"))}
    for name, callback in callbacks.items():
        callback.name = name
    script(callbacks.values(), [{}], epoch_steps=4)

    assert seen == ["a", "b", "a", "b"]


def test_what_the_function_returns_replaces_the_batch() -> None:
    seen: list[Any] = []
    swap = on(Callback.on_batch_start, name="swap")(lambda run, batch: "other")
    look = SpyCallback("on_batch_end", lambda run, batch, output: seen.append(batch), counts=())
    script([swap, look], lambda run: run.tell_step(batch="one"))

    assert seen == ["other"]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: on(Callback.state_dict), UnknownHookError, "`state_dict` is not a hook."),  # type: ignore[arg-type]
        (lambda: on(len), UnknownHookError, "`len` is not a hook."),  # type: ignore[arg-type]
        (
            lambda: on(Callback.on_fit_start, every="1 step"),
            ScheduleError,
            "`on_fit_start` happens once per run: a schedule has no meaning there",
        ),
        (lambda: on(Callback.on_step_end, every="2"), ScheduleError, "'2' is not a schedule"),
    ],
)
def test_what_cannot_be_listened_to_is_refused(make: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value).splitlines()[0] == message
