"""The loop fires what the lifecycle says, whatever the plan of the run, and whatever goes wrong."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD

from tests.plans import KINDS, Plan, Stumbling, line, plans
from trackside import Callback, Run, StopTraining, Trainer
from trackside.lifecycle.failures import AT_ONCE, WHOLE
from trackside.lifecycle.hooks import HOOKS
from trackside.outcome import Status
from trackside.progress import Progress
from trackside.testing import Recorder, SpyCallback, check_grammar

# Without the phase that looks for reasons: it runs each example under a tracer, many times over.
QUICK = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
FEW = settings(max_examples=40, phases=QUICK)


class Closing(Callback[Run]):
    """Notes the order in which callbacks are closed."""

    def __init__(self, name: str, closed: list[tuple[str, Any]]) -> None:
        self.name = name
        self._closed = closed

    def on_close(self, run: Run, outcome: Any) -> None:
        self._closed.append((str(self.name), outcome))


# --- without a fault ---------------------------------------------------------------------------


@FEW
@given(plan=plans())
def test_the_events_of_a_run_obey_the_grammar(plan: Plan) -> None:
    recorder = Recorder()
    result = plan.fit(plan.trainer(callbacks=[recorder]))

    recorder.check(result.outcome)
    assert result.outcome.status is Status.COMPLETED


@FEW
@given(plan=plans())
def test_a_run_ends_where_its_limit_says(plan: Plan) -> None:
    recorder = Recorder()
    result = plan.fit(plan.trainer(callbacks=[recorder]))

    of_epoch = math.ceil(plan.batches / plan.accumulate)
    bounds = [plan.steps, plan.epochs * of_epoch if plan.epochs is not None else None]
    expected = min(bound for bound in bounds if bound is not None)
    assert result.outcome.step == expected
    assert len(recorder.of("on_step_end")) == expected
    assert len(recorder.of("on_optimizer_step_end")) == expected


@FEW
@given(plan=plans())
def test_the_counters_count_what_happened(plan: Plan) -> None:
    seen: list[Progress] = []
    recorder = Recorder()
    look = SpyCallback("on_close", lambda run, outcome: seen.append(run.progress), counts=())
    plan.fit(plan.trainer(callbacks=[recorder, look]))

    (progress,) = seen
    assert progress.steps_completed == len(recorder.of("on_step_end"))
    assert progress.batches_completed == len(recorder.of("on_batch_end"))
    whole, batches_left = divmod(progress.batches_completed, plan.batches)
    # A stream that was left after its last batch doesn't know that it was the last.
    unknown = plan.kind == "stream" and batches_left == 0 and plan.steps is not None
    assert progress.epochs_completed in ({whole, whole - 1} if unknown else {whole})
    assert progress.samples_completed == whole * plan.samples + min(
        batches_left * plan.batch_size, plan.samples
    )


@FEW
@given(plan=plans())
def test_evaluations_come_when_they_are_due_and_at_the_end(plan: Plan) -> None:
    assume(plan.evaluations)
    recorder = Recorder()
    result = plan.fit(plan.trainer(callbacks=[recorder]))

    at = [event.step for event in recorder.of("on_evaluation_end")]
    ends = result.outcome.step
    assert at == sorted(at)
    assert at[-1] == ends, "the last weights are evaluated"
    if plan.evaluate_every == "3 steps":
        due = {step for step in range(1, ends + 1) if step % 3 == 0} | {ends}
        assert set(at) == due
        assert len(at) == len(due) * len(plan.evaluations)
    names = [event.arguments[0] for event in recorder.of("on_evaluation_start")]
    one_round = [f"val{number}" for number in range(len(plan.evaluations))]
    assert names == one_round * (len(names) // len(one_round))


# --- a request to stop -------------------------------------------------------------------------

STOPPABLE = [h for h in HOOKS if h not in ("on_close", "on_exception", "on_stop")]


@FEW
@given(
    plan=plans(),
    hook=st.sampled_from(STOPPABLE),
    when=st.integers(1, 4),
    by_raising=st.booleans(),
)
def test_a_stop_from_any_hook_closes_every_span(
    plan: Plan, hook: str, when: int, by_raising: bool
) -> None:
    whole = list(plan.events())
    assume(whole.count(hook) >= when)

    def ask(run: Run, *_: Any) -> None:
        if by_raising:
            raise StopTraining("enough")
        run.stop("enough")

    first, spy, last = Recorder(), SpyCallback(hook, ask, when=when, counts=()), Recorder()
    first.name, last.name = "first", "last"
    result = plan.fit(plan.trainer(callbacks=[first, spy, last]))

    outcome = result.outcome
    assert (outcome.status, outcome.reason, outcome.asked_by) == (
        Status.STOPPED,
        "enough",
        "spy_callback",
    )
    first.check(outcome)
    assert first.names == last.names, "the other callbacks still get the event"
    assert first.names.count("on_stop") == 1
    before = first.names.index("on_stop")
    assert first.names[:before] == whole[:before], "nothing is lost before the stop"


# --- a fault -----------------------------------------------------------------------------------


def fault_in_hook(plan: Plan, hook: str, when: int, error: BaseException) -> None:
    """Run `plan` with a callback that raises, and hold everything that is promised about it."""
    whole = list(plan.events())
    place = [i for i, name in enumerate(whole) if name == hook][when - 1]
    closed: list[tuple[str, Any]] = []
    first, last = Recorder(), Recorder()
    first.name, last.name = "first", "last"
    spy = SpyCallback(hook, error, when=when, counts=())
    trainer = plan.trainer(callbacks=[Closing("a", closed), first, spy, last, Closing("z", closed)])

    with pytest.raises(type(error)) as caught:
        plan.fit(trainer)

    assert caught.value is error, "the first error is the one raised"
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == "heard", "its traceback is whole"
    attached_all = hook != "on_attach"
    assert [name for name, _ in closed] == (["z", "a"] if attached_all else ["a"])
    outcome = closed[-1][1]
    interrupted = isinstance(error, KeyboardInterrupt)
    assert outcome.status is (Status.INTERRUPTED if interrupted else Status.FAILED)
    assert outcome.error is error
    assert error.__notes__[0].startswith(f"in callback 'spy_callback', hook `{hook}`, after ")

    heard_by_all = isinstance(error, Exception) and hook not in AT_ONCE
    if heard_by_all:
        assert last.names == first.names, "the others get the event"
    elif attached_all:
        assert last.names == [*whole[:place], "on_exception", "on_close"]
    else:
        assert last.names == []
    if heard_by_all and hook in WHOLE:  # until the next safe point
        assert first.names[: place + 1] == whole[: place + 1]
        assert first.names[-2:] == ["on_exception", "on_close"]
    else:
        assert first.names == [*whole[: place + 1], "on_exception", "on_close"]
    first.check(outcome)


@settings(max_examples=40, phases=QUICK)
@given(
    plan=plans(),
    place=st.integers(0, 400),
    kind=st.sampled_from(KINDS),
)
def test_a_fault_at_any_event_ends_the_run_in_order(
    plan: Plan, place: int, kind: type[BaseException]
) -> None:
    events = plan.events()[:-1]
    place %= len(events)
    when = events[: place + 1].count(events[place])

    fault_in_hook(plan, events[place], when, kind("fault"))


HEARD = sorted({*Plan(accumulate=2).events()} - {"on_close"})


@pytest.mark.parametrize("hook", HEARD)
def test_a_fault_of_every_kind_in_every_hook(hook: str) -> None:
    for kind in KINDS:
        fault_in_hook(Plan(accumulate=2), hook, 1, kind("fault"))


class Trap(nn.Linear):
    """A model whose forward stumbles."""

    def __init__(self, trap: Stumbling) -> None:
        super().__init__(2, 1)
        self.load_state_dict(line().state_dict())
        self.trap = trap

    def forward(self, rows: Tensor) -> Tensor:
        self.trap.stumble()
        return super().forward(rows)


class TrapSGD(SGD):
    trap: Stumbling

    def step(self, closure: Any = None) -> Any:
        self.trap.stumble()
        return super().step(closure)


class Contexts(Callback[Run]):
    """Stumbles when a context is made, entered or left."""

    def __init__(self, trap: Stumbling, place: str, moment: str) -> None:
        self.trap, self.place, self.moment = trap, place, moment

    def step_context(self, run: Run) -> Any:
        return self._context("step_context")

    def evaluation_context(self, run: Run) -> Any:
        return self._context("evaluation_context")

    def _context(self, place: str) -> Any:
        moment = self.moment if place == self.place else ""
        if moment == "making":
            self.trap.stumble()
        return _Context(self.trap, moment)


class _Context(contextlib.AbstractContextManager[None]):
    # A class: a generator turns StopIteration into RuntimeError by itself.
    def __init__(self, trap: Stumbling, moment: str) -> None:
        self.trap, self.moment = trap, moment

    def __enter__(self) -> None:
        if self.moment == "entering":
            self.trap.stumble()

    def __exit__(self, *error: object) -> None:
        if self.moment == "leaving":
            self.trap.stumble()


def setting(place: str, trap: Stumbling, plan: Plan) -> tuple[Trainer, Any, Any, list[Any]]:
    """Trainer, data, validation and callbacks, with the trap at `place`."""
    options: dict[str, Any] = {}
    data, validation, callbacks = plan.data(), plan.validation(), []
    if place == "model":
        options["model"] = Trap(trap)
    elif place == "data set":
        data = plan.data(trap)
    elif place == "evaluation data set":
        validation = plan.validation(trap)
    elif place == "collate":
        data.collate_fn = _stumbling_before(data.collate_fn, trap)
    elif place == "loss":
        options["loss"] = _stumbling_before(nn.MSELoss(), trap)
    elif place == "metric":
        options["metrics"] = {"m": _stumbling_before(nn.functional.l1_loss, trap)}
    elif place == "optimizer":

        def optimizer(parameters: Any) -> SGD:
            made = TrapSGD(parameters, lr=0.05, momentum=0.9)
            made.trap = trap
            return made

        options["optimizer"] = optimizer
    elif place == "making the model":
        options["model"] = _stumbling_before(_make, trap)
    elif place == "making the optimizer":
        options["optimizer"] = _stumbling_before(lambda p: SGD(p, lr=0.05, momentum=0.9), trap)
    elif place == "making the scheduler":
        options["scheduler"] = _stumbling_before(
            lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0), trap
        )
    else:
        context, _, moment = place.partition(" ")
        callbacks = [Contexts(trap, context, moment)]
    if place in ONCE:
        options.setdefault("model", _make)
    return plan.trainer(**options), data, validation, callbacks


def _make() -> nn.Linear:
    return line()


def _stumbling_before(function: Callable[..., Any], trap: Stumbling) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        trap.stumble()
        return function(*args, **kwargs)

    return call


ONCE = ["making the model", "making the optimizer", "making the scheduler"]
PLACES = [
    *ONCE,
    "model",
    "data set",
    "evaluation data set",
    "collate",
    "loss",
    "metric",
    "optimizer",
    *[
        f"{context} {moment}"
        for context in ("step_context", "evaluation_context")
        for moment in ("making", "entering", "leaving")
    ],
]


@pytest.mark.parametrize("place", PLACES)
def test_a_fault_of_every_kind_outside_of_hooks(place: str) -> None:
    for kind in KINDS:
        fault_outside(Plan(samples=7, accumulate=2), place, kind("fault"))


def fault_outside(plan: Plan, place: str, error: BaseException) -> None:
    """Run `plan` with something other than a hook that raises; hold what is promised."""
    whole = list(plan.events())
    # The third call of a metric is one with two batches, which shows whether it is a mean.
    trap = Stumbling(error, at=1 if place in ONCE else 2 if place == "metric" else 3)
    closed: list[tuple[str, Any]] = []
    recorder = Recorder()
    trainer, data, validation, callbacks = setting(place, trap, plan)
    for callback in [Closing("a", closed), recorder, *callbacks, Closing("z", closed)]:
        trainer.callbacks.append(callback)

    with pytest.raises(BaseException) as caught:
        plan.fit(trainer, data, validation)

    ended = caught.value
    if isinstance(error, StopIteration) and place in ("data set", "evaluation data set", "collate"):
        assert "ended early" in str(ended), "a StopIteration doesn't look like the end of the data"
    else:
        assert ended is error
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert frames[-1] == "stumble"
        if "context" in place:
            context = place.partition(" ")[0]
            assert f"in callback 'contexts', hook `{context}`" in error.__notes__[0]
    assert [name for name, _ in closed] == ["z", "a"]
    assert closed[0][1].error is ended
    heard = recorder.names
    assert heard[-2:] == ["on_exception", "on_close"]
    assert heard[:-2] == whole[: len(heard) - 2], "nothing is lost before the fault"
    check_grammar(heard, closed[0][1])


def _keeping(weights: list[Tensor]) -> SpyCallback:
    keep = SpyCallback("on_fit_end", lambda run: weights.append(run.model.weight), counts=())
    keep.name = "keep"
    return keep


@pytest.mark.parametrize("place", [*PLACES, *HEARD])
def test_after_any_fault_a_second_fit_is_bitwise_the_first_of_another_trainer(place: str) -> None:
    plan = Plan(accumulate=2)
    fresh: list[Tensor] = []
    plan.fit(plan.trainer(_make if place in ONCE else None, callbacks=[_keeping(fresh)]))

    for kind in (ValueError, KeyboardInterrupt):
        trap = Stumbling(kind("fault"), at=1 if place in ONCE else 2)
        if place in PLACES:
            trainer, data, validation, callbacks = setting(place, trap, plan)
        else:
            trainer, data, validation = plan.trainer(), plan.data(), plan.validation()
            callbacks = [SpyCallback(place, trap.error, counts=())]
        for callback in callbacks:
            trainer.callbacks.append(callback)
        with pytest.raises(kind):
            plan.fit(trainer, data, validation)
        if isinstance(trainer.model, nn.Module):
            trainer.model.load_state_dict(line().state_dict())

        again: list[Tensor] = []
        trainer.callbacks.append(_keeping(again))
        result = plan.fit(trainer)
        assert result.outcome.status is Status.COMPLETED
        assert torch.equal(again[0], fresh[0])
