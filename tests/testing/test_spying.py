"""A spy counts hooks, and raises or acts where it is told to."""

from __future__ import annotations

import pytest

from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import CONTEXTS, HOOKS, Callback, is_overridden
from trackside.testing import ScriptedRun, SpyCallback, script


def test_a_spy_counts_every_hook() -> None:
    spy = SpyCallback()
    script(spy, [{}, {}], epoch_steps=3)

    assert spy.counts["on_step_end"] == 6
    assert spy.counts["on_epoch_start"] == 2
    assert spy.counts["on_close"] == 1


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt, StopIteration, SystemExit(3)]
)
def test_a_spy_raises_what_it_was_given(error: BaseException | type[BaseException]) -> None:
    spy = SpyCallback(Callback.on_step_end, error, when=2)

    with pytest.raises(error if isinstance(error, type) else type(error)):
        script(spy, [{}])
    assert spy.counts["on_step_end"] == 2


def test_a_spy_acts_at_each_call_when_no_number_is_given() -> None:
    steps = []
    spy = SpyCallback(
        "on_step_end", lambda run: steps.append(run.progress.steps_completed), when=None
    )
    script(spy, [{}], epoch_steps=3)

    assert steps == [1, 2, 3]


def test_what_the_action_returns_is_returned() -> None:
    batches = []
    swap = SpyCallback("on_batch_start", lambda run, batch: "other", when=None)
    look = SpyCallback("on_batch_start", lambda run, batch: batches.append(batch), when=None)
    look.name = "look"
    script([swap, look], lambda run: run.tell_step(batch="one"))

    assert batches == ["other"]


def test_only_the_named_hooks_are_overridden() -> None:
    spy = SpyCallback("on_step_end", counts=("on_fit_start",))

    listened = {name for name in (*HOOKS, *CONTEXTS) if is_overridden(spy, name)}
    assert listened == {"on_step_end", "on_fit_start"}


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_spy_may_sit_in_a_context(context: str) -> None:
    spy = SpyCallback(context)
    ScriptedRun(spy).play([{"val/loss": 1.0}])

    assert spy.counts[context] > 0


def test_a_hook_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean `on_step_end`"):
        SpyCallback("on_step_ends")
